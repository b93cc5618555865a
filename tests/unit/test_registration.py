from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import requests

from pipeline import names, records
from pipeline.errors import PipelineError
from pipeline.settings import Secret, Settings, load_settings
from registration import connector, schema, topics, waiting
from tests.support.bookings import BOOKING_JSON, TOPIC, bookings


@pytest.fixture
def settings() -> Settings:
    return load_settings(environment={})


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "POLL_S", 0.0)


class FakeServer:
    """Stands in for ``requests.request`` and ``requests.get``: answers in turn, keeps the calls."""

    def __init__(self, *answers: tuple[int, Any] | Exception) -> None:
        self._answers = iter(answers)
        self.calls: list[tuple[str, str, Any]] = []

    def request(self, method: str, url: str, **options: Any) -> requests.Response:
        assert options["timeout"] > 0
        self.calls.append((method, url, options.get("json")))
        answer = next(self._answers)
        if isinstance(answer, Exception):
            raise answer
        response = requests.Response()
        response.status_code, body = answer
        response._content = json.dumps(body).encode()
        return response

    def get(self, url: str, **options: Any) -> requests.Response:
        return self.request("GET", url, **options)


def serve(monkeypatch: pytest.MonkeyPatch, *answers: tuple[int, Any] | Exception) -> FakeServer:
    server = FakeServer(*answers)
    monkeypatch.setattr(requests, "request", server.request)
    monkeypatch.setattr(requests, "get", server.get)
    return server


# topics


def test_topics_are_those_of_the_contract(settings: Settings) -> None:
    wanted = {topic.name: topic for topic in topics.wanted_topics(settings)}
    assert set(wanted) == {
        names.TRANSACTIONS_TOPIC,
        names.GROUND_TRUTH_TOPIC,
        names.DEAD_LETTER_TOPIC,
        names.REINJECTED_TOPIC,
        names.ALERTS_TOPIC,
    }
    transactions = wanted[names.TRANSACTIONS_TOPIC]
    assert transactions.partitions == settings.kafka.partitions
    assert transactions.config["message.timestamp.after.max.ms"] == "10000"
    assert transactions.config["retention.ms"] == str(7 * 86_400_000)
    dead_letters = wanted[names.DEAD_LETTER_TOPIC]
    assert dead_letters.config["retention.ms"] == str(30 * 86_400_000)
    assert int(dead_letters.config["max.message.bytes"]) == topics.DEAD_LETTER_MAX_BYTES > 2**20
    assert wanted[names.REINJECTED_TOPIC].partitions == 1  # one order for all that read it
    assert wanted[names.REINJECTED_TOPIC].config["retention.ms"] == str(60 * 86_400_000)


@pytest.mark.parametrize(("copies", "wanted"), [(1, "1"), (2, "1"), (3, "2")])
def test_an_acknowledgement_stands_for_all_copies_but_one(
    settings: Settings, copies: int, wanted: str
) -> None:
    kafka = dataclasses.replace(settings.kafka, replication_factor=copies)
    found = topics.wanted_topics(dataclasses.replace(settings, kafka=kafka))
    assert {topic.config["min.insync.replicas"] for topic in found} == {wanted}


def test_size_limit_is_shared_by_the_partitions(settings: Settings) -> None:
    kafka = dataclasses.replace(settings.kafka, partitions=4, transactions_retention_gib=2.0)
    wanted = topics.wanted_topics(dataclasses.replace(settings, kafka=kafka))
    assert wanted[0].config["retention.bytes"] == str(2**29)


def test_topic_of_somebody_else_is_not_ours_to_make(settings: Settings) -> None:
    theirs = dataclasses.replace(settings, source=bookings().source)
    assert names.TRANSACTIONS_TOPIC not in {topic.name for topic in topics.wanted_topics(theirs)}
    assert TOPIC not in {topic.name for topic in topics.wanted_topics(theirs)}


# schema


def test_compatibility_is_set_before_the_schema_is_registered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = serve(monkeypatch, (200, []), (200, {}), (200, {"id": 7}))
    assert schema.register_schema("http://registry") == 7
    assert server.calls[1] == (
        "PUT",
        "http://registry/config/transactions-value",
        {"compatibility": "FULL_TRANSITIVE"},
    )
    assert json.loads(server.calls[2][2]["schema"])["name"] == "Transaction"


def test_compatibility_is_set_afterwards_where_the_subject_must_exist_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = serve(monkeypatch, (200, []), (404, {}), (200, {"id": 7}), (200, {}))
    schema.register_schema("http://registry")
    assert [call[0] for call in server.calls] == ["GET", "PUT", "POST", "PUT"]


def test_incompatible_schema_is_an_error_for_people(monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, (200, []), (200, {}), (409, {"message": "READER_FIELD_MISSING"}))
    with pytest.raises(PipelineError, match=r"FULL_TRANSITIVE.*READER_FIELD_MISSING.*optional"):
        schema.register_schema("http://registry")


@pytest.mark.usefixtures("no_pause")
def test_schema_of_somebody_else_is_waited_for_and_only_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    missing, latest = (404, {}), (200, {"schema": BOOKING_JSON})
    server = serve(monkeypatch, (200, []), missing, (200, [1]), latest)
    schema.wait_for_source("http://registry", bookings().source)
    assert {call[0] for call in server.calls} == {"GET"}
    assert server.calls[-1][1] == f"http://registry/subjects/{TOPIC}-value/versions/latest"


