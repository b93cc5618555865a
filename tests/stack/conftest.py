"""One pipeline for all stack tests: it boots once, plays once, and is looked at many times."""

from __future__ import annotations

import io
import json
import os
import signal
import struct
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import fastavro
import pytest
import requests

from detection.registry import fetch_schemas
from pipeline.names import DETECTION, TRANSACTIONS_SUBJECT, TRANSACTIONS_TOPIC
from pipeline.records import MAGIC_BYTE, SCHEMA_JSON, encode
from tests.support.corpus import CORPUS, transaction
from tests.support.kafka import Record, end_offsets, publish, read_topic
from tests.support.pipeline import LocalPipeline, environment, running_pipeline
from tests.support.wait import wait_until

ACCOUNTS, RATE, MINUTES = 1000, 20, 4.5
"""Long enough for more than the first whole minute to be closed, wherever in a minute the file
begins: the watermark trails arrival by 2 minutes."""
KILL_AFTER = 600
"""Live transactions to have been scored when the detection job is killed."""
TWICE = 20
NEWER = 5
"""Transactions published twice, and with a schema that is registered while the job runs."""


@dataclass(frozen=True)
class Played:
    """What was published, and how the topic looks after it."""

    pipeline: LocalPipeline
    file: Path
    schemas: Mapping[int, str]
    started_ms: int
    records: list[Record]


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalPipeline]:
    folder = tmp_path_factory.mktemp("pipeline")
    with running_pipeline(folder, environment(folder), without=["simulator"]) as running:
        yield running


@pytest.fixture(scope="session")
def played(pipeline: LocalPipeline, tmp_path_factory: pytest.TempPathFactory) -> Played:
    """Play a labelled file, the corpus and duplicates; kill two services meanwhile; drain."""
    file = tmp_path_factory.mktemp("data") / "labelled.parquet"
    options = f"--accounts {ACCOUNTS} --rate {RATE} --minutes {MINUTES} --seed 11 --out {file}"
    # More fraud than usual, so that minutes hold enough incidents to judge by.
    export = pipeline.python(
        "-m", "simulator", "export", *options.split(), FRAUD__SIMULATOR__FRAUD_RATE="0.03"
    )
    assert export.wait(120) == 0
    started_ms = now_ms()
    player = pipeline.python("-m", "simulator", "play", str(file))
    history = ACCOUNTS * pipeline.settings.simulator.history_per_account
    try:
        wait_until(
            lambda: sum(end_offsets(pipeline.servers, TRANSACTIONS_TOPIC).values()) > history,
            60,
            "the history is published",
        )
        publish_hostile(pipeline)
        kill_detection(pipeline)
        kill(pipeline, "quality")
        publish_with_newer_schema(pipeline)
        assert player.wait(60 * MINUTES + 60) == 0
    finally:
        player.kill()
    records = read_topic(pipeline.servers, TRANSACTIONS_TOPIC)
    pipeline.wait_drained(len(records), timeout_s=120)
    schemas = fetch_schemas(pipeline.settings.registry.url, TRANSACTIONS_TOPIC)
    return Played(pipeline, file, schemas, started_ms, records)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def publish_hostile(pipeline: LocalPipeline) -> None:
    """Publish the corpus, and some good transactions twice."""
    now = now_ms()
    (schema_id,) = fetch_schemas(pipeline.settings.registry.url, TRANSACTIONS_TOPIC)
    records = [(case.name.encode(), case.value(schema_id, now), now) for case in CORPUS]
    good = [transaction(f"twice-{number}", now) for number in range(TWICE)]
    twice = [(item["sender_account"].encode(), encode(item, schema_id), now) for item in good]
    publish(pipeline.servers, TRANSACTIONS_TOPIC, [*records, *twice, *twice])


def publish_with_newer_schema(pipeline: LocalPipeline) -> None:
    """Register the next version of the schema, with an optional field, and publish with it."""
    schema = json.loads(SCHEMA_JSON)
    schema["fields"].append({"name": "channel", "type": ["null", "string"], "default": None})
    url = f"{pipeline.settings.registry.url}/subjects/{TRANSACTIONS_SUBJECT}/versions"
    answer = requests.post(url, json={"schema": json.dumps(schema)}, timeout=10)
    answer.raise_for_status()
    now = now_ms()
    records = []
    for number in range(NEWER):
        body = io.BytesIO()
        record = transaction(f"newer-{number}", now) | {"channel": "app"}
        fastavro.schemaless_writer(body, fastavro.parse_schema(schema), record)
        header = struct.pack(">bI", MAGIC_BYTE, answer.json()["id"])
        records.append((f"newer-{number}".encode(), header + body.getvalue(), now))
    publish(pipeline.servers, TRANSACTIONS_TOPIC, records)


def kill_detection(pipeline: LocalPipeline) -> None:
    """SIGKILL the job in the middle of the stream; wait until the next one has scored."""
    wait_until(
        lambda: int(pipeline.details(DETECTION).get("scored", 0)) > KILL_AFTER,
        120,
        "the job has scored live transactions",
    )
    kill(pipeline, "detection")


def kill(pipeline: LocalPipeline, service: str) -> None:
    """SIGKILL a service; wait until the launcher has started it again."""
    pid = pipeline.pid_of(service)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: pipeline.pid_of(service) != pid, 60, f"{service} is started again")
