"""Playing a labelled file: whose time a record gets, and what cannot be played."""

from __future__ import annotations

import itertools
import threading
from pathlib import Path

import pytest

from pipeline.errors import PipelineError
from pipeline.settings import Settings, load_settings
from simulator import service
from simulator.__main__ import main
from simulator.labelled_file import write_labelled_file
from simulator.publisher import NOW
from simulator.service import KafkaTime, play
from simulator.stream import LabelledTransaction, history, live
from simulator.world import make_world

START_MS = 1_735_689_600_000


class Recorder:
    """A publisher that keeps (transaction timestamp, Kafka timestamp, is history)."""

    def __init__(self) -> None:
        self.published: list[tuple[int, int, bool]] = []
        self.waited_s = 0.0

    def publish(self, row: LabelledTransaction, kafka_time_ms: int = NOW) -> None:
        timestamp_ms = row.transaction["transaction_timestamp"]
        self.published.append((timestamp_ms, kafka_time_ms, row.is_history))

    def poll(self, timeout_s: float) -> None:
        self.waited_s += timeout_s
        threading.Event().wait(timeout_s)

    def flush(self, timeout_s: float) -> bool:
        return True

    counts: dict[str, object] = {}  # noqa: RUF012


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    monkeypatch.setattr(service, "_connect", lambda settings, stop: recorder)
    return recorder


@pytest.fixture(scope="module")
def settings() -> Settings:
    return load_settings(environment={})


@pytest.fixture(scope="module")
def rows() -> list[LabelledTransaction]:
    world = make_world(3, 50, 2)
    live_rows = itertools.islice(live(world, START_MS, 20.0, 0.1), 200)
    return [*history(world, START_MS), *live_rows]


@pytest.fixture
def path(tmp_path: Path, rows: list[LabelledTransaction]) -> Path:
    path = tmp_path / "labelled.parquet"
    write_labelled_file(path, rows)
    return path


def played(
    settings: Settings, path: Path, recorder: Recorder, speed: float, kafka_time: KafkaTime
) -> list[tuple[int, int, bool]]:
    assert play(settings, threading.Event(), path, speed, kafka_time) == 0
    return recorder.published


def test_event_time_keeps_the_times_of_the_file(
    settings: Settings, path: Path, rows: list[LabelledTransaction], recorder: Recorder
) -> None:
    times_ms = [row.transaction["transaction_timestamp"] for row in rows]
    first_ms = times_ms[100]
    assert played(settings, path, recorder, float("inf"), "event") == [
        *((time_ms, first_ms, True) for time_ms in times_ms[:100]),
        *((time_ms, time_ms, False) for time_ms in times_ms[100:]),
    ]
    assert recorder.waited_s == 0


def test_speed_paces_by_event_time(
    settings: Settings, path: Path, rows: list[LabelledTransaction], recorder: Recorder
) -> None:
    lasts_s = (rows[-1].transaction["transaction_timestamp"] - START_MS) / 1000
    played(settings, path, recorder, 20.0, "event")
    assert recorder.waited_s == pytest.approx(lasts_s / 20, rel=0.5)


def test_now_moves_the_file_to_the_present(
    settings: Settings, path: Path, rows: list[LabelledTransaction], recorder: Recorder
) -> None:
    published = played(settings, path, recorder, float("inf"), "now")
    assert {kafka_time_ms for _, kafka_time_ms, _ in published} == {NOW}
    shift_ms = published[0][0] - rows[0].transaction["transaction_timestamp"]
    first_live_ms = rows[100].transaction["transaction_timestamp"]
    assert published[100][0] == pytest.approx(first_live_ms + shift_ms, abs=5000)


def test_a_file_out_of_order_is_refused_by_event_time(
    settings: Settings, tmp_path: Path, rows: list[LabelledTransaction], recorder: Recorder
) -> None:
    path = tmp_path / "unordered.parquet"
    write_labelled_file(path, [*rows[:150], rows[199], *rows[150:199]])
    with pytest.raises(PipelineError, match="sort the file by transaction_timestamp"):
        play(settings, threading.Event(), path, float("inf"), "event")


def test_a_file_of_history_alone_is_refused(
    settings: Settings, tmp_path: Path, rows: list[LabelledTransaction], recorder: Recorder
) -> None:
    path = tmp_path / "history.parquet"
    write_labelled_file(path, rows[:100])
    with pytest.raises(PipelineError, match="at least one must not be history"):
        play(settings, threading.Event(), path, 1.0, "event")


@pytest.mark.parametrize("speed", ["max", "0", "2.5"])
def test_the_command_takes_a_speed(path: Path, recorder: Recorder, speed: str) -> None:
    assert main(["play", str(path), "--kafka-time", "event", "--speed", speed]) == 0


@pytest.mark.parametrize("speed", ["-1", "nan", "fast"])
def test_the_command_refuses_another_speed(path: Path, recorder: Recorder, speed: str) -> None:
    with pytest.raises(SystemExit):
        main(["play", str(path), f"--speed={speed}"])
