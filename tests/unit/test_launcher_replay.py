"""The pure parts of `make replay`; tests/stack plays a file for real."""

from __future__ import annotations

import dataclasses
import datetime as dt
from pathlib import Path

import pyarrow as pa
import pytest
from cassandra.util import Date, OrderedMapSerializedKey, SortedSet

from launcher.ports import free_ports
from launcher.recount import Recount, _plain, arrow_type
from launcher.replay import replay, variables
from launcher.services import endpoints
from pipeline.errors import PipelineError
from pipeline.settings import load_settings
from pipeline.source import is_own
from tests.support import bookings

COUNTS = Recount(
    published=100,
    raw=90,
    dead_letters=3,
    duplicates=7,
    scored=80,
    late=10,
    rejected={"future": 2, "undecodable": 1},
    alerts=4,
    run_id="run",
    model_version="kmeans-0",
    batches=5,
)


def test_a_recount_that_adds_up_has_no_difference() -> None:
    assert COUNTS.differences == []
    assert COUNTS.as_json()["published"] == 100
    assert COUNTS.summary().endswith("every record is accounted for")


@pytest.mark.parametrize(
    ("field", "value", "equation"),
    [
        ("published", 101, "published = raw + dead letters + duplicates: 101 against 100"),
        ("late", 11, "raw = scored + late: 90 against 91"),
        ("rejected", {}, "dead letters = rejected: 3 against 0"),
    ],
)
def test_a_recount_names_the_equation_that_does_not_hold(
    field: str, value: object, equation: str
) -> None:
    counts = dataclasses.replace(COUNTS, **{field: value})
    assert counts.differences == [equation]
    assert f"DIFFERENCE: {equation}" in counts.summary()


def test_a_replay_has_its_own_ports_folders_and_no_simulator(tmp_path: Path) -> None:
    ours = load_settings(environment=variables(tmp_path))
    others = load_settings(environment={})
    ports = {endpoint.port for endpoint in endpoints(ours)}
    assert len(ports) == 7
    assert not ports & {endpoint.port for endpoint in endpoints(others)}
    assert not ours.simulator.enabled
    assert Path(ours.local.dir) == tmp_path
    assert Path(ours.scoring.checkpoint_dir).parent == tmp_path


def test_a_replay_reads_what_it_publishes_whatever_the_machine_watches(tmp_path: Path) -> None:
    ours = load_settings(environment={**bookings.VARIABLES, **variables(tmp_path)})
    assert is_own(ours.source)


def test_free_ports_are_distinct() -> None:
    assert len(set(free_ports(20))) == 20


def test_a_missing_file_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="no such file"):
        replay(tmp_path / "missing.parquet", "max", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("cql_type", "value", "expected"),
    [
        ("text", "x", "x"),
        ("bigint", None, None),
        ("date", Date(dt.date(2025, 1, 2)), dt.date(2025, 1, 2)),
        (
            "timestamp",
            dt.datetime(2025, 1, 2, 3),
            dt.datetime(2025, 1, 2, 3, tzinfo=dt.UTC),
        ),
        (
            "frozen<map<text, double>>",
            OrderedMapSerializedKey(None, 4),
            [],
        ),
        ("frozen<map<int, bigint>>", {0: 5, 1: 7}, [(0, 5), (1, 7)]),
        ("frozen<list<text>>", ["x", "y"], ["x", "y"]),
        ("frozen<set<int>>", SortedSet([7, 5]), [5, 7]),
    ],
)
def test_values_of_a_table_are_kept(cql_type: str, value: object, expected: object) -> None:
    (kept,) = pa.array([_plain(value)], arrow_type(cql_type)).to_pylist()
    assert kept == expected
