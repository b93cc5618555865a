"""One pipeline for all stack tests: it boots once, plays once, and is looked at many times."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from pipeline.names import DETECTION, TRANSACTIONS_SUBJECT, TRANSACTIONS_TOPIC
from pipeline.records import encode
from tests.support.corpus import CORPUS, transaction
from tests.support.kafka import Record, end_offsets, publish, read_topic
from tests.support.pipeline import LocalPipeline, environment, running_pipeline
from tests.support.wait import wait_until

ACCOUNTS, RATE, MINUTES = 1000, 20, 3.5
"""Long enough for the first minutes to be closed: the watermark trails arrival by 2 minutes."""
KILL_AFTER = 600
"""Live transactions to have been scored when the detection job is killed."""
TWICE = 20


@dataclass(frozen=True)
class Played:
    """What was published, and how the topic looks after it."""

    pipeline: LocalPipeline
    file: Path
    schema_id: int
    started_ms: int
    live_ms: int
    records: list[Record]


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalPipeline]:
    folder = tmp_path_factory.mktemp("pipeline")
    with running_pipeline(folder, environment(folder), without=["simulator"]) as running:
        yield running


@pytest.fixture(scope="session")
def played(pipeline: LocalPipeline, tmp_path_factory: pytest.TempPathFactory) -> Played:
    """Play a labelled file, the corpus and duplicates; kill the job meanwhile; drain."""
    file = tmp_path_factory.mktemp("data") / "labelled.parquet"
    options = f"--accounts {ACCOUNTS} --rate {RATE} --minutes {MINUTES} --seed 11 --out {file}"
    export = pipeline.python("-m", "simulator", "export", *options.split())
    assert export.wait(120) == 0
    schema_id = schema_id_of(pipeline)
    started_ms = now_ms()
    player = pipeline.python("-m", "simulator", "play", str(file))
    history = ACCOUNTS * pipeline.settings.simulator.history_per_account
    try:
        wait_until(
            lambda: sum(end_offsets(pipeline.servers, TRANSACTIONS_TOPIC).values()) > history,
            60,
            "the history is published",
        )
        live_ms = now_ms()
        publish_hostile(pipeline, schema_id)
        kill_detection(pipeline)
        assert player.wait(60 * MINUTES + 60) == 0
    finally:
        player.kill()
    records = read_topic(pipeline.servers, TRANSACTIONS_TOPIC)
    pipeline.wait_drained(len(records), timeout_s=120)
    return Played(pipeline, file, schema_id, started_ms, live_ms, records)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def schema_id_of(pipeline: LocalPipeline) -> int:
    url = f"{pipeline.settings.registry.url}/subjects/{TRANSACTIONS_SUBJECT}/versions/latest"
    return int(requests.get(url, timeout=10).json()["id"])


def publish_hostile(pipeline: LocalPipeline, schema_id: int) -> None:
    """Publish the corpus, and some good transactions twice."""
    now = now_ms()
    records = [(case.name.encode(), case.value(schema_id, now), now) for case in CORPUS]
    good = [transaction(f"twice-{number}", now) for number in range(TWICE)]
    twice = [(item["sender_account"].encode(), encode(item, schema_id), now) for item in good]
    publish(pipeline.servers, TRANSACTIONS_TOPIC, [*records, *twice, *twice])


def kill_detection(pipeline: LocalPipeline) -> None:
    """SIGKILL the job in the middle of the stream; wait until the next one has scored."""
    wait_until(
        lambda: int(pipeline.details(DETECTION).get("scored", 0)) > KILL_AFTER,
        120,
        "the job has scored live transactions",
    )
    pid = pipeline.pid_of("detection")
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: pipeline.pid_of("detection") != pid, 60, "the launcher starts the job again")
