"""Reading labels from librdkafka's mock cluster: frauds only, in order, each at least once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
from confluent_kafka import Producer

from pipeline.names import GROUND_TRUTH_TOPIC
from quality.labels import FraudLabel, LabelReader
from tests.support.wait import wait_until

Publish = Callable[[list[bytes]], None]


@pytest.fixture
def bootstrap_servers() -> Iterator[str]:
    cluster = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "mock"})
    brokers = cluster.list_topics(timeout=10).brokers.values()
    yield ",".join(f"{broker.host}:{broker.port}" for broker in brokers)
    cluster.flush(1)


@pytest.fixture
def publish(bootstrap_servers: str) -> Publish:
    producer = Producer({"bootstrap.servers": bootstrap_servers})

    def publish_all(values: list[bytes]) -> None:
        for value in values:
            producer.produce(GROUND_TRUTH_TOPIC, value, partition=0, timestamp=1_735_689_600_000)
        assert producer.flush(10) == 0

    return publish_all


def label(number: int, is_fraud: bool = True) -> bytes:
    texts = {"pattern": "velocity", "incident_id": "i1"} if is_fraud else {}
    return json.dumps({"transaction_id": f"t{number}", "is_fraud": is_fraud, **texts}).encode()


def read(reader: LabelReader, labels: int) -> list[FraudLabel]:
    """Read until ``labels`` have been read in all; return the frauds among them."""
    found: list[FraudLabel] = []
    wait_until(lambda: found.extend(reader.read(0.2)) or reader.labels >= labels, 60, "labels")
    return found


def test_frauds_come_with_their_place_and_what_is_no_label_is_counted(
    bootstrap_servers: str, publish: Publish
) -> None:
    publish([label(0, is_fraud=False), label(1), b"true", label(2)])
    reader = LabelReader(bootstrap_servers)
    frauds = read(reader, 4)
    assert [(fraud.transaction_id, fraud.offset) for fraud in frauds] == [("t1", 1), ("t2", 3)]
    assert (frauds[0].pattern, frauds[0].incident_id) == ("velocity", "i1")
    assert reader.read_until == frauds[1].labelled_at
    assert frauds[1].labelled_at.isoformat() == "2025-01-01T00:00:00+00:00"
    assert (reader.malformed, reader.lag_messages()) == (1, 0)
    reader.close()


@pytest.mark.parametrize(("unfinished", "following"), [({}, ["t3"]), ({0: 1}, ["t1", "t2", "t3"])])
def test_the_next_run_begins_at_the_first_label_that_is_not_finished(
    bootstrap_servers: str, publish: Publish, unfinished: dict[int, int], following: list[str]
) -> None:
    publish([label(number) for number in range(3)])
    first = LabelReader(bootstrap_servers)
    assert len(read(first, 3)) == 3
    first.commit(unfinished)
    first.close()
    publish([label(3)])
    second = LabelReader(bootstrap_servers)
    found = read(second, len(following))
    second.close()
    assert [fraud.transaction_id for fraud in found] == following
