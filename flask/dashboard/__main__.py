"""Check the settings, then become gunicorn (``python -m dashboard``)."""

from __future__ import annotations

import os
import sys

from pipeline.logs import run_service
from pipeline.settings import load_settings


def main() -> int:
    """Replace this process by gunicorn; it returns only by an error of the settings."""
    load_settings()  # gunicorn would report a wrong setting as a traceback of its configuration
    os.execv(  # noqa: S606  arguments are ours, and no shell is wanted
        sys.executable,
        [
            sys.executable,
            "-m",
            "gunicorn",
            "--config",
            "python:dashboard.server",
            "dashboard:create_app()",
        ],
    )


if __name__ == "__main__":
    sys.exit(run_service(main))
