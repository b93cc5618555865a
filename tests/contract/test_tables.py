"""Code and cassandra/schema.cql name the same columns."""

from __future__ import annotations

import json

import pytest

from detection.alerts import ALERT_COLUMNS
from detection.sinks import BATCH_COLUMNS, SHADOW_ALERT_COLUMNS
from launcher.recount import arrow_type
from pipeline.records import FIELDS, REASONS
from pipeline.settings import PROJECT_ROOT
from quality.store import LABEL_COLUMNS, QUALITY_COLUMNS
from tests.support.cql import SCHEMA_CQL, table_columns

TABLES = table_columns()


@pytest.mark.parametrize("table", ["fraud_alerts", "fraud_alerts_by_account"])
def test_alert_tables_have_exactly_the_alert_columns(table: str) -> None:
    assert set(TABLES[table]) == set(ALERT_COLUMNS)


def test_batches_has_exactly_the_batch_columns() -> None:
    assert list(TABLES["batches"]) == list(BATCH_COLUMNS)


def test_shadow_alerts_have_exactly_their_columns_and_each_is_one_of_an_alert() -> None:
    assert list(TABLES["shadow_alerts"]) == list(SHADOW_ALERT_COLUMNS)
    assert set(SHADOW_ALERT_COLUMNS) <= set(ALERT_COLUMNS)


def test_quality_tables_have_exactly_the_columns_of_the_quality_service() -> None:
    assert list(TABLES["fraud_labels"]) == list(LABEL_COLUMNS)
    assert list(TABLES["detection_quality"]) == list(QUALITY_COLUMNS)


def test_metrics_has_a_column_for_each_reason() -> None:
    columns = [name for name in TABLES["metrics"] if name.startswith("rejected_")]
    assert columns == [f"rejected_{reason}" for reason in REASONS]


@pytest.mark.parametrize(
    "table", ["transactions", "transactions_by_account", "transactions_by_receiver"]
)
def test_the_connector_fills_every_column_of_the_raw_tables(table: str) -> None:
    config = json.loads((PROJECT_ROOT / "connectors" / "cassandra-sink.json").read_text())
    mapping = config["config"][f"table.{table}.mapping"]
    mapped = [pair.partition("=")[0].strip() for pair in mapping.split(",")]
    assert set(mapped) == set(TABLES[table])
    assert set(FIELDS) <= set(mapped)


@pytest.mark.parametrize("table", TABLES)
def test_every_table_can_be_copied_to_a_file(table: str) -> None:
    kinds = [arrow_type(cql_type) for cql_type in TABLES[table].values()]
    assert len(kinds) == len(TABLES[table])


def test_every_table_expires() -> None:
    text = SCHEMA_CQL.read_text()
    lasting = {"pipeline_status"}  # one row a component, for ever the same few
    assert text.count("default_time_to_live") == len(TABLES.keys() - lasting)
