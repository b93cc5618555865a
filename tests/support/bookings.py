"""A topic of somebody else's: bookings of a bank, in a schema that knows nothing of ours."""

from __future__ import annotations

import datetime as dt
import io
import json
import struct
from collections.abc import Callable
from typing import Any

import fastavro

from pipeline.records import MAGIC_BYTE, MAX_AGE_MS
from pipeline.settings import Settings, load_settings
from tests.support.corpus import DAY_MS, UNKNOWN_SCHEMA_ID, VALID, Case

TOPIC = "bank.bookings"

VARIABLES = {
    "FRAUD__SIMULATOR__ENABLED": "false",
    "FRAUD__SOURCE__TOPIC": TOPIC,
    "FRAUD__SOURCE__MAPPING__TRANSACTION_ID": "txnId",
    "FRAUD__SOURCE__MAPPING__TRANSACTION_TIMESTAMP": "bookedAt",
    "FRAUD__SOURCE__MAPPING__TRANSACTION_AMOUNT": "amountMinor",
    "FRAUD__SOURCE__MAPPING__SENDER_ACCOUNT": "debtor.iban",
    "FRAUD__SOURCE__MAPPING__RECEIVER_ACCOUNT": "creditor.iban",
    "FRAUD__SOURCE__MAPPING__TRANSACTION_TYPE": "channel",
    "FRAUD__SOURCE__MAPPING__TRANSACTION_STATUS": "",
    "FRAUD__SOURCE__TIME_FORMAT": "iso_8601",
    "FRAUD__SOURCE__AMOUNT_DIVISOR": "100",
    "FRAUD__SOURCE__TYPE_VALUES": "CARD=purchase, WIRE=transfer",
}

BOOKING: dict[str, Any] = {
    "type": "record",
    "name": "Booking",
    "namespace": "bank",
    "fields": [
        {"name": "remark", "type": ["null", "string"], "default": None},
        {"name": "txnId", "type": "string"},
        {"name": "bookedAt", "type": ["null", "string"]},
        {"name": "valueDate", "type": {"type": "int", "logicalType": "date"}},
        {"name": "amountMinor", "type": "long"},
        {
            "name": "debtor",
            "type": {
                "type": "record",
                "name": "Party",
                "fields": [
                    {"name": "iban", "type": ["null", "string"]},
                    {"name": "name", "type": "string"},
                ],
            },
        },
        {"name": "creditor", "type": ["null", "Party"]},
        {
            "name": "channel",
            "type": [
                "null",
                {"type": "enum", "name": "Channel", "symbols": ["CARD", "WIRE", "CASH"]},
            ],
        },
    ],
}
BOOKING_JSON = json.dumps(BOOKING)
_PARSED = fastavro.parse_schema(BOOKING)


def bookings(**variables: str) -> Settings:
    """Return the settings of a pipeline that reads this topic."""
    return load_settings(environment={**VARIABLES, **variables})


def party(iban: str | None) -> dict[str, Any]:
    """Return one side of a booking."""
    return {"iban": iban, "name": "somebody"}


def booking(name: str, arrival_ms: int, **changes: Any) -> dict[str, Any]:
    """Return a good booking of its own account, with ``changes``."""
    return {
        "remark": "café",
        "txnId": f"{name}-{arrival_ms}",
        "bookedAt": iso(arrival_ms),
        "valueDate": 20_000,
        "amountMinor": 4_250,
        "debtor": party(f"debtor-{name}"),
        "creditor": party("creditor"),
        "channel": "WIRE",
        **changes,
    }


def iso(time_ms: int) -> str:
    """Return a moment as the bank writes it: with the offset of its summer."""
    zone = dt.timezone(dt.timedelta(hours=2))
    return dt.datetime.fromtimestamp(time_ms / 1000, zone).isoformat(timespec="milliseconds")


def encode_booking(record: dict[str, Any], schema_id: int) -> bytes:
    """Return the Confluent wire format of a booking."""
    body = io.BytesIO()
    fastavro.schemaless_writer(body, _PARSED, record)
    return struct.pack(">bI", MAGIC_BYTE, schema_id) + body.getvalue()


def _record(name: str, verdict: str, **changes: Any) -> Case:
    return Case(
        name,
        lambda schema_id, now: encode_booking(booking(name, now, **changes), schema_id),
        verdict,
    )


def _timed(name: str, verdict: str, shift_ms: int) -> Case:
    return Case(
        name,
        lambda schema_id, now: encode_booking(
            booking(name, now, bookedAt=iso(now + shift_ms)), schema_id
        ),
        verdict,
    )


def _bytes(name: str, change: Callable[[bytes], bytes | None]) -> Case:
    return Case(
        name,
        lambda schema_id, now: change(encode_booking(booking(name, now), schema_id)),
        "undecodable",
    )


BOOKINGS = (
    _record("good", VALID),
    _record("one_cent", VALID, amountMinor=1),
    _record("odd_cents", VALID, amountMinor=1_234_567_890_123),
    _record("largest_amount", VALID, amountMinor=10**14),
    _record("purchase", VALID, channel="CARD"),
    _record("without_type", VALID, channel=None),
    _record("without_remark", VALID, remark=None),
    _record("replacement_character", VALID, remark="\ufffd"),
    _timed("clock_ahead_by_8_s", VALID, 8_000),
    _timed("month_old", VALID, -30 * DAY_MS),
    _bytes("null_value", lambda good: None),
    _bytes("truncated_body", lambda good: good[:20]),
    _bytes("unknown_schema", lambda good: struct.pack(">bI", 0, UNKNOWN_SCHEMA_ID) + good[5:]),
    _bytes("malformed_account", lambda good: good.replace(b"creditor", b"cred\xff\xfeor")),
    _bytes("malformed_remark", lambda good: good.replace("café".encode(), b"cafe\xff")),
    _record("without_time", "undecodable", bookedAt=None),
    _record("time_in_words", "undecodable", bookedAt="yesterday"),
    _record("thirtieth_of_february", "undecodable", bookedAt="2026-02-30T12:00:00Z"),
    _record("only_a_date", "undecodable", bookedAt="2026-02-03"),
    _record("without_creditor", "undecodable", creditor=None),
    _record("without_iban", "undecodable", debtor=party(None)),
    _record("empty_id", "invalid_transaction_id", txnId=""),
    _record("empty_iban", "invalid_account", creditor=party("")),
    _record("to_itself", "same_account", debtor=party("me"), creditor=party("me")),
    _record("amount_zero", "invalid_amount", amountMinor=0),
    _record("amount_negative", "invalid_amount", amountMinor=-1),
    _record("amount_above_the_largest", "invalid_amount", amountMinor=10**14 + 100),
    _record("cash", "unknown_type", channel="CASH"),
    _timed("tomorrow", "future", DAY_MS),
    _record("year_9999", "future", bookedAt="9999-12-31T23:59:59.999-14:00"),
    _timed("forty_one_days_old", "too_old", -MAX_AGE_MS - DAY_MS),
    _record("middle_ages", "too_old", bookedAt="1000-01-01T00:00:00"),
)
"""Each booking with the verdict that Connect, Spark and Python must give it."""
