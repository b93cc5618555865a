"""One shape for every error: JSON for programs, a page for people, never a traceback."""

from __future__ import annotations

from typing import Final

from flask import Flask, Response, g, jsonify, make_response, render_template, request
from werkzeug.exceptions import HTTPException

from dashboard.alerts import InvalidParameter
from dashboard.repository import Unavailable

RETRY_AFTER_S: Final = 2

PAGES: Final = {
    400: ("This address is not valid", "Check the address, or start again at the overview."),
    404: ("There is nothing here", "The address may be mistyped, or the alert has expired."),
    405: ("Pages can only be read", "This dashboard answers GET and HEAD only."),
    413: ("The request is too large", "No page of this dashboard takes a body."),
    500: ("Something went wrong here", "The log holds the details under the id below."),
    503: (
        "Waiting for the database",
        "Cassandra does not answer. It may still be starting: this page tries again by itself."
        " If it stays, look at the status and the log of Cassandra.",
    ),
}


def register_errors(app: Flask) -> None:
    """Answer every error of ``app`` in the one shape."""

    @app.errorhandler(Unavailable)
    def unavailable(error: Unavailable) -> Response:
        return _answer(503, str(error))

    @app.errorhandler(InvalidParameter)
    def invalid(error: InvalidParameter) -> Response:
        return _answer(400, str(error))

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> Response:
        if error.code is None or error.code < 400:
            return make_response(error.get_response())
        response = _answer(error.code, error.description or error.name)
        if error.code == 405:
            response.headers["Allow"] = "GET, HEAD"
        return response

    @app.errorhandler(Exception)
    def unexpected(error: Exception) -> Response:
        app.logger.exception("request %s failed", g.get("request_id"), exc_info=error)
        return _answer(500, "an unexpected error; the log has it under this request id")


def _answer(status: int, error: str) -> Response:
    wants_json = request.path.startswith("/api/") or request.path in ("/livez", "/readyz")
    if wants_json:
        body = {"ok": False, "error": error, "status": status, "request_id": g.request_id}
        response = jsonify(body)
    else:
        title, advice = PAGES.get(status, ("This did not work", "Start again at the overview."))
        response = make_response(
            render_template(
                "error.html",
                title=title,
                advice=advice,
                detail=error,
                status=status,
                request_id=g.request_id,
            )
        )
    response.status_code = status
    if status == 503:
        response.headers["Retry-After"] = str(RETRY_AFTER_S)
    return response
