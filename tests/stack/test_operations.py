"""Backup and restore, an erasure, and every way in which a checkpoint cannot be continued.

One pipeline: it plays a file, stops, is backed up, cleaned and restored, and goes on. Then its
detection job alone is stopped and started, with damage in between.
"""

from __future__ import annotations

import datetime as dt
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from detection.checkpoint import RUNS, way_back
from detection.registry import fetch_schemas
from pipeline.erasure import account_hash
from pipeline.names import DETECTION, TRANSACTIONS_TOPIC
from pipeline.records import encode
from pipeline.settings import PROJECT_ROOT
from tests.support.corpus import transaction
from tests.support.cql import table_columns
from tests.support.kafka import end_offsets, publish
from tests.support.pipeline import LocalPipeline, environment, running_pipeline
from tests.support.wait import wait_until

ACCOUNTS, RATE, MINUTES = 60, 20, 0.5
TABLES = sorted(table_columns().keys() - {"pipeline_status"})
"""All but the heartbeats, which go on."""
ALERT_TABLES = ("fraud_alerts", "fraud_alerts_by_account")
ERASED, NEIGHBOUR = "erase-me", "neighbour"
NEW = 5
"""Transactions of new accounts that show that the job has gone on."""
JOB_TIMEOUT_S = 120

Tables = dict[str, dict[str, str]]
"""{table: {key of a row: the row}}, both as text."""


@dataclass
class Operated:
    """What was seen on the way. ``problems``: what the job said that refused to start."""

    played: Tables = field(default_factory=dict)
    restored: Tables = field(default_factory=dict)
    continued: Tables = field(default_factory=dict)
    before_erasure: Tables = field(default_factory=dict)
    erased: Tables = field(default_factory=dict)
    report: str = ""
    erased_again: str = ""
    rebuilt: Tables = field(default_factory=dict)
    changed: Tables = field(default_factory=dict)
    run_ids: list[str] = field(default_factory=list)
    run_folders: list[Path] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)
    batches: list[Any] = field(default_factory=list)


@pytest.fixture(scope="module")
def operated(tmp_path_factory: pytest.TempPathFactory) -> Operated:
    folder = tmp_path_factory.mktemp("operations")
    backup = tmp_path_factory.mktemp("backups") / "backup"
    variables = environment(folder) | {
        "FRAUD__SCORING__CHECKPOINT_DIR": str(folder / "checkpoint"),
        "FRAUD__SIMULATOR__FRAUD_RATE": "0.1",
    }
    seen = Operated()
    with running_pipeline(folder, variables, without=["simulator", "quality"]) as pipeline:
        play(pipeline, folder, seed=11)
        seen.played = tables(pipeline)
        seen.run_ids.append(pipeline.details(DETECTION)["run_id"])
    for command in (("backup", str(backup)), ("clean",), ("restore", str(backup))):
        assert pipeline.python("-m", "launcher", *command).wait(120) == 0
        assert (folder / "data" / "kafka").exists() == (command[0] != "clean")
    without = ["simulator", "quality", "detection", "dashboard"]
    with running_pipeline(folder, variables, without) as pipeline:
        seen.restored = tables(pipeline)
        with job(pipeline):
            play(pipeline, folder, seed=12)
        seen.continued = tables(pipeline)
        seen.batches = pipeline.rows("SELECT * FROM batches")
        erase_an_account(pipeline, seen)
        damage_the_checkpoint(pipeline, seen)
        change_the_specification(pipeline, seen)
        lose_records(pipeline, seen)
    return seen


def play(pipeline: LocalPipeline, folder: Path, seed: int) -> None:
    """Publish a labelled file with its history, and wait until all of it is scored and stored."""
    file = folder / f"{seed}.parquet"
    options = f"--accounts {ACCOUNTS} --rate {RATE} --minutes {MINUTES} --seed {seed} --out {file}"
    assert pipeline.python("-m", "simulator", "export", *options.split()).wait(60) == 0
    assert pipeline.python("-m", "simulator", "play", str(file)).wait(120) == 0
    pipeline.wait_drained(published(pipeline), timeout_s=120)


def published(pipeline: LocalPipeline) -> int:
    return sum(end_offsets(pipeline.servers, TRANSACTIONS_TOPIC).values())


def publish_new(pipeline: LocalPipeline, name: str) -> None:
    """Publish transactions of accounts that nobody has seen."""
    now_ms = time.time_ns() // 1_000_000
    (schema_id,) = fetch_schemas(pipeline.settings.registry.url, TRANSACTIONS_TOPIC)
    items = [transaction(f"{name}-{number}", now_ms) for number in range(NEW)]
    records = [(item["sender_account"].encode(), encode(item, schema_id), now_ms) for item in items]
    publish(pipeline.servers, TRANSACTIONS_TOPIC, records)


