"""When a restart continues, and when it begins anew."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from detection.checkpoint import CheckpointError, Extent, Offsets, Run, lock, open_run

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


def test_the_same_specification_continues_the_run(tmp_path: Path) -> None:
    first = opened(tmp_path, "a", None)
    assert first.rebuild_until == {}
    assert opened(tmp_path, "a", {0: 5}) == first


def test_another_specification_begins_a_run_that_rebuilds(tmp_path: Path) -> None:
    first = opened(tmp_path, "a", None)
    second = opened(tmp_path, "b", {0: 5, 1: 7})
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
    with pytest.raises(CheckpointError, match=r"damaged .* move .* away"):
        opened(tmp_path, "a", {0: 1})


def test_the_state_of_another_topic_is_refused(tmp_path: Path) -> None:
    run = opened(tmp_path, "a", None)
    sources = run.spark_folder / "sources" / "0"
    sources.mkdir(parents=True)
    (sources / "0").write_text('\x00v1\n{"transactions":{"0":3}}')
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


def test_a_run_without_a_past_rebuilds_nothing(tmp_path: Path) -> None:
    assert not Run("r", tmp_path, {}).is_rebuild(Extent(NOW, {0: 0}, {0: 5}))


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
