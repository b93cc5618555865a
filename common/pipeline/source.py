"""The source of the transactions: how a record of its topic becomes one of ours.

Three programs map: the Connect sink (Java, ``SourceMapping``), Spark (``detection.mapping``), and
this module for whoever reads single records; the tests play one corpus through all of them. The
record rules then judge what comes out. A record that lacks a field, or has one of another type
than the settings say, is no transaction: ``undecodable``.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import re
from collections.abc import Mapping
from typing import Any, Final

import fastavro
from fastavro.schema import SchemaParseException, expand_schema

from pipeline.names import TRANSACTIONS_TOPIC
from pipeline.records import Transaction
from pipeline.settings import SourceConfig

ISO_8601: Final = (
    r"[1-9][0-9]{3}-[0-9]{2}-[0-9]{2}T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?"
    r"(Z|[+-](0[0-9]|1[0-4]):[0-5][0-9])?"
)
"""What is read as a time: the part of ISO 8601 on which Java, Spark and Python agree."""

OWN: Final[Mapping[str, Any]] = {
    "topic": TRANSACTIONS_TOPIC,
    "time_format": "epoch_ms",
    "amount_divisor": 1,
    "type_values": "",
    "status_values": "",
}
"""The settings of our own topic, which also maps each field to itself. The defaults are missing:
nothing of ``schema.avsc`` can be null."""

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MILLISECOND: Final = dt.timedelta(milliseconds=1)
_FORMAT_OF_TIMESTAMP: Final = {"timestamp-millis": "epoch_ms", "timestamp-micros": "epoch_us"}
_INTEGERS: Final = ("int", "long")
_OPTIONAL: Final = ("transaction_type", "transaction_status")


def is_own(source: SourceConfig) -> bool:
    """Tell whether the source is our own topic: records of ``schema.avsc``, ours to manage."""
    values = dataclasses.asdict(source)
    is_identity = all(path == name for name, path in values.pop("mapping").items())
    return is_identity and OWN.items() <= values.items()


def value_pairs(text: str) -> dict[str, str]:
    """Return {their value: ours} of ``source.type_values`` or ``source.status_values``."""
    pairs = [pair.partition("=") for pair in text.split(",")] if text else []
    return {theirs.strip(): ours.strip() for theirs, _, ours in pairs}


def plain_times(schema: str) -> str:
    """Return an Avro schema (JSON) without logical types but decimals: times are plain longs.

    As a timestamp, a hostile value such as the largest long would overflow inside a decoder and
    look undecodable; as a long it reaches the rules and is rejected as what it is.
    """

    def plain(node: dict[str, Any]) -> dict[str, Any]:
        is_kept = node.get("logicalType") == "decimal"
        return {key: value for key, value in node.items() if is_kept or key != "logicalType"}

    return json.dumps(json.loads(schema, object_hook=plain))


def problem(schema: str, source: SourceConfig) -> str | None:
    """Return why no record of an Avro schema (JSON) can be mapped, in one line, or None."""
    try:
        record = expand_schema(fastavro.parse_schema(json.loads(schema)))
    except (ValueError, LookupError, SchemaParseException):
        return f"the registry's schema of {source.topic} is not Avro"
    for name, path in dataclasses.asdict(source.mapping).items():
        if not path and name in _OPTIONAL:
            continue
        setting = f"source.mapping.{name}: {path!r} is not allowed;"
        node = record
        for step in path.split("."):
            fields = {field["name"]: field["type"] for field in _fields(node)}
            if step not in fields:
                known = f"known are {', '.join(fields)}" if fields else "nor any other there"
                return f"{setting} {source.topic} has no field {step!r}, {known}"
            node = _not_null(fields[step])
        if (wanted := _wanted(name, node, source.time_format)) is not None:
            found = f"{_type_name(node)} in {source.topic}"
            return f"{setting} its type is {found}, it must be {wanted}"
    return None


def to_transaction(record: Mapping[str, Any], source: SourceConfig) -> Transaction | None:
    """Map a decoded record of a schema without a ``problem``; None if a required value is null.

    ``record`` was read with ``plain_times``; ``transaction_timestamp`` comes out in ms UTC.
    """
    theirs = {name: _at(record, path) for name, path in dataclasses.asdict(source.mapping).items()}
    timestamp = _milliseconds(theirs["transaction_timestamp"], source.time_format)
    if timestamp is None or any(theirs[name] is None for name in theirs if name not in _OPTIONAL):
        return None
    return Transaction(
        transaction_id=str(theirs["transaction_id"]),
        transaction_timestamp=timestamp,
        transaction_amount=float(theirs["transaction_amount"]) / source.amount_divisor,
        sender_account=str(theirs["sender_account"]),
        receiver_account=str(theirs["receiver_account"]),
        transaction_type=_ours(theirs["transaction_type"], source.type_values, source.default_type),
        transaction_status=_ours(
            theirs["transaction_status"], source.status_values, source.default_status
        ),
    )


def _ours(theirs: Any, pairs: str, default: str) -> str:
    return default if theirs is None else value_pairs(pairs).get(str(theirs), str(theirs))


def _at(record: Mapping[str, Any], path: str) -> Any:
    value: Any = record
    for step in path.split("."):
        value = None if value is None else value.get(step)
    return value


def _milliseconds(value: Any, time_format: str) -> int | None:
    if value is None:
        return None
    match time_format:
        case "epoch_s":
            return int(value) * 1000
        case "epoch_us":
            return int(value) // 1000
        case "iso_8601":
            return _iso_milliseconds(value)
    return int(value)


def _iso_milliseconds(text: str) -> int | None:
    if not re.fullmatch(ISO_8601, text):
        return None
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:  # 30 February
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    return (moment - _EPOCH) // _MILLISECOND


def _fields(node: Any) -> list[dict[str, Any]]:
    return node["fields"] if isinstance(node, dict) and node.get("type") == "record" else []


def _not_null(node: Any) -> Any:
    """Return X of the union of null and X; anything else as it is."""
    if isinstance(node, list):
        others = [branch for branch in node if branch != "null"]
        return others[0] if len(others) == 1 else node
    return node


def _type_name(node: Any) -> str:
    if isinstance(node, list):
        return "a union"
    if isinstance(node, dict):
        return str(node.get("logicalType") or node["type"])
    return str(node)


def _wanted(name: str, node: Any, time_format: str) -> str | None:
    """Return what the type of a field must be if it is something else."""
    kind = node["type"] if isinstance(node, dict) else node
    logical = node.get("logicalType") if isinstance(node, dict) else None
    if name == "transaction_timestamp":
        if time_format == "iso_8601":
            return None if kind == "string" else "string (source.time_format is iso_8601)"
        is_number = kind in _INTEGERS and logical is None
        is_timestamp = _FORMAT_OF_TIMESTAMP.get(str(logical)) == time_format
        wanted = f"a number or timestamp that source.time_format ({time_format}) fits"
        return None if is_number or is_timestamp else wanted
    if name == "transaction_amount":
        is_number = kind in (*_INTEGERS, "float", "double") and logical is None
        return None if is_number or logical == "decimal" else "a number or a decimal"
    is_text = kind in ("string", "enum") or (kind in _INTEGERS and logical is None)
    return None if is_text else "string, enum, int or long"