def tables(pipeline: LocalPipeline) -> Tables:
    """Return all rows; a key is what Cassandra says it is, in the order of the columns."""
    found: Tables = {}
    for table in TABLES:
        key = [
            row.column_name
            for row in pipeline.rows(
                "SELECT column_name, kind FROM system_schema.columns"
                " WHERE keyspace_name = 'fraud' AND table_name = %s",
                table,
            )
            if row.kind != "regular"
        ]
        found[table] = {
            repr([getattr(row, column) for column in key]): repr(row)
            for row in pipeline.rows(f"SELECT * FROM {table}")
        }
    return found


@contextmanager
def job(pipeline: LocalPipeline, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run the detection job; it must stop cleanly unless it has ended by itself."""
    process = pipeline.python("-m", "detection.job", **variables)
    try:
        yield process
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
    finally:
        process.kill()


def refused(pipeline: LocalPipeline) -> str:
    """Start the job, which must end by itself; return what its last heartbeat says."""
    with job(pipeline) as process:
        assert process.wait(JOB_TIMEOUT_S) == 1
    (row,) = pipeline.rows(
        "SELECT state, error FROM pipeline_status WHERE component = %s", DETECTION
    )
    assert row.state == "failed"
    return str(row.error)


def newest_run(pipeline: LocalPipeline) -> Path:
    return max(path.parent for path in (pipeline.folder / "checkpoint").glob(RUNS))


def go_live(pipeline: LocalPipeline, seen: Operated, name: str, **variables: str) -> None:
    """Start the job beside new transactions; wait until a new run has scored them."""
    publish_new(pipeline, name)
    total = published(pipeline)
    with job(pipeline, **variables):
        details = wait_until(
            lambda: (
                (found := pipeline.details(DETECTION))
                and found.get("run_id") not in seen.run_ids
                and found.get("phase") == "live"
                and int(found["read_offsets"]) >= total
                and found
            ),
            JOB_TIMEOUT_S,
            f"a new run is live after {name}",
        )
        seen.run_ids.append(details["run_id"])


def erase_an_account(pipeline: LocalPipeline, seen: Operated) -> None:
    insert_rows_of_the_account(pipeline)
    seen.before_erasure = tables(pipeline)
    seen.report = erase_output(pipeline)
    seen.erased = tables(pipeline)
    seen.erased_again = erase_output(pipeline)


def erase_output(pipeline: LocalPipeline) -> str:
    return subprocess.run(
        [sys.executable, "cassandra/erase.py", ERASED],
        env=pipeline._env(),
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stdout


def insert_rows_of_the_account(pipeline: LocalPipeline) -> None:
    """Sent, received and 39 days old transactions, alerts, labels, and an id used by two."""
    now = dt.datetime.now(dt.UTC).replace(microsecond=0, second=0)
    old = now - dt.timedelta(days=39)
    payments = [
        ("sent", now, ERASED, NEIGHBOUR),
        ("received", now, NEIGHBOUR, ERASED),
        ("old", old, ERASED, NEIGHBOUR),
        ("taken", now, ERASED, NEIGHBOUR),
        ("kept", now, NEIGHBOUR, "third"),
    ]
    for transaction_id, at, sender, receiver in payments:
        for table in ("transactions", "transactions_by_account", "transactions_by_receiver"):
            day = "" if table == "transactions" else ", day"
            values = (transaction_id, at, sender, receiver, *([at.date()] if day else []))
            pipeline.rows(
                f"INSERT INTO {table} (transaction_id, transaction_timestamp, sender_account,"
                f" receiver_account{day}) VALUES ({', '.join(['%s'] * len(values))})",
                *values,
            )
    pipeline.rows(
        "UPDATE transactions SET sender_account = %s, receiver_account = %s"
        " WHERE transaction_id = %s",
        *(NEIGHBOUR, "third", "taken"),
    )
    hour = now.replace(minute=0)
    for sender, receiver in ((ERASED, NEIGHBOUR), (NEIGHBOUR, ERASED)):
        for table in ALERT_TABLES:
            pipeline.rows(
                f"INSERT INTO {table} (hour, window_start, sender_account, receiver_account,"
                " severity) VALUES (%s, %s, %s, %s, 'high')",
                *(hour, now, sender, receiver),
            )
    pipeline.rows(
        "INSERT INTO shadow_alerts (hour, window_start, sender_account, model_version)"
        " VALUES (%s, %s, %s, 'second')",
        *(hour, now, ERASED),
    )
    pipeline.rows(
        "INSERT INTO fraud_labels (hour, window_start, sender_account) VALUES (%s, %s, %s)",
        *(hour, now, ERASED),
    )


def damage_the_checkpoint(pipeline: LocalPipeline, seen: Operated) -> None:
    """Empty Spark's newest log, as a power cut may; then go the way back that the job names."""
    run = newest_run(pipeline)
    seen.run_folders.append(run)
    offsets = [path for path in (run / "spark" / "offsets").iterdir() if path.name.isdecimal()]
    max(offsets, key=lambda path: int(path.name)).write_bytes(b"")
    seen.problems["damaged"] = refused(pipeline)
    run.rename(f"{run}.damaged")
    go_live(pipeline, seen, "rebuilt")
    seen.rebuilt = tables(pipeline)


def change_the_specification(pipeline: LocalPipeline, seen: Operated) -> None:
    go_live(pipeline, seen, "changed", FRAUD__SCORING__ALLOWED_LATENESS_S="50")
    seen.changed = tables(pipeline)
    # Back, so that the next start is one that would continue.
    go_live(pipeline, seen, "changed back")


def lose_records(pipeline: LocalPipeline, seen: Operated) -> None:
    """Delete records that the stopped job has not read, as retention does."""
    publish_new(pipeline, "lost")
    ends = end_offsets(pipeline.servers, TRANSACTIONS_TOPIC)
    admin = AdminClient({"bootstrap.servers": pipeline.servers})
    partitions = [TopicPartition(TRANSACTIONS_TOPIC, number, end) for number, end in ends.items()]
    for deleted in admin.delete_records(partitions).values():
        deleted.result(30)
    publish_new(pipeline, "after")
    run = newest_run(pipeline)
    seen.run_folders.append(run)
    seen.problems["lost"] = refused(pipeline)
    run.rename(f"{run}.damaged")
    go_live(pipeline, seen, "after the loss")


def test_a_restored_pipeline_has_every_row_that_was_backed_up(operated: Operated) -> None:
    assert operated.restored == operated.played
    assert len(operated.played["transactions"]) > ACCOUNTS
    assert operated.played["fraud_alerts"]


def test_a_restored_pipeline_goes_on_where_the_backup_was(operated: Operated) -> None:
    assert {row.run_id for row in operated.batches} == {operated.run_ids[0]}
    batches = sorted(operated.batches, key=lambda row: row.batch_id)
    assert [row.batch_id for row in batches] == list(range(len(batches)))
    following: dict[int, int] = {}
    for batch in batches:
        for partition, first in batch.first_offsets.items():
            assert first == following.get(partition, 0)
            following[partition] = batch.last_offsets[partition] + 1
    assert len(operated.continued["transactions"]) == sum(following.values())
    for table in ("transactions", "transactions_by_account", "transactions_by_receiver"):
        assert operated.continued[table].items() > operated.played[table].items()


def test_an_erasure_leaves_no_row_that_names_the_account(operated: Operated) -> None:
    assert ERASED in str(operated.before_erasure)
    assert ERASED not in str(operated.erased)


def test_an_erasure_leaves_everything_else_as_it_was(operated: Operated) -> None:
    for table, rows in operated.before_erasure.items():
        expected = {key: row for key, row in rows.items() if ERASED not in row}
        if table in ALERT_TABLES:
            expected |= {
                key: row.replace(f"receiver_account='{ERASED}'", "receiver_account=None")
                for key, row in rows.items()
                if f"receiver_account='{ERASED}'" in row
            }
        if table == "erasures":
            (row,) = operated.erased[table].values()
            assert account_hash(ERASED) in row
        else:
            assert operated.erased[table] == expected


def test_an_erasure_says_what_it_deleted_and_what_stays(operated: Operated) -> None:
    *lines, last = operated.report.splitlines()
    counts = {line.split()[0]: int(line.split()[-3]) for line in lines[:-1]}
    assert counts == {
        "transactions": 3,
        "transactions_by_account": 4,
        "transactions_by_receiver": 4,
        "fraud_alerts": 1,
        "shadow_alerts": 1,
        "fraud_labels": 1,
        "fraud_alerts_by_account": 1,
    }
    assert " ".join(lines[-1].split()) == "alerts of other accounts 1 receivers emptied"
    assert last.startswith("Not removed: records in Kafka (transactions 7 days")
    assert all(line.split()[-3] == "0" for line in operated.erased_again.splitlines()[:-1])


def test_a_damaged_checkpoint_is_refused_with_the_way_back(operated: Operated) -> None:
    folder = operated.run_folders[0]
    assert operated.problems["damaged"].startswith(f"{folder}/spark/offsets/")
    assert operated.problems["damaged"].endswith(way_back(folder))


def test_records_that_retention_took_are_never_skipped_in_silence(operated: Operated) -> None:
    assert operated.problems["lost"].startswith("the query ended: Kafka no longer holds")
    assert operated.problems["lost"].endswith(way_back(operated.run_folders[1]))


@pytest.mark.parametrize("table", ALERT_TABLES)
def test_a_rebuild_leaves_older_alerts_as_they_were(operated: Operated, table: str) -> None:
    """Whether the checkpoint was damaged or the specification of the views has changed."""
    assert operated.erased[table]
    assert operated.rebuilt[table].items() >= operated.erased[table].items()
    assert operated.changed[table].items() >= operated.rebuilt[table].items()


def test_every_way_back_begins_a_run_of_its_own(operated: Operated) -> None:
    assert len(operated.run_ids) == len(set(operated.run_ids)) == 5
    assert operated.run_ids == sorted(operated.run_ids)
