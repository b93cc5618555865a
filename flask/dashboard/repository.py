"""What the dashboard reads, and the only place with CQL.

Every read is bounded: a stated number of partitions, each with a LIMIT or of bounded size
(``metrics`` has at most 60 rows an hour, ``pipeline_status`` one row per component).
"""

from __future__ import annotations

import datetime as dt
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pipeline.database import OUTAGES, cluster
from pipeline.names import KEYSPACE
from pipeline.settings import CassandraConfig

Row = Mapping[str, Any]
"""Column name to value; timestamps are aware UTC datetimes, maps are dicts."""

RETRY_S = 1.0
"""After a failed read every other one fails at once for this long: requests must not queue up,
each for its whole timeout, behind a database that does not answer."""

logger = logging.getLogger(__name__)


class Unavailable(Exception):
    """Cassandra does not answer, or has no tables yet; the message says which."""


@dataclass(frozen=True)
class Position:
    """A place in the alerts, newest first: everything up to and including it has been seen.

    ``sender_account`` None: every alert of that ``window_start`` has been seen.
    """

    window_start: dt.datetime
    sender_account: str | None


class Repository(Protocol):
    """The reads of the dashboard. Every method raises ``Unavailable``."""

    def statuses(self) -> Sequence[Row]:
        """Return the rows of ``pipeline_status``."""

    def metrics(self, hours: Sequence[dt.datetime]) -> Mapping[dt.datetime, Sequence[Row]]:
        """Return the rows of ``metrics`` for each of ``hours``, in the order of time."""

    def alerts(
        self, hours: Sequence[dt.datetime], after: Position | None, limit: int
    ) -> Mapping[dt.datetime, Sequence[Row]]:
        """Return at most ``limit`` alerts of each of ``hours``, newest first.

        ``after`` applies to the hour that it lies in.
        """

    def account_alerts(
        self, sender_account: str, before: dt.datetime | None, limit: int
    ) -> Sequence[Row]:
        """Return at most ``limit`` alerts of one account, newest first."""

    def alert(self, window_start: dt.datetime, sender_account: str) -> Row | None:
        """Return one alert, or None."""

    def transaction(self, transaction_id: str) -> Row | None:
        """Return one raw transaction, or None (not stored yet, or expired)."""

    def quality(self, periods: Sequence[str]) -> Mapping[str, Row | None]:
        """Return the newest row of ``detection_quality`` for each of ``periods``, or None."""

    def account_transactions(
        self, account: str, days: Sequence[dt.date], limit: int
    ) -> Sequence[Row]:
        """Return at most ``limit`` transactions per day and direction, in no stated order.

        Each row has ``sender_account`` and ``receiver_account``.
        """

    def newest_batch(self, run_id: str, day: dt.date) -> Row | None:
        """Return the newest recorded batch of a run that began on ``day``, or None."""

    def compared(
        self, hour: dt.datetime, limit: int
    ) -> tuple[Sequence[Row], Sequence[Row], Sequence[Row]]:
        """Return alerts, shadow alerts and labels of an hour, newest first, ``limit`` of each.

        Rows have ``window_start`` and ``sender_account``; alerts ``severity`` and
        ``model_version``, labels ``pattern``.
        """


_ALERTS = "SELECT * FROM fraud_alerts WHERE hour = ?"
_COMPARED = "SELECT window_start, sender_account, severity, model_version"
_STATEMENTS = {
    "statuses": "SELECT * FROM pipeline_status",
    "metrics": "SELECT * FROM metrics WHERE hour = ?",
    "alerts": f"{_ALERTS} LIMIT ?",
    "alerts_before": f"{_ALERTS} AND window_start < ? LIMIT ?",
    "alerts_beside": f"{_ALERTS} AND window_start = ? AND sender_account > ? LIMIT ?",
    "alert": f"{_ALERTS} AND window_start = ? AND sender_account = ?",
    "account_alerts": "SELECT * FROM fraud_alerts_by_account WHERE sender_account = ? LIMIT ?",
    "account_alerts_before": "SELECT * FROM fraud_alerts_by_account"
    " WHERE sender_account = ? AND window_start < ? LIMIT ?",
    "transaction": "SELECT * FROM transactions WHERE transaction_id = ?",
    "quality": "SELECT * FROM detection_quality WHERE period = ? LIMIT ?",
    "sent": "SELECT * FROM transactions_by_account WHERE sender_account = ? AND day = ? LIMIT ?",
    "received": "SELECT * FROM transactions_by_receiver"
    " WHERE receiver_account = ? AND day = ? LIMIT ?",
    "newest_batch": "SELECT * FROM batches WHERE run_id = ? AND day = ? LIMIT ?",
    "compared_alerts": f"{_COMPARED} FROM fraud_alerts WHERE hour = ? LIMIT ?",
    "compared_shadow_alerts": f"{_COMPARED} FROM shadow_alerts WHERE hour = ? LIMIT ?",
    "compared_labels": "SELECT window_start, sender_account, pattern FROM fraud_labels"
    " WHERE hour = ? ORDER BY window_start DESC LIMIT ?",
}


