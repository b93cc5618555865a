"""How far the numbers can be trusted: a silent pipeline must look stale, never calm."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from dashboard.repository import Row
from dashboard.times import MINUTE, age_s, parse_iso
from pipeline.records import DUPLICATE_WINDOW_MS

WATERMARK_DELAY: Final = dt.timedelta(milliseconds=DUPLICATE_WINDOW_MS)
"""Spark's watermark runs this far behind the newest arrival."""

DELAYED_S: Final = 10.0
"""Data is usually 3 s old at most: a micro-batch of 1 s and a heartbeat of 2 s. Three times that
is worth a word."""

State = Literal["live", "delayed", "stale", "disconnected"]


@dataclass(frozen=True)
class Freshness:
    """``message`` says the state in one sentence; ``data_as_of`` is the newest scored moment."""

    state: State
    message: str
    data_as_of: dt.datetime | None


def assess(
    now: dt.datetime,
    detection: Row | None,
    newest_minute: Row | None,
    is_current: bool,
    stale_after_s: float,
) -> Freshness:
    """Judge by the detection job's row of ``pipeline_status`` and the newest row of ``metrics``.

    ``is_current`` False: Cassandra does not answer now and both are older answers.
    """
    data_as_of = _data_as_of(now, detection, newest_minute)
    data_age_s = age_s(now, data_as_of)
    heartbeat_age_s = age_s(now, detection["heartbeat"]) if detection else None
    lag_seconds = (detection["lag_seconds"] if detection else None) or 0.0

    def verdict(state: State, message: str) -> Freshness:
        return Freshness(state, message, data_as_of)

    if not is_current:
        return verdict("disconnected", "Cassandra does not answer; these are the last known values")
    if detection is None or heartbeat_age_s is None:
        return verdict("stale", "The detection job has not reported yet")
    if heartbeat_age_s > stale_after_s:
        return verdict("stale", f"The detection job has been silent for {heartbeat_age_s:.0f} s")
    if detection["state"] in ("failed", "stopped"):
        return verdict("stale", f"The detection job has {detection['state']}")
    if data_age_s is None:
        return verdict("delayed", "The detection job runs; nothing has been scored yet")
    if detection["state"] == "starting":
        is_stale = data_age_s > stale_after_s
        return verdict("stale" if is_stale else "delayed", "The detection job is starting")
    if data_age_s > stale_after_s:
        return verdict("stale", f"No transaction has been scored for {data_age_s:.0f} s")
    if max(data_age_s, lag_seconds) > DELAYED_S:
        return verdict("delayed", f"Scoring is {max(data_age_s, lag_seconds):.0f} s behind")
    return verdict("live", "Transactions are scored as they arrive")


def reported_watermark(detection: Row | None) -> dt.datetime | None:
    """Return the job's watermark, or None: unknown, or nothing has been read yet."""
    text = ((detection["details"] if detection else None) or {}).get("watermark")
    try:
        watermark = parse_iso(text) if text else None
    except ValueError:
        return None
    return watermark if watermark and watermark.year > 1970 else None


def _data_as_of(
    now: dt.datetime, detection: Row | None, newest_minute: Row | None
) -> dt.datetime | None:
    watermark = reported_watermark(detection)
    if watermark is not None:
        return min(watermark + WATERMARK_DELAY, now)
    if newest_minute is None:
        return None
    begin: dt.datetime = newest_minute["window_start"]
    if detection and detection["state"] == "starting":
        return begin  # its heartbeat says nothing of how far its predecessor came
    end = begin + MINUTE
    vouched_until = detection["heartbeat"] if detection else None
    return min(end, vouched_until or now, now)


def newest(rows: Sequence[Row]) -> Row | None:
    """Return the newest row of ``metrics`` in which something was scored."""
    scored = (row for row in rows if row["transaction_count"])
    return max(scored, key=lambda row: row["window_start"], default=None)