def test_mapping_that_does_not_fit_the_schema_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, (200, []), (200, [1]), (200, {"schema": BOOKING_JSON}))
    source = bookings(FRAUD__SOURCE__MAPPING__TRANSACTION_ID="txnID").source
    with pytest.raises(PipelineError, match=r"source\.mapping\.transaction_id: 'txnID'.*txnId"):
        schema.wait_for_source("http://registry", source)


@pytest.mark.usefixtures("no_pause")
def test_registry_may_come_later(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = requests.ConnectionError("refused")
    serve(monkeypatch, refused, (503, {}), (200, []), (200, {}), (200, {"id": 1}))
    assert schema.register_schema("http://registry") == 1


@pytest.mark.usefixtures("no_pause")
def test_waiting_ends_with_what_was_missing() -> None:
    with pytest.raises(PipelineError, match="gave up after 0 s: Kafka does not answer"):
        waiting.wait_until(lambda: "Kafka does not answer", timeout_s=0.0)


# connector


def test_rendered_connector_has_no_placeholder_and_only_texts(settings: Settings) -> None:
    config = connector.render(settings, environment={})
    assert all(isinstance(value, str) and "${" not in value for value in config.values())
    assert config["topics"] == names.TRANSACTIONS_TOPIC
    assert "transaction_id=transaction_id, " in config["source.mapping"]
    assert config["errors.deadletterqueue.topic.name"] == names.DEAD_LETTER_TOPIC
    assert config["producer.override.max.request.size"] == str(topics.DEAD_LETTER_MAX_BYTES)
    assert config["rules.transaction.types"].split(",") == list(records.TRANSACTION_TYPES)
    assert float(config["rules.max.amount"]) == records.MAX_AMOUNT
    assert int(config["rules.max.age.ms"]) == records.MAX_AGE_MS


def test_the_sink_maps_as_the_settings_say() -> None:
    config = connector.render(bookings(), environment={})
    assert config["topics"] == TOPIC
    assert "sender_account=debtor.iban, " in config["source.mapping"]
    assert config["source.mapping"].endswith("transaction_status=")
    assert config["source.time.format"] == "iso_8601"
    assert config["source.amount.divisor"] == "100"
    assert config["source.type.values"] == "CARD=purchase, WIRE=transfer"


def test_unknown_placeholder_is_named(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    template = tmp_path / "sink.json"
    template.write_text('{"config": {"topics": "${names.nonsense}"}}', encoding="utf-8")
    monkeypatch.setattr(connector, "TEMPLATE", template)
    with pytest.raises(PipelineError, match=r"sink\.json.*names\.nonsense"):
        connector.render(settings, environment={})


def test_password_of_a_file_stays_in_the_file(settings: Settings) -> None:
    cassandra = dataclasses.replace(settings.cassandra, password=Secret("hunter2"))
    settings = dataclasses.replace(settings, cassandra=cassandra)
    environment = {connector.PASSWORD_FILE_VARIABLE: "/run/secrets/cassandra"}
    config = connector.render(settings, environment)
    assert "hunter2" not in json.dumps(config)
    assert config["cassandra.password.file"] == "/run/secrets/cassandra"
    assert connector.render(settings, environment={})["cassandra.password"] == "hunter2"


def status(*task_states: str, connector_state: str = "RUNNING") -> dict[str, Any]:
    trace = "org.apache.kafka.connect.errors.ConnectException: no topic\n\tat somewhere"
    tasks = [{"id": i, "state": state, "trace": trace} for i, state in enumerate(task_states)]
    return {
        "name": names.SINK_CONNECTOR,
        "connector": {"state": connector_state},
        "tasks": tasks,
    }


def test_connector_runs_when_all_of_it_runs() -> None:
    assert connector.problem(status("RUNNING", "RUNNING")) is None
    assert connector.problem(status()) == "connector cassandra-sink has no task yet"
    assert connector.problem(status("RUNNING", connector_state="PAUSED")) == (
        "connector of cassandra-sink is PAUSED"
    )
    assert connector.problem(status("RUNNING", "FAILED")) == (
        "task 1 of cassandra-sink is FAILED:"
        " org.apache.kafka.connect.errors.ConnectException: no topic"
    )


def test_innermost_cause_of_a_trace_is_told() -> None:
    trace = "A: outer\n\tat x\nCaused by: B: middle\n\tat y\nCaused by: C: inner\n\tat z\n"
    assert connector.root_cause(trace) == "C: inner"
    assert connector.root_cause("A: alone\n\tat x") == "A: alone"
    assert connector.root_cause("") == ""


@pytest.mark.usefixtures("no_pause")
def test_connector_is_put_again_while_connect_starts(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(
        monkeypatch,
        requests.ConnectionError("refused"),
        (409, {"message": "rebalance"}),
        (201, {}),
        (202, {}),
        (200, status()),
        (200, status("RUNNING", "RUNNING")),
    )
    connector.register_connector(settings)
    assert [call[0] for call in server.calls] == ["PUT", "PUT", "PUT", "POST", "GET", "GET"]


def test_refused_configuration_is_an_error_at_once(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(monkeypatch, (400, {"message": "Invalid value for tables"}))
    with pytest.raises(PipelineError, match=r"refuses the connector.*Invalid value for tables"):
        connector.register_connector(settings)


@pytest.mark.usefixtures("no_pause")
def test_failed_task_is_an_error_with_the_cause_in_its_trace(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connector, "RUNNING_TIMEOUT_S", 0.0)
    serve(monkeypatch, (200, {}), (202, {}), (200, status("FAILED", "RUNNING")))
    with pytest.raises(PipelineError, match=r"task 0 .*FAILED: .*ConnectException: no topic$"):
        connector.register_connector(settings)