class CassandraRepository:
    """Reads from Cassandra; connects at the first read, so always after the server's fork.

    A thread of its own connects and goes on trying; a read waits for the first attempt at most
    ``query_timeout_s``. The reads of one call run in parallel.
    """

    def __init__(self, config: CassandraConfig, query_timeout_s: float) -> None:
        self._config = config
        self._query_timeout_s = query_timeout_s
        self._lock = threading.Lock()
        self._connector: threading.Thread | None = None
        self._attempted = threading.Event()
        self._session: Any = None
        self._prepared: dict[str, Any] = {}
        self._patience_ends = 0.0
        self._closed_until = 0.0
        self._problem = "Cassandra has not answered yet"

    def statuses(self) -> Sequence[Row]:
        return self._read([("statuses", ())])[0]

    def metrics(self, hours: Sequence[dt.datetime]) -> Mapping[dt.datetime, Sequence[Row]]:
        results = self._read([("metrics", (hour,)) for hour in hours])
        return dict(zip(hours, results, strict=True))

    def alerts(
        self, hours: Sequence[dt.datetime], after: Position | None, limit: int
    ) -> Mapping[dt.datetime, Sequence[Row]]:
        queries: list[tuple[str, tuple[Any, ...]]] = []
        owners = []
        for hour in hours:
            starts_inside = after is not None and hour <= after.window_start < _next(hour)
            if after is None or not starts_inside:
                queries.append(("alerts", (hour, limit)))
                owners.append(hour)
                continue
            if after.sender_account is not None:
                position = (hour, after.window_start, after.sender_account, limit)
                queries.append(("alerts_beside", position))
                owners.append(hour)
            queries.append(("alerts_before", (hour, after.window_start, limit)))
            owners.append(hour)
        found: dict[dt.datetime, list[Row]] = {hour: [] for hour in hours}
        for hour, rows in zip(owners, self._read(queries), strict=True):
            found[hour].extend(rows)
        return {hour: rows[:limit] for hour, rows in found.items()}

    def account_alerts(
        self, sender_account: str, before: dt.datetime | None, limit: int
    ) -> Sequence[Row]:
        if before is None:
            return self._read([("account_alerts", (sender_account, limit))])[0]
        return self._read([("account_alerts_before", (sender_account, before, limit))])[0]

    def alert(self, window_start: dt.datetime, sender_account: str) -> Row | None:
        hour = window_start.replace(minute=0, second=0, microsecond=0)
        rows = self._read([("alert", (hour, window_start, sender_account))])[0]
        return rows[0] if rows else None

    def transaction(self, transaction_id: str) -> Row | None:
        rows = self._read([("transaction", (transaction_id,))])[0]
        return rows[0] if rows else None

    def quality(self, periods: Sequence[str]) -> Mapping[str, Row | None]:
        results = self._read([("quality", (period, 1)) for period in periods])
        return {
            period: rows[0] if rows else None for period, rows in zip(periods, results, strict=True)
        }

    def account_transactions(
        self, account: str, days: Sequence[dt.date], limit: int
    ) -> Sequence[Row]:
        queries = [
            (direction, (account, day, limit)) for day in days for direction in ("sent", "received")
        ]
        return [row for rows in self._read(queries) for row in rows]

    def newest_batch(self, run_id: str, day: dt.date) -> Row | None:
        rows = self._read([("newest_batch", (run_id, day, 1))])[0]
        return rows[0] if rows else None

    def compared(
        self, hour: dt.datetime, limit: int
    ) -> tuple[Sequence[Row], Sequence[Row], Sequence[Row]]:
        tables = ("compared_alerts", "compared_shadow_alerts", "compared_labels")
        alerts, shadow_alerts, labels = self._read([(name, (hour, limit)) for name in tables])
        return alerts, shadow_alerts, labels

    def _read(self, queries: Sequence[tuple[str, tuple[Any, ...]]]) -> list[list[Row]]:
        """Run the named statements in parallel and return the rows of each, in order."""
        self._wait_for_session()
        try:
            futures = [
                self._session.execute_async(self._prepared[name].bind(values))
                for name, values in queries
            ]
            return [[_plain(row._asdict()) for row in future.result()] for future in futures]
        except OUTAGES as error:
            self._problem = f"Cassandra does not answer ({type(error).__name__})"
            self._closed_until = time.monotonic() + RETRY_S
            logger.warning("read failed: %s", error)
            raise Unavailable(self._problem) from error

    def _wait_for_session(self) -> None:
        with self._lock:
            if self._connector is None:
                self._connector = threading.Thread(
                    target=self._connect, name="cassandra-connector", daemon=True
                )
                self._connector.start()
                self._patience_ends = time.monotonic() + self._query_timeout_s
        self._attempted.wait(max(0.0, self._patience_ends - time.monotonic()))
        if self._session is None or time.monotonic() < self._closed_until:
            raise Unavailable(self._problem)

    def _connect(self) -> None:
        pause = threading.Event()
        while True:
            handle = cluster(self._config, self._query_timeout_s)
            try:
                session = handle.connect(KEYSPACE)
                for name, cql in _STATEMENTS.items():
                    self._prepared[name] = session.prepare(cql)
                self._session = session
                self._attempted.set()
                return
            except Exception as error:  # whatever it is, the next attempt may succeed
                handle.shutdown()
                problem = f"Cassandra cannot be used yet ({type(error).__name__})"
                if problem != self._problem:
                    logger.warning("%s: %s", problem, error)
                self._problem = problem
            self._attempted.set()
            pause.wait(RETRY_S)


def _next(hour: dt.datetime) -> dt.datetime:
    return hour + dt.timedelta(hours=1)


def _plain(row: Mapping[str, Any]) -> Row:
    """Turn the driver's naive UTC datetimes and its map type into Python's own."""
    return {name: _plain_value(value) for name, value in row.items()}


def _plain_value(value: Any) -> Any:
    if isinstance(value, dt.datetime):
        return value.replace(tzinfo=dt.UTC)
    return dict(value) if isinstance(value, Mapping) else value
