"""Labels find their transactions, minutes settle, figures follow; the tables are in memory."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from pipeline.settings import PROJECT_ROOT
from quality.figures import Alert, Figures, Label
from quality.labels import FraudLabel, parse_fraud
from quality.service import LONGEST, PATIENCE_S, RETRY_S, SETTLING, Judge, Resolver
from quality.store import HOUR, MINUTE, Fraud, Transaction, label_row
from tests.support.wait import wait_until

START = dt.datetime(2026, 3, 14, 15, 0, tzinfo=dt.UTC)
LATER = START + HOUR


class MemoryTables:
    """Keeps what is written as Cassandra would: of a key the row with the latest write time."""

    def __init__(self) -> None:
        self.stored: dict[str, Transaction] = {}
        self.label_rows: dict[tuple[dt.datetime, str], tuple[int, Label]] = {}
        self.alert_rows: dict[tuple[dt.datetime, str], Alert] = {}
        self.closed_until: dt.datetime | None = LATER
        self.written: list[tuple[str, dt.datetime, Figures]] = []
        self.looked_for: list[str] = []
        self.reads: list[tuple[dt.datetime, dt.datetime]] = []

    def transactions(self, transaction_ids: Sequence[str]) -> dict[str, Transaction]:
        self.looked_for += transaction_ids
        return {name: self.stored[name] for name in transaction_ids if name in self.stored}

    def write_labels(self, frauds: Sequence[Fraud]) -> None:
        for hour, start, sender, pattern, incident_id, moment, written_at in map(label_row, frauds):
            assert hour == start.replace(minute=0)
            row = (written_at, Label(pattern, incident_id, moment))
            before = self.label_rows.get((start, sender), row)
            self.label_rows[start, sender] = max(row, before, key=lambda item: item[0])

    def alerts(self, first: dt.datetime, end: dt.datetime) -> dict[dt.datetime, dict[str, Alert]]:
        assert first < end <= first.replace(minute=0) + HOUR
        self.reads.append((first, end))
        found: dict[dt.datetime, dict[str, Alert]] = {}
        for (start, sender), alert in self.alert_rows.items():
            if first <= start < end:
                found.setdefault(start, {})[sender] = alert
        return found

    def labels(self, first: dt.datetime, end: dt.datetime) -> dict[dt.datetime, dict[str, Label]]:
        found: dict[dt.datetime, dict[str, Label]] = {}
        for (start, sender), (_, label) in self.label_rows.items():
            if first <= start < end:
                found.setdefault(start, {})[sender] = label
        return found

    def watermark(self) -> dt.datetime | None:
        return self.closed_until

    def write_quality(
        self, period: str, period_end: dt.datetime, computed_at: dt.datetime, figures: Figures
    ) -> None:
        self.written.append((period, period_end, figures))

    @property
    def hour(self) -> Figures:
        """The figures of the hour that were written last."""
        return next(figures for period, _, figures in reversed(self.written) if period == "hour")


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def tables() -> MemoryTables:
    return MemoryTables()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def resolver(clock: Clock) -> Resolver:
    return Resolver(clock)


@pytest.fixture
def judge() -> Judge:
    return Judge(lambda: LATER)


def fraud_label(transaction_id: str, offset: int = 0, incident: str = "i1") -> FraudLabel:
    labelled_at = START + dt.timedelta(seconds=offset)
    return FraudLabel(transaction_id, "velocity", incident, 0, offset, labelled_at)


def transaction(seconds: float, sender: str = "ACC-1") -> Transaction:
    return Transaction(sender, START + dt.timedelta(seconds=seconds))


# Labels


def encoded(**values: object) -> bytes:
    label = {"transaction_id": "t1", "is_fraud": True, "pattern": "p", "incident_id": "i"}
    return json.dumps(label | values).encode()


def test_only_labels_of_frauds_are_taken() -> None:
    assert parse_fraud(encoded()) == ("t1", "p", "i")
    assert parse_fraud(encoded(pattern=None, incident_id=None)) == ("t1", None, None)
    assert parse_fraud(encoded(is_fraud=False)) is None
    assert parse_fraud(encoded(is_fraud=False, pattern="true")) is None
    assert parse_fraud(b"") is None


@pytest.mark.parametrize(
    "value",
    [
        b"true", b"[true]", b'{"is_fraud": true', b"\xfftrue", b"[" * 100_000 + b"true",
        encoded(transaction_id=None), encoded(transaction_id=7), encoded(transaction_id=""),
        encoded(transaction_id="x" * 65), encoded(transaction_id="\ud800"),
        encoded(pattern=["p"]), encoded(incident_id="x" * 65), encoded(is_fraud="true"),
    ],
)  # fmt: skip
def test_what_is_no_label_is_refused(value: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_fraud(value)


# Finding the transactions


def test_a_label_is_stored_under_the_minute_and_the_sender_of_its_transaction(
    resolver: Resolver, tables: MemoryTables
) -> None:
    tables.stored["t1"] = transaction(61.25)
    resolver.add([fraud_label("t1")])
    assert resolver.resolve(tables) == {START + MINUTE}
    ((key, (_, label)),) = tables.label_rows.items()
    assert key == (START + MINUTE, "ACC-1")
    assert label == Label("velocity", "i1", START + dt.timedelta(seconds=61.25))
    assert (resolver.resolved, resolver.pending) == (1, 0)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_of_a_sender_minute_the_earliest_fraud_stays_whatever_comes_when(
    resolver: Resolver, tables: MemoryTables, order: tuple[int, ...]
) -> None:
    for number in order:
        tables.stored[f"t{number}"] = transaction(10 + number)
        resolver.add([fraud_label(f"t{number}", incident=f"i{number}")])
        resolver.resolve(tables)
    for number in order:  # read again from the topic
        resolver.add([fraud_label(f"t{number}", incident=f"i{number}")])
    resolver.resolve(tables)
    ((_, label),) = tables.label_rows.values()
    assert label == Label("velocity", "i0", START + dt.timedelta(seconds=10))


def test_a_transaction_may_be_stored_after_its_label_is_read(
    resolver: Resolver, tables: MemoryTables, clock: Clock
) -> None:
    resolver.add([fraud_label("t1", offset=7), fraud_label("t2", offset=9)])
    assert resolver.resolve(tables) == set()
    assert resolver.unfinished() == {0: 7}
    assert resolver.labelled_until(LATER) == START + dt.timedelta(seconds=7)
    tables.stored["t1"] = transaction(5)
    resolver.resolve(tables)
    assert tables.looked_for == ["t1", "t2"]  # not again at once
    clock.now_s += RETRY_S
    assert resolver.resolve(tables) == {START}
    assert resolver.unfinished() == {0: 9}
    assert resolver.labelled_until(LATER) == START + dt.timedelta(seconds=9)


def test_a_transaction_that_never_comes_is_counted_and_given_up(
    resolver: Resolver, tables: MemoryTables, clock: Clock
) -> None:
    resolver.add([fraud_label("never")])
    resolver.resolve(tables)
    clock.now_s += PATIENCE_S - 1
    resolver.resolve(tables)
    assert (resolver.pending, resolver.unresolved) == (1, 0)
    clock.now_s += RETRY_S
    resolver.resolve(tables)
    assert (resolver.pending, resolver.unresolved) == (0, 1)
    assert resolver.unfinished() == {}
    assert resolver.labelled_until(LATER) == LATER


def test_a_label_whose_writing_failed_is_resolved_again(
    resolver: Resolver, tables: MemoryTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise OSError("away")

    tables.stored["t1"] = transaction(5)
    resolver.add([fraud_label("t1")])
    with monkeypatch.context() as broken:
        broken.setattr(tables, "write_labels", fail)
        with pytest.raises(OSError, match="away"):
            resolver.resolve(tables)
    assert resolver.resolve(tables) == {START}
    assert len(tables.label_rows) == 1


# Judging


def fraud(tables: MemoryTables, start: dt.datetime, sender: str = "ACC-1") -> None:
    tables.write_labels([Fraud(Transaction(sender, start), "velocity", f"{start}/{sender}")])


@pytest.mark.parametrize(
    ("closed_until", "labelled_until", "end"),
    [
        (LATER, LATER + HOUR, LATER),  # the job closes windows
        (LATER + HOUR, LATER + SETTLING, LATER),  # labels come in
        (LATER + dt.timedelta(seconds=59), LATER + HOUR, LATER),  # whole minutes only
    ],
)
def test_only_settled_minutes_are_judged(
    tables: MemoryTables,
    judge: Judge,
    closed_until: dt.datetime,
    labelled_until: dt.datetime,
    end: dt.datetime,
) -> None:
    for start in (end - HOUR - MINUTE, end - HOUR, end - MINUTE, end):
        fraud(tables, start)
    tables.closed_until = closed_until
    judge.update(tables, labelled_until)
    assert [(period, until) for period, until, _ in tables.written] == [("hour", end), ("day", end)]
    assert [figures.fraud_minutes for *_, figures in tables.written] == [2, 3]


def test_nothing_is_written_without_labels_or_before_the_job_reports(
    tables: MemoryTables, judge: Judge
) -> None:
    judge.update(tables, None)
    tables.closed_until = None
    judge.update(tables, LATER)
    assert tables.written == []


def test_a_minute_is_read_once_and_again_when_it_gets_a_label(
    tables: MemoryTables, judge: Judge
) -> None:
    labelled_until = LATER + HOUR
    judge.update(tables, labelled_until)
    judge.update(tables, labelled_until)
    assert len(tables.written) == 2
    tables.reads.clear()
    tables.closed_until = LATER + MINUTE
    judge.update(tables, labelled_until)
    assert tables.reads == [(LATER, LATER + MINUTE)]
    assert tables.hour.fraud_minutes == 0

    tables.reads.clear()
    fraud(tables, LATER - MINUTE)
    judge.forget({LATER - MINUTE})
    judge.update(tables, labelled_until)
    assert tables.reads == [(LATER - MINUTE, LATER)]
    assert tables.hour.fraud_minutes == 1


def test_a_label_of_an_open_or_an_old_minute_changes_no_figure(
    tables: MemoryTables, judge: Judge
) -> None:
    judge.update(tables, LATER + HOUR)
    judge.forget({LATER, LATER - LONGEST - MINUTE})
    judge.update(tables, LATER + HOUR)
    assert len(tables.written) == 2


def test_an_alert_and_a_label_meet_by_sender_and_minute(tables: MemoryTables, judge: Judge) -> None:
    start = LATER - 5 * MINUTE
    fraud(tables, start, "found")
    fraud(tables, start, "missed")
    for sender, moment in (("found", start), ("missed", start + MINUTE)):
        tables.alert_rows[moment, sender] = Alert(2.0, "high", moment + MINUTE)
    judge.update(tables, LATER + HOUR)
    assert (tables.hour.review.precision, tables.hour.review.recall) == (0.5, 0.5)


# The process


def test_it_waits_for_servers_that_are_not_there_and_stops_when_told(tmp_path: Path) -> None:
    beat = tmp_path / "heartbeat"
    paths = [str(PROJECT_ROOT / folder) for folder in ("common", "flask")]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "HEARTBEAT_FILE": str(beat),
        "FRAUD__CASSANDRA__PORT": "1",
        "FRAUD__KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1",
    }
    command = [sys.executable, "-m", "quality"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            wait_until(beat.exists, 60, "the service beats")
            process.send_signal(signal.SIGTERM)
            _, log = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 0
    assert "Traceback" not in log
