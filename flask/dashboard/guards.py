"""What every request passes: method, size, room for it; and the headers of every response."""

from __future__ import annotations

import re
import secrets
import threading
from typing import Final

from flask import Flask, Response, g, request
from werkzeug.exceptions import (
    BadRequest,
    MethodNotAllowed,
    RequestEntityTooLarge,
    ServiceUnavailable,
)

HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self';"
    " img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'self';"
    " frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-XSS-Protection": "0",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

ALLOWED_METHODS: Final = ("GET", "HEAD")

ALWAYS_SERVED: Final = frozenset({"api.livez", "api.readyz", "static"})
"""Endpoints that never wait for Cassandra, or not for long."""


LOOPBACK_HOSTS: Final = frozenset({"localhost", "127.0.0.1", "::1"})

_HOST = re.compile(r"(?:([a-z0-9.-]+)|\[([a-f0-9:.]+)\])(?::\d{1,5})?", re.IGNORECASE)


def is_trusted_host(header: str, own_host: str) -> bool:
    """Tell whether the Host header names this machine, or the address that the server binds.

    Any other name that resolves to this address (DNS rebinding) must not read the data.
    Flask's TRUSTED_HOSTS cannot be used: Werkzeug 3.1.9 cuts trusted hosts at the first colon,
    so that it never matches [::1].
    """
    match = _HOST.fullmatch(header)
    name = (match.group(1) or match.group(2)).lower() if match else None
    return name in LOOPBACK_HOSTS or name == own_host.lower()


def register_guards(app: Flask, own_host: str, slots: threading.BoundedSemaphore) -> None:
    """Add the checks before and the headers after each request of ``app``.

    ``slots`` bounds the requests that may wait for Cassandra at once; beyond it they get 503.
    """

    @app.before_request
    def check_request() -> None:
        g.request_id = secrets.token_hex(8)
        g.holds_slot = False
        if not is_trusted_host(request.headers.get("Host", ""), own_host):
            raise BadRequest("this host name is not served here; use localhost")
        if (request.content_length or 0) > app.config["MAX_CONTENT_LENGTH"]:
            raise RequestEntityTooLarge
        if request.method not in ALLOWED_METHODS:
            raise MethodNotAllowed(ALLOWED_METHODS)
        if request.endpoint in ALWAYS_SERVED:
            return
        if not slots.acquire(blocking=False):
            raise ServiceUnavailable("too many requests wait for the database; try again")
        g.holds_slot = True

    @app.after_request
    def add_headers(response: Response) -> Response:
        response.headers.update(HEADERS)
        response.headers["X-Request-ID"] = g.request_id
        if request.endpoint != "static":
            response.headers["Cache-Control"] = "no-store"
        return response

    @app.teardown_request
    def free_slot(error: BaseException | None) -> None:
        if g.pop("holds_slot", False):
            slots.release()
