"""Moments: always UTC and aware, as text always ISO-8601 with Z and milliseconds."""

from __future__ import annotations

import datetime as dt

HOUR = dt.timedelta(hours=1)
MINUTE = dt.timedelta(minutes=1)


def utc_now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def iso(moment: dt.datetime | None) -> str | None:
    """Return ``2026-01-31T12:00:00.000Z``; None stays None."""
    if moment is None:
        return None
    return moment.astimezone(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_iso(text: str) -> dt.datetime:
    """Read an ISO-8601 moment; without a zone it is UTC. Raises ``ValueError``."""
    try:
        moment = dt.datetime.fromisoformat(text)
        return moment.replace(tzinfo=moment.tzinfo or dt.UTC).astimezone(dt.UTC)
    except OverflowError as error:
        raise ValueError(f"{text!r} is out of range") from error


def from_ms(milliseconds: int) -> dt.datetime:
    """Raises ``ValueError`` when no datetime can hold it."""
    try:
        return dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(milliseconds=milliseconds)
    except OverflowError as error:
        raise ValueError(f"{milliseconds} is out of range") from error


def to_ms(moment: dt.datetime) -> int:
    return (moment - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(milliseconds=1)


def floor_hour(moment: dt.datetime) -> dt.datetime:
    return moment.replace(minute=0, second=0, microsecond=0)


def floor_minute(moment: dt.datetime) -> dt.datetime:
    return moment.replace(second=0, microsecond=0)


def age_s(now: dt.datetime, moment: dt.datetime | None) -> float | None:
    """Return the age in seconds, never negative (clocks of machines differ); None without one."""
    return None if moment is None else max(0.0, (now - moment).total_seconds())
