"""The views as a real streaming query that is fed with files."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pandas as pd
from pyspark.sql import DataFrame, SparkSession

from detection.validate import VALIDATED_COLUMNS, VERDICTS
from detection.views import aggregate_stream, deduplicate_stream, explode_views

START_MS = 1_772_366_400_000  # a whole minute
SCHEMA = (
    "position long, kafka_timestamp timestamp, arrival_ms long, verdict long,"
    " transaction_id string, transaction_timestamp long, transaction_amount double,"
    " sender_account string, receiver_account string, transaction_type string,"
    " transaction_status string"
)
Row = tuple[Any, ...]


def row(
    number: int,
    arrival_s: float,
    *,
    sender: str = "a",
    receiver: str = "x",
    amount: float = 10.0,
    age_s: float = 0.0,
    verdict: str = "scored",
    status: str = "completed",
    transaction_id: str | None = None,
) -> Row:
    """Return a validated transaction that arrives ``arrival_s`` after the start."""
    arrival_ms = START_MS + round(arrival_s * 1000)
    return (
        number,
        dt.datetime.fromtimestamp(arrival_ms / 1000, dt.UTC),
        arrival_ms,
        VERDICTS.index(verdict),
        transaction_id or f"t{number}",
        arrival_ms - round(age_s * 1000),
        amount,
        sender,
        receiver,
        "payment",
        status,
    )


def mixed_row(batch: int, i: int) -> Row:
    """Return one of ten rows of a batch: three senders, five receivers, a failure, a late one."""
    return row(
        batch * 10 + i,
        batch * 7 + i / 10,
        sender=f"s{i % 3}",
        receiver=f"r{(i * batch) % 5}",
        amount=1.0 + i * batch,
        status="failed" if i == 4 else "completed",
        age_s=3600.0 if i == 7 else 0.0,
        verdict="late" if i == 7 else "scored",
    )


class Stream:
    """A streaming query fed with one file a batch."""

    def __init__(self, spark: SparkSession, folder: Path) -> None:
        self._spark, self._folder = spark, folder
        self.emitted: list[pd.DataFrame] = []
        self.operators: list[list[dict[str, Any]]] = []

    def play(self, batches: list[list[Row]]) -> None:
        """Run all batches through the query, in order."""
        self.feed(batches)
        self.run()

    def feed(self, batches: list[list[Row]]) -> None:
        """Leave all batches for the query."""
        for number, batch in enumerate(batches):
            frame = self._spark.createDataFrame(batch, SCHEMA).coalesce(1)
            frame.write.mode("append").parquet(str(self._folder / "in" / f"batch={number:03d}"))

    def run(self) -> None:
        """Run the query, from its checkpoint if there is one, until everything is read."""
        source = (
            self._spark.readStream.schema(SCHEMA + ", batch int")
            .option("maxFilesPerTrigger", 1)
            .option("latestFirst", "false")
            .parquet(str(self._folder / "in"))
            .select(*VALIDATED_COLUMNS)
        )
        query = (
            aggregate_stream(explode_views(deduplicate_stream(source)))
            .writeStream.outputMode("update")
            .option("checkpointLocation", str(self._folder / "checkpoint"))
            .foreachBatch(self.collect)
            .trigger(availableNow=True)
            .start()
        )
        assert query.awaitTermination(120)
        self.operators = [progress["stateOperators"] for progress in query.recentProgress]

    def collect(self, emitted: DataFrame, batch_id: int) -> None:
        """Keep what a batch emitted."""
        self.emitted.append(emitted.toPandas())
