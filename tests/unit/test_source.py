"""The mapping of records that are not ours: what fits a schema, and who owns the topic."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from pipeline.records import SCHEMA_JSON
from pipeline.settings import load_settings
from pipeline.source import is_own, plain_times, problem, value_pairs
from tests.support.bookings import BOOKING_JSON, bookings
from tests.support.kafka import OWN


def test_the_source_of_config_yml_is_our_own_topic() -> None:
    assert is_own(OWN)
    assert problem(SCHEMA_JSON, OWN) is None


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("TOPIC", "transactions2"),
        ("MAPPING__SENDER_ACCOUNT", "payer"),
        ("TIME_FORMAT", "epoch_s"),
        ("AMOUNT_DIVISOR", "100"),
        ("TYPE_VALUES", "CARD=purchase"),
    ],
)
def test_any_other_source_is_not_ours(variable: str, value: str) -> None:
    variables = {"FRAUD__SIMULATOR__ENABLED": "false", f"FRAUD__SOURCE__{variable}": value}
    assert not is_own(load_settings(environment=variables).source)


def test_a_schema_that_fits_has_no_problem() -> None:
    assert problem(BOOKING_JSON, bookings().source) is None


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        (
            "MAPPING__TRANSACTION_ID",
            "txn",
            "source.mapping.transaction_id: 'txn' is not allowed; bank.bookings has no field 'txn',"
            " known are remark, txnId, bookedAt,",
        ),
        ("MAPPING__SENDER_ACCOUNT", "creditor.bic", "no field 'bic', known are iban, name"),
        ("MAPPING__SENDER_ACCOUNT", "txnId.iban", "no field 'iban', nor any other there"),
        ("MAPPING__SENDER_ACCOUNT", "debtor", "its type is record in bank.bookings, it must be st"),
        ("MAPPING__TRANSACTION_AMOUNT", "txnId", "its type is string in bank.bookings, it must be"),
        ("MAPPING__TRANSACTION_TIMESTAMP", "valueDate", "it must be string (source.time_format"),
        ("TIME_FORMAT", "epoch_ms", "its type is string in bank.bookings, it must be a number"),
    ],
)
def test_a_mapping_that_does_not_fit_is_one_line(variable: str, value: str, expected: str) -> None:
    source = bookings(**{f"FRAUD__SOURCE__{variable}": value}).source
    message = problem(BOOKING_JSON, source)
    assert message is not None
    assert expected in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("logical_type", "time_format", "fits"),
    [
        ("timestamp-millis", "epoch_ms", True),
        ("timestamp-millis", "epoch_s", False),
        ("timestamp-micros", "epoch_us", True),
        ("timestamp-micros", "epoch_ms", False),
        ("local-timestamp-millis", "epoch_ms", False),
    ],
)
def test_logical_timestamps_must_agree_with_the_format(
    logical_type: str, time_format: str, fits: bool
) -> None:
    schema: dict[str, Any] = json.loads(SCHEMA_JSON)
    schema["fields"][1]["type"]["logicalType"] = logical_type
    source = dataclasses.replace(OWN, time_format=time_format)
    assert (problem(json.dumps(schema), source) is None) is fits


@pytest.mark.parametrize("schema", ["{}", '"nonsense"', 'syntax = "proto3";'])
def test_a_schema_of_another_kind_is_named(schema: str) -> None:
    assert problem(schema, OWN) == "the registry's schema of transactions is not Avro"


def test_plain_times_keep_decimals() -> None:
    schema = {
        "type": "record",
        "fields": [
            {"type": {"type": "long", "logicalType": "timestamp-millis"}},
            {"type": {"type": "bytes", "logicalType": "decimal", "scale": 2}},
        ],
    }
    first, second = json.loads(plain_times(json.dumps(schema)))["fields"]
    assert first == {"type": {"type": "long"}}
    assert second["type"]["logicalType"] == "decimal"


def test_value_pairs_may_have_blanks() -> None:
    assert value_pairs("") == {}
    assert value_pairs("CARD=purchase, WIRE = transfer") == {
        "CARD": "purchase",
        "WIRE": "transfer",
    }
