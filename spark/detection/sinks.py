"""All input and output of the job beside Spark's own: Cassandra, and Kafka by position."""

from __future__ import annotations

import datetime as dt
import io
import json
import logging
import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import fastavro
from cassandra.concurrent import execute_concurrent_with_args
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from detection.alerts import ALERT_COLUMNS, AlertRow
from detection.checkpoint import Extent, Offsets
from detection.decode import POSITION_PARTITIONS, unpack_position
from detection.metrics import MetricsRow
from detection.serving import ScoredBy
from pipeline.database import OUTAGES, cluster
from pipeline.errors import PipelineError
from pipeline.names import ALERTS_TOPIC, KEYSPACE
from pipeline.records import WIRE_HEADER_BYTES, Transaction
from pipeline.settings import CassandraConfig, SourceConfig
from pipeline.source import plain_times, to_transaction

logger = logging.getLogger(__name__)

START_PATIENCE_S = 180.0
"""How long the start waits for Kafka's topic and Cassandra's tables; any order will do."""
PATIENCE_S = 30.0
"""How long a running job tries again. After that it ends, and its supervisor starts it from the
checkpoint."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 4.0
"""Pauses between attempts, doubled each time and jittered."""
CONCURRENT_WRITES = 64
"""Writes in flight; one Cassandra node answers a few dozen at once without queueing."""
RETRIED: tuple[type[Exception], ...] = (*OUTAGES, KafkaException)

BATCH_COLUMNS = (
    "run_id",
    "day",
    "batch_id",
    "started_at",
    "first_offsets",
    "last_offsets",
    "model_version",
    "shadow_version",
    "versions_since",
    "schema_ids",
    "totals",
)

SHADOW_ALERT_COLUMNS = (
    "hour",
    "window_start",
    "sender_account",
    "model_version",
    "score",
    "threshold",
    "severity",
    "reason",
    "run_id",
    "batch_id",
    "scored_at",
)

READ_TIMEOUT_S = 30.0
"""A record that Spark has just read must come back at once; longer means an outage of Kafka."""
LINEAR_GAP = 1_000
"""Records to read over rather than to seek past: a seek costs a round trip."""

Result = TypeVar("Result")


class SinkError(PipelineError):
    """Kafka or Cassandra did not take or give what a batch needs; the batch will be repeated."""


@dataclass(frozen=True)
class RecordedBatch:
    """What the table ``batches`` says of a batch."""

    last_offsets: Offsets
    totals: dict[str, int]
    scored_by: ScoredBy


def wait_for_topic(bootstrap_servers: str, topic: str) -> None:
    """Wait until Kafka has the topic; ``SinkError`` after ``START_PATIENCE_S``."""
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})

    def look() -> None:
        if topic not in admin.list_topics(timeout=5.0).topics:
            raise KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART))

    _retried(look, f"look for the topic {topic}", START_PATIENCE_S)


class AlertStore:
    """The tables that the job writes. Every write is an upsert of full values: repeat at will."""

    def __init__(self, config: CassandraConfig) -> None:
        self._cluster, self._session = _retried(
            lambda: _connect(config), "look for Cassandra's tables", START_PATIENCE_S
        )
        self._insert_alert = [
            self._prepare(_insert(table, ALERT_COLUMNS))
            for table in ("fraud_alerts", "fraud_alerts_by_account")
        ]
        self._insert_shadow_alert = self._prepare(_insert("shadow_alerts", SHADOW_ALERT_COLUMNS))
        self._insert_batch = self._prepare(_insert("batches", BATCH_COLUMNS))
        self._select_batch = self._prepare(
            "SELECT model_version, shadow_version, versions_since FROM batches"
            " WHERE run_id = ? AND day = ? AND batch_id = ?"
        )
        self._select_last = self._prepare(
            "SELECT batch_id, last_offsets, totals, model_version, shadow_version, versions_since"
            " FROM batches WHERE run_id = ? AND day = ? LIMIT 1"
        )
        self._select_minute = self._prepare(
            "SELECT total_amount FROM fraud_alerts WHERE hour = ? AND window_start = ?"
        )
        self._insert_metrics: dict[tuple[str, ...], Any] = {}

    def close(self) -> None:
        """Close the connections."""
        self._cluster.shutdown()

    def last_batch(self, run_id: str) -> RecordedBatch | None:
        """Return the run's last recorded batch, or None if it has none."""
        rows = [row for run, row in self._last_batches() if run == run_id]
        if not rows:
            return None
        newest = max(rows, key=lambda row: row.batch_id)
        return RecordedBatch(dict(newest.last_offsets), dict(newest.totals), _scored_by(newest))

    def recorded_offsets(self) -> Offsets:
        """Return the last offset of each partition that any run has recorded."""
        offsets: Offsets = {}
        for _, row in self._last_batches():
            for partition, last in row.last_offsets.items():
                offsets[partition] = max(last, offsets.get(partition, -1))
        return offsets

    def scored_by(self, run_id: str, batch_id: int, extent: Extent) -> ScoredBy | None:
        """Return the versions that a batch was recorded with, or None if it is new."""
        key = (run_id, extent.started_at.date(), batch_id)
        row = self._execute(self._select_batch, key).one()
        return None if row is None else _scored_by(row)

    def write_batch(
        self,
        run_id: str,
        batch_id: int,
        extent: Extent,
        scored_by: ScoredBy,
        schema_ids: Collection[int],
        totals: Mapping[str, int],
    ) -> None:
        """Record what a batch covers and what scores it; comes before its alerts."""
        values = (
            run_id,
            extent.started_at.date(),
            batch_id,
            extent.started_at,
            extent.first_offsets,
            extent.last_offsets,
            scored_by.model_version,
            scored_by.shadow_version,
            scored_by.since,
            set(schema_ids),
            dict(totals),
        )
        self._execute(self._insert_batch, values)

    def write_alerts(self, alerts: Sequence[AlertRow]) -> None:
        """Write alerts to both tables."""
        values = [tuple(alert[column] for column in ALERT_COLUMNS) for alert in alerts]
        for insert in self._insert_alert:
            self._execute_all(insert, values)

    def write_shadow_alerts(self, alerts: Sequence[AlertRow]) -> None:
        """Write what a shadow would have raised; one attempt, as the live path must not wait."""
        values = [tuple(alert[column] for column in SHADOW_ALERT_COLUMNS) for alert in alerts]
        self._execute_all(self._insert_shadow_alert, values, patience_s=0.0)

    def alert_counts(self, alerts: Iterable[AlertRow]) -> list[MetricsRow]:
        """Count the stored alerts of each minute that ``alerts`` touch: partial metrics rows."""
        keys = sorted({(alert["hour"], alert["window_start"]) for alert in alerts})
        rows = []
        for hour, window_start in keys:
            stored = list(self._execute(self._select_minute, (hour, window_start)))
            rows.append(
                {
                    "hour": hour,
                    "window_start": window_start,
                    "alert_count": len(stored),
                    "flagged_amount": sum(row.total_amount for row in stored),
                }
            )
        return rows

    def write_metrics(self, rows: Iterable[MetricsRow]) -> None:
        """Write partial rows: each sets the columns that it has and leaves the others alone."""
        by_columns: dict[tuple[str, ...], list[tuple[Any, ...]]] = defaultdict(list)
        for row in rows:
            by_columns[tuple(row)].append(tuple(row.values()))
        for columns, values in by_columns.items():
            if columns not in self._insert_metrics:
                self._insert_metrics[columns] = self._prepare(_insert("metrics", columns))
            self._execute_all(self._insert_metrics[columns], values)

    def _last_batches(self) -> list[tuple[str, Any]]:
        """Return (run_id, newest row) of each day of each run: a few partitions a day."""
        keys = self._execute("SELECT DISTINCT run_id, day FROM batches", None)
        found = []
        for key in keys:
            row = self._execute(self._select_last, (key.run_id, key.day)).one()
            if row is not None:
                found.append((key.run_id, row))
        return found

    def _prepare(self, query: str) -> Any:
        statement = _retried(lambda: self._session.prepare(query), "prepare a Cassandra statement")
        statement.is_idempotent = True
        return statement

    def _execute(self, statement: Any, values: tuple[Any, ...] | None) -> Any:
        return _retried(lambda: self._session.execute(statement, values), "query Cassandra")

    def _execute_all(
        self, statement: Any, values: Sequence[tuple[Any, ...]], patience_s: float = PATIENCE_S
    ) -> None:
        _retried(
            lambda: execute_concurrent_with_args(
                self._session, statement, values, concurrency=CONCURRENT_WRITES
            ),
            "write to Cassandra",
            patience_s,
        )


