"""The record rules in Python, on the corpus that Spark and Connect get too."""

from __future__ import annotations

import pytest

from pipeline.records import REASONS, SCHEMA_JSON, dead_letter_reason, encode, is_late, rejection
from tests.support.corpus import CORPUS, VALID, Case, transaction
from tests.support.kafka import decoded

ARRIVAL_MS = 1_772_366_400_000


@pytest.mark.parametrize("case", CORPUS, ids=lambda case: case.name)
def test_the_corpus_gets_its_verdicts(case: Case) -> None:
    verdict = rejection(decoded(case.value(7, ARRIVAL_MS), {7: SCHEMA_JSON}), ARRIVAL_MS)
    assert (verdict or VALID) == case.verdict


def test_the_first_broken_rule_gives_the_reason() -> None:
    record = transaction("x", ARRIVAL_MS, transaction_id="", transaction_amount=-1.0)
    assert rejection(record, ARRIVAL_MS) == "invalid_transaction_id"


def test_encode_writes_the_confluent_header() -> None:
    assert encode(transaction("x", ARRIVAL_MS), 258)[:5] == b"\x00\x00\x00\x01\x02"


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
