"""When a restart continues, and when it begins anew."""

from __future__ import annotations

import contextlib
import datetime as dt
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from pyspark.errors import StreamingQueryException
from pyspark.sql import DataFrame, SparkSession

from detection.checkpoint import (
    CheckpointError,
    Extent,
    Offsets,
    Run,
    explain,
    lock,
    open_run,
    way_back,
)
from detection.sinks import SinkError

NOW = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)


def opened(
    folder: Path, specification: str, recorded: Offsets | None, topic: str = "transactions"
) -> Run:
    return open_run(
        folder,
        topic,
        specification,
        has_recorded=lambda run_id: recorded is not None,
        recorded_offsets=lambda: recorded or {},
    )


LOGS = {
    "metadata": '{"id":"9d3c"}',
    "sources/0/0": '\x00v1\n{"transactions":{"0":0}}',
    "offsets/8": 'v1\n{"batchTimestampMs":1}\n{"transactions":{"0":3}}',
    "offsets/9": 'v1\n{"batchTimestampMs":1}\n{"transactions":{"0":4}}',
    "offsets/10": 'v1\n{"batchTimestampMs":1}\n{"transactions":{"0":5}}',
    "commits/9": 'v1\n{"nextBatchWatermarkMs":0}',
}
"""As far as a restart reads them."""


def with_logs(run: Run) -> Run:
    """Add what Spark leaves when it has run."""
    for name, text in LOGS.items():
        path = run.spark_folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        (path.parent / f".{path.name}.crc").write_bytes(b"crc")
    (run.spark_folder / "offsets" / ".11.0c.tmp").write_text("partial")
    return run


def test_the_same_specification_continues_the_run(tmp_path: Path) -> None:
    first = with_logs(opened(tmp_path, "a", None))
    assert first.rebuild_until == {}
    assert opened(tmp_path, "a", {0: 5}) == first


def test_another_specification_begins_a_run_that_rebuilds(tmp_path: Path) -> None:
    first = opened(tmp_path, "a", None)
    second = with_logs(opened(tmp_path, "b", {0: 5, 1: 7}))
    assert second.run_id > first.run_id
    assert second.rebuild_until == {0: 5, 1: 7}
    assert opened(tmp_path, "b", {0: 9}).rebuild_until == {0: 5, 1: 7}


def test_a_lost_checkpoint_rebuilds_up_to_what_was_recorded(tmp_path: Path) -> None:
    assert opened(tmp_path, "a", {0: 5}).rebuild_until == {0: 5}


def test_a_run_that_recorded_nothing_begins_anew(tmp_path: Path) -> None:
    first = opened(tmp_path, "a", None)
    assert opened(tmp_path, "a", None).run_id > first.run_id


def test_a_damaged_run_file_is_named_with_the_way_out(tmp_path: Path) -> None:
    run = opened(tmp_path, "a", None)
    (run.folder / "run.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"damaged .*; mv .* the next start rebuilds"):
        opened(tmp_path, "a", {0: 1})


@pytest.mark.parametrize("kept", [0, 1, 5])
@pytest.mark.parametrize("name", sorted(LOGS.keys() - {"offsets/8"}))
def test_a_truncated_log_is_named_with_the_way_back(tmp_path: Path, name: str, kept: int) -> None:
    run = with_logs(opened(tmp_path, "a", None))
    path = run.spark_folder / name
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(CheckpointError) as refused:
        opened(tmp_path, "a", {0: 4})
    assert str(refused.value).startswith(f"{path}: damaged (")
    assert str(refused.value).endswith(way_back(run.folder))


def test_the_way_back_from_a_damaged_checkpoint_is_a_rebuild(tmp_path: Path) -> None:
    run = with_logs(opened(tmp_path, "a", None))
    (run.spark_folder / "offsets" / "10").write_text("")
    run.folder.rename(f"{run.folder}.damaged")
    after = opened(tmp_path, "a", {0: 4})
    assert after.run_id > run.run_id
    assert after.rebuild_until == {0: 4}


def test_a_run_without_sparks_logs_is_not_continued_as_if_it_were_new(tmp_path: Path) -> None:
    run = with_logs(opened(tmp_path, "a", None))
    shutil.rmtree(run.spark_folder / "offsets")
    with pytest.raises(CheckpointError, match=r"offsets/0: damaged .*No such file.*; mv "):
        opened(tmp_path, "a", {0: 4})


def test_lost_records_are_said_with_the_way_back_and_not_with_sparks_advice(
    tmp_path: Path,
) -> None:
    run = Run("r", tmp_path / "r", {})
    text = explain('offset was changed\nset the source option "failOnDataLoss" to "false".', run)
    assert text == f"Kafka no longer holds what follows the checkpoint: {way_back(run.folder)}"


def fail(spark: SparkSession, run: Run, process: Callable[..., None]) -> object:
    """Run a query with state over the files in ``in`` beside the run; return its exception."""
    query = (
        spark.readStream.schema("word string")
        .csv(str(run.folder.with_name("in")))
        .groupBy("word")
        .count()
        .writeStream.outputMode("update")
        .option("checkpointLocation", str(run.spark_folder))
        .foreachBatch(process)
        .trigger(availableNow=True)
        .start()
    )
    with contextlib.suppress(StreamingQueryException):
        query.awaitTermination()
    return query.exception()


def count(emitted: DataFrame, _: int) -> None:
    emitted.count()


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:10])


