from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
import requests
from confluent_kafka import KafkaError, KafkaException

from pipeline import names
from watcher import servers
from watcher.offsets import OTHER_TOPICS, History, Offsets
from watcher.restarts import LONGEST_RETRY_S, TRIES_UNTIL_FAILED, RestartPolicy

SOURCE = "payments"


class FakeConnect:
    """Stands in for Connect's REST interface; ``body`` None means unreachable."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.status_code = 200
        self.body: Any = None
        self.posted: list[str] = []
        monkeypatch.setattr(requests, "get", self._get)
        monkeypatch.setattr(requests, "post", self._post)

    def runs(self, *task_states: str) -> None:
        self.status_code = 200
        self.body = {
            "connector": {"state": "RUNNING"},
            "tasks": [
                {"id": i, "state": state, "trace": "Exception: no topic\n\tat somewhere"}
                for i, state in enumerate(task_states)
            ],
        }

    def _get(self, url: str, timeout: float) -> requests.Response:
        assert timeout <= 2.0
        if self.body is None:
            raise requests.ConnectionError("refused")
        return self._response()

    def _post(self, url: str, timeout: float) -> requests.Response:
        self.posted.append(url)
        return self._response()

    def _response(self) -> requests.Response:
        response = requests.Response()
        response.status_code = self.status_code
        response._content = json.dumps(self.body).encode()
        return response


@pytest.fixture
def rest(monkeypatch: pytest.MonkeyPatch) -> FakeConnect:
    return FakeConnect(monkeypatch)


@pytest.fixture
def kafka() -> servers.Kafka:
    return servers.Kafka("127.0.0.1:1", SOURCE)


def offsets(transactions: int, stored: int) -> Offsets:
    end = dict.fromkeys(OTHER_TOPICS, 3) | {SOURCE: transactions}
    return Offsets(dict.fromkeys(end, 0), end, stored)


# history


def test_rate_is_the_growth_over_the_last_ten_seconds() -> None:
    history = History()
    for second in range(0, 41, 2):
        history.add(float(second), 1000 * second if second > 20 else 0)
    assert history.rate() == pytest.approx(1000.0)


def test_rate_is_unknown_before_the_second_reading() -> None:
    history = History()
    history.add(1.0, 100)
    assert history.rate() is None


def test_rate_spans_an_outage_of_the_readings() -> None:
    history = History()
    history.add(0.0, 0)
    history.add(100.0, 500)
    assert history.rate() == pytest.approx(5.0)


def test_lag_in_seconds_is_the_age_of_the_stored_offset() -> None:
    history = History()
    for second, count in ((0, 10), (2, 20), (4, 30)):
        history.add(float(second), count)
    assert history.seconds_behind(30) == 0.0
    assert history.seconds_behind(20) == 2.0
    assert history.seconds_behind(15) == 4.0
    assert history.seconds_behind(5) is None


def test_topic_made_anew_starts_a_new_history() -> None:
    history = History()
    history.add(0.0, 1000)
    history.add(2.0, 10)
    assert history.rate() is None
    history.add(4.0, 20)
    assert history.rate() == pytest.approx(5.0)


# restarts


def test_restarts_are_spaced_further_and_further_apart() -> None:
    policy = RestartPolicy()
    restarted = [second for second in range(0, 300) if policy.should_restart(float(second))]
    gaps = [after - before for before, after in itertools.pairwise(restarted)]
    assert gaps[:5] == [5, 10, 20, 40, 60]
    assert set(gaps[4:]) == {int(LONGEST_RETRY_S)}


def test_restarts_are_exhausted_after_five_and_go_on() -> None:
    policy = RestartPolicy()
    for second in range(0, 1000):
        policy.should_restart(float(second))
    assert policy.is_exhausted
    assert policy.tries > TRIES_UNTIL_FAILED


def test_only_a_minute_of_health_forgets_the_restarts() -> None:
    policy = RestartPolicy()
    assert policy.should_restart(0.0)
    policy.healthy(1.0)
    policy.healthy(50.0)
    assert policy.tries == 1
    assert policy.should_restart(51.0)  # failed again: the healthy time starts anew
    policy.healthy(52.0)
    policy.healthy(111.0)
    assert policy.tries == 2
    policy.healthy(112.0)
    assert policy.tries == 0


# servers


def test_unreachable_kafka_is_failed_and_forgets_its_offsets(
    kafka: servers.Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: object) -> Offsets:
        raise KafkaException(KafkaError(KafkaError._TRANSPORT))

    kafka.offsets = offsets(10, 10)
    monkeypatch.setattr(servers, "read_offsets", unreachable)
    status = kafka.poll(0.0)
    assert status.state == "failed"
    assert status.error is not None
    assert kafka.offsets is None


def test_kafka_reports_offsets_and_dead_letters(
    kafka: servers.Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "read_offsets", lambda *_: offsets(10, 10))
    kafka.poll(0.0)
    monkeypatch.setattr(servers, "read_offsets", lambda *_: offsets(50, 10))
    status = kafka.poll(2.0)
    assert (status.state, status.rate) == ("running", 20.0)
    assert status.details["published"] == "50"
    assert status.details[f"start_offset.{SOURCE}"] == "0"
    assert status.details["dead_letters"] == "3"


def test_kafka_without_a_topic_is_degraded(
    kafka: servers.Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "read_offsets", lambda *_: Offsets({}, {}, 0))
    status = kafka.poll(0.0)
    assert status.state == "degraded"
    assert status.error == f"topics are missing: {', '.join((SOURCE, *OTHER_TOPICS))}"


def test_registry_knows_the_subject_or_is_degraded(rest: FakeConnect) -> None:
    registry = servers.Registry("http://registry:8081", "payments-value")
    assert registry.poll().state == "failed"
    rest.body = [names.TRANSACTIONS_SUBJECT]
    assert registry.poll().state == "degraded"
    rest.body = ["payments-value"]
    assert registry.poll().state == "running"


def test_connect_reports_the_lag(rest: FakeConnect, kafka: servers.Kafka) -> None:
    connect = servers.Connect("http://connect:8083")
    rest.runs("RUNNING", "RUNNING")
    for now_s, end, stored in ((0.0, 100, 40), (2.0, 200, 100)):
        kafka.published.add(now_s, end)
        kafka.offsets = offsets(end, stored)
        status = connect.poll(now_s, kafka)
    assert (status.state, status.rate) == ("running", 30.0)
    assert (status.lag_messages, status.lag_seconds) == (100, 2.0)
    assert status.details == {"stored_offsets": "100"}


def test_connect_without_kafka_still_has_a_state(rest: FakeConnect, kafka: servers.Kafka) -> None:
    rest.runs("RUNNING")
    status = servers.Connect("http://connect:8083").poll(0.0, kafka)
    assert (status.state, status.lag_messages, status.rate) == ("running", None, None)


def test_unreachable_or_unregistered_connector_is_told(
    rest: FakeConnect, kafka: servers.Kafka
) -> None:
    connect = servers.Connect("http://connect:8083")
    assert connect.poll(0.0, kafka).state == "failed"
    rest.body, rest.status_code = {}, 404
    status = connect.poll(2.0, kafka)
    assert (status.state, status.error) == (
        "degraded",
        "connector cassandra-sink is not registered",
    )


def test_failed_task_is_restarted_and_red_after_five_tries(
    rest: FakeConnect, kafka: servers.Kafka
) -> None:
    connect = servers.Connect("http://connect:8083")
    rest.runs("RUNNING", "FAILED")
    first = connect.poll(0.0, kafka)
    assert (first.state, first.error) == ("degraded", "restart 1: Exception: no topic")
    assert rest.posted == [
        "http://connect:8083/connectors/cassandra-sink/restart?includeTasks=true&onlyFailed=true"
    ]
    states = [connect.poll(float(second), kafka).state for second in range(2, 200, 2)]
    assert states[0] == "degraded"
    assert states[-1] == "failed"
    assert len(rest.posted) > TRIES_UNTIL_FAILED


def test_paused_connector_is_degraded_and_not_restarted(
    rest: FakeConnect, kafka: servers.Kafka
) -> None:
    rest.runs("PAUSED", "RUNNING")
    status = servers.Connect("http://connect:8083").poll(0.0, kafka)
    assert status.state == "degraded"
    assert status.error == "connector and tasks are PAUSED, RUNNING"
    assert rest.posted == []
