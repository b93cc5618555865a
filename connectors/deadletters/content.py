"""The content of a letter: field by field as far as it can be read, and bytes where it cannot."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import fastavro
import requests
from fastavro.schema import SchemaParseException

from pipeline.records import MAGIC_BYTE, WIRE_HEADER_BYTES, AvroBody
from pipeline.source import plain_times

REQUEST_TIMEOUT_S: Final = 5.0

FindSchema = Callable[[int], str]
"""Schema id → Avro schema (JSON); raises ``UnknownSchema``."""

_BAD_BODY: Final = (
    EOFError,
    IndexError,
    KeyError,
    MemoryError,
    OverflowError,
    TypeError,
    ValueError,
)
"""What fastavro was seen to raise for bytes that are no record."""


class UnknownSchema(Exception):
    """There is no such schema to decode with; the message says why."""


@dataclass(frozen=True)
class Content:
    """What could be read of a value.

    ``problem`` says what ended the reading, at the byte ``problem_at`` of the value; None: the
    whole record could be read, ``rest`` bytes follow it.
    """

    schema_id: int | None = None
    schema: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    problem: str | None = None
    problem_at: int = 0
    rest: int = 0


def find_schema(registry_url: str, schema_id: int) -> str:
    """Ask the registry for a schema; raises ``UnknownSchema``."""
    url = f"{registry_url}/schemas/ids/{schema_id}"
    try:
        answer = requests.get(url, timeout=REQUEST_TIMEOUT_S)
        if answer.status_code == requests.codes.not_found:
            raise UnknownSchema(f"the registry has no schema with the id {schema_id}")
        answer.raise_for_status()
        return str(answer.json()["schema"])
    except (requests.RequestException, ValueError, KeyError) as error:
        raise UnknownSchema(f"the registry does not answer at {registry_url}: {error}") from error


def read(value: bytes | None, find: FindSchema) -> Content:
    """Decode the value of a letter as far as it goes."""
    if value is None:
        return Content(problem="there is no value (null)")
    if not value:
        return Content(problem="the value is empty")
    if value[0] != MAGIC_BYTE:
        return Content(problem=f"the first byte is not 0x00 but 0x{value[0]:02x}")
    if len(value) < WIRE_HEADER_BYTES:
        return Content(problem="the value ends within the schema id", problem_at=len(value))
    schema_id = int.from_bytes(value[1:WIRE_HEADER_BYTES], "big")
    try:
        schema = find(schema_id)
        record = json.loads(plain_times(schema))
        if not isinstance(record, dict) or "fields" not in fastavro.parse_schema(record):
            raise UnknownSchema(f"schema {schema_id} is no Avro record")
        return _read_body(value, schema_id, schema, record)
    except UnknownSchema as error:
        return Content(schema_id, problem=str(error), problem_at=1)
    except (SchemaParseException, ValueError) as error:
        return Content(schema_id, problem=f"schema {schema_id} is not Avro: {error}", problem_at=1)


def _read_body(value: bytes, schema_id: int, schema: str, record: dict[str, Any]) -> Content:
    """Read the first field, the first two and so on: what they share may be a type's name."""
    names = [entry["name"] for entry in record["fields"]]
    read: dict[str, Any] = {}
    end = WIRE_HEADER_BYTES
    for count, name in enumerate(names, start=1):
        part = fastavro.parse_schema({**record, "fields": record["fields"][:count]})
        body = AvroBody(value[WIRE_HEADER_BYTES:])
        try:
            decoded: Any = fastavro.schemaless_reader(body, part, None)
        except _BAD_BODY as error:
            cause = f"{type(error).__name__} {error}".strip()
            problem = f"field {name} cannot be read: {cause}"
            return Content(schema_id, schema, read, problem, end)
        read = decoded
        end = WIRE_HEADER_BYTES + body.tell()
    return Content(schema_id, schema, read, rest=len(value) - end)


def hex_dump(value: bytes, at: int) -> list[str]:
    """Return lines of 16 bytes around the byte ``at``, which is marked."""
    first = max(0, at // _ROW * _ROW - _ROWS_BEFORE * _ROW)
    end = min(len(value), first + _ROWS * _ROW)
    lines = []
    for start in range(first, end, _ROW):
        row = value[start : min(start + _ROW, end)]
        text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in row)
        lines.append(f"{start:08x}  {row.hex(' '):<{3 * _ROW - 1}}  {text}")
        if start <= at < start + _ROW:
            lines.append(" " * (10 + 3 * (at - start)) + f"^^ byte {at}")
    if at >= len(value):
        lines.append(f"{'':10}it ends at byte {len(value)}")
    elif end < len(value):
        lines.append(f"{'':10}and {len(value) - end:,} more bytes")
    return lines


_ROW: Final = 16
_ROWS: Final = 16
_ROWS_BEFORE: Final = 4
