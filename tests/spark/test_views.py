"""The views on a real stream, against the same views on the whole table."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from detection.validate import VERDICTS
from detection.views import (
    AGGREGATES,
    KEYS,
    MINUTE_MS,
    VIEW_COLUMNS,
    aggregate_batches,
    explode_views,
    view_code,
)
from tests.support.stream import SCHEMA, START_MS, Stream, mixed_row, row


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
