"""What the proof reads from Cassandra.

Tables with a row for each transaction are read by Spark, the others by the driver.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Final

from pyspark.sql import DataFrame, SparkSession

from pipeline import names
from pipeline.database import cluster
from pipeline.settings import CassandraConfig
from verification.timeline import Batch

RAW_TABLES: Final = {
    "transactions": ("transaction_id",),
    "transactions_by_account": (
        "sender_account",
        "day",
        "transaction_timestamp",
        "transaction_id",
    ),
    "transactions_by_receiver": (
        "receiver_account",
        "day",
        "transaction_timestamp",
        "transaction_id",
    ),
}
"""{table: its primary key}."""
REQUEST_TIMEOUT_S: Final = 60.0
"""Of a page of a table that is read whole, while the pipeline runs beside."""
PAGE_ROWS: Final = 2_000


class Tables:
    """The tables of the pipeline, until ``close``."""

    def __init__(self, config: CassandraConfig) -> None:
        self._cluster = cluster(config, REQUEST_TIMEOUT_S)
        self._session = self._cluster.connect(names.KEYSPACE)
        self._session.default_fetch_size = PAGE_ROWS

    def close(self) -> None:
        """Close the connections."""
        self._cluster.shutdown()

    def batches(self) -> dict[str, list[Batch]]:
        """Return the recorded batches of each run."""
        runs: dict[str, list[Batch]] = defaultdict(list)
        for row in self.rows("batches"):
            offsets = dict(row.first_offsets), dict(row.last_offsets)
            schema_ids = frozenset(row.schema_ids or ())
            batch = Batch(row.batch_id, *offsets, row.model_version, schema_ids, dict(row.totals))
            runs[row.run_id].append(batch)
        return runs

    def finished_batch(self) -> tuple[str, int] | None:
        """Return (run, last finished batch) as the detection job's heartbeat tells it, or None."""
        query = "SELECT details FROM pipeline_status WHERE component = %s"
        row = self._session.execute(query, (names.DETECTION,)).one()
        details = (row and row.details) or {}
        if "run_id" not in details or "batch_id" not in details:
            return None
        return details["run_id"], int(details["batch_id"])

    def rows(self, table: str) -> Iterator[Any]:
        """Yield all rows of a table, page by page."""
        yield from self._session.execute(f"SELECT * FROM {table}")  # noqa: S608 # our own names


def read_raw(spark: SparkSession, config: CassandraConfig, table: str) -> DataFrame:
    """Return a raw table; nothing is read before it is used."""
    options = {
        "spark.cassandra.connection.host": config.contact_points,
        "spark.cassandra.connection.port": str(config.port),
        "spark.cassandra.connection.localDC": config.datacenter,
    }
    if config.username:
        options["spark.cassandra.auth.username"] = config.username
        options["spark.cassandra.auth.password"] = config.password
    reader = spark.read.format("org.apache.spark.sql.cassandra").options(**options)
    return reader.options(keyspace=names.KEYSPACE, table=table).load()


def utc_ms(moment: dt.datetime) -> int:
    """Return milliseconds of a moment in UTC, which the driver does not mark as such."""
    aware = moment.replace(tzinfo=dt.UTC)
    return (aware - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(milliseconds=1)
