"""The CQL against the schema, and the driver's outages; without a database."""

from __future__ import annotations

import re
import socket
import time

import pytest

from dashboard import repository
from dashboard.repository import CassandraRepository, Unavailable
from pipeline.settings import PROJECT_ROOT, load_settings
from tests.web import memory

SCHEMA = (PROJECT_ROOT / "cassandra" / "schema.cql").read_text(encoding="utf-8")


def columns(table: str) -> set[str]:
    match = re.search(rf"CREATE TABLE IF NOT EXISTS fraud\.{table} \((.*?)\n\)", SCHEMA, re.DOTALL)
    assert match is not None, f"the schema has no table {table}"
    lines = (line.split() for line in match.group(1).splitlines() if line.strip())
    return {line[0] for line in lines if line[0] != "PRIMARY"}


@pytest.mark.parametrize("name", repository._STATEMENTS)
def test_statements_name_only_columns_of_the_schema(name: str) -> None:
    cql = repository._STATEMENTS[name]
    match = re.fullmatch(
        r"SELECT (\*|[\w, ]+) FROM (\w+)(?: WHERE (.*?))?(?: ORDER BY (\w+) DESC)?(?: LIMIT \?)?",
        cql,
    )
    assert match is not None, f"not a read of the expected form: {cql}"
    selected, table, conditions, order = match.groups()
    named = re.findall(r"(\w+) [=<>] \?", conditions or "")
    named += [] if selected == "*" else selected.split(", ")
    named += [order] if order else []
    assert set(named) <= columns(table)
    assert "ALLOW FILTERING" not in cql


def test_only_small_tables_are_read_without_a_limit() -> None:
    unlimited = {name for name, cql in repository._STATEMENTS.items() if "LIMIT" not in cql}
    assert unlimited == {"statuses", "metrics", "alert", "transaction"}


def test_rows_used_in_tests_have_the_columns_of_the_schema() -> None:
    assert set(memory.alert_row()) == columns("fraud_alerts")
    assert columns("fraud_alerts") == columns("fraud_alerts_by_account")
    assert set(memory.metrics_row(memory.NOW)) == columns("metrics")
    assert set(memory.quality_row()) == columns("detection_quality")
    assert set(memory.status_row("kafka")) == columns("pipeline_status")
    assert set(memory.batch_row()) == columns("batches")
    assert set(memory.shadow_alert_row()) == columns("shadow_alerts")
    assert set(memory.label_row(memory.NOW, "ACC-1")) <= columns("fraud_labels")


def test_reads_fail_fast_while_nothing_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = str(unused.getsockname()[1])
    config = load_settings(environment={"FRAUD__CASSANDRA__PORT": port}).cassandra
    reader = CassandraRepository(config, query_timeout_s=1.0)
    for bound_s in (1.5, 0.2):  # the first may wait for the connection, later ones must not
        started = time.monotonic()
        with pytest.raises(Unavailable, match="Cassandra"):
            reader.statuses()
        assert time.monotonic() - started < bound_s
