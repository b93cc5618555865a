"""Good, hostile and broken records, each with the verdict that everybody must give it."""

from __future__ import annotations

import struct
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pipeline.records import MAX_AGE_MS, MAX_AMOUNT, MAX_ID_BYTES, Transaction, encode

VALID = "valid"
DAY_MS = 86_400_000
UNKNOWN_SCHEMA_ID = 987_654

Value = Callable[[int, int], bytes | None]
"""(schema id, arrival in ms) → the value of a Kafka record."""


@dataclass(frozen=True)
class Case:
    """One record; ``verdict`` is ``VALID`` or a reason of ``pipeline.records.REASONS``."""

    name: str
    value: Value
    verdict: str


def transaction(name: str, arrival_ms: int, **changes: Any) -> Transaction:
    """Return a good transaction of its own account, with ``changes``."""
    good = {
        "transaction_id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{name}-{arrival_ms}")),
        "transaction_timestamp": arrival_ms,
        "transaction_amount": 42.5,
        "sender_account": f"corpus-{name}",
        "receiver_account": "corpus-receiver",
        "transaction_type": "payment",
        "transaction_status": "completed",
    }
    return good | changes  # type: ignore[return-value]


def _record(name: str, verdict: str, **changes: Any) -> Case:
    return Case(
        name, lambda schema_id, now: encode(transaction(name, now, **changes), schema_id), verdict
    )


def _timed(name: str, verdict: str, shift_ms: int) -> Case:
    return Case(
        name,
        lambda schema_id, now: encode(
            transaction(name, now, transaction_timestamp=now + shift_ms), schema_id
        ),
        verdict,
    )


def _bytes(name: str, change: Callable[[bytes], bytes | None]) -> Case:
    return Case(
        name,
        lambda schema_id, now: change(encode(transaction(name, now), schema_id)),
        "undecodable",
    )


CORPUS = (
    _record("good", VALID),
    _record("smallest_amount", VALID, transaction_amount=5e-324),
    _record("largest_amount", VALID, transaction_amount=MAX_AMOUNT),
    _record("longest_ids", VALID, transaction_id="i" * MAX_ID_BYTES, receiver_account="é" * 32),
    _record("script_as_account", VALID, receiver_account="<script>alert(1)</script>"),
    _record("failed_donation", VALID, transaction_type="donation", transaction_status="failed"),
    _timed("clock_ahead_by_8_s", VALID, 8_000),
    _timed("month_old", VALID, -30 * DAY_MS),
    Case(
        "trailing_bytes",
        lambda schema_id, now: encode(transaction("trailing_bytes", now), schema_id) + b"rest",
        VALID,
    ),
    _bytes("null_value", lambda good: None),
    _bytes("empty_value", lambda good: b""),
    _bytes("text", lambda good: b"hello, this is not Avro"),
    _bytes("json", lambda good: b'{"transaction_id": "1"}'),
    _bytes("wrong_magic_byte", lambda good: b"\x01" + good[1:]),
    _bytes("header_only", lambda good: good[:5]),
    _bytes("unknown_schema", lambda good: struct.pack(">bI", 0, UNKNOWN_SCHEMA_ID) + good[5:]),
    _bytes("truncated_body", lambda good: good[:20]),
    _bytes("huge_length", lambda good: good[:5] + b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f"),
    _bytes(
        "malformed_utf8", lambda good: good.replace(b"corpus-receiver", b"corpus-\xff\xfeceive")
    ),
    _record("empty_id", "invalid_transaction_id", transaction_id=""),
    _record("long_id", "invalid_transaction_id", transaction_id="i" * (MAX_ID_BYTES + 1)),
    _record("empty_sender", "invalid_account", sender_account=""),
    _record("long_receiver", "invalid_account", receiver_account="é" * 33),
    _record("to_itself", "same_account", sender_account="me", receiver_account="me"),
    _record("amount_nan", "invalid_amount", transaction_amount=float("nan")),
    _record("amount_infinite", "invalid_amount", transaction_amount=float("inf")),
    _record("amount_zero", "invalid_amount", transaction_amount=0.0),
    _record("amount_negative", "invalid_amount", transaction_amount=-1.0),
    _record("amount_overflow", "invalid_amount", transaction_amount=1e308),
    _record("unknown_type", "unknown_type", transaction_type="refund"),
    _record("type_in_capitals", "unknown_type", transaction_type="PAYMENT"),
    _record("unknown_status", "unknown_status", transaction_status=""),
    _timed("tomorrow", "future", DAY_MS),
    _record("year_292278994", "future", transaction_timestamp=2**63 - 1),
    _timed("forty_one_days_old", "too_old", -MAX_AGE_MS - DAY_MS),
    _record("epoch", "too_old", transaction_timestamp=0),
    _record("before_christ", "too_old", transaction_timestamp=-(2**62)),
)
