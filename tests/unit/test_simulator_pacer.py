"""Pacing: a stream's time on the wall clock, through hiccups, outages and clock steps."""

from __future__ import annotations

import pytest

from simulator.pacer import MAX_BEHIND_MS, Pacer

NOW_MS = 1_800_000_000_000


class FakeTime:
    def __init__(self) -> None:
        self.now_ms = NOW_MS
        self.is_stopped = False

    def wait(self, seconds: float) -> None:
        self.now_ms += max(1, int(seconds * 1000 / 2))  # returns early, as Kafka's client may

    def pacer(self, first_ms: int, speed: float = 1.0) -> Pacer:
        return Pacer(first_ms, lambda: self.now_ms, self.wait, lambda: self.is_stopped, speed)


@pytest.fixture
def fake_time() -> FakeTime:
    return FakeTime()


def test_events_happen_at_their_distance(fake_time: FakeTime) -> None:
    pacer = fake_time.pacer(1000)
    assert pacer.happen(1000) == NOW_MS
    assert pacer.happen(1700) == NOW_MS + 700
    assert fake_time.now_ms == NOW_MS + 700


def test_speed_divides_the_distances(fake_time: FakeTime) -> None:
    pacer = fake_time.pacer(0, speed=10)
    assert pacer.happen(5000) == NOW_MS + 500
    assert pacer.happen(5010) == NOW_MS + 501


def test_a_hiccup_is_caught_up_with(fake_time: FakeTime) -> None:
    pacer = fake_time.pacer(0)
    fake_time.now_ms += MAX_BEHIND_MS
    assert pacer.happen(100) == NOW_MS + 100
    assert pacer.happen(3000) == NOW_MS + 3000


def test_after_an_outage_the_stream_goes_on_from_now(fake_time: FakeTime) -> None:
    pacer = fake_time.pacer(0)
    pacer.happen(0)
    fake_time.now_ms += 300_000
    assert pacer.happen(100) == NOW_MS + 300_000
    assert pacer.happen(200) == NOW_MS + 300_100


def test_a_clock_that_steps_back_does_not_halt_the_stream(fake_time: FakeTime) -> None:
    pacer = fake_time.pacer(0)
    pacer.happen(0)
    fake_time.now_ms -= 3_600_000
    assert pacer.happen(100) == NOW_MS - 3_600_000


def test_an_event_older_than_its_predecessor_keeps_its_distance(fake_time: FakeTime) -> None:
    pacer = fake_time.pacer(0)
    pacer.happen(1000)
    assert pacer.happen(-299_000) == NOW_MS + 1000 - 300_000
    assert pacer.happen(1500) == NOW_MS + 1500


def test_a_stop_ends_the_wait(fake_time: FakeTime) -> None:
    pacer = fake_time.pacer(0)
    fake_time.is_stopped = True
    pacer.happen(60_000)
    assert fake_time.now_ms == NOW_MS
