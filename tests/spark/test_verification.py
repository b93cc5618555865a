"""What the proof assumes of the stream: which records it drops as duplicates, and the batches."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame, SparkSession

from detection.emulate import BEFORE
from detection.validate import SCORED, VERDICTS
from detection.views import deduplicate_stream
from verification.timeline import PENDING, Batch, Timeline, repeated, watermarks

START_MS = 1_700_000_000_000
SECOND_MS = 1_000


def batch(batch_id: int, **places: tuple[int, int]) -> Batch:
    """Return a batch with (first, last) offset of the partitions p0, p1."""
    firsts = {int(name[1:]): first for name, (first, _) in places.items()}
    lasts = {int(name[1:]): last for name, (_, last) in places.items()}
    return Batch(batch_id, firsts, lasts, "model", frozenset([1]), {})


def test_a_record_belongs_to_the_batch_that_holds_its_offset() -> None:
    timeline = Timeline.of(
        "run",
        [
            batch(4, p0=(10, 19), p1=(0, 4)),
            batch(5, p0=(20, 19), p1=(5, 5)),  # nothing of partition 0
            batch(6, p0=(20, 20), p1=(6, 9)),
        ],
    )
    found = timeline.batches_of(
        np.array([0, 0, 0, 0, 0, 1, 1, 1, 2]), np.array([9, 10, 19, 20, 21, 0, 5, 10, 0])
    )
    assert found.tolist() == [BEFORE, 4, 4, 6, PENDING, 4, 5, PENDING, PENDING]


def test_the_watermark_of_a_batch_comes_from_the_batches_before() -> None:
    arrivals = pd.Series({0: START_MS, 2: START_MS - 5 * SECOND_MS, 3: START_MS + 60 * SECOND_MS})
    in_force = watermarks(arrivals, np.array([0, 1, 2, 3, 4]))
    delay_ms = 120 * SECOND_MS
    assert in_force.to_dict() == {
        BEFORE: 0,
        0: 0,
        1: START_MS - delay_ms,
        2: START_MS - delay_ms,
        3: START_MS - delay_ms,
        4: START_MS + 60 * SECOND_MS - delay_ms,
    }


def test_duplicates_are_those_that_the_stream_drops(spark: SparkSession, tmp_path: Path) -> None:
    """Random repetitions, seconds to minutes apart, in batches of one to three seconds."""
    random = np.random.default_rng(1)
    count, ids = 200, 30
    arrivals = START_MS + np.cumsum(random.integers(200, 6_000, count))
    batches = np.cumsum(random.random(count) < 0.4)
    records = pd.DataFrame(
        {
            "transaction_id": [f"id-{number}" for number in random.integers(0, ids, count)],
            "verdict": VERDICTS.index(SCORED),
            "position": np.arange(count),
            "kafka_timestamp": pd.to_datetime(arrivals, unit="ms", utc=True),
            "batch": batches,
        }
    )
    kept = streamed(spark, records, tmp_path)

    timeline_ids = np.unique(batches)
    arrival_ms = pd.Series(arrivals)
    in_force = watermarks(arrival_ms.groupby(batches).max(), timeline_ids)
    valid = pd.DataFrame(
        {
            "identity": pd.factorize(records["transaction_id"])[0],
            "batch": batches,
            "arrival_ms": arrivals,
            "position": records["position"],
        }
    )
    is_dropped = repeated(valid, in_force)
    assert set(records["position"][~is_dropped]) == kept
    assert is_dropped.sum() > 0
    assert len(kept) > ids  # some came back after they were forgotten


def streamed(spark: SparkSession, records: pd.DataFrame, folder: Path) -> set[int]:
    """Return the positions that the stream's de-duplication lets through, a file a batch."""
    source = folder / "source"
    source.mkdir()
    for number, (_, rows) in enumerate(records.groupby("batch")):
        path = source / f"{number:06}.parquet"
        rows.to_parquet(path, coerce_timestamps="ms")
        os.utime(path, (number, number))  # the order in which Spark takes them
    kept: set[int] = set()

    def collect(rows: DataFrame, _: int) -> None:
        kept.update(row.position for row in rows.select("position").collect())

    schema = (
        "transaction_id string, verdict long, position long, kafka_timestamp timestamp, batch long"
    )
    stream = (
        spark.readStream.schema(schema)
        .option("maxFilesPerTrigger", 1)
        .option("latestFirst", False)
        .parquet(str(source))
    )
    query = (
        deduplicate_stream(stream)
        .writeStream.outputMode("append")
        .option("checkpointLocation", str(folder / "checkpoint"))
        .trigger(availableNow=True)
        .foreachBatch(collect)
        .start()
    )
    assert query.awaitTermination(240)
    return kept
