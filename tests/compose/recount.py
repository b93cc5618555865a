"""Counts the topics from their beginning, without the pipeline's own counters.

Runs inside the network (its text is given to a Python there); prints one JSON object: how many
records were `published`, and how many became `dead_letters`; the `ids` of all transactions, and of
those that the simulator labelled as `frauds`.
"""

from __future__ import annotations

import io
import json

import fastavro
from confluent_kafka import Consumer, TopicPartition

from pipeline.names import DEAD_LETTER_TOPIC, GROUND_TRUTH_TOPIC, TRANSACTIONS_TOPIC
from pipeline.records import SCHEMA_JSON, WIRE_HEADER_BYTES
from pipeline.settings import load_settings


def read(consumer: Consumer, topic: str) -> list[bytes]:
    """Return the values of all records that the topic holds now."""
    partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    ends = {
        partition: consumer.get_watermark_offsets(TopicPartition(topic, partition))[1]
        for partition in partitions
    }
    consumer.assign([TopicPartition(topic, partition, 0) for partition in ends])
    values: list[bytes] = []
    while missing := sum(ends.values()) - len(values):
        # It returns when it has that many, or after the whole timeout.
        messages = consumer.consume(min(missing, 10_000), timeout=30)
        if not messages:
            raise SystemExit(f"{topic}: {missing} records cannot be read")
        values += [message.value() or b"" for message in messages if message.error() is None]
    return values


def main() -> None:
    servers = load_settings().kafka.bootstrap_servers
    consumer = Consumer(
        {"bootstrap.servers": servers, "group.id": "recount", "enable.auto.commit": False}
    )
    values = read(consumer, TRANSACTIONS_TOPIC)
    letters = read(consumer, DEAD_LETTER_TOPIC)
    labels = [json.loads(value) for value in read(consumer, GROUND_TRUTH_TOPIC)]
    consumer.close()
    schema = fastavro.parse_schema(json.loads(SCHEMA_JSON))
    identifiers = {
        fastavro.schemaless_reader(io.BytesIO(value[WIRE_HEADER_BYTES:]), schema)["transaction_id"]
        for value in values
    }
    print(
        json.dumps(
            {
                "published": len(values),
                "dead_letters": len(letters),
                "ids": sorted(identifiers),
                "frauds": [label["transaction_id"] for label in labels if label["is_fraud"]],
            }
        )
    )


main()
