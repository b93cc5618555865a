"""A repository in memory, and rows with sensible values for it."""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from dashboard.repository import Position, Row, Unavailable
from dashboard.times import HOUR, MINUTE, floor_hour, floor_minute, to_ms

NOW = dt.datetime(2026, 3, 14, 15, 9, 26, 535000, tzinfo=dt.UTC)
THIS_MINUTE = floor_minute(NOW)


def alert_row(
    window_start: dt.datetime = THIS_MINUTE, sender: str = "ACC-1", **values: Any
) -> dict[str, Any]:
    encoded = base64.urlsafe_b64encode(sender.encode()).decode().rstrip("=")
    return {
        "hour": floor_hour(window_start),
        "window_start": window_start,
        "window_end": window_start + MINUTE,
        "sender_account": sender,
        "alert_id": f"{to_ms(window_start)}-{encoded}",
        "score": 2.5,
        "threshold": 1.0,
        "severity": "high",
        "reason": "3 new receivers in a minute, usually 1",
        "features": {"receiver_spread": 2.0, "amount_surprise": 1.5},
        "usual": {"amount_surprise": 40.25, "receiver_spread": 1.0, "failed_count": 0.0},
        "contributions": {"receiver_spread": 0.64, "amount_surprise": 0.36},
        "actual": {"receiver_spread": 3.07, "amount_surprise": 720.5, "failed_count": 0.0},
        "counterfactuals": {"amount_surprise": 0.75},
        "limits": {"amount_surprise": 182.39},
        "no_alert_if": ["No alert with amounts of at most 182.39 in the minute (here 720.50)."],
        "transaction_id": "7f2c1c1e-3b5e-4f0a-9a53-0d8a1f6d2b11",
        "transaction_amount": 720.5,
        "receiver_account": "ACC-9",
        "transaction_type": "transfer",
        "transaction_status": "completed",
        "transaction_count": 3,
        "total_amount": 900.25,
        "failed_count": 0,
        "max_amount": 720.5,
        "distinct_receivers": 3.0,
        "model_version": "m1",
        "run_id": "run-1",
        "batch_id": 7,
        "event_time": window_start,
        "kafka_partition": 1,
        "kafka_offset": 4711,
        "kafka_timestamp": window_start,
        "scored_at": window_start + dt.timedelta(seconds=1),
        **values,
    }


def metrics_row(window_start: dt.datetime, **values: Any) -> dict[str, Any]:
    columns = dict.fromkeys(
        f"rejected_{reason}"
        for reason in (
            "undecodable",
            "invalid_transaction_id",
            "invalid_account",
            "same_account",
            "invalid_amount",
            "unknown_type",
            "unknown_status",
            "future",
            "too_old",
        )
    )
    return {
        "hour": floor_hour(window_start),
        "window_start": window_start,
        "transaction_count": 1200,
        "total_amount": 60_000.0,
        "failed_count": 40,
        "late_count": None,
        **columns,
        "alert_count": 6,
        "flagged_amount": 900.0,
        "latency_p50_ms": 400.0,
        "latency_p95_ms": 900.0,
        "latency_p99_ms": 1200.0,
        **values,
    }


def status_row(component: str, **values: Any) -> dict[str, Any]:
    return {
        "component": component,
        "state": "running",
        "since": NOW - HOUR,
        "heartbeat": NOW - dt.timedelta(seconds=1),
        "rate": 20.0,
        "lag_messages": 0,
        "lag_seconds": 0.5,
        "error": None,
        "details": {},
        **values,
    }


def shadow_alert_row(
    window_start: dt.datetime = THIS_MINUTE, sender: str = "ACC-1", **values: Any
) -> dict[str, Any]:
    return {
        "hour": floor_hour(window_start),
        "window_start": window_start,
        "sender_account": sender,
        "model_version": "m2",
        "score": 2.0,
        "threshold": 0.9,
        "severity": "medium",
        "reason": "3 new receivers in a minute, usually 1",
        "run_id": "run-1",
        "batch_id": 7,
        "scored_at": window_start + dt.timedelta(seconds=1),
        **values,
    }


def label_row(window_start: dt.datetime, sender: str, **values: Any) -> dict[str, Any]:
    return {
        "hour": floor_hour(window_start),
        "window_start": window_start,
        "sender_account": sender,
        "pattern": "velocity",
        "incident_id": "incident-1",
        **values,
    }


def batch_row(**values: Any) -> dict[str, Any]:
    return {
        "run_id": "run-1",
        "day": NOW.date(),
        "batch_id": 7,
        "started_at": NOW - dt.timedelta(seconds=1),
        "first_offsets": {0: 100},
        "last_offsets": {0: 119},
        "model_version": "m1",
        "shadow_version": None,
        "versions_since": NOW - HOUR,
        "schema_ids": {1},
        "totals": {"read": 120, "scored": 120},
        **values,
    }


