"""Kafka records → transactions: strips the Confluent header and decodes Avro."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.avro.functions import from_avro

from pipeline.records import FIELDS, MAGIC_BYTE, SCHEMA_JSON, WIRE_HEADER_BYTES

POSITION_PARTITIONS = 1024
"""A position packs a record's place in Kafka into one long: offset * 1024 + partition."""

DECODED_COLUMNS = ("position", "kafka_timestamp", *FIELDS)


def decode(records: DataFrame, schemas: Mapping[int, str]) -> DataFrame:
    """Return one row a Kafka record; the transaction's fields are null when it is undecodable.

    ``records`` has the columns of Spark's Kafka source; ``schemas`` maps each schema id that the
    registry knows for the topic to its Avro schema (JSON). Adds ``position``, a unique and
    growing long within each partition. Bytes after a complete Avro body are ignored, as the
    Confluent converter does.
    """
    transaction = F.coalesce(
        *(_decoded_with(schema_id, schema) for schema_id, schema in sorted(schemas.items()))
    )
    position = F.col("offset") * POSITION_PARTITIONS + F.col("partition")
    return (
        records.withColumn("transaction", transaction)
        .withColumn("position", position)
        .withColumnRenamed("timestamp", "kafka_timestamp")
        .select("position", "kafka_timestamp", *(f"transaction.{name}" for name in FIELDS))
    )


def unpack_position(position: int) -> tuple[int, int]:
    """Return (partition, offset) of a packed position."""
    offset, partition = divmod(position, POSITION_PARTITIONS)
    return partition, offset


def _decoded_with(schema_id: int, schema: str) -> Column:
    """Return the decoded struct of the records that carry ``schema_id``, null for the others."""
    header = bytearray(struct.pack(">bI", MAGIC_BYTE, schema_id))
    body = F.expr(f"substring(value, {WIRE_HEADER_BYTES + 1})")
    options = {"mode": "PERMISSIVE", "avroSchema": _reader_schema()}
    has_header = F.substring("value", 1, WIRE_HEADER_BYTES) == F.lit(header)
    return F.when(has_header, from_avro(body, schema, options))


def _reader_schema() -> str:
    """Return schema.avsc with plain longs.

    As a timestamp, a hostile value such as the largest long would overflow inside the decoder
    and look undecodable; as a long it reaches the rules and is rejected as what it is.
    """
    schema: dict[str, Any] = json.loads(SCHEMA_JSON)
    for field in schema["fields"]:
        if isinstance(field["type"], dict):
            field["type"] = field["type"]["type"]
    return json.dumps(schema)
