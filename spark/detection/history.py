"""Training data from the pipeline itself: the raw transactions that Connect has stored.

They go through a parquet file, a page of rows at a time: Cassandra is read with little memory,
and Spark then reads as often as it likes.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from detection.decode import POSITION_PARTITIONS
from pipeline.database import OUTAGES, cluster
from pipeline.errors import PipelineError
from pipeline.names import KEYSPACE
from pipeline.records import FIELDS
from pipeline.settings import CassandraConfig

TOKEN_RANGES: Final = 64
"""Queries that the table is read in: each is short, and none asks one node for everything."""
PAGE_ROWS: Final = 10_000
"""Rows in memory at a time, some 2 MB; fewer cost round trips."""
REQUEST_TIMEOUT_S: Final = 30.0
"""Of a page, while the pipeline may be busy."""

_MOMENT: Final = pa.timestamp("ms", tz="UTC")
_TYPES: Final = {
    "kafka_partition": pa.int32(),
    "kafka_offset": pa.int64(),
    "kafka_timestamp": _MOMENT,
    **dict.fromkeys(FIELDS, pa.string()),
    "transaction_timestamp": _MOMENT,
    "transaction_amount": pa.float64(),
}


class HistoryError(PipelineError):
    """Cassandra does not give its raw transactions."""


def export_transactions(config: CassandraConfig, path: Path) -> int:
    """Write all raw transactions to a parquet file, in the order of their tokens; count them.

    The same rows give the same file. Raises ``HistoryError`` when Cassandra does not answer, or
    there are none.
    """
    schema = pa.schema(list(_TYPES.items()))
    handle = cluster(config, REQUEST_TIMEOUT_S)
    count = 0
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        session = handle.connect(KEYSPACE)
        with pq.ParquetWriter(path, schema) as writer:
            for rows in _pages(session):
                columns = zip(*rows, strict=True)
                arrays = [
                    pa.array(values, kind)
                    for values, kind in zip(columns, _TYPES.values(), strict=True)
                ]
                writer.write_table(pa.table(arrays, schema=schema))
                count += len(rows)
    except OUTAGES as error:
        raise HistoryError(
            f"Cassandra at {config.contact_points}:{config.port} does not give the table"
            f" transactions (is the pipeline running?): {error}"
        ) from error
    finally:
        handle.shutdown()
    if count == 0:
        raise HistoryError("the table transactions is empty: let the pipeline store some first")
    return count


def read_transactions(spark: SparkSession, path: Path) -> DataFrame:
    """Read an exported file as decoded records, each with the arrival that it really had."""
    position = F.col("kafka_offset") * POSITION_PARTITIONS + F.col("kafka_partition")
    return spark.read.parquet(str(path)).select(
        position.alias("position"),
        "kafka_timestamp",
        *(
            F.unix_millis(name).alias(name) if name == "transaction_timestamp" else F.col(name)
            for name in FIELDS
        ),
    )


def _pages(session: Any) -> Iterator[Sequence[tuple[Any, ...]]]:
    """Yield the rows of the table, some at a time: the columns of ``_TYPES`` in their order."""
    session.default_fetch_size = PAGE_ROWS
    select = session.prepare(
        f"SELECT {', '.join(_TYPES)} FROM transactions"  # noqa: S608 # our own names
        " WHERE token(transaction_id) > ? AND token(transaction_id) <= ?"
    )
    bounds = [-(2**63) + step * (2**64 // TOKEN_RANGES) for step in range(TOKEN_RANGES)]
    for low, high in itertools.pairwise([*bounds, 2**63 - 1]):
        result = session.execute(select, (low, high))
        while True:
            if result.current_rows:
                yield result.current_rows
            if not result.has_more_pages:
                break
            result.fetch_next_page()
