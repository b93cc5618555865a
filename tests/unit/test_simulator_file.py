"""Labelled files: written deterministically, read back as they were, refused with a reason."""

from __future__ import annotations

import itertools
from pathlib import Path

import pyarrow.csv
import pyarrow.parquet
import pytest

from pipeline.errors import PipelineError
from simulator.__main__ import main
from simulator.labelled_file import SCHEMA, read_labelled_file, write_labelled_file
from simulator.stream import LabelledTransaction, history, live
from simulator.world import make_world

START_MS = 1_735_689_600_000


@pytest.fixture(scope="module")
def rows() -> list[LabelledTransaction]:
    world = make_world(3, 50, 5)
    live_rows = itertools.islice(live(world, START_MS, 20.0, 0.1), 500)
    return [*history(world, START_MS), *live_rows]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_file_is_read_back_as_it_was_written(
    tmp_path: Path, rows: list[LabelledTransaction], suffix: str
) -> None:
    path = tmp_path / f"labelled.{suffix}"
    assert write_labelled_file(path, rows) == len(rows)
    assert list(read_labelled_file(path)) == rows


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_export_writes_the_same_bytes_for_the_same_seed(tmp_path: Path, suffix: str) -> None:
    paths = [tmp_path / f"{name}.{suffix}" for name in ("one", "two")]
    for path in paths:
        options = ["--seed", "7", "--minutes", "1", "--accounts", "50", "--rate", "10"]
        assert main(["export", "--out", str(path), *options]) == 0
    assert paths[0].read_bytes() == paths[1].read_bytes()
    rows = list(read_labelled_file(paths[0]))
    times_ms = [row.transaction["transaction_timestamp"] for row in rows]
    assert times_ms == sorted(times_ms)
    assert [row.is_history for row in rows] == sorted(
        (row.is_history for row in rows), reverse=True
    )
    assert START_MS + 50_000 < times_ms[-1] < START_MS + 60_000


def test_parquet_has_the_columns_of_the_contract(
    tmp_path: Path, rows: list[LabelledTransaction]
) -> None:
    path = tmp_path / "labelled.parquet"
    write_labelled_file(path, rows)
    assert pyarrow.parquet.read_schema(path).equals(SCHEMA)


def test_optional_columns_may_be_missing(tmp_path: Path, rows: list[LabelledTransaction]) -> None:
    path = tmp_path / "labelled.parquet"
    write_labelled_file(path, rows)
    table = pyarrow.parquet.read_table(path).drop_columns(["pattern", "incident_id", "history"])
    pyarrow.parquet.write_table(table, path)
    read = list(read_labelled_file(path))
    assert [row.transaction for row in read] == [row.transaction for row in rows]
    assert [row.is_fraud for row in read] == [row.is_fraud for row in rows]
    assert not any(row.is_history or row.pattern or row.incident_id for row in read)


def test_a_missing_column_is_named(tmp_path: Path, rows: list[LabelledTransaction]) -> None:
    path = tmp_path / "labelled.csv"
    write_labelled_file(path, rows)
    table = pyarrow.csv.read_csv(path).drop_columns(["is_fraud"])
    pyarrow.csv.write_csv(table, path)
    with pytest.raises(PipelineError, match="lacks is_fraud"):
        list(read_labelled_file(path))


def test_an_empty_required_value_is_refused(
    tmp_path: Path, rows: list[LabelledTransaction]
) -> None:
    path = tmp_path / "labelled.csv"
    write_labelled_file(path, rows)
    account = rows[0].transaction["sender_account"]
    path.write_text(path.read_text().replace(f'"{account}"', ""))
    with pytest.raises(PipelineError, match=r"sender_account.* must not be null"):
        list(read_labelled_file(path))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("missing.csv", None),
        ("broken.parquet", "not parquet"),
        ("broken.csv", "transaction_timestamp\nyesterday\n"),
        ("labelled.txt", ""),
    ],
)
def test_an_unusable_file_is_one_error_that_names_it(
    tmp_path: Path, name: str, content: str | None
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    with pytest.raises(PipelineError, match=name):
        list(read_labelled_file(path))
