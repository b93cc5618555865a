"""The Kafka topics with their settings; automatic creation is off on the broker."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from confluent_kafka import KafkaException
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from pipeline import names
from pipeline.errors import PipelineError
from pipeline.records import FUTURE_TOLERANCE_MS
from pipeline.settings import Settings
from pipeline.source import is_own
from registration.waiting import REQUEST_TIMEOUT_S, wait_until

_DAY_MS = 86_400_000
_ALERTS_DAYS = 7
"""Also of the labels: like the raw transactions, they serve whoever was away for a few days."""
_REINJECTED_EXTRA_DAYS = 30
"""Who knows a letter as published again must outlive it. Kafka removes whole segments, each up to
7 days after the time of its oldest record is over."""

DEAD_LETTER_MAX_BYTES = 2 * 2**20
"""Kafka's own limit is 1 MiB. A dead letter is the record and, in its headers, why it was rejected:
of the largest records it would else be refused, which fails the sink's task again and again."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Topic:
    """A topic as it should be; ``config`` holds the settings that differ from the broker's."""

    name: str
    partitions: int
    config: Mapping[str, str]


def wanted_topics(settings: Settings) -> list[Topic]:
    """Return every topic that is ours to make: a source's of somebody else is not among them."""
    kafka = settings.kafka
    # An acknowledgement then stands for two copies where there are three, and for one of one.
    common = {"min.insync.replicas": str(max(1, kafka.replication_factor - 1))}
    bytes_per_partition = int(kafka.transactions_retention_gib * 2**30 / kafka.partitions)
    transactions = {
        "retention.ms": str(kafka.transactions_retention_days * _DAY_MS),
        "retention.bytes": str(bytes_per_partition),
        # Arrival is the record's timestamp: a producer must not be able to forge a far future.
        "message.timestamp.after.max.ms": str(FUTURE_TOLERANCE_MS),
    }
    short = {"retention.ms": str(_ALERTS_DAYS * _DAY_MS)}
    letter_days = kafka.dead_letter_retention_days
    dead_letters = {
        "retention.ms": str(letter_days * _DAY_MS),
        "max.message.bytes": str(DEAD_LETTER_MAX_BYTES),
    }
    reinjected = {"retention.ms": str((letter_days + _REINJECTED_EXTRA_DAYS) * _DAY_MS)}
    own = [Topic(names.TRANSACTIONS_TOPIC, kafka.partitions, common | transactions)]
    return [
        *(own if is_own(settings.source) else []),
        Topic(names.GROUND_TRUTH_TOPIC, 1, common | short),
        Topic(names.DEAD_LETTER_TOPIC, 1, common | dead_letters),
        Topic(names.REINJECTED_TOPIC, 1, common | reinjected),
        Topic(names.ALERTS_TOPIC, 1, common | short),
    ]


def create_topics(settings: Settings) -> None:
    """Wait for the broker, create the topics that are missing and align the settings of the others.

    A topic that is not ours is waited for and left as it is. Raises ``PipelineError`` if it or the
    broker does not come, or a topic has another number of partitions than wanted: adding some
    would move keys, so that is a person's decision.
    """
    kafka = settings.kafka
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers, "log_level": 0})
    wait_until(lambda: _broker_missing(admin, kafka.bootstrap_servers))
    try:
        partitions = {
            name: len(topic.partitions)
            for name, topic in admin.list_topics(timeout=REQUEST_TIMEOUT_S).topics.items()
        }
        for topic in wanted_topics(settings):
            if topic.name not in partitions:
                _create(admin, topic, kafka.replication_factor)
            elif partitions[topic.name] != topic.partitions:
                raise PipelineError(
                    f"topic {topic.name} has {partitions[topic.name]} partitions, but"
                    f" {topic.partitions} are wanted: set kafka.partitions back, or remove the"
                    " topic and everything that was computed from it"
                )
            else:
                _align(admin, topic)
        wait_until(lambda: _topic_missing(admin, settings.source.topic))
    except KafkaException as error:
        raise PipelineError(f"Kafka refuses the topics: {error.args[0].str()}") from error


def _broker_missing(admin: AdminClient, servers: str) -> str | None:
    try:
        admin.list_topics(timeout=REQUEST_TIMEOUT_S)
    except KafkaException as error:
        return f"Kafka does not answer at {servers} ({error.args[0].str()})"
    return None


def _topic_missing(admin: AdminClient, topic: str) -> str | None:
    if topic in admin.list_topics(timeout=REQUEST_TIMEOUT_S).topics:
        return None
    return f"topic {topic} (source.topic) does not exist"


def _create(admin: AdminClient, topic: Topic, replication_factor: int) -> None:
    new = NewTopic(
        topic.name,
        num_partitions=topic.partitions,
        replication_factor=replication_factor,
        config=dict(topic.config),
    )
    for created in admin.create_topics([new], request_timeout=REQUEST_TIMEOUT_S * 2).values():
        created.result()
    logger.info("topic %s created with %d partitions", topic.name, topic.partitions)


def _align(admin: AdminClient, topic: Topic) -> None:
    resource = ConfigResource(ResourceType.TOPIC, topic.name)
    described = admin.describe_configs([resource], request_timeout=REQUEST_TIMEOUT_S)
    current = next(iter(described.values())).result()
    changes = {key: value for key, value in topic.config.items() if current[key].value != value}
    if not changes:
        return
    entries = [
        ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
        for key, value in changes.items()
    ]
    altered = admin.incremental_alter_configs(
        [ConfigResource(ResourceType.TOPIC, topic.name, incremental_configs=entries)],
        request_timeout=REQUEST_TIMEOUT_S,
    )
    for change in altered.values():
        change.result()
    logger.info("topic %s: settings changed to %s", topic.name, changes)
