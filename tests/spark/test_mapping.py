"""Records of somebody else's schema: Spark makes the same transactions of them as Python."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import io
import json
import struct
from typing import Any

import fastavro
import pytest
from pyspark.sql import SparkSession

from detection.decode import SourceError, decode
from pipeline.records import FIELDS, MAGIC_BYTE, Transaction
from pipeline.source import plain_times
from tests.support.bookings import BOOKING_JSON, BOOKINGS, bookings
from tests.support.kafka import OWN, decoded

ARRIVAL = dt.datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=dt.UTC)
ARRIVAL_MS = round(ARRIVAL.timestamp() * 1000)
KAFKA_COLUMNS = "value binary, partition int, offset long, timestamp timestamp"
EDGES = (0, -1, 1_999, 1_772_366_400, 2**62, -(2**62), 2**63 - 1, -(2**63))
TEXTS = (
    "2026-03-01T12:00:00Z",
    "2026-03-01T12:00:00",
    "2026-03-01T12:00:00.1",
    "2026-03-01T12:00:00.1239999+02:00",
    "2026-03-01T12:00:00.123456789-00:00",
    "1969-12-31T23:59:59.9999Z",
    "9999-12-31T23:59:59-14:00",
    "1000-01-01T00:00:00+14:00",
    "2024-02-29T00:00:00Z",
    "2026-02-29T00:00:00Z",
    "2026-02-30T12:00:00Z",
    "2026-13-01T12:00:00Z",
    "2026-03-00T12:00:00Z",
    "2026-03-01T24:00:00Z",
    "2026-03-01T12:00:60Z",
    "2026-03-01T12:00:00+15:00",
    "2026-03-01T12:00:00Z\n",
    " 2026-03-01T12:00:00Z",
    "2026-03-01 12:00:00Z",
    "2026-03-01T12:00Z",
    "2026-03-01",
    "20260301T120000Z",
    "2026",
    "",
)


def mapped(
    spark: SparkSession, values: list[bytes | None], schemas: dict[int, str], source: Any
) -> list[Transaction | None]:
    rows = [
        (None if value is None else bytearray(value), 0, offset, ARRIVAL)
        for offset, value in enumerate(values)
    ]
    records = decode(spark.createDataFrame(rows, KAFKA_COLUMNS), schemas, source)
    found = sorted(records.collect(), key=lambda row: row.position)
    return [
        None if row.transaction_id is None else {name: row[name] for name in FIELDS}  # type: ignore[misc]
        for row in found
    ]


def test_every_booking_becomes_the_same_transaction(spark: SparkSession) -> None:
    source, schemas = bookings().source, {7: BOOKING_JSON}
    values = [case.value(7, ARRIVAL_MS) for case in BOOKINGS]
    found = dict(
        zip([case.name for case in BOOKINGS], mapped(spark, values, schemas, source), strict=True)
    )
    expected = {case.name: decoded(case.value(7, ARRIVAL_MS), schemas, source) for case in BOOKINGS}
    assert found == expected
    good = found["good"]
    assert good is not None
    assert good["transaction_amount"] == 42.5
    assert good["transaction_timestamp"] == ARRIVAL_MS
    assert (good["transaction_type"], good["transaction_status"]) == ("transfer", "completed")


@pytest.mark.parametrize(
    ("time_type", "time_format", "moments"),
    [
        ("long", "epoch_s", EDGES),
        (["null", "long"], "epoch_s", (None, 5)),
        ("long", "epoch_ms", EDGES),
        ("int", "epoch_s", (0, -1, 1_772_366_400)),
        ({"type": "long", "logicalType": "timestamp-millis"}, "epoch_ms", EDGES),
        ({"type": "long", "logicalType": "timestamp-micros"}, "epoch_us", EDGES),
        ("string", "iso_8601", TEXTS),
    ],
)
def test_moments_are_read_alike(
    spark: SparkSession, time_type: Any, time_format: str, moments: tuple[Any, ...]
) -> None:
    fields = {"transaction_timestamp": time_type}
    source = dataclasses.replace(OWN, topic="other", time_format=time_format)
    schema, values = other_records(fields, [{"transaction_timestamp": item} for item in moments])
    found = mapped(spark, values, {9: schema}, source)
    expected = [decoded(value, {9: schema}, source) for value in values]
    limit_ms = (2**63 - 1) // 1000 * 1000
    for item in expected:
        if item is not None and time_format == "epoch_s":  # Python's numbers have no end
            at = item["transaction_timestamp"]
            item["transaction_timestamp"] = max(-limit_ms, min(limit_ms, at))
    assert found == expected


@pytest.mark.parametrize(
    ("amount_type", "amounts"),
    [
        ("int", (1, 29, -5)),
        ("long", (29, 10**14 + 1, 2**63 - 1)),
        ("float", (0.1, float("nan"), float("inf"))),
        ("double", (0.29, 1e308, -0.0)),
        (
            {"type": "bytes", "logicalType": "decimal", "precision": 18, "scale": 4},
            (decimal.Decimal("0.2900"), decimal.Decimal("12345678901234.5678")),
        ),
    ],
)
def test_amounts_are_equal_to_the_last_bit(
    spark: SparkSession, amount_type: Any, amounts: tuple[Any, ...]
) -> None:
    fields = {"transaction_amount": amount_type, "sender_account": "long"}
    source = dataclasses.replace(OWN, topic="other", amount_divisor=100)
    schema, values = other_records(
        fields, [{"transaction_amount": item, "sender_account": 4711} for item in amounts]
    )
    found = mapped(spark, values, {9: schema}, source)
    expected = [decoded(value, {9: schema}, source) for value in values]
    # As text, as NaN is not equal to itself; the shortest text of a double is its own.
    assert [str(item and sorted(item.items())) for item in found] == [
        str(item and sorted(item.items())) for item in expected
    ]


def test_a_version_that_lacks_a_field_is_undecodable_beside_those_that_have_it(
    spark: SparkSession,
) -> None:
    source = bookings().source
    older = json.loads(BOOKING_JSON)
    older["fields"] = [field for field in older["fields"] if field["name"] != "channel"]
    values = [BOOKINGS[0].value(7, ARRIVAL_MS), BOOKINGS[0].value(5, ARRIVAL_MS)]
    found = mapped(spark, values, {5: json.dumps(older), 7: BOOKING_JSON}, source)
    assert [item is not None for item in found] == [True, False]


def test_a_mapping_that_fits_no_version_is_named(spark: SparkSession) -> None:
    source = bookings(FRAUD__SOURCE__MAPPING__SENDER_ACCOUNT="debtor.bban").source
    with pytest.raises(SourceError, match=r"sender_account: 'debtor.bban'.*known are iban, name"):
        mapped(spark, [None], {7: BOOKING_JSON}, source)


def test_a_record_is_decoded_once(spark: SparkSession) -> None:
    records = spark.createDataFrame([], KAFKA_COLUMNS)
    plan = decode(records, {7: BOOKING_JSON}, bookings().source)._jdf.queryExecution()  # type: ignore[operator]
    assert plan.optimizedPlan().toString().count("from_avro") == 1


def other_records(
    fields: dict[str, Any], records: list[dict[str, Any]]
) -> tuple[str, list[bytes | None]]:
    """Return a schema with our names and other types, and records of it under the id 9."""
    types = {"transaction_timestamp": "long", "transaction_amount": "double", **fields}
    schema = json.dumps(
        {
            "type": "record",
            "name": "Other",
            "fields": [{"name": name, "type": types.get(name, "string")} for name in FIELDS],
        }
    )
    common: dict[str, Any] = {name: f"some {name}" for name in FIELDS} | {
        "transaction_timestamp": 1,
        "transaction_amount": 1.5,
    }
    # Times as the plain numbers that they are: fastavro would want dates.
    parsed = fastavro.parse_schema(json.loads(plain_times(schema)))
    values: list[bytes | None] = []
    for record in records:
        body = io.BytesIO()
        fastavro.schemaless_writer(body, parsed, common | record)
        values.append(struct.pack(">bI", MAGIC_BYTE, 9) + body.getvalue())
    return schema, values
