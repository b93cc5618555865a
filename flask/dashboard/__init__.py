"""The dashboard: server-rendered pages and a JSON API over what the pipeline wrote to Cassandra.

It only reads. ``python -m dashboard`` serves it; ``create_app`` is the factory.
"""

from dashboard.app import create_app

__all__ = ["create_app"]
