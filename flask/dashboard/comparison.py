"""The live model against its shadow: what either raised on the minutes that both have scored."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Final

from dashboard.freshness import WATERMARK_DELAY, reported_watermark
from dashboard.repository import Repository, Row
from dashboard.times import HOUR, MINUTE, floor_hour, floor_minute, iso
from pipeline.records import FUTURE_TOLERANCE_MS

DEFAULT_HOURS: Final = 1
MAX_HOURS: Final = 24
MAX_ROWS: Final = 10_000
"""Rows read from each table. Where there are more, the newest minutes are compared: of a stream
with 1 % alerts that is a day at 10 account minutes a second."""

LEVELS: Final = ("low", "medium", "high")
"""Each level counts what reached it or a higher one; low is everything at or above review."""

FUTURE_TOLERANCE: Final = dt.timedelta(milliseconds=FUTURE_TOLERANCE_MS)

Minute = tuple[dt.datetime, str]
"""Start of the minute and sender."""


@dataclass(frozen=True)
class Span:
    """The minutes that both versions have scored from beginning to end; ``until`` is excluded."""

    live: str
    shadow: str
    since: dt.datetime
    until: dt.datetime


def find_comparison(
    repository: Repository,
    detection: Row | None,
    hours: int,
    now: dt.datetime,
    allowed_lateness: dt.timedelta,
) -> dict[str, Any]:
    """Return the answer of ``/api/models`` for the last ``hours`` hours.

    ``detection`` is the job's row of ``pipeline_status``. ``compared`` is None, and ``message``
    says why, when there is nothing to compare. Raises ``Unavailable``.
    """
    details = (detection["details"] if detection else None) or {}
    batch = _newest_batch(repository, details.get("run_id"), now)
    answer: dict[str, Any] = {
        "ok": True,
        "generated_at": iso(now),
        "hours": hours,
        "live": batch["model_version"] if batch else details.get("model_version"),
        "shadow": details.get("shadow_version"),
        "shadow_failures": int(details.get("shadow_failures", 0)),
        "error": details.get("models_error"),
        "compared": None,
        "message": None,
        "levels": [],
        "patterns": [],
    }
    if answer["shadow"] is None:
        return answer | {"message": "No second model scores beside the live one."}
    span = _span(batch, details["shadow_version"], detection, now - hours * HOUR, allowed_lateness)
    if span is None:
        return answer | {"message": "No whole minute has been scored by both models yet."}
    since, live, shadow, labels = _read(repository, span)
    return answer | {
        "compared": {"since": iso(since), "until": iso(span.until)},
        "levels": [
            {"level": level, **_counts(_at_least(live, level), _at_least(shadow, level))}
            for level in LEVELS
        ],
        "patterns": _patterns(live.keys(), shadow.keys(), labels),
    }


def _newest_batch(repository: Repository, run_id: str | None, now: dt.datetime) -> Row | None:
    """Return the newest recorded batch of a run, of today or, after midnight, of yesterday."""
    if run_id is None:
        return None
    for day in (now.date(), now.date() - dt.timedelta(days=1)):
        if (batch := repository.newest_batch(run_id, day)) is not None:
            return batch
    return None


def _span(
    batch: Row | None,
    shadow: str,
    detection: Row | None,
    oldest: dt.datetime,
    allowed_lateness: dt.timedelta,
) -> Span | None:
    """Return the minutes of which every evaluation was made by both versions, or None.

    A record arrives ``FUTURE_TOLERANCE`` before its time at the earliest and is scored if it
    arrives ``allowed_lateness`` after it at the latest. So a minute lies wholly in the sequence
    of batches that both scored if it begins that much after the sequence, and is complete once
    arrivals that much after its end have been read.
    """
    watermark = reported_watermark(detection)
    if batch is None or batch["shadow_version"] != shadow or watermark is None:
        return None
    first = max(oldest, batch["versions_since"] + FUTURE_TOLERANCE)
    since = floor_minute(first + MINUTE - dt.timedelta(microseconds=1))
    until = floor_minute(watermark + WATERMARK_DELAY - allowed_lateness)
    return Span(batch["model_version"], shadow, since, until) if since < until else None


def _read(
    repository: Repository, span: Span
) -> tuple[dt.datetime, dict[Minute, str], dict[Minute, str], dict[Minute, str]]:
    """Return the first minute that was read, severities (live, shadow) and patterns by minute."""
    since = span.since
    tables: tuple[list[Row], list[Row], list[Row]] = ([], [], [])
    hour = floor_hour(span.until - MINUTE)
    while hour >= floor_hour(span.since):
        parts = repository.compared(hour, MAX_ROWS)
        for table, rows in zip(tables, parts, strict=True):
            table.extend(rows)
        cut = [rows[-1]["window_start"] + MINUTE for rows in parts if len(rows) == MAX_ROWS]
        if max(map(len, tables)) >= MAX_ROWS:
            since = max([since, hour, *cut])
            break
        hour -= HOUR

    def by_minute(rows: Sequence[Row], column: str, version: str | None) -> dict[Minute, str]:
        return {
            (row["window_start"], row["sender_account"]): row[column]
            for row in rows
            if since <= row["window_start"] < span.until
            and (version is None or row["model_version"] == version)
        }

    alerts, shadow_alerts, labels = tables
    return (
        since,
        by_minute(alerts, "severity", span.live),
        by_minute(shadow_alerts, "severity", span.shadow),
        by_minute(labels, "pattern", None),
    )


def _at_least(severities: Mapping[Minute, str], level: str) -> set[Minute]:
    reached = LEVELS[LEVELS.index(level) :]
    return {minute for minute, severity in severities.items() if severity in reached}


def _counts(live: AbstractSet[Minute], shadow: AbstractSet[Minute]) -> dict[str, int]:
    return {
        "live": len(live),
        "shadow": len(shadow),
        "common": len(live & shadow),
        "gained": len(shadow - live),
        "lost": len(live - shadow),
    }


def _patterns(
    live: AbstractSet[Minute], shadow: AbstractSet[Minute], labels: Mapping[Minute, str]
) -> list[dict[str, Any]]:
    """Return one entry a pattern with its labelled ``minutes``; the last, pattern None, is of the
    alerts on minutes without a fraud. Empty without labels: then nothing is known of either."""
    if not labels:
        return []
    by_pattern: dict[str, set[Minute]] = {}
    for minute, pattern in labels.items():
        by_pattern.setdefault(pattern, set()).add(minute)
    named = [
        {"pattern": pattern, "minutes": len(minutes), **_counts(live & minutes, shadow & minutes)}
        for pattern, minutes in sorted(by_pattern.items())
    ]
    without = _counts(live - labels.keys(), shadow - labels.keys())
    return [*named, {"pattern": None, "minutes": None, **without}]
