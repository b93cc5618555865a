"""Reading and writing the topics of a test's own Kafka."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import fastavro
from confluent_kafka import Consumer, Producer, TopicPartition

from pipeline.records import MAGIC_BYTE, WIRE_HEADER_BYTES, AvroBody, Transaction
from pipeline.settings import SourceConfig, load_settings
from pipeline.source import plain_times, to_transaction


@dataclass(frozen=True)
class Record:
    """One Kafka record; ``headers`` as a dictionary of bytes."""

    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: dict[str, bytes]


@functools.cache
def _parsed(schema_json: str) -> Any:
    """Parse a schema with plain longs: fastavro has no dates beyond the year 9999."""
    return fastavro.parse_schema(json.loads(plain_times(schema_json)))


OWN = load_settings(environment={}).source

LARGEST_RECORD = 2**20
"""As far as a broker takes records unless it is told otherwise, about."""


def decoded(
    value: bytes | None, schemas: Mapping[int, str], source: SourceConfig = OWN
) -> Transaction | None:
    """Return the transaction in a record's value, or None if it cannot be decoded or mapped.

    ``schemas`` are the writers' schemas (JSON) by id.
    """
    if not value or len(value) < WIRE_HEADER_BYTES or value[0] != MAGIC_BYTE:
        return None
    writer = schemas.get(int.from_bytes(value[1:WIRE_HEADER_BYTES], "big"))
    if writer is None:
        return None
    body = AvroBody(value[WIRE_HEADER_BYTES:])
    try:
        record: Any = fastavro.schemaless_reader(body, _parsed(writer), None)
        return to_transaction(record, source)
    except (EOFError, UnicodeDecodeError, ValueError, MemoryError, OverflowError, IndexError):
        return None


def end_offsets(servers: str, topic: str) -> dict[int, int]:
    """Return {partition: the offset after its last record}."""
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "tests"})
    try:
        partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        return {
            partition: consumer.get_watermark_offsets(TopicPartition(topic, partition))[1]
            for partition in partitions
        }
    finally:
        consumer.close()


def read_topic(servers: str, topic: str) -> list[Record]:
    """Return all records that the topic holds now, by partition and offset."""
    ends = end_offsets(servers, topic)
    consumer = Consumer(
        {"bootstrap.servers": servers, "group.id": "tests", "enable.auto.commit": False}
    )
    records: list[Record] = []
    try:
        consumer.assign([TopicPartition(topic, partition, 0) for partition in ends])
        while missing := sum(ends.values()) - len(records):
            # It returns when it has that many, or after the whole timeout.
            messages = consumer.consume(min(missing, 10_000), timeout=30)
            assert messages, f"{topic}: {missing} records cannot be read"
            records += [_record(message) for message in messages]
    finally:
        consumer.close()
    return sorted(records, key=lambda record: (record.partition, record.offset))


def publish(servers: str, topic: str, records: list[tuple[bytes, bytes | None, int]]) -> None:
    """Publish (key, value, timestamp in ms) and wait until all are acknowledged."""
    errors: list[Any] = []
    producer = Producer(
        {
            "bootstrap.servers": servers,
            "acks": "all",
            "partitioner": "murmur2_random",
            "message.max.bytes": 2 * LARGEST_RECORD,  # what is too large is the broker's to say
        }
    )
    for key, value, timestamp_ms in records:
        producer.produce(
            topic,
            key=key,
            value=value,
            timestamp=timestamp_ms,
            on_delivery=lambda error, _: errors.append(error) if error else None,
        )
    assert producer.flush(60) == 0
    assert errors == []


def _record(message: Any) -> Record:
    assert message.error() is None, message.error()
    return Record(
        partition=message.partition(),
        offset=message.offset(),
        timestamp_ms=message.timestamp()[1],
        key=message.key(),
        value=message.value(),
        headers=dict(message.headers() or []),
    )
