"""Names that more than one service relies on: topics, tables, components."""

from __future__ import annotations

from typing import Final

TRANSACTIONS_TOPIC: Final = "transactions"
"""What the simulator writes. Readers take the topic that ``source.topic`` names."""
GROUND_TRUTH_TOPIC: Final = "ground_truth"
DEAD_LETTER_TOPIC: Final = "transactions.dlq"
REINJECTED_TOPIC: Final = "transactions.dlq.reinjected"
"""Which dead letters were published again."""
ALERTS_TOPIC: Final = "fraud.alerts"


def value_subject(topic: str) -> str:
    """Return the registry's subject of a topic's values: Confluent's default naming."""
    return f"{topic}-value"


TRANSACTIONS_SUBJECT: Final = value_subject(TRANSACTIONS_TOPIC)

KEYSPACE: Final = "fraud"

SINK_CONNECTOR: Final = "cassandra-sink"
SINK_CONSUMER_GROUP: Final = f"connect-{SINK_CONNECTOR}"
"""Kafka Connect names the consumer group of a sink after its connector."""

PRODUCER: Final = "producer"
KAFKA: Final = "kafka"
REGISTRY: Final = "registry"
CONNECT: Final = "connect"
DETECTION: Final = "detection"
QUALITY: Final = "quality"
WATCHER: Final = "watcher"
COMPONENTS: Final = (PRODUCER, KAFKA, REGISTRY, CONNECT, DETECTION, QUALITY, WATCHER)
"""Keys of the table ``pipeline_status``, in the order in which a transaction meets them."""
