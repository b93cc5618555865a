"""Spark's verdicts: the shared corpus, and the same rules in plain Python."""

from __future__ import annotations

import copy
import datetime as dt
import io
import itertools
import json
import struct
from collections.abc import Mapping
from typing import Any

import fastavro
import pytest
from pyspark.sql import SparkSession

from detection.decode import DECODED_COLUMNS, decode, unpack_position
from detection.validate import VALIDATED_COLUMNS, VERDICTS, validate
from pipeline.records import FIELDS, SCHEMA_JSON, encode, is_late, rejection
from pipeline.settings import SourceConfig
from tests.support.bookings import BOOKING_JSON, BOOKINGS, bookings
from tests.support.corpus import CORPUS, VALID, Case, transaction
from tests.support.kafka import OWN, decoded
from tests.support.schemas import later

SCHEMA_ID = 7
ARRIVAL = dt.datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=dt.UTC)
ARRIVAL_MS = round(ARRIVAL.timestamp() * 1000)
KAFKA_COLUMNS = "value binary, partition int, offset long, timestamp timestamp"


def verdicts(
    spark: SparkSession,
    values: list[bytes | None],
    schema: str = SCHEMA_JSON,
    source: SourceConfig = OWN,
) -> list[str]:
    rows = [
        (None if value is None else bytearray(value), 1, offset, ARRIVAL)
        for offset, value in enumerate(values)
    ]
    records = decode(spark.createDataFrame(rows, KAFKA_COLUMNS), {SCHEMA_ID: schema}, source)
    assert tuple(records.columns) == DECODED_COLUMNS
    validated = validate(records, allowed_lateness_s=60)
    assert tuple(validated.columns) == VALIDATED_COLUMNS
    found = {unpack_position(row.position): row.verdict for row in validated.collect()}
    return [VERDICTS[found[1, offset]] for offset in range(len(values))]


@pytest.mark.parametrize(
    ("corpus", "schema", "source"),
    [(CORPUS, SCHEMA_JSON, OWN), (BOOKINGS, BOOKING_JSON, bookings().source)],
    ids=["own", "mapped"],
)
def test_every_case_of_a_corpus_gets_its_verdict(
    spark: SparkSession, corpus: tuple[Case, ...], schema: str, source: SourceConfig
) -> None:
    values = [case.value(SCHEMA_ID, ARRIVAL_MS) for case in corpus]
    found = verdicts(spark, values, schema, source)
    as_valid = [VALID if verdict in ("scored", "late") else verdict for verdict in found]
    assert dict(zip([case.name for case in corpus], as_valid, strict=True)) == {
        case.name: case.verdict for case in corpus
    }


def test_corpus_names_every_reason() -> None:
    assert {case.verdict for case in CORPUS} == {VALID, *VERDICTS[2:]}


@pytest.mark.parametrize(
    ("age_ms", "verdict"),
    [(-10_000, "scored"), (-10_001, "future"), (60_000, "scored"), (60_001, "late")],
)
def test_time_limits_are_exact(spark: SparkSession, age_ms: int, verdict: str) -> None:
    record = transaction("timed", ARRIVAL_MS, transaction_timestamp=ARRIVAL_MS - age_ms)
    assert verdicts(spark, [encode(record, SCHEMA_ID)]) == [verdict]
    in_python = rejection(record, ARRIVAL_MS)
    late = is_late(record["transaction_timestamp"], ARRIVAL_MS, 60)
    assert (in_python or ("late" if late else "scored")) == verdict


def decode_rows(
    spark: SparkSession, values: list[bytes], schemas: dict[int, str]
) -> list[dict[str, Any]]:
    """Return the decoded fields of each value; None everywhere for one that is undecodable."""
    rows = [(bytearray(value), 0, offset, ARRIVAL) for offset, value in enumerate(values)]
    records = decode(spark.createDataFrame(rows, KAFKA_COLUMNS), schemas, OWN)
    found = sorted(records.collect(), key=lambda row: row.position)
    return [{name: row[name] for name in FIELDS} for row in found]


def written(schema: dict[str, Any], schema_id: int, record: Mapping[str, Any]) -> bytes:
    body = io.BytesIO()
    fastavro.schemaless_writer(body, fastavro.parse_schema(copy.deepcopy(schema)), record)
    return struct.pack(">bI", 0, schema_id) + body.getvalue()


def test_records_of_several_schemas_in_one_batch_are_each_decoded_with_their_own(
    spark: SparkSession,
) -> None:
    reordered = json.loads(SCHEMA_JSON)
    reordered["fields"].reverse()
    versions = {SCHEMA_ID: json.loads(SCHEMA_JSON), 9: later(), 12: reordered}
    records = [transaction(f"mixed-{number}", ARRIVAL_MS - number) for number in range(9)]
    extra = [{"channel": "app", "attempts": 3}, {"channel": None}, {}]
    values = [
        written(versions[schema_id], schema_id, record | extra[number % 3])
        for number, (record, schema_id) in enumerate(
            zip(records, itertools.cycle(versions), strict=False)
        )
    ]
    schemas = {schema_id: json.dumps(schema) for schema_id, schema in versions.items()}
    assert decode_rows(spark, values, schemas) == records
    assert [decoded(value, schemas) for value in values] == records


def test_malformed_text_in_a_later_field_makes_a_record_undecodable(spark: SparkSession) -> None:
    record = transaction("later", ARRIVAL_MS) | {"channel": "an app"}
    good = written(later(), 9, record)
    values = [good, good.replace(b"an app", b"an\xffapp"), encode(record, SCHEMA_ID)]
    schemas = {SCHEMA_ID: SCHEMA_JSON, 9: json.dumps(later())}
    ids = [row["transaction_id"] for row in decode_rows(spark, values, schemas)]
    assert ids == [record["transaction_id"], None, record["transaction_id"]]
    assert decoded(values[1], schemas) is None
