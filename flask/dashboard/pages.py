"""The server-rendered pages; each works without JavaScript."""

from __future__ import annotations

import base64
from typing import Any, Final

from flask import Blueprint, render_template, request
from werkzeug.exceptions import NotFound

from dashboard import formats, times
from dashboard.alerts import (
    SEVERITIES,
    AlertQuery,
    InvalidParameter,
    account_id,
    clamped,
    encode_cursor,
    is_provisional,
    parse_alert_id,
    parse_query,
)
from dashboard.comparison import DEFAULT_HOURS, MAX_HOURS
from dashboard.overview import DEFAULT_MINUTES, MAX_MINUTES
from dashboard.repository import Row, Unavailable
from dashboard.service import ACCOUNT_DAYS, Service
from dashboard.times import age_s, parse_iso, to_ms

RANGES: Final = ((15, "15 min"), (60, "1 h"), (360, "6 h"), (1440, "24 h"))
HOURS: Final = ((1, "1 h"), (6, "6 h"), (24, "24 h"))
FEED_ROWS: Final = 12
ACCOUNT_ALERTS: Final = 50


def blueprint(service: Service, currency: str) -> Blueprint:
    """Return the pages, reading from ``service``; amounts are in ``currency``."""
    routes = Blueprint("pages", __name__)

    @routes.app_context_processor
    def common() -> dict[str, Any]:
        return {
            "currency": currency,
            "format": formats,
            "now": service.now(),
            "alert_path": alert_path,
        }

    @routes.app_template_filter()
    def iso(moment: Any) -> str | None:
        return times.iso(moment)

    @routes.app_template_filter()
    def since_now(moment: Any) -> str:
        moment = parse_iso(moment) if isinstance(moment, str) else moment
        return formats.age(age_s(service.now(), moment))

    @routes.app_template_filter()
    def as_moment(text: str | None) -> Any:
        return parse_iso(text) if text else None

    @routes.get("/")
    def overview() -> str:
        minutes = clamped(request.args.get("minutes"), "minutes", DEFAULT_MINUTES, MAX_MINUTES)
        summary = service.overview(minutes)
        page = service.alerts(AlertQuery(limit=FEED_ROWS))
        return render_template(
            "overview.html",
            summary=summary,
            freshness=service.freshness(),
            tiles=_tiles(summary, currency),
            ranges=RANGES,
            alerts=page.rows,
        )

    @routes.get("/alerts")
    def alerts() -> str:
        query = parse_query(request.args)
        page = service.alerts(query)
        return render_template(
            "alerts.html",
            freshness=service.freshness(),
            alerts=page.rows,
            severities=SEVERITIES,
            filters=request.args,
            is_filtered=any(request.args.get(name) for name in FILTERS),
            next_cursor=encode_cursor(page.next_after),
            kept={name: value for name in (*FILTERS, "limit") if (value := request.args.get(name))},
        )

    @routes.get("/alerts/<alert_id>")
    def alert(alert_id: str) -> str:
        try:
            window_start, sender_account = parse_alert_id(alert_id)
        except InvalidParameter as error:
            raise NotFound(str(error)) from error
        row = service.alert(window_start, sender_account)
        if row is None:
            raise NotFound("there is no such alert, or it has expired")
        return render_template(
            "alert.html",
            freshness=service.freshness(),
            alert=row,
            raw=_raw(service, row),
            explanation=_explanation(row),
            provisional=is_provisional(row, service.watermark()),
        )

    @routes.get("/accounts/<path:account>")
    def account(account: str) -> str:
        try:
            account_id(account)
        except InvalidParameter as error:
            raise NotFound(str(error)) from error
        page = service.alerts(AlertQuery(limit=ACCOUNT_ALERTS, account=account))
        return render_template(
            "account.html",
            freshness=service.freshness(),
            account=account,
            alerts=page.rows,
            transactions=service.account_transactions(account),
            days=ACCOUNT_DAYS,
        )

    @routes.get("/models")
    def models() -> str:
        hours = clamped(request.args.get("hours"), "hours", DEFAULT_HOURS, MAX_HOURS)
        return render_template(
            "models.html",
            freshness=service.freshness(),
            models=service.models(hours),
            ranges=HOURS,
        )

    @routes.get("/system")
    def system() -> str:
        return render_template(
            "system.html", freshness=service.freshness(), system=service.system()
        )

    @routes.get("/quality")
    def quality() -> str:
        return render_template(
            "quality.html", freshness=service.freshness(), quality=service.quality()
        )

    return routes