def detection_row(**values: Any) -> dict[str, Any]:
    watermark = (NOW - 2 * MINUTE - dt.timedelta(seconds=2)).isoformat()
    details = {"watermark": watermark, **values.pop("details", {})}
    return status_row("detection", details=details, **values)


def quality_row(**values: Any) -> dict[str, Any]:
    return {
        "period": "hour",
        "period_end": THIS_MINUTE - 2 * MINUTE,
        "computed_at": NOW - dt.timedelta(seconds=20),
        "fraud_minutes": 40,
        "incidents": 16,
        "review_alerts": 80,
        "review_precision": 0.375,
        "review_recall": 0.75,
        "review_incident_recall": 0.875,
        "alert_alerts": 35,
        "alert_precision": 0.6,
        "alert_recall": 0.525,
        "alert_incident_recall": 0.8125,
        "average_precision": 0.4321,
        "found_incidents": 14,
        "delay_median_s": 7.25,
        "delay_p95_s": 61.5,
        "pattern_incidents": {"velocity": 15, "card_testing": 1},
        "pattern_incident_recall": {"velocity": 0.8667, "card_testing": 1.0},
        **values,
    }


class InMemoryRepository:
    """Answers from lists; ``outage`` set: every read raises it."""

    def __init__(self) -> None:
        self.status_rows: list[Row] = []
        self.metrics_rows: list[Row] = []
        self.alert_rows: list[Row] = []
        self.transaction_rows: list[Row] = []
        self.batch_rows: list[Row] = []
        self.shadow_alert_rows: list[Row] = []
        self.label_rows: list[Row] = []
        self.quality_rows: list[Row] = []
        self.outage: Exception | None = None
        self.reads: list[str] = []

    def fail(self) -> None:
        self.outage = Unavailable("Cassandra does not answer (NoHostAvailable)")

    def _note(self, read: str) -> None:
        self.reads.append(read)
        if self.outage is not None:
            raise self.outage

    def statuses(self) -> Sequence[Row]:
        self._note("statuses")
        return self.status_rows

    def metrics(self, hours: Sequence[dt.datetime]) -> Mapping[dt.datetime, Sequence[Row]]:
        self._note("metrics")
        return {hour: [row for row in self.metrics_rows if row["hour"] == hour] for hour in hours}

    def alerts(
        self, hours: Sequence[dt.datetime], after: Position | None, limit: int
    ) -> Mapping[dt.datetime, Sequence[Row]]:
        self._note("alerts")
        return {
            hour: [
                row
                for row in _newest_first(self.alert_rows)
                if row["hour"] == hour and (after is None or _is_after(row, after))
            ][:limit]
            for hour in hours
        }

    def account_alerts(
        self, sender_account: str, before: dt.datetime | None, limit: int
    ) -> Sequence[Row]:
        self._note("account_alerts")
        return [
            row
            for row in _newest_first(self.alert_rows)
            if row["sender_account"] == sender_account
            and (before is None or row["window_start"] < before)
        ][:limit]

    def alert(self, window_start: dt.datetime, sender_account: str) -> Row | None:
        self._note("alert")
        key = (window_start, sender_account)
        rows = (r for r in self.alert_rows if (r["window_start"], r["sender_account"]) == key)
        return next(rows, None)

    def transaction(self, transaction_id: str) -> Row | None:
        self._note("transaction")
        rows = (row for row in self.transaction_rows if row["transaction_id"] == transaction_id)
        return next(rows, None)

    def quality(self, periods: Sequence[str]) -> Mapping[str, Row | None]:
        self._note("quality")
        newest = {row["period"]: row for row in self.quality_rows}
        return {period: newest.get(period) for period in periods}

    def account_transactions(
        self, account: str, days: Sequence[dt.date], limit: int
    ) -> Sequence[Row]:
        self._note("account_transactions")
        return [
            row
            for row in self.transaction_rows
            if account in (row["sender_account"], row["receiver_account"])
        ]

    def newest_batch(self, run_id: str, day: dt.date) -> Row | None:
        self._note("newest_batch")
        rows = [row for row in self.batch_rows if (row["run_id"], row["day"]) == (run_id, day)]
        return max(rows, key=lambda row: row["batch_id"], default=None)

    def compared(
        self, hour: dt.datetime, limit: int
    ) -> tuple[Sequence[Row], Sequence[Row], Sequence[Row]]:
        self._note("compared")
        alerts, shadow_alerts, labels = (
            [row for row in _newest_first(rows) if row["hour"] == hour][:limit]
            for rows in (self.alert_rows, self.shadow_alert_rows, self.label_rows)
        )
        return alerts, shadow_alerts, labels


def _newest_first(rows: Sequence[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: (-to_ms(row["window_start"]), row["sender_account"]))


def _is_after(row: Row, position: Position) -> bool:
    if row["window_start"] != position.window_start:
        return bool(row["window_start"] < position.window_start)
    return position.sender_account is not None and row["sender_account"] > position.sender_account