@pytest.mark.parametrize("damage", [truncate, Path.unlink])
def test_damaged_state_is_named_with_the_way_back(
    spark: SparkSession, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    whole, run = Run("a", tmp_path / "a", {}), Run("b", tmp_path / "b", {})
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "0.csv").write_text("a\nb\n")
    assert fail(spark, whole, count) is None
    shutil.copytree(whole.folder, run.folder)  # of the other, Spark has the state in memory
    damage(run.spark_folder / "state" / "0" / "0" / "1.delta")
    (tmp_path / "in" / "1.csv").write_text("a\n")
    failure = fail(spark, run, count)
    cause, _, advice = explain(failure, run).partition("; ")
    assert f"{run.spark_folder}/state/0/0/1.delta" in cause
    assert advice.endswith(f"the state is damaged: {way_back(run.folder)}")


def test_the_failure_of_a_batch_is_said_in_its_own_words(
    spark: SparkSession, tmp_path: Path
) -> None:
    def process(*_: object) -> None:
        raise SinkError("write to Cassandra: failed for 30 s")

    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "0.csv").write_text("a\n")
    run = Run("r", tmp_path / "r", {})
    expected = "detection.sinks.SinkError: write to Cassandra: failed for 30 s"
    assert explain(fail(spark, run, process), run) == expected


def test_the_state_of_another_topic_is_refused(tmp_path: Path) -> None:
    run = with_logs(opened(tmp_path, "a", None))
    assert opened(tmp_path, "a", {0: 5}) == run
    with pytest.raises(CheckpointError, match=r"topic transactions, and source\.topic is payments"):
        opened(tmp_path, "a", {0: 5}, topic="payments")


def test_a_second_job_is_refused(tmp_path: Path) -> None:
    with lock(tmp_path), pytest.raises(CheckpointError, match="another detection job"):
        lock(tmp_path)
    lock(tmp_path).close()


@pytest.mark.parametrize(
    ("last", "is_rebuild"),
    [({0: 5, 1: 7}, True), ({0: 6, 1: 7}, False), ({0: 2, 1: 3}, True), ({0: 2, 2: 3}, False)],
)
def test_a_batch_is_rebuilt_only_if_all_of_it_was_recorded(
    tmp_path: Path, last: Offsets, is_rebuild: bool
) -> None:
    run = Run("r", tmp_path, {0: 5, 1: 7})
    assert run.is_rebuild(Extent(NOW, dict.fromkeys(last, 0), last)) is is_rebuild


@pytest.mark.parametrize(
    ("first", "last", "crosses"),
    [
        ({0: 0, 1: 0}, {0: 5, 1: 7}, False),
        ({0: 0, 1: 0}, {0: 5, 1: 8}, True),
        ({0: 6, 1: 8}, {0: 9, 1: 9}, False),
        ({0: 6, 1: 8}, {0: 9, 1: 7}, False),
        ({0: 6, 1: 2}, {0: 9, 1: 3}, True),
        ({0: 0, 2: 0}, {0: 3, 2: 0}, True),
    ],
)
def test_a_batch_crosses_the_end_of_the_rebuild_with_records_of_both_sides(
    tmp_path: Path, first: Offsets, last: Offsets, crosses: bool
) -> None:
    run = Run("r", tmp_path, {0: 5, 1: 7})
    assert run.crosses_end_of_rebuild(Extent(NOW, first, last)) is crosses


def test_a_run_without_a_past_rebuilds_nothing(tmp_path: Path) -> None:
    extent = Extent(NOW, {0: 0}, {0: 5})
    assert not Run("r", tmp_path, {}).is_rebuild(extent)
    assert not Run("r", tmp_path, {}).crosses_end_of_rebuild(extent)


def test_a_shortened_batch_ends_with_what_was_recorded(tmp_path: Path) -> None:
    run = Run("r", tmp_path, {0: 5, 1: 7})
    offsets = run.spark_folder / "offsets"
    offsets.mkdir(parents=True)
    metadata = '{"batchTimestampMs":1772323200500}'
    for batch, (zero, one) in enumerate([(6, 3), (10, 12)]):
        text = f'v1\n{metadata}\n{{"transactions":{{"0":{zero},"1":{one}}}}}'
        (offsets / str(batch)).write_text(text)
        (offsets / f".{batch}.crc").write_bytes(b"crc")
    run.shorten_to_rebuild(1, run.extent(1))
    assert run.extent(1).last_offsets == {0: 5, 1: 7}
    assert run.is_rebuild(run.extent(1))
    assert (offsets / "1").read_text() == f'v1\n{metadata}\n{{"transactions": {{"0": 6, "1": 8}}}}'
    assert sorted(path.name for path in offsets.iterdir()) == [".0.crc", "0", "1"]


def test_extents_come_from_the_write_ahead_log(tmp_path: Path) -> None:
    offsets = tmp_path / "spark" / "offsets"
    offsets.mkdir(parents=True)
    sources = tmp_path / "spark" / "sources" / "0"
    sources.mkdir(parents=True)
    (sources / "0").write_text('\x00v1\n{"transactions":{"0":3,"1":0}}')
    for batch, (zero, one) in enumerate([(10, 0), (12, 4)]):
        (offsets / str(batch)).write_text(
            'v1\n{"batchWatermarkMs":0,"batchTimestampMs":1772323200500}\n'
            f'{{"transactions":{{"0":{zero},"1":{one}}}}}'
        )
    run = Run("r", tmp_path, {})
    first, second = run.extent(0), run.extent(1)
    assert (first.first_offsets, first.last_offsets) == ({0: 3, 1: 0}, {0: 9, 1: -1})
    assert first.record_count == 7
    assert (second.first_offsets, second.last_offsets) == ({0: 10, 1: 0}, {0: 11, 1: 3})
    assert second.read_until == 16
    assert second.started_at.isoformat() == "2026-03-01T00:00:00.500000+00:00"
