"""The record rules in Python, on the corpus that Spark and Connect get too."""

from __future__ import annotations

import io
import json
from typing import Any

import fastavro
import pytest

from pipeline.records import REASONS, SCHEMA_JSON, dead_letter_reason, encode, is_late, rejection
from tests.support.bookings import BOOKING_JSON, BOOKINGS, bookings
from tests.support.corpus import CORPUS, VALID, Case, transaction
from tests.support.kafka import decoded

ARRIVAL_MS = 1_772_366_400_000


@pytest.mark.parametrize("case", CORPUS, ids=lambda case: case.name)
def test_the_corpus_gets_its_verdicts(case: Case) -> None:
    verdict = rejection(decoded(case.value(7, ARRIVAL_MS), {7: SCHEMA_JSON}), ARRIVAL_MS)
    assert (verdict or VALID) == case.verdict


@pytest.mark.parametrize("case", BOOKINGS, ids=lambda case: case.name)
def test_mapped_records_of_somebody_else_get_their_verdicts(case: Case) -> None:
    record = decoded(case.value(7, ARRIVAL_MS), {7: BOOKING_JSON}, bookings().source)
    assert (rejection(record, ARRIVAL_MS) or VALID) == case.verdict


def test_the_first_broken_rule_gives_the_reason() -> None:
    record = transaction("x", ARRIVAL_MS, transaction_id="", transaction_amount=-1.0)
    assert rejection(record, ARRIVAL_MS) == "invalid_transaction_id"


def test_encode_writes_the_confluent_header() -> None:
    assert encode(transaction("x", ARRIVAL_MS), 258)[:5] == b"\x00\x00\x00\x01\x02"


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"transaction_timestamp": 0, "transaction_amount": 5},
        {"transaction_timestamp": -1, "transaction_amount": float("nan")},
        {"transaction_timestamp": 63, "transaction_amount": float("-inf")},
        {"transaction_timestamp": 64, "transaction_amount": -0.0},
        {"transaction_timestamp": 2**63 - 1, "sender_account": ""},
        {"transaction_timestamp": -(2**63), "sender_account": "x" * 63},
        {"sender_account": "x" * 64, "receiver_account": "x" * 65},
        {"sender_account": "zażółć 💶", "receiver_account": "x" * 100_000},
        {"transaction_type": "\0", "transaction_status": "ü" * 8192},
    ],
)
def test_encode_writes_the_same_bytes_as_fastavro(values: dict[str, Any]) -> None:
    record = transaction("x", ARRIVAL_MS, **values)
    body = io.BytesIO()
    fastavro.schemaless_writer(body, fastavro.parse_schema(json.loads(SCHEMA_JSON)), record)
    assert encode(record, 7)[5:] == body.getvalue()


@pytest.mark.parametrize(
    "values",
    [
        {"transaction_timestamp": 2**63},
        {"transaction_timestamp": -(2**63) - 1},
        {"transaction_timestamp": None},
        {"transaction_timestamp": 1.5},
        {"transaction_amount": "1"},
        {"transaction_amount": None},
        {"sender_account": None},
        {"sender_account": b"bytes"},
        {"receiver_account": "\ud800"},
    ],
)
def test_encode_refuses_what_does_not_fit_the_schema(values: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError)):
        encode(transaction("x", ARRIVAL_MS, **values), 7)


def test_lateness_counts_from_arrival() -> None:
    assert not is_late(ARRIVAL_MS - 60_000, ARRIVAL_MS, 60)
    assert is_late(ARRIVAL_MS - 60_001, ARRIVAL_MS, 60)


@pytest.mark.parametrize("reason", REASONS)
def test_dead_letters_of_our_sink_carry_their_reason(reason: str) -> None:
    headers = {
        "__connect.errors.stage": b"TASK_PUT",
        "__connect.errors.exception.message": f"{reason}: detail: more".encode(),
    }
    assert dead_letter_reason(headers) == reason


def test_what_the_converter_refuses_is_undecodable() -> None:
    headers = {
        "__connect.errors.stage": b"VALUE_CONVERTER",
        "__connect.errors.exception.message": b"Converting byte[] to Kafka Connect data failed",
    }
    assert dead_letter_reason(headers) == "undecodable"
