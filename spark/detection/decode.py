"""Kafka records → transactions: strips the Confluent header, decodes Avro, maps foreign records."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import cast

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.avro.functions import from_avro
from pyspark.sql.types import StructType

from detection.mapping import transaction
from pipeline.errors import PipelineError
from pipeline.records import FIELDS, MAGIC_BYTE, SCHEMA_JSON, WIRE_HEADER_BYTES
from pipeline.settings import SourceConfig
from pipeline.source import is_own, plain_times, problem

POSITION_PARTITIONS = 1024
"""A position packs a record's place in Kafka into one long: offset * 1024 + partition."""

DECODED_COLUMNS = ("position", "kafka_timestamp", *FIELDS)


class SourceError(PipelineError):
    """The mapping of the settings fits no schema of the topic."""


def decode(records: DataFrame, schemas: Mapping[int, str], source: SourceConfig) -> DataFrame:
    """Return one row a Kafka record; the transaction's fields are null when it is undecodable.

    ``records`` has the columns of Spark's Kafka source; ``schemas`` maps each schema id that the
    registry knows for the topic to its Avro schema (JSON). Adds ``position``, a unique and
    growing long within each partition. Bytes after a complete Avro body are ignored, as the
    Confluent converter does. Raises ``SourceError`` if no schema fits the mapping of ``source``.
    """
    position = F.col("offset") * POSITION_PARTITIONS + F.col("partition")
    located = records.withColumn("position", position).withColumnRenamed(
        "timestamp", "kafka_timestamp"
    )
    is_plain = is_own(source) and all(map(_has_our_texts_only, schemas.values()))
    decoded = _decode_own(located, schemas) if is_plain else _map(located, schemas, source)
    fields = [f"transaction.{name}" for name in FIELDS]
    return decoded.select("position", "kafka_timestamp", *fields)


def unpack_position(position: int) -> tuple[int, int]:
    """Return (partition, offset) of a packed position."""
    offset, partition = divmod(position, POSITION_PARTITIONS)
    return partition, offset


def _has_our_texts_only(schema: str) -> bool:
    """Tell whether what a version of schema.avsc has beyond ours can hold no text. Spark does not
    decode such a field; only a text can be malformed, which makes the record undecodable."""
    others = [field for field in json.loads(schema)["fields"] if field["name"] not in FIELDS]
    return not any(kind in json.dumps(others) for kind in ("string", "record"))


def _decode_own(records: DataFrame, schemas: Mapping[int, str]) -> DataFrame:
    """Add ``transaction``: records of any version of schema.avsc, read as its present one."""
    reader = plain_times(SCHEMA_JSON)
    found = [_decoded_with(id_, schemas[id_], reader) for id_ in sorted(schemas)]
    return records.withColumn("transaction", F.coalesce(*found))


def _map(records: DataFrame, schemas: Mapping[int, str], source: SourceConfig) -> DataFrame:
    """Add ``transaction``: records of somebody else's schemas, mapped to ours."""
    problems = {id_: problem(schemas[id_], source) for id_ in sorted(schemas)}
    fitting = [id_ for id_, mismatch in problems.items() if mismatch is None]
    if not fitting:
        raise SourceError(problems[max(problems)])
    # In a column of their own first: Spark would else decode a record once for each field.
    originals = records.select(
        "position",
        "kafka_timestamp",
        *(
            _decoded_with(id_, schemas[id_], plain_times(schemas[id_])).alias(f"record_{id_}")
            for id_ in fitting
        ),
    )
    found = []
    for id_ in fitting:
        schema = originals.schema[f"record_{id_}"].dataType
        found.append(transaction(f"record_{id_}", cast(StructType, schema), source))
    return originals.withColumn("transaction", F.coalesce(*found))


def _decoded_with(schema_id: int, schema: str, reader_schema: str) -> Column:
    """Return the decoded struct of the records that carry ``schema_id``, null for the others."""
    header = bytearray(struct.pack(">bI", MAGIC_BYTE, schema_id))
    body = F.expr(f"substring(value, {WIRE_HEADER_BYTES + 1})")
    options = {"mode": "PERMISSIVE", "avroSchema": reader_schema}
    has_header = F.substring("value", 1, WIRE_HEADER_BYTES) == F.lit(header)
    return F.when(has_header, from_avro(body, schema, options))
