"""Old and new readers read old and new records: schema.avsc against each version before it.

A changed schema.avsc is a new file ``schemas/history/<n>.avsc``; the others are never touched,
because records of them lie in Kafka.
"""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Callable
from typing import Any

import fastavro
import pytest
from fastavro.read import SchemaResolutionError
from fastavro.utils import generate_many

from pipeline.records import SCHEMA_JSON
from tests.support.schemas import history, later

Schema = dict[str, Any]
SAMPLES = 20
"""Records drawn of each writer: enough to meet both branches of an optional field."""


def misfit(writer: Schema, reader: Schema) -> str | None:
    """Return why some record of ``writer`` cannot be read as ``reader``, or None."""
    wrote, reads = (fastavro.parse_schema(copy.deepcopy(schema)) for schema in (writer, reader))
    for record in generate_many(wrote, SAMPLES):
        body = io.BytesIO()
        fastavro.schemaless_writer(body, wrote, record)
        body.seek(0)
        try:
            fastavro.schemaless_reader(body, wrote, reads)
        except SchemaResolutionError as error:
            return str(error)
    return None


def incompatibility(new: Schema, versions: list[Schema]) -> str | None:
    """Return why ``new`` cannot follow ``versions``, or None if it is FULL_TRANSITIVE.

    That every field keeps its type is more than Avro demands: for Avro, seconds and milliseconds
    are the same long, and bytes can be read as a text.
    """
    types = {field["name"]: field["type"] for field in new["fields"]}
    for old in versions:
        if (problem := misfit(old, new) or misfit(new, old)) is not None:
            return problem
        for field in old["fields"]:
            if types[field["name"]] != field["type"]:
                return f"Changed type of field {field['name']}"
    return None


def test_the_newest_version_of_the_history_is_the_schema() -> None:
    assert history()[-1] == json.loads(SCHEMA_JSON)


def test_the_schema_is_compatible_with_its_history() -> None:
    assert incompatibility(json.loads(SCHEMA_JSON), history()) is None


def test_a_later_version_with_optional_fields_is_compatible() -> None:
    assert later() != json.loads(SCHEMA_JSON)
    assert incompatibility(later(), history()) is None


def field(schema: Schema, name: str) -> Schema:
    found: Schema = next(item for item in schema["fields"] if item["name"] == name)
    return found


def channel(**attributes: Any) -> Callable[[Schema], None]:
    """Return the change that adds a field."""
    return lambda schema: schema["fields"].append({"name": "channel", **attributes})


def changed(of: str, **attributes: Any) -> Callable[[Schema], None]:
    """Return the change of a field's attributes."""
    return lambda schema: field(schema, of).update(attributes)


MICROS = {"type": "long", "logicalType": "timestamp-micros"}
STATUS = {"type": "enum", "name": "Status", "symbols": ["completed", "failed"]}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (channel(type="string"), "No default value for field channel"),
        (channel(type=["null", "string"]), "No default value for field channel"),
        (lambda schema: schema["fields"].pop(), "No default value for field transaction_status"),
        (changed("sender_account", name="payer"), "No default value for field payer"),
        (
            changed("sender_account", name="payer", aliases=["sender_account"]),
            "No default value for field sender_account",
        ),
        (changed("transaction_amount", type="string"), "Schema mismatch: double is not string"),
        (changed("transaction_amount", type="float"), "Schema mismatch: double is not float"),
        (changed("transaction_amount", type="long"), "Schema mismatch: double is not long"),
        (changed("transaction_timestamp", type="int"), "is not int"),
        (changed("transaction_id", type=["null", "string"]), "not found in string"),
        (changed("transaction_status", type=STATUS), "Schema mismatch: string is not"),
        (changed("transaction_timestamp", type="long"), "Changed type of field transaction_time"),
        (changed("transaction_timestamp", type=MICROS), "Changed type of field transaction_time"),
        (lambda schema: schema.update(name="Payment"), "Schema mismatch"),
    ],
    ids=[
        "required", "optional-without-default", "removed", "renamed", "renamed-with-alias",
        "text-of-number", "float-of-double", "long-of-double", "int-of-long", "nullable", "enum",
        "without-unit", "other-unit", "renamed-record",
    ],
)  # fmt: skip
def test_an_incompatible_schema_is_refused(change: Callable[[Schema], object], reason: str) -> None:
    new = json.loads(SCHEMA_JSON)
    change(new)
    assert reason in (incompatibility(new, history()) or "")


def test_a_schema_must_suit_every_version_and_not_only_the_newest() -> None:
    """Between the first and the third version a field changes its type, never from one to the
    next: it is away in between."""
    first, third = copy.deepcopy(later()), copy.deepcopy(later())
    field(first, "attempts")["type"] = {"type": "int", "logicalType": "date"}
    (second,) = history()
    assert incompatibility(third, [second]) is None
    assert incompatibility(third, [first, second]) == "Changed type of field attempts"
