"""The transaction record: its Avro contract, wire format and the record rules.

The rules decide about every Kafka record: scored, late, or rejected with a reason. The same
verdicts come from the Connect sink (Java, which gets the constants below in its configuration)
and from Spark (``detection.validate``); the tests play one corpus through all three.
No rule reads the wall clock: *arrival* is the timestamp of the Kafka record.
"""

from __future__ import annotations

import io
import math
import re
import struct
from pathlib import Path
from typing import Any, Final, TypedDict

TRANSACTION_TYPES: Final = ("transfer", "payment", "deposit", "purchase", "donation")
TRANSACTION_STATUSES: Final = ("completed", "failed")

MAX_ID_BYTES: Final = 64
"""Longest transaction id or account, in bytes of UTF-8; an IBAN has 34, a UUID 36."""
CONTROL_CHARACTERS: Final = r"[\x00-\x1f\x7f-\x9f]"
"""What no transaction id or account holds: such a letter breaks lines of logs and addresses of
pages, and two ids that differ in it look the same. Java and Python read the pattern alike."""
MAX_AMOUNT: Final = 1e12
"""Above it doubles lose cents, and sums of hostile values like 1e308 would overflow."""
FUTURE_TOLERANCE_MS: Final = 10_000
"""How far a transaction may lie after its arrival: clocks of the sources differ by seconds."""
MAX_AGE_MS: Final = 40 * 86_400_000
"""How far a transaction may lie before its arrival: more than the longest view holds (28 d)."""
DUPLICATE_WINDOW_MS: Final = 120_000
"""The same id within this time of arrival counts once; also the delay of Spark's watermark."""

REASONS: Final = (
    "undecodable",
    "invalid_transaction_id",
    "invalid_account",
    "same_account",
    "invalid_amount",
    "unknown_type",
    "unknown_status",
    "future",
    "too_old",
)
"""Why a record is rejected, in the order of the rules: the first that fails gives the reason."""

MAGIC_BYTE: Final = 0
_HEADER: Final = struct.Struct(">bI")
WIRE_HEADER_BYTES: Final = _HEADER.size
LONGEST_NUMBER: Final = 10
"""Bytes of a number: a long has so many groups of seven bits."""
_DOUBLE: Final = struct.Struct("<d")

SCHEMA_JSON: Final = (Path(__file__).resolve().parents[2] / "schema.avsc").read_text("utf-8")


class AvroBody(io.BytesIO):
    """The bytes of an Avro record for fastavro to read; ``ValueError`` at a number that is longer
    than ``LONGEST_NUMBER``. Avro's Java reader refuses such a number, fastavro would read on."""

    _continued = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        # fastavro reads a number byte by byte, and nothing else that has the highest bit.
        self._continued = self._continued + 1 if size == 1 and data >= b"\x80" else 0
        if self._continued == LONGEST_NUMBER:
            raise ValueError(f"a number of more than {LONGEST_NUMBER} bytes")
        return data


class Transaction(TypedDict):
    """One transaction as it travels; ``transaction_timestamp`` in milliseconds UTC."""

    transaction_id: str
    transaction_timestamp: int
    transaction_amount: float
    sender_account: str
    receiver_account: str
    transaction_type: str
    transaction_status: str


FIELDS: Final = tuple(Transaction.__annotations__)


def encode(transaction: Transaction, schema_id: int) -> bytes:
    """Return the Confluent wire format: 0x00, the 4-byte schema id, the Avro body.

    The body is that of ``fastavro.schemaless_writer`` with ``schema.avsc``, in half the time: the
    producer's throughput hangs on it. Raises ``ValueError`` or ``TypeError`` when a value does
    not fit the schema.
    """
    try:
        amount = _DOUBLE.pack(transaction["transaction_amount"])
    except struct.error as error:
        raise TypeError(f"transaction_amount: {error}") from error
    return b"".join(
        (
            _HEADER.pack(MAGIC_BYTE, schema_id),
            _avro_text(transaction["transaction_id"]),
            _avro_long(transaction["transaction_timestamp"]),
            amount,
            _avro_text(transaction["sender_account"]),
            _avro_text(transaction["receiver_account"]),
            _avro_text(transaction["transaction_type"]),
            _avro_text(transaction["transaction_status"]),
        )
    )


def _avro_long(value: int) -> bytes:
    """Return the zigzag code of a long in groups of seven bits, the lowest first."""
    if not -(2**63) <= value < 2**63:
        raise ValueError(f"{value} does not fit a long")
    rest = (value << 1) ^ (value >> 63)
    code = bytearray()
    while rest > 0x7F:
        code.append(rest & 0x7F | 0x80)
        rest >>= 7
    code.append(rest)
    return bytes(code)


def _avro_text(text: str) -> bytes:
    encoded = str.encode(text)  # unbound: a TypeError for anything but a text
    length = len(encoded)
    return (_SHORT[length] if length < len(_SHORT) else _avro_long(length)) + encoded


_SHORT: Final = tuple(map(_avro_long, range(MAX_ID_BYTES + 1)))
"""The code of each length that a valid text has."""


def rejection(transaction: Transaction | None, arrival_ms: int) -> str | None:
    """Return the reason of ``REASONS`` for which a record is rejected, or None if it is valid.

    ``transaction`` is None when the bytes could not be decoded; ``arrival_ms`` is the timestamp
    of the Kafka record.
    """
    if transaction is None:
        return "undecodable"
    timestamp_ms = transaction["transaction_timestamp"]
    amount = transaction["transaction_amount"]
    sender, receiver = transaction["sender_account"], transaction["receiver_account"]
    broken = (
        False,
        not _is_id(transaction["transaction_id"]),
        not (_is_id(sender) and _is_id(receiver)),
        sender == receiver,
        not (math.isfinite(amount) and 0 < amount <= MAX_AMOUNT),
        transaction["transaction_type"] not in TRANSACTION_TYPES,
        transaction["transaction_status"] not in TRANSACTION_STATUSES,
        timestamp_ms > arrival_ms + FUTURE_TOLERANCE_MS,
        timestamp_ms < arrival_ms - MAX_AGE_MS,
    )
    verdicts = zip(REASONS, broken, strict=True)
    return next((reason for reason, is_broken in verdicts if is_broken), None)


def is_late(transaction_timestamp_ms: int, arrival_ms: int, allowed_lateness_s: int) -> bool:
    """Tell whether a valid transaction came too late to be scored (it still enters the profile)."""
    return arrival_ms - transaction_timestamp_ms > allowed_lateness_s * 1000


def _is_id(text: str) -> bool:
    size = len(text.encode("utf-8", "surrogatepass"))
    return 0 < size <= MAX_ID_BYTES and not re.search(CONTROL_CHARACTERS, text)


def dead_letter_reason(headers: dict[str, Any]) -> str:
    """Return the reason of ``REASONS`` of a record of the dead-letter topic.

    ``headers`` are its Kafka headers (bytes). Connect itself reports what its converter cannot
    read; every other rejection is reported by our sink with the reason before the first colon.
    """
    stage = headers.get("__connect.errors.stage") or b""
    if stage == b"VALUE_CONVERTER":
        return "undecodable"
    message = headers.get("__connect.errors.exception.message") or b""
    return str(message, "utf-8", "replace").partition(":")[0]