FILTERS: Final = ("severity", "min_score", "account", "since")


def alert_path(row: Row) -> str:
    """Return the address of an alert's page: its id is its key."""
    encoded = base64.urlsafe_b64encode(row["sender_account"].encode()).decode().rstrip("=")
    return f"/alerts/{to_ms(row['window_start'])}-{encoded}"


def _raw(service: Service, alert: Row) -> Row | None:
    """Return the raw transaction of an alert; without it the page still shows the alert."""
    try:
        return service.raw_transaction(alert["transaction_id"])
    except Unavailable:
        return None


def _explanation(alert: Row) -> list[dict[str, Any]]:
    """Return a row for each feature, the largest share of the score first: its ``name`` and
    ``share`` (0 to 1), and its measure this time, usually, and up to which there is no alert."""
    maps = {column: alert[column] or {} for column in ("actual", "usual", "limits")}
    shares = (alert["contributions"] or {}).items()
    known = [(name, share) for name, share in shares if formats.is_known(share)]
    return [
        {"name": name, "share": share} | {column: of.get(name) for column, of in maps.items()}
        for name, share in sorted(known, key=lambda item: item[1], reverse=True)
    ]


def _tiles(summary: dict[str, Any], currency: str) -> list[dict[str, Any]]:
    """Return the KPI tiles; ``static/dashboard.js`` updates them by their ``key``."""
    # The running minute is left out of the curves: it would look like a drop.
    series = summary["series"][:-1] or summary["series"]
    minutes, latency, lag = summary["minutes"], summary["latency_ms"], summary["lag"]
    per_second = summary["transactions_per_second"]

    def spark(column: str) -> str:
        return formats.spark_path([entry[column] for entry in series])

    def tile(key: str, label: str, value: str, unit: str, note: str, path: str, about: str) -> Any:
        return {
            "key": key,
            "label": label,
            "value": value,
            "unit": unit,
            "note": note,
            "spark": path,
            "about": about,
        }

    p50, p99 = (formats.number(latency[name]) for name in ("p50", "p99"))
    alerts_per_minute = None if summary["alerts"] is None else summary["alerts"] / minutes
    return [
        tile(
            "throughput",
            "Throughput",
            formats.compact(None if per_second is None else per_second * 60),
            "per min",
            f"{formats.number(summary['transactions'])} transactions",
            spark("transactions"),
            "Scored transactions, by minute of arrival",
        ),
        tile(
            "alerts",
            "Alerts",
            formats.number(summary["alerts"]),
            "",
            f"{formats.compact(alerts_per_minute)} per min",
            spark("alerts"),
            "Account minutes at or above the review threshold",
        ),
        tile(
            "alert_rate",
            "Alert rate",
            formats.percent(summary["alert_rate"], 2),
            "",
            f"{formats.number(summary['failed'])} failed payments",
            formats.spark_path(
                [
                    entry["alerts"] / entry["transactions"] if entry["transactions"] else None
                    for entry in series
                ]
            ),
            "Alerts per scored transaction",
        ),
        tile(
            "flagged_amount",
            "Flagged amount",
            formats.abbreviated(summary["flagged_amount"]),
            currency,
            f"of {formats.abbreviated(summary['amount'])} {currency}",
            spark("flagged_amount"),
            "Money moved in account minutes with an alert",
        ),
        tile(
            "latency",
            "Latency p95",
            formats.duration_ms(latency["p95"]),
            "",
            f"p50 {p50} · p99 {p99}",
            spark("latency_p95_ms"),
            "From Kafka to a readable alert, newest minute",
        ),
        tile(
            "lag",
            "Lag",
            formats.number(lag["messages"]),
            "messages",
            f"{formats.compact(lag['seconds'])} s behind",
            "",
            "Published, not yet scored",
        ),
    ]
