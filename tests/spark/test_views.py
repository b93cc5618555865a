"""The views on a real stream, against the same views on the whole table."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from detection.validate import VALIDATED_COLUMNS, VERDICTS
from detection.views import (
    AGGREGATES,
    KEYS,
    MINUTE_MS,
    VIEW_COLUMNS,
    aggregate_batches,
    aggregate_stream,
    deduplicate_stream,
    explode_views,
    view_code,
)

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
        for number, batch in enumerate(batches):
            frame = self._spark.createDataFrame(batch, SCHEMA).coalesce(1)
            frame.write.mode("append").parquet(str(self._folder / "in" / f"batch={number:03d}"))
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
            .foreachBatch(self._collect)
            .trigger(availableNow=True)
            .start()
        )
        assert query.awaitTermination(120)
        self.operators = [progress["stateOperators"] for progress in query.recentProgress]

    def _collect(self, emitted: DataFrame, batch_id: int) -> None:
        self.emitted.append(emitted.toPandas())


@pytest.fixture
def stream(spark: SparkSession, tmp_path: Path) -> Stream:
    return Stream(spark, tmp_path)


def sorted_rows(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.sort_values(list(KEYS), ignore_index=True)[list(VIEW_COLUMNS)]


def test_stream_emits_what_the_batch_form_computes(spark: SparkSession, stream: Stream) -> None:
    batches = [[mixed_row(batch, i) for i in range(10)] for batch in range(6)]
    stream.play(batches)
    rows = [(*values, number) for number, batch in enumerate(batches) for values in batch]
    table = spark.createDataFrame(rows, SCHEMA + ", batch int")
    whole = aggregate_batches(explode_views(table, "batch")).toPandas()
    assert len(stream.emitted) == len(batches)
    for number, emitted in enumerate(stream.emitted):
        expected = sorted_rows(whole[whole["batch"] == number])
        pd.testing.assert_frame_equal(
            sorted_rows(emitted), expected, check_exact=False, rtol=1e-9, check_dtype=False
        )


def test_closed_minutes_leave_the_state_and_nothing_is_dropped(stream: Stream) -> None:
    stream.play([[row(n, n * 60.0, receiver=f"r{n}")] for n in range(8)])
    views = [operators[0] for operators in stream.operators]
    assert sum(view["numRowsRemoved"] for view in views) > 0
    assert all(
        operator["numRowsDroppedByWatermark"] == 0
        for operators in stream.operators
        for operator in operators
    )


def test_an_id_that_arrives_again_within_two_minutes_counts_once(stream: Stream) -> None:
    stream.play(
        [
            [row(1, 0, transaction_id="same"), row(2, 1, transaction_id="same")],
            [row(3, 100, transaction_id="same"), row(4, 101)],
        ]
    )
    total = pd.concat(stream.emitted)
    total = total[total["view"] == view_code("pipeline_total")]
    assert total["transaction_count"].max() == 2


def test_rejected_records_with_one_id_all_count(stream: Stream) -> None:
    stream.play([[row(n, 0, verdict="undecodable", transaction_id="none") for n in range(5)]])
    rows = stream.emitted[0]
    total = rows[rows["view"] == view_code("pipeline_total")]
    assert total[["entity", "transaction_count"]].to_numpy().tolist() == [
        [VERDICTS.index("undecodable"), 5]
    ]
    assert set(rows["view"]) == {view_code("pipeline_total"), view_code("pipeline_minute")}


def test_a_late_transaction_enters_the_long_views_only(stream: Stream) -> None:
    stream.play([[row(1, 0, age_s=86_400.0, verdict="late")]])
    views = set(stream.emitted[0]["view"])
    assert view_code("sender_minute") not in views
    assert view_code("sender_profile") in views


def test_a_transaction_enters_no_window_that_has_ended_at_its_arrival(stream: Stream) -> None:
    stream.play([[row(1, 61.0, age_s=2.0)]])  # happened at second 59, arrived at second 61
    assert view_code("sender_minute") not in set(stream.emitted[0]["view"])


def test_minutes_hold_what_their_names_say(spark: SparkSession) -> None:
    rows = [
        row(1, 1, amount=10.0, receiver="x"),
        row(2, 2, amount=30.0, receiver="y", status="failed"),
        row(3, 61, amount=5.0),
    ]
    table = spark.createDataFrame(rows, SCHEMA).withColumn("batch", F.lit(0))
    whole = aggregate_batches(explode_views(table, "batch")).toPandas()
    minute = whole[
        (whole["view"] == view_code("sender_minute"))
        & (whole["window_end"] == START_MS + MINUTE_MS)
    ].iloc[0]
    assert minute["transaction_count"] == 2
    assert minute["total_amount"] == 40.0
    assert minute["max_amount"] == 30.0
    assert minute["matching_count"] == 1
    assert int(minute["distinct_bits"]).bit_count() == 2
    assert minute["first_seen"] == START_MS + 1000
    assert minute["last_position"] == 2


def test_a_receiver_counts_its_senders_and_a_sender_its_receivers(spark: SparkSession) -> None:
    rows = [row(n, n, sender=f"s{n}", receiver="mule") for n in range(4)]
    table = spark.createDataFrame(rows, SCHEMA).withColumn("batch", F.lit(0))
    whole = aggregate_batches(explode_views(table, "batch")).toPandas()
    bits = whole.set_index("view")["distinct_bits"]
    assert {int(value).bit_count() for value in bits[view_code("sender_recent")]} == {1}
    assert {int(value).bit_count() for value in bits[view_code("receiver_recent")]} == {4}


def test_every_aggregate_is_a_long_or_a_double(spark: SparkSession) -> None:
    table = spark.createDataFrame([row(1, 0)], SCHEMA).withColumn("batch", F.lit(0))
    types = dict(aggregate_batches(explode_views(table, "batch")).dtypes)
    assert {types[name] for name in AGGREGATES} <= {"bigint", "double"}