class TransactionReader:
    """Reads single transactions back from Kafka by their packed position.

    The views keep numbers only; the few transactions that trigger alerts are looked up with
    their ids and accounts.
    """

    def __init__(
        self, bootstrap_servers: str, schemas: Mapping[int, str], source: SourceConfig
    ) -> None:
        self._source = source
        self._schemas = {
            schema_id: fastavro.parse_schema(json.loads(plain_times(schema)))
            for schema_id, schema in schemas.items()
        }
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap_servers,
                "group.id": "detection-lookup",  # required by the client; never joined
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "queued.min.messages": LINEAR_GAP,
                "fetch.queue.backoff.ms": 5,  # by default it rests a second when it has as many
                "fetch.wait.max.ms": 5,
            }
        )

    def close(self) -> None:
        """Close the connection."""
        self._consumer.close()

    def fetch(self, positions: Iterable[int]) -> dict[int, Transaction]:
        """Return {position: transaction}; ``SinkError`` if Kafka does not give one of them.

        ``transaction_timestamp`` in milliseconds.
        """
        by_partition: dict[int, list[int]] = defaultdict(list)
        for position in set(positions):
            partition, offset = unpack_position(position)
            by_partition[partition].append(offset)
        found = {}
        for partition, offsets in by_partition.items():
            for message in self._messages(partition, sorted(offsets)):
                position = cast(int, message.offset()) * POSITION_PARTITIONS + partition
                found[position] = self._decoded(message)
        return found

    def _messages(self, partition: int, offsets: list[int]) -> Iterable[Message]:
        """Yield the messages of growing ``offsets``; reads on over small gaps, else seeks."""
        topic = self._source.topic
        following = None
        for offset in offsets:
            if following is None or offset - following > LINEAR_GAP:
                self._consumer.assign([TopicPartition(topic, partition, offset)])
            while True:
                message = self._consumer.poll(READ_TIMEOUT_S)
                if message is None or message.error():
                    problem = "no answer" if message is None else message.error()
                    raise SinkError(f"Kafka: {topic}/{partition}/{offset}: {problem}")
                following = cast(int, message.offset()) + 1
                if following > offset:
                    break
            yield message

    def _decoded(self, message: Message) -> Transaction:
        value = cast(bytes, message.value())
        schema_id = int.from_bytes(value[1:WIRE_HEADER_BYTES], "big")
        body = io.BytesIO(value[WIRE_HEADER_BYTES:])
        record = fastavro.schemaless_reader(body, self._schemas[schema_id], None)
        # Only valid transactions trigger alerts, so the mapping finds every field.
        return cast(Transaction, to_transaction(cast(dict[str, Any], record), self._source))


