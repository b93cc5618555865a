"""What the proof reads from Kafka: every record of the topic, and every dead letter."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from detection.decode import POSITION_PARTITIONS, decode
from detection.registry import fetch_schemas
from detection.validate import LATE, SCORED, VERDICTS, validate
from pipeline import names
from pipeline.records import dead_letter_reason
from pipeline.settings import Settings
from verification.timeline import Timeline

REQUEST_TIMEOUT_S: Final = 30.0
VALID: Final = (VERDICTS.index(SCORED), VERDICTS.index(LATE))
"""Codes of the verdicts of what is stored."""


@dataclass(frozen=True)
class Range:
    """{partition: offset} of the first record that a topic holds, and after the last."""

    starts: Mapping[int, int]
    ends: Mapping[int, int]

    @property
    def is_cut(self) -> bool:
        """Tell whether retention or a purge has removed records."""
        return any(self.starts.values())


class Offsets:
    """Asks the broker for offsets."""

    def __init__(self, bootstrap_servers: str) -> None:
        self._admin = AdminClient({"bootstrap.servers": bootstrap_servers})

    def of(self, topic: str) -> Range:
        """Return the range of a topic's offsets."""
        partitions = self._admin.list_topics(topic, REQUEST_TIMEOUT_S).topics[topic].partitions
        starts, ends = (
            self._admin.list_offsets(
                {TopicPartition(topic, partition): spec for partition in partitions}
            )
            for spec in (OffsetSpec.earliest(), OffsetSpec.latest())
        )
        return Range(
            {
                at.partition: future.result(REQUEST_TIMEOUT_S).offset
                for at, future in starts.items()
            },
            {at.partition: future.result(REQUEST_TIMEOUT_S).offset for at, future in ends.items()},
        )

    def stored(self, topic: str) -> dict[int, int]:
        """Return {partition: offset after the last that the sink has stored}."""
        group = ConsumerGroupTopicPartitions(names.SINK_CONSUMER_GROUP)
        futures = self._admin.list_consumer_group_offsets([group])
        offsets = next(iter(futures.values())).result(REQUEST_TIMEOUT_S)
        return {
            at.partition: at.offset
            for at in offsets.topic_partitions or []
            if at.topic == topic and at.offset >= 0
        }


def _results(futures: Mapping[TopicPartition, Any]) -> dict[int, int]:
    return {at.partition: future.result(REQUEST_TIMEOUT_S).offset for at, future in futures.items()}


def read_records(
    spark: SparkSession, settings: Settings, extent: Range, timelines: Sequence[Timeline]
) -> DataFrame:
    """Return every record within ``extent`` with its verdict.

    The columns of ``validate``, and ``kafka_partition``, ``kafka_offset``, ``identity`` (as the
    stream has it; null unless valid). A record is decoded with the schemas that were known when it
    was first scored: what was undecodable then stays so.
    """
    source = settings.source
    schemas = fetch_schemas(settings.registry.url, source.topic)
    raw = _read(spark, settings, source.topic, extent)
    is_decoded = F.lit(False)
    parts = []
    for schema_ids, ends in (span for timeline in timelines for span in timeline.schemas):
        known = {id_: schemas[id_] for id_ in schema_ids if id_ in schemas}
        if known.keys() != schemas.keys() and known:
            is_here = ~is_decoded & below(ends, "partition", "offset")
            parts.append(decode(raw.where(is_here), known, source))
            is_decoded |= is_here
    parts.append(decode(raw.where(~is_decoded), schemas, source))
    decoded = functools.reduce(DataFrame.unionAll, parts)
    is_valid = F.col("verdict").isin(*VALID)
    return (
        validate(decoded, settings.scoring.allowed_lateness_s)
        .withColumn("kafka_partition", (F.col("position") % POSITION_PARTITIONS).cast("int"))
        .withColumn("kafka_offset", F.floor(F.col("position") / POSITION_PARTITIONS))
        .withColumn("identity", F.when(is_valid, F.xxhash64("transaction_id")))
    )


def below(
    offsets: Mapping[int, int], partition: str = "kafka_partition", offset: str = "kafka_offset"
) -> Column:
    """Tell whether a record lies before the offset of its partition."""
    is_below = F.lit(False)
    for number, end in offsets.items():
        is_below |= (F.col(partition) == number) & (F.col(offset) < end)
    return is_below


def read_values(
    spark: SparkSession, settings: Settings, extent: Range, places: DataFrame
) -> DataFrame:
    """Return ``kafka_partition``, ``kafka_offset`` and ``value_hash`` of the records at ``places``
    (the same two columns)."""
    values = _read(spark, settings, settings.source.topic, extent).select(
        F.col("partition").alias("kafka_partition"),
        F.col("offset").alias("kafka_offset"),
        F.xxhash64("value").alias("value_hash"),
    )
    return values.join(F.broadcast(places), ["kafka_partition", "kafka_offset"])


def read_dead_letters(spark: SparkSession, settings: Settings, extent: Range) -> DataFrame:
    """Return the origin of each dead letter: ``kafka_partition``, ``kafka_offset``, ``reason``,
    ``value_hash``. Of a letter that Connect has not written the first two are -1."""
    letters = _read(spark, settings, names.DEAD_LETTER_TOPIC, extent, includeHeaders="true")
    return letters.select("headers", F.xxhash64("value").alias("value_hash")).mapInPandas(
        _origins, "kafka_partition int, kafka_offset long, reason string, value_hash long"
    )


def _origins(parts: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    for part in parts:
        headers = [
            {header["key"]: bytes(header["value"] or b"") for header in all_headers}
            for all_headers in part["headers"]
        ]
        yield pd.DataFrame(
            {
                "kafka_partition": [int(of.get(f"{_ERRORS}.partition", -1)) for of in headers],
                "kafka_offset": [int(of.get(f"{_ERRORS}.offset", -1)) for of in headers],
                "reason": [dead_letter_reason(of) for of in headers],
                "value_hash": part["value_hash"],
            }
        )


_ERRORS: Final = "__connect.errors"


def _read(
    spark: SparkSession, settings: Settings, topic: str, extent: Range, **options: str
) -> DataFrame:
    reader = spark.read.format("kafka").option(
        "kafka.bootstrap.servers", settings.kafka.bootstrap_servers
    )
    for name, offsets in (("startingOffsets", extent.starts), ("endingOffsets", extent.ends)):
        reader = reader.option(name, json.dumps({topic: dict(offsets)}))
    return reader.options(subscribe=topic, **options).load()
