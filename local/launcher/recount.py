"""Counts what a pipeline did with its records, from Kafka and Cassandra, and copies tables."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet  # type: ignore[import-untyped]
from cassandra.util import SortedSet
from confluent_kafka import Consumer, TopicPartition

from pipeline import names
from pipeline.database import cluster
from pipeline.errors import PipelineError
from pipeline.records import REASONS
from pipeline.settings import Settings

REQUEST_TIMEOUT_S: Final = 30.0
"""Pages of a table that is read whole, while the machine is busy."""
PAGE_ROWS: Final = 5000

_ARROW_TYPES: Final[Mapping[str, Any]] = {
    "text": pa.string(),
    "double": pa.float64(),
    "int": pa.int32(),
    "bigint": pa.int64(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("ms", tz="UTC"),
}


@dataclass(frozen=True)
class Recount:
    """Numbers of records; ``raw`` and ``alerts`` are rows that were counted one by one."""

    published: int
    raw: int
    dead_letters: int
    duplicates: int
    scored: int
    late: int
    rejected: Mapping[str, int]
    alerts: int
    run_id: str
    model_version: str
    batches: int

    @property
    def differences(self) -> list[str]:
        """Each equation of the accounting that does not hold."""
        rejected = sum(self.rejected.values())
        equations = {
            "published = raw + dead letters + duplicates": (
                self.published,
                self.raw + self.dead_letters + self.duplicates,
            ),
            "raw = scored + late": (self.raw, self.scored + self.late),
            "dead letters = rejected": (self.dead_letters, rejected),
        }
        return [
            f"{text}: {left} against {right}"
            for text, (left, right) in equations.items()
            if left != right
        ]

    def as_json(self) -> dict[str, Any]:
        """Return the fields and the differences."""
        return {**vars(self), "rejected": dict(self.rejected), "differences": self.differences}

    def summary(self) -> str:
        """Return the lines for a person."""
        keys = ("published", "raw", "dead_letters", "duplicates", "scored", "late", "alerts")
        lines = [f"{key.replace('_', ' '):<14}{getattr(self, key):>12,}" for key in keys]
        verdicts = [f"DIFFERENCE: {text}" for text in self.differences]
        return "\n".join(lines + (verdicts or ["every record is accounted for"]))


class Reader:
    """Reads a pipeline's Kafka and Cassandra; call ``close`` at the end."""

    def __init__(self, settings: Settings) -> None:
        self._cluster = cluster(settings.cassandra, REQUEST_TIMEOUT_S)
        self._session = self._cluster.connect(names.KEYSPACE)
        self._session.default_fetch_size = PAGE_ROWS
        self._consumer = Consumer(
            {
                "bootstrap.servers": settings.kafka.bootstrap_servers,
                "group.id": "recount",  # required by the client; nothing is consumed or committed
                "log_level": 2,  # what fails is reported by the caller
            }
        )

    def close(self) -> None:
        """Close the connections."""
        self._consumer.close()
        self._cluster.shutdown()

    def has_query(self) -> bool:
        """Tell whether the detection job has started its query on the topic."""
        return "run_id" in self._details(names.DETECTION)

    def published(self) -> int:
        """Return how many records `transactions` has been given."""
        return self._end_offsets(names.TRANSACTIONS_TOPIC)

    def done(self) -> tuple[int, int]:
        """Return how many of the published records are scored, and how many the sink has stored."""
        return (
            int(self._details(names.DETECTION).get("read_offsets", 0)),
            int(self._details(names.CONNECT).get("stored_offsets", 0)),
        )

    def recount(self) -> Recount:
        """Count everything; call it when all is scored and stored.

        Raises ``PipelineError`` unless there is one run: its last batch holds the totals.
        """
        batches = list(self._session.execute("SELECT * FROM batches"))
        runs = sorted({batch.run_id for batch in batches})
        if len(runs) != 1:
            raise PipelineError(f"the recorded batches are of {len(runs)} runs, not of one: {runs}")
        last = max(batches, key=lambda batch: batch.batch_id)
        totals = dict(last.totals)
        decided = sum(totals.get(verdict, 0) for verdict in ("scored", "late", *REASONS))
        return Recount(
            published=self.published(),
            raw=self._count("transactions", "transaction_id"),
            dead_letters=self._end_offsets(names.DEAD_LETTER_TOPIC),
            duplicates=totals["read"] - decided,
            scored=totals.get("scored", 0),
            late=totals.get("late", 0),
            rejected={reason: totals[reason] for reason in REASONS if reason in totals},
            alerts=self._count("fraud_alerts", "alert_id"),
            run_id=last.run_id,
            model_version=last.model_version,
            batches=len(batches),
        )

    def dump(self, table: str, path: Path) -> None:
        """Write all rows of a table to a parquet file: its columns, maps as maps, sets as lists."""
        columns = self._cluster.metadata.keyspaces[names.KEYSPACE].tables[table].columns
        types = {name: column.cql_type for name, column in columns.items()}
        rows = list(self._session.execute(f"SELECT * FROM {table}"))  # noqa: S608 # our own names
        arrays = [
            pa.array([_plain(getattr(row, name)) for row in rows], arrow_type(cql_type))
            for name, cql_type in types.items()
        ]
        pyarrow.parquet.write_table(pa.table(arrays, names=list(types)), path)

    def _details(self, component: str) -> Mapping[str, str]:
        """Return what a component's heartbeat tells; empty before the first."""
        query = "SELECT details FROM pipeline_status WHERE component = %s"
        row = self._session.execute(query, (component,)).one()
        return (row and row.details) or {}

    def _count(self, table: str, column: str) -> int:
        """Count rows page by page: a count(*) over the whole table would time out."""
        rows = self._session.execute(f"SELECT {column} FROM {table}")  # noqa: S608 # our own names
        return sum(1 for _ in rows)

    def _end_offsets(self, topic: str) -> int:
        partitions = self._consumer.list_topics(topic, REQUEST_TIMEOUT_S).topics[topic].partitions
        return sum(
            self._consumer.get_watermark_offsets(
                TopicPartition(topic, partition), REQUEST_TIMEOUT_S
            )[1]
            for partition in partitions
        )


def arrow_type(cql_type: str) -> Any:
    """Return Arrow's type for one of Cassandra's; ``KeyError`` when a table has a new one."""
    inner = cql_type.removeprefix("frozen<").removesuffix(">") if "<" in cql_type else cql_type
    kind, _, of = inner.removesuffix(">").partition("<")
    if kind == "map":
        key, _, value = of.partition(", ")
        return pa.map_(_ARROW_TYPES[key], _ARROW_TYPES[value])
    if kind in ("list", "set"):
        return pa.list_(_ARROW_TYPES[of])
    return _ARROW_TYPES[inner]


def _plain(value: Any) -> Any:
    """Return a value of the driver as one that Arrow takes."""
    if isinstance(value, SortedSet):
        return list(value)
    convert: Callable[[], Any] | None = getattr(value, "date", None)
    if convert is not None and not isinstance(value, dt.datetime):
        return convert()
    return list(value.items()) if hasattr(value, "items") else value
