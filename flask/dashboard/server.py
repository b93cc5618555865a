"""gunicorn's configuration: each name below is a setting of gunicorn.

One process holds one Cassandra session and one cache, so that any number of browsers costs one
read a second; threads share them. The application is loaded after the fork (no preload).
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from typing import Any, Final

from gunicorn.http import wsgi  # type: ignore[import-untyped]
from gunicorn.workers.gthread import ThreadWorker  # type: ignore[import-untyped]

from pipeline.logs import configure_logging
from pipeline.settings import load_settings

READ_TIMEOUT_S: Final = 6.0
"""Longest time from the first byte of a request to its last header. More than the 5 s that gunicorn
waits for the first byte; the largest request that is served fits into a few packets."""


class Worker(ThreadWorker):  # type: ignore[misc]
    """Threads of which none waits for ever: gunicorn has no deadline for reading a request, so that
    as many slow clients as there are threads would keep all others out."""

    def handle(self, conn: Any) -> Any:
        conn.deadline = threading.Timer(READ_TIMEOUT_S, _hang_up, [conn.sock])
        conn.deadline.daemon = True
        conn.deadline.start()
        try:
            return super().handle(conn)
        finally:
            conn.deadline.cancel()

    def handle_request(self, req: Any, conn: Any) -> Any:
        conn.deadline.cancel()
        return super().handle_request(req, conn)


def _hang_up(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it has gone
        connection.shutdown(socket.SHUT_RDWR)


_settings = load_settings().dashboard
_host = f"[{_settings.host}]" if ":" in _settings.host else _settings.host

bind = f"{_host}:{_settings.port}"
workers = 1
worker_class = Worker
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
