"""The proof on real servers: green after kills and hostile records, red when one row is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.stack.conftest import Played
from tests.support.proof import prove
from verification.tables import utc_ms

Proof = tuple[int, dict[str, Any]]
"""Exit status and ``verify.json``."""


@pytest.fixture(scope="module")
def proof(played: Played, tmp_path_factory: pytest.TempPathFactory) -> Proof:
    return prove(played.pipeline, tmp_path_factory.mktemp("verify"))


def test_no_difference_after_kills_duplicates_and_broken_records(proof: Proof) -> None:
    status, result = proof
    assert result["differences"] == []
    assert (status, result["ok"]) == (0, True)


def test_every_record_is_accounted_for(played: Played, proof: Proof) -> None:
    _, result = proof
    assert result["kafka_records"] == len(played.records)
    assert result["kafka_records"] == result["raw"] + result["dead_letters"] + result["duplicates"]
    assert result["raw"] == result["scored"] + result["late"]
    assert result["dead_letters"] == result["rejected"] > 0
    assert result["pending_storage"] == result["pending_scoring"] == 0
    assert result["alerts"] > 0


KEYS = {
    "transactions": ("transaction_id",),
    "transactions_by_account": (
        "sender_account",
        "day",
        "transaction_timestamp",
        "transaction_id",
    ),
    "fraud_alerts": ("hour", "window_start", "sender_account"),
    "metrics": ("hour", "window_start"),
}
"""{table: its primary key}; one row of each is spoilt by hand."""
CHANGED = {
    "transactions": "transaction_amount",
    "transactions_by_account": "transaction_amount",
    "fraud_alerts": "score",
    "metrics": "total_amount",
}


@pytest.mark.parametrize("kind", ["different", "missing"])
def test_a_row_that_was_changed_or_deleted_is_named(
    played: Played, tmp_path: Path, kind: str
) -> None:
    """A row of each table is changed or deleted, all at once; each comes up under its key."""
    rows = {table: example(played, table) for table in KEYS}
    try:
        for table, row in rows.items():
            if kind == "missing":
                of_key = [getattr(row, name) for name in KEYS[table]]
                where = " AND ".join(f"{name} = %s" for name in KEYS[table])
                played.pipeline.rows(f"DELETE FROM {table} WHERE {where}", *of_key)
            else:
                column = CHANGED[table]
                write(played, table, row._asdict() | {column: getattr(row, column) + 0.01})
        status, result = prove(played.pipeline, tmp_path)
    finally:
        for table, row in rows.items():
            write(played, table, row._asdict())
    assert (status, result["ok"]) == (1, False)
    named = {(found["check"], found["kind"], found["key"]) for found in result["differences"]}
    wanted = {(table, kind, name_of(table, row)) for table, row in rows.items()}
    assert wanted <= named
    # A spoilt alert also differs from its copy and from the metrics of its minute.
    minute = f"window_start={rows['fraud_alerts'].window_start.isoformat()}+00:00"
    assert {
        (check, key) for check, _, key in named - wanted if check != "fraud_alerts_by_account"
    } <= {("metrics", minute)}


def example(played: Played, table: str) -> Any:
    """Return a row to spoil: that of the busiest minute of metrics, any of the others."""
    rows = played.pipeline.rows(f"SELECT * FROM {table}")
    if table == "metrics":
        return max(rows, key=lambda row: row.transaction_count or 0)
    return rows[0]


def name_of(table: str, row: Any) -> str:
    """Return the key as the proof names it."""
    names = [name for name in KEYS[table] if name != "hour"]
    if table == "fraud_alerts":
        names.reverse()
    values = {name: getattr(row, name) for name in names}
    if "window_start" in values:
        values["window_start"] = f"{row.window_start.isoformat()}+00:00"
    if "transaction_timestamp" in values:
        values["transaction_timestamp"] = utc_ms(row.transaction_timestamp)
    return " ".join(f"{name}={value}" for name, value in values.items())


def write(played: Played, table: str, values: dict[str, Any]) -> None:
    marks = ", ".join(["%s"] * len(values))
    query = f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks})"
    played.pipeline.rows(query, *values.values())
