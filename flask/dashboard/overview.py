"""The overview: totals and one entry a minute, from the rows of ``metrics``."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from typing import Any, Final

from dashboard.freshness import Freshness
from dashboard.repository import Row
from dashboard.times import MINUTE, floor_minute, iso
from pipeline.records import REASONS

DEFAULT_MINUTES: Final = 15
MAX_MINUTES: Final = 24 * 60

REJECTED_COLUMNS: Final = tuple(f"rejected_{reason}" for reason in REASONS)


def overview_json(
    now: dt.datetime,
    minutes: int,
    rows: Sequence[Row],
    detection: Row | None,
    freshness: Freshness,
) -> dict[str, Any]:
    """Return the answer of ``/api/overview`` for the last ``minutes`` minutes, this one included.

    ``rows`` of ``metrics`` may reach further back. Totals are None while nothing is known: no
    row, and no live detection job that would vouch for zero. ``transactions_per_second`` is
    the mean from the first known minute to ``data_as_of``; ``alert_rate`` is alerts per
    transaction; the latency is that of the newest minute with an alert.
    """
    first = floor_minute(now) - (minutes - 1) * MINUTE
    known = {row["window_start"]: row for row in rows if row["window_start"] >= first}
    newest_first = sorted(known.values(), key=lambda row: row["window_start"], reverse=True)
    is_known = bool(known) or freshness.state in ("live", "delayed")

    def total(column: str) -> Any:
        return _sum(row[column] for row in known.values()) if is_known else None

    transactions, alerts = total("transaction_count"), total("alert_count")
    measured = next((row for row in newest_first if row["latency_p50_ms"] is not None), None)
    return {
        "ok": True,
        "generated_at": iso(now),
        "data_as_of": iso(freshness.data_as_of),
        "state": freshness.state,
        "message": freshness.message,
        "minutes": minutes,
        "transactions": transactions,
        "transactions_per_second": _per_second(transactions, known, freshness.data_as_of, now),
        "alerts": alerts,
        "alert_rate": alerts / transactions if transactions else None,
        "amount": total("total_amount"),
        "flagged_amount": total("flagged_amount"),
        "failed": total("failed_count"),
        "latency_ms": {
            name: measured[f"latency_{name}_ms"] if measured else None
            for name in ("p50", "p95", "p99")
        },
        "lag": {
            "messages": detection["lag_messages"] if detection else None,
            "seconds": detection["lag_seconds"] if detection else None,
        },
        "series": [
            _minute_json(first + n * MINUTE, known.get(first + n * MINUTE)) for n in range(minutes)
        ],
    }


def _per_second(
    transactions: int | None,
    known: dict[dt.datetime, Row],
    data_as_of: dt.datetime | None,
    now: dt.datetime,
) -> float | None:
    if transactions is None or not known:
        return transactions
    covered = min(data_as_of or now, max(known) + MINUTE) - min(known)
    seconds = covered.total_seconds()
    return transactions / seconds if seconds >= 1 else None


def _minute_json(minute: dt.datetime, row: Row | None) -> dict[str, Any]:
    """Return one entry of the series; without a row every value is None: a gap, not a zero."""

    def value(column: str) -> Any:
        return None if row is None else row[column] or 0

    return {
        "minute": iso(minute),
        "transactions": value("transaction_count"),
        "alerts": value("alert_count"),
        "amount": value("total_amount"),
        "flagged_amount": value("flagged_amount"),
        "failed": value("failed_count"),
        "late": value("late_count"),
        "rejected": None if row is None else _sum(row[name] for name in REJECTED_COLUMNS),
        "latency_p95_ms": None if row is None else row["latency_p95_ms"],
    }


def _sum(values: Iterable[Any]) -> Any:
    return sum(value for value in values if value is not None)
