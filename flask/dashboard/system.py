"""The state of each component, and whether the counts of the pipeline add up."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from dashboard.repository import Row
from dashboard.times import HOUR, MINUTE, age_s, floor_minute, iso
from pipeline.names import (
    COMPONENTS,
    CONNECT,
    DEAD_LETTER_TOPIC,
    DETECTION,
    KAFKA,
)
from pipeline.records import REASONS

REJECTED_PREFIX = "rejected."
DAY = 24 * HOUR


def component_json(
    name: str, row: Row | None, now: dt.datetime, stale_after_s: float
) -> dict[str, Any]:
    """Return one component: its own state, or ``stale`` (no heartbeat for ``stale_after_s``
    seconds), or ``missing`` (never seen)."""
    if row is None:
        nothing = ("since", "heartbeat_age_s", "rate", "error")
        lag = {"messages": None, "seconds": None}
        return {"name": name, "state": "missing", "lag": lag, **dict.fromkeys(nothing)}
    heartbeat_age_s = age_s(now, row["heartbeat"])
    is_stale = heartbeat_age_s is None or heartbeat_age_s > stale_after_s
    return {
        "name": name,
        "state": "stale" if is_stale else row["state"],
        "since": iso(row["since"]),
        "heartbeat_age_s": None if heartbeat_age_s is None else round(heartbeat_age_s, 1),
        "rate": row["rate"],
        "lag": {"messages": row["lag_messages"], "seconds": row["lag_seconds"]},
        "error": row["error"],
    }


def components_json(
    rows: Sequence[Row], own: Sequence[Row], now: dt.datetime, stale_after_s: float
) -> list[dict[str, Any]]:
    """Return every component of the pipeline, then ``own``: what this process knows itself."""
    by_name = {row["component"]: row for row in rows}
    pipeline = [(name, by_name.get(name)) for name in COMPONENTS]
    return [
        component_json(name, row, now, stale_after_s)
        for name, row in [*pipeline, *((row["component"], row) for row in own)]
    ]


def accounting_json(rows: Sequence[Row]) -> dict[str, Any]:
    """Add up what the components report; None where one has not reported.

    published = raw + dead letters + duplicates; raw = scored + late; dead letters = rejected by
    the job. ``pending`` are records the job has not read, ``sink_pending`` those the sink has
    not stored. ``difference`` is what the three equations are off by, together; it says something
    only while nothing is pending, which ``status`` takes into account: ``in flight``,
    ``reconciled`` or ``difference``. While something has not been reported it is ``unknown``, or
    ``starting`` if the job is: it reads its counts from the last recorded batch first.
    """
    is_starting = any(row["component"] == DETECTION and row["state"] == "starting" for row in rows)
    details = {row["component"]: row["details"] or {} for row in rows}
    kafka, connect = details.get(KAFKA, {}), details.get(CONNECT, {})
    job = details.get(DETECTION, {})
    rejected = {
        key.removeprefix(REJECTED_PREFIX): number
        for key in sorted(job)
        if key.startswith(REJECTED_PREFIX) and (number := count(job, key)) is not None
    }
    published, read = count(kafka, "published"), count(job, "read_offsets")
    dead_letters = count(kafka, f"end_offset.{DEAD_LETTER_TOPIC}")
    stored = count(connect, "stored_offsets")
    scored, late = count(job, "scored"), count(job, "late")
    duplicates = count(job, "duplicates")
    if read is not None and (records := count(job, "read")) is not None:
        # What retention had removed before the job began has an offset, and is no record of ours.
        removed = read - records
        published = None if published is None else published - removed
        stored = None if stored is None else stored - removed
        read = records
    raw = None
    if stored is not None and dead_letters is not None and duplicates is not None:
        raw = max(0, stored - dead_letters - duplicates)
    accounting: dict[str, Any] = {
        "published": published,
        "raw": raw,
        "duplicates": duplicates,
        "scored": scored,
        "late": late,
        "dead_letters": dead_letters,
        "rejected": rejected,
        "pending": None if published is None or read is None else max(0, published - read),
        "sink_pending": None if published is None or stored is None else max(0, published - stored),
        "difference": None,
        "status": "starting" if is_starting else "unknown",
    }
    if (
        published is None
        or raw is None
        or duplicates is None
        or scored is None
        or late is None
        or dead_letters is None
        or read is None
    ):
        return accounting
    difference = (
        abs(published - (raw + dead_letters + duplicates))
        + abs(raw - (scored + late))
        + abs(dead_letters - sum(rejected.values()))
    )
    accounting["difference"] = difference
    if accounting["pending"] or accounting["sink_pending"]:
        accounting["status"] = "in flight"
    else:
        accounting["status"] = "difference" if difference else "reconciled"
    return accounting


def rejected_json(
    metrics: Sequence[Row], totals: Mapping[str, int], now: dt.datetime
) -> list[dict[str, Any]]:
    """Return each reason for which records were rejected, with how many there were by arrival.

    ``metrics`` are the rows of at least a day, ``totals`` those of ``accounting_json``. None: no
    minute of that time is known, or the job has not reported.
    """
    last_hour, last_day = (_rejected_since(metrics, now, period) for period in (HOUR, DAY))
    return [
        {
            "reason": reason,
            "last_hour": last_hour and last_hour[reason],
            "last_day": last_day and last_day[reason],
            "total": totals.get(reason),
        }
        for reason in REASONS
        if totals.get(reason) or (last_day and last_day[reason])
    ]


def _rejected_since(
    metrics: Sequence[Row], now: dt.datetime, period: dt.timedelta
) -> dict[str, int] | None:
    """Count over the minutes of ``period``, this one included."""
    first = floor_minute(now) - period + MINUTE
    rows = [row for row in metrics if row["window_start"] >= first]
    if not rows:
        return None
    return {reason: sum(row[f"rejected_{reason}"] or 0 for row in rows) for reason in REASONS}


def count(details: Mapping[str, str], key: str) -> int | None:
    """Return a count of a heartbeat's details, or None if it is missing or none."""
    text = details.get(key, "")
    return int(text) if text.isascii() and text.isdecimal() else None
