"""What the service reads from and writes to Cassandra, and the only place with its CQL."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from cassandra.concurrent import execute_concurrent_with_args

from pipeline.database import cluster
from pipeline.names import DETECTION, KEYSPACE
from pipeline.settings import CassandraConfig
from quality.figures import Alert, Figures, Label

HOUR: Final = dt.timedelta(hours=1)
MINUTE: Final = dt.timedelta(minutes=1)
REQUEST_TIMEOUT_S: Final = 10.0
CONCURRENT_REQUESTS: Final = 32
"""A backlog of labels must not be what the pipeline's own writes wait for."""

LABEL_COLUMNS: Final = (
    "hour",
    "window_start",
    "sender_account",
    "pattern",
    "incident_id",
    "first_fraud_at",
)
QUALITY_COLUMNS: Final = (
    "period",
    "period_end",
    "computed_at",
    "fraud_minutes",
    "incidents",
    "review_alerts",
    "review_precision",
    "review_recall",
    "review_incident_recall",
    "alert_alerts",
    "alert_precision",
    "alert_recall",
    "alert_incident_recall",
    "average_precision",
    "found_incidents",
    "delay_median_s",
    "delay_p95_s",
    "pattern_incidents",
    "pattern_incident_recall",
)


class Transaction(NamedTuple):
    """What places a transaction among the sender-minutes."""

    sender_account: str
    happened_at: dt.datetime

    @property
    def window_start(self) -> dt.datetime:
        return self.happened_at.replace(second=0, microsecond=0)


class Fraud(NamedTuple):
    """A fraudulent transaction with what its label says; None where it does not."""

    transaction: Transaction
    pattern: str | None
    incident_id: str | None


class Store:
    """A session on Cassandra; every method raises one of ``OUTAGES`` when it does not answer."""

    def __init__(self, config: CassandraConfig) -> None:
        self._cluster = cluster(config, REQUEST_TIMEOUT_S)
        try:
            self._session = self._cluster.connect(KEYSPACE)
            self._select_transaction = self._session.prepare(
                "SELECT sender_account, transaction_timestamp FROM transactions"
                " WHERE transaction_id = ?"
            )
            self._insert_label = self._session.prepare(
                f"{_insert('fraud_labels', LABEL_COLUMNS)} USING TIMESTAMP ?"
            )
            self._insert_quality = self._session.prepare(
                _insert("detection_quality", QUALITY_COLUMNS)
            )
            self._select_alerts = self._session.prepare(
                "SELECT window_start, sender_account, score, severity, scored_at"
                " FROM fraud_alerts WHERE hour = ? AND window_start >= ? AND window_start < ?"
            )
            self._select_labels = self._session.prepare(
                "SELECT window_start, sender_account, pattern, incident_id, first_fraud_at"
                " FROM fraud_labels WHERE hour = ? AND window_start >= ? AND window_start < ?"
            )
            self._select_detection = self._session.prepare(
                "SELECT details FROM pipeline_status WHERE component = ?"
            )
        except BaseException:
            self._cluster.shutdown()
            raise

    def close(self) -> None:
        """Close the connections."""
        self._cluster.shutdown()

    def transactions(self, transaction_ids: Sequence[str]) -> dict[str, Transaction]:
        """Return those of the transactions that are stored, by id."""
        results = self._execute_all(
            self._select_transaction, [(transaction_id,) for transaction_id in transaction_ids]
        )
        found = {}
        for transaction_id, rows in zip(transaction_ids, results, strict=True):
            if (row := rows.one()) is not None:
                found[transaction_id] = Transaction(
                    row.sender_account, _utc(row.transaction_timestamp)
                )
        return found

    def write_labels(self, frauds: Sequence[Fraud]) -> None:
        """Write the labels of frauds; of a sender-minute the earliest stays."""
        self._execute_all(self._insert_label, [label_row(fraud) for fraud in frauds])

    def alerts(self, first: dt.datetime, end: dt.datetime) -> dict[dt.datetime, dict[str, Alert]]:
        """Return {minute: {sender: alert}} of the minutes from ``first`` to before ``end``, which
        lie in one hour."""
        found: dict[dt.datetime, dict[str, Alert]] = {}
        for row in self._minutes(self._select_alerts, first, end):
            alert = Alert(row.score, row.severity, _utc(row.scored_at))
            found.setdefault(_utc(row.window_start), {})[row.sender_account] = alert
        return found

    def labels(self, first: dt.datetime, end: dt.datetime) -> dict[dt.datetime, dict[str, Label]]:
        """Return {minute: {sender: label}} like ``alerts``."""
        found: dict[dt.datetime, dict[str, Label]] = {}
        for row in self._minutes(self._select_labels, first, end):
            label = Label(row.pattern, row.incident_id, _utc(row.first_fraud_at))
            found.setdefault(_utc(row.window_start), {})[row.sender_account] = label
        return found

    def watermark(self) -> dt.datetime | None:
        """Return the time of arrival up to which the detection job has closed its windows, or
        None while it has not reported one."""
        row = self._session.execute(self._select_detection, (DETECTION,)).one()
        text = ((row and row.details) or {}).get("watermark")
        watermark = dt.datetime.fromisoformat(text) if text else _EPOCH
        return watermark if watermark > _EPOCH else None

    def write_quality(
        self, period: str, period_end: dt.datetime, computed_at: dt.datetime, figures: Figures
    ) -> None:
        """Write the figures of the period that ends at ``period_end``."""
        values: Mapping[str, Any] = {
            **vars(figures),
            **_prefixed("review", vars(figures.review)),
            **_prefixed("alert", vars(figures.alert)),
            "period": period,
            "period_end": period_end,
            "computed_at": computed_at,
        }
        row = tuple(values[column] for column in QUALITY_COLUMNS)
        self._session.execute(self._insert_quality, row)

    def _minutes(self, select: Any, first: dt.datetime, end: dt.datetime) -> Any:
        hour = first.replace(minute=0)
        return self._session.execute(select, (hour, first, end))

    def _execute_all(self, statement: Any, rows: Sequence[tuple[Any, ...]]) -> list[Any]:
        results = execute_concurrent_with_args(
            self._session, statement, rows, concurrency=CONCURRENT_REQUESTS
        )
        return [result.result_or_exc for result in results]


_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def label_row(fraud: Fraud) -> tuple[Any, ...]:
    """Return the values of ``LABEL_COLUMNS`` and the write time in microseconds.

    The earlier a fraud in its minute, the later its write time: of several frauds in one
    sender-minute the earliest stays, in whatever order they are written and however often.
    """
    start, moment = fraud.transaction.window_start, fraud.transaction.happened_at
    write_time = start + MINUTE - (moment - start)
    return (
        start.replace(minute=0),
        start,
        fraud.transaction.sender_account,
        fraud.pattern,
        fraud.incident_id,
        moment,
        (write_time - _EPOCH) // dt.timedelta(microseconds=1),
    )


def _insert(table: str, columns: Sequence[str]) -> str:
    marks = ", ".join("?" * len(columns))
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608 our names


def _prefixed(prefix: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{prefix}_{name}": value for name, value in values.items()}


def _utc(moment: dt.datetime) -> dt.datetime:
    """Return the driver's naive UTC datetime as an aware one."""
    return moment.replace(tzinfo=dt.UTC)
