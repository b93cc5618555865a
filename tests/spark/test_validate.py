"""Spark's verdicts: the shared corpus, and the same rules in plain Python."""

from __future__ import annotations

import datetime as dt
import io
import json
import struct

import fastavro
import pytest
from pyspark.sql import SparkSession

from detection.decode import DECODED_COLUMNS, decode, unpack_position
from detection.validate import VALIDATED_COLUMNS, VERDICTS, validate
from pipeline.records import SCHEMA_JSON, encode, is_late, rejection
from pipeline.settings import SourceConfig
from tests.support.bookings import BOOKING_JSON, BOOKINGS, bookings
from tests.support.corpus import CORPUS, VALID, Case, transaction
from tests.support.kafka import OWN

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
    decoded = decode(spark.createDataFrame(rows, KAFKA_COLUMNS), {SCHEMA_ID: schema}, source)
    assert tuple(decoded.columns) == DECODED_COLUMNS
    validated = validate(decoded, allowed_lateness_s=60)
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


def test_records_of_a_newer_schema_are_decoded_with_their_own(spark: SparkSession) -> None:
    newer = json.loads(SCHEMA_JSON)
    newer["fields"].insert(1, {"name": "channel", "type": ["null", "string"], "default": None})
    record = transaction("newer", ARRIVAL_MS) | {"channel": "app"}
    body = io.BytesIO()
    fastavro.schemaless_writer(body, fastavro.parse_schema(newer), record)
    values = [struct.pack(">bI", 0, 9) + body.getvalue()]
    rows = [(bytearray(value), 0, 0, ARRIVAL) for value in values]
    schemas = {SCHEMA_ID: SCHEMA_JSON, 9: json.dumps(newer)}
    row = decode(spark.createDataFrame(rows, KAFKA_COLUMNS), schemas, OWN).first()
    assert row is not None
    assert row.receiver_account == "corpus-receiver"
    assert row.transaction_amount == 42.5
