"""Publishing to librdkafka's mock cluster: counts, keys, labels apart, and no silent loss."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator

import pytest
from confluent_kafka import Consumer, Message, Producer, TopicPartition

from pipeline.names import GROUND_TRUTH_TOPIC, PRODUCER, TRANSACTIONS_TOPIC
from pipeline.records import encode
from simulator.progress import Progress
from simulator.publisher import Publisher
from simulator.stream import history, live
from simulator.world import make_world

START_MS = 1_735_689_600_000
SCHEMA_ID = 7


@pytest.fixture
def bootstrap_servers() -> Iterator[str]:
    cluster = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "mock"})
    brokers = cluster.list_topics(timeout=10).brokers.values()
    yield ",".join(f"{broker.host}:{broker.port}" for broker in brokers)
    cluster.flush(1)


def records(bootstrap_servers: str, topic: str, count: int) -> list[Message]:
    consumer = Consumer({"bootstrap.servers": bootstrap_servers, "group.id": "test"})
    partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
    found: list[Message] = []
    while len(found) < count:
        batch = consumer.consume(count - len(found), timeout=10)
        assert batch, f"only {len(found)} of {count} records in {topic}"
        found += batch
    assert not consumer.consume(1, timeout=0.2)
    consumer.close()
    return found


def test_every_transaction_arrives_once_and_its_label_apart(bootstrap_servers: str) -> None:
    world = make_world(1, 20, 5)
    past = list(history(world, START_MS))
    rows = [*past, *itertools.islice(live(world, START_MS, 20.0, 0.1), 1000)]
    publisher = Publisher(bootstrap_servers, SCHEMA_ID, is_stopped=lambda: False)
    for row in rows:
        publisher.publish(row)
    assert publisher.flush(30)
    assert publisher.transactions.acked == len(rows)
    assert publisher.labels.acked == len(rows) - len(past)

    expected = {
        encode(row.transaction, SCHEMA_ID): row.transaction["sender_account"] for row in rows
    }
    sent = records(bootstrap_servers, TRANSACTIONS_TOPIC, len(rows))
    assert {message.value(): message.key().decode() for message in sent} == expected

    labels = records(bootstrap_servers, GROUND_TRUTH_TOPIC, len(rows) - len(past))
    assert {message.key().decode(): json.loads(message.value()) for message in labels} == {
        row.transaction["transaction_id"]: {
            "transaction_id": row.transaction["transaction_id"],
            "is_fraud": row.is_fraud,
            "pattern": row.pattern,
            "incident_id": row.incident_id,
        }
        for row in rows
        if not row.is_history
    }


def test_the_value_is_confluent_avro_without_a_label(bootstrap_servers: str) -> None:
    (row,) = itertools.islice(live(make_world(1, 20, 5), START_MS, 20.0, 0.2), 1)
    publisher = Publisher(bootstrap_servers, SCHEMA_ID, is_stopped=lambda: False)
    publisher.publish(row)
    assert publisher.flush(30)
    (message,) = records(bootstrap_servers, TRANSACTIONS_TOPIC, 1)
    assert message.value()[:5] == b"\x00\x00\x00\x00\x07"
    assert message.headers() is None


def test_a_kafka_timestamp_may_be_given_and_the_label_has_that_of_its_sending(
    bootstrap_servers: str,
) -> None:
    (row,) = itertools.islice(live(make_world(1, 20, 5), START_MS, 20.0, 0.0), 1)
    publisher = Publisher(bootstrap_servers, SCHEMA_ID, is_stopped=lambda: False)
    publisher.publish(row, START_MS)
    assert publisher.flush(30)
    (message,) = records(bootstrap_servers, TRANSACTIONS_TOPIC, 1)
    assert message.timestamp()[1] == START_MS
    (label,) = records(bootstrap_servers, GROUND_TRUTH_TOPIC, 1)
    assert label.timestamp()[1] > START_MS


def test_a_record_that_is_not_acknowledged_is_reported() -> None:
    (row,) = itertools.islice(live(make_world(1, 20, 5), START_MS, 20.0, 0.0), 1)
    publisher = Publisher("127.0.0.1:1", SCHEMA_ID, is_stopped=lambda: False)  # nobody listens
    publisher.publish(row)
    assert not publisher.flush(0.2)
    assert publisher.transactions.under_way == publisher.labels.under_way == 1


def test_a_full_queue_gives_up_only_when_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simulator.publisher.QUEUE_MESSAGES", 1)
    rows = itertools.islice(live(make_world(1, 20, 5), START_MS, 20.0, 0.0), 2)
    waits = itertools.count()
    publisher = Publisher("127.0.0.1:1", SCHEMA_ID, is_stopped=lambda: next(waits) >= 2)
    for row in rows:
        publisher.publish(row)
    assert next(waits) > 2
    assert publisher.transactions.published == 2
    assert publisher.transactions.failed == 1
    assert publisher.labels.failed == 1  # that of the first: the queue held one record
    assert not publisher.flush(0)


def test_the_heartbeat_tells_phase_counts_and_trouble(bootstrap_servers: str) -> None:
    progress = Progress()
    assert progress.snapshot()[PRODUCER].state == "starting"

    progress.publisher = Publisher(bootstrap_servers, SCHEMA_ID, is_stopped=lambda: False)
    progress.phase = "live"
    for row in itertools.islice(live(make_world(1, 20, 5), START_MS, 20.0, 0.0), 10):
        progress.publisher.publish(row)
    progress.publisher.flush(30)
    status = progress.snapshot()[PRODUCER]
    assert status.state == "running"
    assert status.rate is not None
    assert status.rate > 0
    assert status.details["phase"] == "live"
    assert status.details["acked"] == status.details["published"] == "10"

    progress.publisher.transactions.published += 1  # one that nobody acknowledges
    assert progress.snapshot()[PRODUCER].state == "degraded"
    progress.phase = "stopped"
    assert progress.snapshot()[PRODUCER].state == "stopped"
