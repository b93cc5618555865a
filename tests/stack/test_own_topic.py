"""A topic of somebody else's through a pipeline of its own: bookings of a bank (tests/support).

A simulated world is written as bookings, with cents, times as text and accounts within records,
broken ones among them; nobody but the test knows our schema.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest
import requests
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType
from pyspark.sql import SparkSession

from detection.emulate import link_history
from detection.history import export_transactions, read_transactions
from detection.model import CARD_FILE
from detection.registry import fetch_schemas
from detection.score import active_features
from detection.train import (
    MIN_MAJORITY,
    TRAIN_SHARE,
    Options,
    fit_model,
    minute_scores,
    population,
    split,
)
from detection.validate import LATE, SCORED, VERDICTS, validate
from pipeline.names import DEAD_LETTER_TOPIC, DETECTION, TRANSACTIONS_TOPIC
from pipeline.records import FIELDS, Transaction, dead_letter_reason, is_late, rejection
from tests.support.bookings import (
    BOOKING_JSON,
    BOOKINGS,
    TOPIC,
    VARIABLES,
    booking,
    encode_booking,
    iso,
    party,
)
from tests.support.kafka import Record, decoded, publish, read_topic
from tests.support.pipeline import LocalPipeline, environment, running_pipeline
from tests.support.proof import prove
from tests.support.wait import wait_until

ACCOUNTS, RATE, MINUTES = 500, 20, 40
MINUTE_MS = 60_000
OPTIONS = Options(active_features(False, 0), known_receiver_weight=0.5, large_amount=0)
RETENTION_MS = "1234567890"
CHANNELS = {"purchase": "CARD", "transfer": "WIRE"}
"""Any other type of the world is none at the bank, and so the default."""


@dataclass(frozen=True)
class Watched:
    """The topic when all of it was read, each record with its mapping and verdict."""

    pipeline: LocalPipeline
    schemas: dict[int, str]
    decisions: list[tuple[Record, Transaction | None, str]]

    def of(self, *verdicts: str) -> list[tuple[Record, Transaction]]:
        """Return the records with one of these verdicts."""
        return [
            (record, content)
            for record, content, verdict in self.decisions
            if content is not None and verdict in verdicts
        ]


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("own-topic")
    variables = {
        **environment(folder),
        **VARIABLES,
        "FRAUD__SCORING__MAX_RECORDS_PER_BATCH": "5000",
    }
    pipeline = LocalPipeline(folder, variables)
    file = folder / "world.parquet"
    options = f"--accounts {ACCOUNTS} --rate {RATE} --minutes {MINUTES} --seed 5 --out {file}"
    assert pipeline.python("-m", "simulator", "export", *options.split()).wait(120) == 0
    owner = threading.Thread(target=make_their_topic, args=(pipeline,))
    owner.start()
    with running_pipeline(folder, variables) as running:
        owner.join()
        schemas = fetch_schemas(running.settings.registry.url, TOPIC)
        (schema_id,) = schemas
        publish(running.servers, TOPIC, their_records(file, schema_id))
        records = read_topic(running.servers, TOPIC)
        running.wait_drained(len(records), timeout_s=400)
        yield Watched(running, schemas, [decide(record, schemas, running) for record in records])


def make_their_topic(pipeline: LocalPipeline) -> None:
    """Make topic and schema as their owners would, as soon as Kafka and the registry answer."""
    admin = AdminClient({"bootstrap.servers": pipeline.servers, "log_level": 0})
    topic = NewTopic(TOPIC, num_partitions=1, config={"retention.ms": RETENTION_MS})

    def is_made() -> bool:
        try:
            admin.create_topics([topic])[TOPIC].result()
        except KafkaException:
            return False
        return True

    def is_registered() -> bool:
        url = f"{pipeline.settings.registry.url}/subjects/{TOPIC}-value/versions"
        try:
            return requests.post(url, json={"schema": BOOKING_JSON}, timeout=10).ok
        except requests.RequestException:
            return False

    wait_until(is_made, 120, "Kafka takes a topic")
    wait_until(is_registered, 120, "the registry takes a schema")


def their_records(file: Path, schema_id: int) -> list[tuple[bytes, bytes | None, int]]:
    """Return the world as bookings that end now; the corpus and two doublets come last.

    The history arrives with the first record that is none, any other when it happens.
    """
    now_ms = time.time_ns() // 1_000_000
    rows = pd.read_parquet(file).sort_values("transaction_timestamp", kind="stable")
    times = rows["transaction_timestamp"].astype("datetime64[ms, UTC]").astype("int64")
    shift_ms = (now_ms - int(times.max())) // MINUTE_MS * MINUTE_MS
    first_ms = int(times[~rows["history"]].min()) + shift_ms
    found: list[tuple[bytes, bytes | None, int]] = []
    for row, time_ms in zip(rows.to_dict("records"), times + shift_ms, strict=True):
        record = booking(
            row["transaction_id"],
            0,
            txnId=row["transaction_id"],
            bookedAt=iso(time_ms),
            amountMinor=round(row["transaction_amount"] * 100),
            debtor=party(row["sender_account"]),
            creditor=party(row["receiver_account"]),
            channel=CHANNELS.get(row["transaction_type"]),
        )
        arrival_ms = first_ms if row["history"] else time_ms
        found.append((record["txnId"].encode(), encode_booking(record, schema_id), arrival_ms))
    found.sort(key=lambda item: item[2])
    corpus = [(case.name.encode(), case.value(schema_id, now_ms), now_ms) for case in BOOKINGS]
    return [*found, *corpus, *corpus[:2]]


def decide(
    record: Record, schemas: dict[int, str], pipeline: LocalPipeline
) -> tuple[Record, Transaction | None, str]:
    """Return a record with what plain Python makes of it."""
    content = decoded(record.value, schemas, pipeline.settings.source)
    verdict = rejection(content, record.timestamp_ms)
    if verdict is None:
        assert content is not None
        lateness = pipeline.settings.scoring.allowed_lateness_s
        late = is_late(content["transaction_timestamp"], record.timestamp_ms, lateness)
        verdict = LATE if late else SCORED
    return record, content, verdict


def test_raw_rows_are_the_mapped_records_to_the_last_digit(watched: Watched) -> None:
    expected = {content["transaction_id"]: content for _, content in watched.of(SCORED, LATE)}
    rows = watched.pipeline.rows("SELECT * FROM transactions")
    stored = {row.transaction_id: {name: getattr(row, name) for name in FIELDS} for row in rows}
    for row in stored.values():
        row["transaction_timestamp"] = milliseconds(row["transaction_timestamp"])
    assert len(expected) > 40_000
    assert stored == expected


def test_dead_letters_are_their_bytes_with_the_reason_that_python_gives(watched: Watched) -> None:
    letters = {
        int(letter.headers["__connect.errors.offset"]): (
            dead_letter_reason(letter.headers),
            letter.value,
        )
        for letter in read_topic(watched.pipeline.servers, DEAD_LETTER_TOPIC)
    }
    assert letters == {
        record.offset: (verdict, record.value)
        for record, _, verdict in watched.decisions
        if verdict in VERDICTS[2:]
    }


def test_the_job_gives_the_same_verdicts(watched: Watched) -> None:
    counts = Counter(verdict for *_, verdict in watched.decisions)
    counts[SCORED] -= 2  # published twice
    details = watched.pipeline.details(DETECTION)
    assert {
        verdict: int(details.get(verdict if index < 2 else f"rejected.{verdict}", 0))
        for index, verdict in enumerate(VERDICTS)
    } == {verdict: counts[verdict] for verdict in VERDICTS}
    assert details["duplicates"] == "2"


def test_alerts_hold_their_transactions(watched: Watched) -> None:
    published = {content["transaction_id"]: content for _, content in watched.of(SCORED)}
    alerts = watched.pipeline.rows("SELECT * FROM fraud_alerts")
    assert len(alerts) > 10
    for alert in alerts:
        trigger = published[alert.transaction_id]
        assert alert.transaction_amount == trigger["transaction_amount"]
        assert milliseconds(alert.event_time) == trigger["transaction_timestamp"]
        assert alert.receiver_account == trigger["receiver_account"]
        assert alert.transaction_type == trigger["transaction_type"]


def test_every_result_can_be_recomputed_from_their_records(
    watched: Watched, tmp_path: Path
) -> None:
    status, result = prove(watched.pipeline, tmp_path)
    assert result["differences"] == []
    assert status == 0


def test_nothing_of_theirs_is_changed_and_nothing_of_ours_is_there(watched: Watched) -> None:
    admin = AdminClient({"bootstrap.servers": watched.pipeline.servers})
    assert TRANSACTIONS_TOPIC not in admin.list_topics(timeout=10).topics
    described = admin.describe_configs([ConfigResource(ResourceType.TOPIC, TOPIC)])
    config = next(iter(described.values())).result()
    assert config["retention.ms"].value == RETENTION_MS
    assert int(config["message.timestamp.after.max.ms"].value) > 10_000
    subjects = requests.get(f"{watched.pipeline.settings.registry.url}/subjects", timeout=10).json()
    assert subjects == [f"{TOPIC}-value"]


def test_the_dashboard_accounts_for_every_record(watched: Watched) -> None:
    def accounting() -> Any:
        return watched.pipeline.api("/api/system")["accounting"]

    wait_until(lambda: accounting()["status"] == "reconciled", 30, "the counts add up")
    assert accounting()["published"] == len(watched.decisions)


def test_a_model_is_trained_from_the_stored_rows(
    watched: Watched, spark: SparkSession, tmp_path: Path
) -> None:
    file = tmp_path / "transactions.parquet"
    count = export_transactions(watched.pipeline.settings.cassandra, file)
    validated = validate(read_transactions(spark, file), 60)
    verdicts = {row.transaction_id: VERDICTS[row.verdict] for row in validated.collect()}
    assert count == len(verdicts)
    assert verdicts == {
        content["transaction_id"]: verdict
        for verdict in (SCORED, LATE)
        for _, content in watched.of(verdict)
    }
    slices = split(link_history(read_transactions(spark, file), 60), TRAIN_SHARE)
    amounts = population(read_transactions(spark, file))
    fitted = fit_model(spark, slices.train, amounts, seed=1, options=OPTIONS)
    assert max(fitted.cluster_sizes) > MIN_MAJORITY * sum(fitted.cluster_sizes)
    assert (minute_scores(fitted.scorer.score(slices.later)) > 0).any()


def test_the_command_trains_from_cassandra(watched: Watched, tmp_path: Path) -> None:
    out = tmp_path / "models"
    training = watched.pipeline.python("-m", "training", "--source", "cassandra", "--out", str(out))
    # 1: the gate may refuse what so short a stream teaches; then nothing is written.
    status = training.wait(600)
    assert (status, len(list(out.glob(f"*/{CARD_FILE}")))) in ((0, 1), (1, 0))
    read = watched.pipeline.folder / "transactions.parquet"
    stored = {content["transaction_id"] for _, content in watched.of(SCORED, LATE)}
    assert pq.ParquetFile(read).metadata.num_rows == len(stored)


def milliseconds(moment: Any) -> int:
    """Return ms UTC of the driver's timestamps, which are UTC without saying so."""
    return pd.Timestamp(moment, tz="UTC").value // 1_000_000
