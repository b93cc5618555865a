"""Alerts as the API and the pages show them: query, walk back through time, JSON."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from dashboard.freshness import WATERMARK_DELAY
from dashboard.repository import Position, Repository, Row
from dashboard.times import HOUR, MINUTE, floor_hour, from_ms, iso, parse_iso, to_ms
from pipeline.records import MAX_ID_BYTES

SEVERITIES: Final = ("high", "medium", "low")
DEFAULT_LIMIT: Final = 50
MAX_LIMIT: Final = 200

WAVES: Final = (1, 5, 18)
"""Hours that one request reads, in parallel groups: usually the newest hour is enough. Together a
day; whoever wants older alerts goes on with the cursor."""
SCAN_ROWS: Final = 500
"""Rows read per hour when a filter must look at each: bounds a request to 12,000 rows."""

_ALERT_ID = re.compile(r"(\d{1,15})-([A-Za-z0-9_-]{1,88})(={0,2})")
_CURSOR = re.compile(r"[A-Za-z0-9_-]{1,256}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


class InvalidParameter(ValueError):
    """A query parameter or id that is not allowed; the message names what is."""


@dataclass(frozen=True)
class AlertQuery:
    """Which alerts; None = no such filter. ``after`` is where the page before ended."""

    limit: int = DEFAULT_LIMIT
    since: dt.datetime | None = None
    severities: frozenset[str] = frozenset(SEVERITIES)
    account: str | None = None
    min_score: float = 0.0
    after: Position | None = None

    def admits(self, row: Row) -> bool:
        return row["severity"] in self.severities and (row["score"] or 0.0) >= self.min_score

    @property
    def admits_all(self) -> bool:
        return len(self.severities) == len(SEVERITIES) and self.min_score <= 0


@dataclass(frozen=True)
class AlertPage:
    """Alerts, newest first; ``next_after`` None: there are no older ones.

    A page may be short, even empty, and yet have a next one: a request reads a bounded number
    of hours.
    """

    rows: Sequence[Row]
    next_after: Position | None


def parse_query(parameters: Mapping[str, str]) -> AlertQuery:
    """Read the query string of ``/api/alerts``; an empty value counts as absent.

    Raises ``InvalidParameter``. Unknown parameters are ignored.
    """
    given = {name: text for name, text in parameters.items() if text}
    return AlertQuery(
        limit=clamped(given.get("limit"), "limit", DEFAULT_LIMIT, MAX_LIMIT),
        since=_since(given.get("since")),
        severities=_severities(given.get("severity")),
        account=account_id(given["account"]) if "account" in given else None,
        min_score=_number(given["min_score"], "min_score") if "min_score" in given else 0.0,
        after=decode_cursor(given["cursor"]) if "cursor" in given else None,
    )


def clamped(text: str | None, name: str, default: int, high: int) -> int:
    """Return a whole number from 1 to ``high``: what lies outside is moved to the bound."""
    if not text:
        return default
    return int(min(max(_number(text, name), 1), high))


def _number(text: str, name: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if math.isnan(number):
        raise InvalidParameter(f"{name}: must be a number")
    return number


def _since(text: str | None) -> dt.datetime | None:
    if text is None:
        return None
    try:
        return parse_iso(text)
    except ValueError:
        raise InvalidParameter("since: must be ISO-8601, such as 2026-01-31T12:00:00Z") from None


def _severities(text: str | None) -> frozenset[str]:
    if text is None:
        return frozenset(SEVERITIES)
    chosen = frozenset(text.split(","))
    if not chosen <= frozenset(SEVERITIES):
        raise InvalidParameter(f"severity: must be of {', '.join(SEVERITIES)}, comma separated")
    return chosen


def account_id(text: str) -> str:
    """Return ``text`` if it can be an account id: records allow any text of 1 to 64 bytes, and
    control characters have no place in an address. Raises ``InvalidParameter``."""
    if _CONTROL.search(text) or not 0 < len(text.encode()) <= MAX_ID_BYTES:
        raise InvalidParameter(f"account: 1 to {MAX_ID_BYTES} bytes without control characters")
    return text


def parse_alert_id(text: str) -> tuple[dt.datetime, str]:
    """Split ``<window_start ms>-<base64url sender>``. Raises ``InvalidParameter``."""
    try:
        match = _ALERT_ID.fullmatch(text)
        if match is None:
            raise ValueError(text)
        milliseconds, encoded, _ = match.groups()
        return from_ms(int(milliseconds)), account_id(_from_base64(encoded).decode())
    except ValueError:
        raise InvalidParameter("not the id of an alert") from None


def encode_cursor(position: Position | None) -> str | None:
    if position is None:
        return None
    text = json.dumps([to_ms(position.window_start), position.sender_account])
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode_cursor(text: str) -> Position:
    """Undo ``encode_cursor``. Raises ``InvalidParameter`` for anything else."""
    try:
        if _CURSOR.fullmatch(text) is None:
            raise ValueError(text)
        milliseconds, sender = json.loads(_from_base64(text))
        if type(milliseconds) is not int or milliseconds < 0:
            raise ValueError(text)
        if sender is not None:
            sender = account_id(sender)
        return Position(from_ms(milliseconds), sender)
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise InvalidParameter("cursor: must be the next_cursor of an earlier answer") from None


def _from_base64(text: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error as error:
        raise ValueError(text) from error


def find_alerts(
    repository: Repository, query: AlertQuery, now: dt.datetime, oldest: dt.datetime
) -> AlertPage:
    """Read one page, newest first, back to ``query.since`` or ``oldest``, the later of the two.

    Raises ``Unavailable``.
    """
    floor = max(query.since or oldest, oldest)
    if query.account is not None:
        return _find_account_alerts(repository, query, query.account, floor)
    newest = floor_hour(now + MINUTE)  # a sender's clock may be seconds ahead
    after = query.after if query.after and query.after.window_start < newest + HOUR else None
    first = newest
    if after is not None:
        first = floor_hour(after.window_start)
        if after == Position(first, None):
            first, after = first - HOUR, None
    found: list[Row] = []
    hour = first
    for size in WAVES:
        wave = [at for n in range(size) if (at := hour - n * HOUR) >= floor_hour(floor)]
        if not wave:
            return AlertPage(found, None)
        per_hour = query.limit + 1 if query.admits_all else SCAN_ROWS
        by_hour = repository.alerts(wave, after, per_hour)
        for hour in wave:
            rows = by_hour[hour]
            page = _take(found, rows, query, floor)
            if page is not None:
                return page
            if len(rows) == per_hour:
                return AlertPage(found, _position(rows[-1]))
        hour -= HOUR
    return AlertPage(found, Position(hour + HOUR, None) if hour >= floor_hour(floor) else None)


def _find_account_alerts(
    repository: Repository, query: AlertQuery, account: str, floor: dt.datetime
) -> AlertPage:
    before = query.after.window_start if query.after else None
    scanned = query.limit + 1 if query.admits_all else SCAN_ROWS
    rows = repository.account_alerts(account, before, scanned)
    found: list[Row] = []
    page = _take(found, rows, query, floor)
    if page is not None:
        return page
    return AlertPage(found, _position(rows[-1]) if len(rows) == scanned else None)


def _take(
    found: list[Row], rows: Sequence[Row], query: AlertQuery, floor: dt.datetime
) -> AlertPage | None:
    """Add the rows that the query admits to ``found``; return the page when it is complete."""
    for row in rows:
        if row["window_start"] < floor:
            return AlertPage(found, None)
        if not query.admits(row):
            continue
        if len(found) == query.limit:
            return AlertPage(found, _position(found[-1]))
        found.append(row)
    return None


def _position(row: Row) -> Position:
    return Position(row["window_start"], row["sender_account"])


def alert_json(row: Row, watermark: dt.datetime) -> dict[str, Any]:
    """Return an alert as ``/api/alerts`` shows it.

    ``watermark`` is the detection job's: until it has passed the window by its delay, the alert
    may still change. ``counterfactuals`` and ``limits`` name every feature, None for one that
    alone could not have kept the alert away; they are empty for an alert that was stored without.
    """
    return {
        "id": row["alert_id"],
        "window_start": iso(row["window_start"]),
        "window_end": iso(row["window_end"]),
        "sender_account": row["sender_account"],
        "score": row["score"],
        "threshold": row["threshold"],
        "severity": row["severity"],
        "reason": row["reason"],
        "features": row["features"] or {},
        "contributions": row["contributions"] or {},
        "usual": row["usual"] or {},
        "actual": row["actual"] or {},
        "counterfactuals": _of_every_feature(row, "counterfactuals"),
        "limits": _of_every_feature(row, "limits"),
        "no_alert_if": row["no_alert_if"] or [],
        "model_version": row["model_version"],
        "provisional": is_provisional(row, watermark),
        "review": None,
        "transaction_id": row["transaction_id"],
        "transaction_amount": row["transaction_amount"],
        "event_time": iso(row["event_time"]),
        "scored_at": iso(row["scored_at"]),
    }


def _of_every_feature(row: Row, column: str) -> dict[str, float | None]:
    """Return the map with None where it lacks a feature: Cassandra's maps cannot hold nulls."""
    if row[column] is None:
        return {}
    return {name: row[column].get(name) for name in row["features"] or {}}


def is_provisional(row: Row, watermark: dt.datetime) -> bool:
    return bool(row["window_end"] + WATERMARK_DELAY > watermark)
