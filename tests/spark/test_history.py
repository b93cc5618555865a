"""Raw transactions of Cassandra as training data; tests/stack reads a real one."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from cassandra.cluster import NoHostAvailable
from pyspark.sql import SparkSession

from detection import history
from detection.decode import DECODED_COLUMNS, unpack_position
from detection.history import HistoryError, export_transactions, read_transactions
from detection.validate import VERDICTS, validate
from pipeline.settings import load_settings

CONFIG = load_settings(environment={}).cassandra
NOON = dt.datetime(2026, 3, 1, 12)
Row = tuple[Any, ...]


def row(offset: int, late_s: int) -> Row:
    moment = NOON - dt.timedelta(seconds=late_s)
    return (1, offset, NOON, f"id-{offset}", moment, 0.29, "alice", "bob", "payment", "failed")


class FakeResult:
    """The pages of one query, as the driver shows them."""

    def __init__(self, pages: Sequence[list[Row]]) -> None:
        self._pages = list(pages)

    @property
    def current_rows(self) -> list[Row]:
        return self._pages[0]

    @property
    def has_more_pages(self) -> bool:
        return len(self._pages) > 1

    def fetch_next_page(self) -> None:
        self._pages.pop(0)


class FakeCassandra:
    """Cluster and session at once; ``pages`` belong to the first range of tokens that is read."""

    def __init__(self, *pages: list[Row], error: Exception | None = None) -> None:
        self._pages = pages
        self._error = error
        self.ranges: list[tuple[int, int]] = []

    def connect(self, keyspace: str) -> FakeCassandra:
        if self._error:
            raise self._error
        return self

    def prepare(self, query: str) -> str:
        return query

    def execute(self, query: str, values: tuple[int, int]) -> FakeResult:
        self.ranges.append(values)
        return FakeResult(self._pages if len(self.ranges) == 1 else [[]])

    def shutdown(self) -> None:
        pass


def serve(monkeypatch: pytest.MonkeyPatch, cassandra: FakeCassandra) -> FakeCassandra:
    monkeypatch.setattr(history, "cluster", lambda *_: cassandra)
    return cassandra


def test_stored_rows_become_decoded_records_with_their_own_arrival(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    serve(monkeypatch, FakeCassandra([row(1, 0), row(2, 60)], [row(3, 61)]))
    file = tmp_path / "transactions.parquet"
    assert export_transactions(CONFIG, file) == 3
    decoded = read_transactions(spark, file)
    assert tuple(decoded.columns) == DECODED_COLUMNS
    found = {record.position: record for record in validate(decoded, 60).collect()}
    assert {
        unpack_position(position): VERDICTS[record.verdict] for position, record in found.items()
    } == {(1, 1): "scored", (1, 2): "scored", (1, 3): "late"}
    record = min(found.values(), key=lambda item: item.position)
    noon_ms = round(NOON.replace(tzinfo=dt.UTC).timestamp() * 1000)
    assert (record.arrival_ms, record.transaction_timestamp) == (noon_ms, noon_ms)
    assert (record.transaction_amount, record.transaction_status) == (0.29, "failed")


def test_the_ranges_hold_every_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cassandra = serve(monkeypatch, FakeCassandra([row(1, 0)]))
    export_transactions(CONFIG, tmp_path / "transactions.parquet")
    lows, highs = zip(*cassandra.ranges, strict=True)
    # The lowest token is no row's: Cassandra keeps it free.
    assert (lows[0], highs[-1]) == (-(2**63), 2**63 - 1)
    assert lows[1:] == highs[:-1]


def test_an_empty_table_and_an_outage_are_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    serve(monkeypatch, FakeCassandra([]))
    with pytest.raises(HistoryError, match="transactions is empty"):
        export_transactions(CONFIG, tmp_path / "transactions.parquet")
    serve(monkeypatch, FakeCassandra(error=NoHostAvailable("refused", {})))
    with pytest.raises(HistoryError, match=r"127\.0\.0\.1:9042 does not give .*pipeline running"):
        export_transactions(CONFIG, tmp_path / "transactions.parquet")