class AlertPublisher:
    """Publishes alerts as JSON to the topic ``fraud.alerts``, key = sender: at least once."""

    def __init__(self, bootstrap_servers: str) -> None:
        self._errors: list[KafkaError] = []
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap_servers,
                "acks": "all",
                "enable.idempotence": True,
                "linger.ms": 0,
                "delivery.timeout.ms": 30_000,
                "partitioner": "murmur2_random",
            }
        )

    def publish(self, alerts: Sequence[AlertRow]) -> None:
        """Publish and wait for the acknowledgements; ``SinkError`` if one fails."""
        self._errors.clear()
        for alert in alerts:
            self._producer.produce(
                ALERTS_TOPIC,
                key=alert["sender_account"],
                value=json.dumps(alert, default=_json_time),
                on_delivery=lambda error, _: self._errors.append(error) if error else None,
            )
        self._producer.flush()
        if self._errors:
            raise SinkError(f"Kafka: {ALERTS_TOPIC}: {self._errors[0]}")


def _scored_by(row: Any) -> ScoredBy:
    """Return the versions of a row of ``batches``; the driver's times are UTC without saying so."""
    since = row.versions_since and row.versions_since.replace(tzinfo=dt.UTC)
    return ScoredBy(row.model_version, row.shadow_version, since)


def _insert(table: str, columns: Sequence[str]) -> str:
    marks = ", ".join("?" * len(columns))
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608 our names


def _json_time(value: object) -> str:
    if isinstance(value, dt.datetime):
        return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    raise TypeError(f"{type(value).__name__} is not JSON")


def _connect(config: CassandraConfig) -> tuple[Any, Any]:
    """Return (cluster, session) if the migration is done: the schema's last table is there.

    Each attempt takes a cluster of its own: the driver shuts one down that could not connect.
    """
    handle = cluster(config)
    try:
        session = handle.connect(KEYSPACE)
        session.prepare("SELECT component FROM pipeline_status")
    except BaseException:
        handle.shutdown()
        raise
    return handle, session


def _retried(call: Callable[[], Result], what: str, patience_s: float = PATIENCE_S) -> Result:
    """Call until it succeeds, for ``patience_s`` at most; then raise ``SinkError``."""
    deadline = time.monotonic() + patience_s
    pause_s = FIRST_PAUSE_S
    while True:
        try:
            return call()
        except RETRIED as error:
            if time.monotonic() > deadline:
                raise SinkError(f"{what}: failed for {patience_s:.0f} s: {error}") from error
            logger.warning("%s failed (%s), trying again", what, error)
        threading.Event().wait(pause_s * random.uniform(0.5, 1.5))
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
