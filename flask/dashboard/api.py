"""The JSON interface."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotInTime
from typing import Any, Final

from flask import Blueprint, request
from werkzeug.exceptions import NotFound

from dashboard.alerts import alert_json, clamped, encode_cursor, parse_query
from dashboard.comparison import DEFAULT_HOURS, MAX_HOURS
from dashboard.overview import DEFAULT_MINUTES, MAX_MINUTES
from dashboard.repository import Unavailable
from dashboard.service import Service
from dashboard.times import iso

READY_TIMEOUT_S: Final = 0.9
"""/readyz never takes longer than a second; whoever probes it gives up soon after."""


def blueprint(service: Service) -> Blueprint:
    """Return the routes of the API, reading from ``service``."""
    routes = Blueprint("api", __name__)
    prober = ThreadPoolExecutor(1, thread_name_prefix="readyz")

    @routes.get("/api/overview")
    def overview() -> dict[str, Any]:
        minutes = clamped(request.args.get("minutes"), "minutes", DEFAULT_MINUTES, MAX_MINUTES)
        return service.overview(minutes)

    @routes.get("/api/alerts")
    def alerts() -> dict[str, Any]:
        page = service.alerts(parse_query(request.args))
        watermark = service.watermark()
        return {
            "ok": True,
            "generated_at": iso(service.now()),
            "alerts": [alert_json(row, watermark) for row in page.rows],
            "next_cursor": encode_cursor(page.next_after),
        }

    @routes.get("/api/models")
    def models() -> dict[str, Any]:
        hours = clamped(request.args.get("hours"), "hours", DEFAULT_HOURS, MAX_HOURS)
        return service.models(hours)

    @routes.get("/api/system")
    def system() -> dict[str, Any]:
        return service.system()

    @routes.get("/api/quality")
    def quality() -> dict[str, Any]:
        return service.quality()

    @routes.get("/livez")
    def livez() -> dict[str, Any]:
        return {"ok": True}

    @routes.get("/readyz")
    def readyz() -> dict[str, Any]:
        try:
            freshness = prober.submit(service.freshness).result(READY_TIMEOUT_S)
        except NotInTime:
            raise Unavailable("Cassandra does not answer in time") from None
        if freshness.state not in ("live", "delayed"):
            raise Unavailable(freshness.message)
        data_as_of = iso(freshness.data_as_of)
        return {"ok": True, "state": freshness.state, "data_as_of": data_as_of}

    @routes.get("/api/<path:unknown>")
    def unknown(unknown: str) -> dict[str, Any]:
        raise NotFound

    return routes
