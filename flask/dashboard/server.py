"""gunicorn's configuration: each name below is a setting of gunicorn.

One process holds one Cassandra session and one cache, so that any number of browsers costs one
read a second; threads share them. The application is loaded after the fork (no preload).
"""

from __future__ import annotations

import os
from typing import Any

from gunicorn.http import wsgi  # type: ignore[import-untyped]

from pipeline.logs import configure_logging
from pipeline.settings import load_settings

_settings = load_settings().dashboard
_host = f"[{_settings.host}]" if ":" in _settings.host else _settings.host

bind = f"{_host}:{_settings.port}"
workers = 1
worker_class = "gthread"
threads = _settings.threads
timeout = 30  # of a worker that no longer reports to the arbiter; requests have their own deadline
graceful_timeout = 5
keepalive = 5
accesslog = "-"
# Workers prove that they live by touching a file: on a disk a slow fsync looks like a hang.
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: S108
control_socket_disable = True  # it would lie under $HOME, which is read-only in the container


def post_worker_init(worker: Any) -> None:
    """Send the application's log through the same format as every other service."""
    configure_logging()


_default_headers = wsgi.Response.default_headers


def _headers_without_server(response: Any) -> list[str]:
    return [line for line in _default_headers(response) if not line.startswith("Server:")]


# gunicorn has no setting for it, and what serves the page is nobody's business.
wsgi.Response.default_headers = _headers_without_server
