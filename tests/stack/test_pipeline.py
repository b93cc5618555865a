"""The whole pipeline on real servers: every record is accounted for, every alert reproducible.

A labelled file, broken records and duplicates were played through it, and the detection job was
killed in the middle (see conftest.py).
"""

from __future__ import annotations

from collections import Counter, defaultdict

import pandas as pd
import pytest

from detection.validate import VERDICTS
from pipeline.names import (
    ALERTS_TOPIC,
    CONNECT,
    DEAD_LETTER_TOPIC,
    DETECTION,
    TRANSACTIONS_TOPIC,
)
from pipeline.records import Transaction, dead_letter_reason, is_late, rejection
from tests.stack.conftest import NEWER, TWICE, Played
from tests.support.corpus import CORPUS, VALID
from tests.support.kafka import Record, decoded, read_topic
from tests.support.wait import wait_until

MINUTE_MS = 60_000


@pytest.fixture(scope="module")
def decisions(played: Played) -> list[tuple[Record, Transaction | None, str]]:
    """Every record of the topic with the verdict that plain Python gives; duplicates named."""
    lateness = played.pipeline.settings.scoring.allowed_lateness_s
    seen: set[str] = set()
    found = []
    for record in played.records:
        content = decoded(record.value, played.schemas)
        verdict = rejection(content, record.timestamp_ms)
        if verdict is None:
            assert content is not None
            late = is_late(content["transaction_timestamp"], record.timestamp_ms, lateness)
            verdict = "late" if late else "scored"
            if content["transaction_id"] in seen:
                verdict = "duplicate"
            seen.add(content["transaction_id"])
        found.append((record, content, verdict))
    return found


def valid_ids(decisions: list[tuple[Record, Transaction | None, str]]) -> set[str]:
    return {
        content["transaction_id"]
        for _, content, verdict in decisions
        if content is not None and verdict in ("scored", "late")
    }


@pytest.mark.parametrize(
    "table", ["transactions", "transactions_by_account", "transactions_by_receiver"]
)
def test_every_valid_transaction_is_stored_once(
    played: Played, decisions: list[tuple[Record, Transaction | None, str]], table: str
) -> None:
    stored = [row.transaction_id for row in played.pipeline.rows(f"SELECT * FROM {table}")]
    assert len(stored) == len(set(stored))
    assert set(stored) == valid_ids(decisions)


def test_every_row_of_the_file_was_published(
    played: Played, decisions: list[tuple[Record, Transaction | None, str]]
) -> None:
    file = pd.read_parquet(played.file)
    assert set(file["transaction_id"]) <= valid_ids(decisions)


def test_records_of_a_schema_that_is_registered_meanwhile_are_scored(
    played: Played, decisions: list[tuple[Record, Transaction | None, str]]
) -> None:
    newer = max(played.schemas)
    verdicts = [
        verdict
        for record, _, verdict in decisions
        if record.value and record.value[1:5] == newer.to_bytes(4, "big")
    ]
    assert verdicts == ["scored"] * NEWER


def test_stored_values_are_the_published_ones(
    played: Played, decisions: list[tuple[Record, Transaction | None, str]]
) -> None:
    rows = {row.transaction_id: row for row in played.pipeline.rows("SELECT * FROM transactions")}
    for record, content, verdict in decisions:
        if content is None or verdict not in ("scored", "late"):
            continue
        row = rows[content["transaction_id"]]
        assert row.transaction_amount == content["transaction_amount"]
        assert row.sender_account == content["sender_account"]
        assert row.receiver_account == content["receiver_account"]
        assert row.kafka_partition == record.partition


def test_dead_letters_are_the_rejected_records_with_their_reasons(
    played: Played, decisions: list[tuple[Record, Transaction | None, str]]
) -> None:
    letters = read_topic(played.pipeline.servers, DEAD_LETTER_TOPIC)
    origin = {
        (
            int(letter.headers["__connect.errors.partition"]),
            int(letter.headers["__connect.errors.offset"]),
        ): dead_letter_reason(letter.headers)
        for letter in letters
    }
    rejected = {
        (record.partition, record.offset): verdict
        for record, _, verdict in decisions
        if verdict in VERDICTS[2:]
    }
    assert origin == rejected
    assert len(letters) == len(rejected) == sum(case.verdict != VALID for case in CORPUS)


def test_the_job_gives_the_same_verdicts(
    played: Played, decisions: list[tuple[Record, Transaction | None, str]]
) -> None:
    counts = Counter(verdict for *_, verdict in decisions)
    details = played.pipeline.details(DETECTION)
    assert counts["duplicate"] == TWICE
    assert {
        "scored": int(details["scored"]),
        "late": int(details["late"]),
        "duplicate": int(details["duplicates"]),
        **{reason: int(details.get(f"rejected.{reason}", 0)) for reason in VERDICTS[2:]},
    } == counts


def test_metrics_equal_a_recount(
    played: Played, decisions: list[tuple[Record, Transaction | None, str]]
) -> None:
    expected: dict[int, Counter[str]] = defaultdict(Counter)
    amounts: dict[int, float] = defaultdict(float)
    for record, content, verdict in decisions:
        minute = record.timestamp_ms // MINUTE_MS * MINUTE_MS
        if verdict == "duplicate":
            continue
        expected[minute][verdict] += 1
        if verdict == "scored":
            assert content is not None
            amounts[minute] += content["transaction_amount"]
            expected[minute]["failed"] += content["transaction_status"] == "failed"
    rows = {milliseconds(row.window_start): row for row in metrics(played)}
    assert rows.keys() >= expected.keys()
    for minute, counts in expected.items():
        row = rows[minute]
        assert (row.transaction_count or 0) == counts["scored"]
        assert (row.failed_count or 0) == counts["failed"]
        assert (row.late_count or 0) == counts["late"]
        assert (row.total_amount or 0.0) == pytest.approx(amounts[minute], rel=1e-9)
        for reason in VERDICTS[2:]:
            assert (getattr(row, f"rejected_{reason}") or 0) == counts[reason]


def test_alert_counts_equal_the_alert_rows(played: Played) -> None:
    alerts = played.pipeline.rows("SELECT window_start, total_amount FROM fraud_alerts")
    expected: dict[int, list[float]] = defaultdict(list)
    for alert in alerts:
        expected[milliseconds(alert.window_start)].append(alert.total_amount)
    counted = {
        milliseconds(row.window_start): (row.alert_count, row.flagged_amount)
        for row in metrics(played)
        if row.alert_count
    }
    assert counted == {
        minute: (len(totals), pytest.approx(sum(totals), rel=1e-9))
        for minute, totals in expected.items()
    }


def test_batches_cover_every_offset_once(played: Played) -> None:
    next_offset: dict[int, int] = defaultdict(int)
    for batch in sorted(batches(played), key=lambda row: row.batch_id):
        for partition, first in batch.first_offsets.items():
            assert first == next_offset[partition]
            next_offset[partition] = batch.last_offsets[partition] + 1
    ends = Counter(record.partition for record in played.records)
    assert dict(next_offset) == dict(ends)


def test_both_alert_tables_and_the_topic_hold_the_same_alerts(played: Played) -> None:
    by_hour = {row.alert_id: row for row in played.pipeline.rows("SELECT * FROM fraud_alerts")}
    by_account = {
        row.alert_id: row for row in played.pipeline.rows("SELECT * FROM fraud_alerts_by_account")
    }
    assert {name: row._asdict() for name, row in by_hour.items()} == {
        name: row._asdict() for name, row in by_account.items()
    }
    published = read_topic(played.pipeline.servers, ALERTS_TOPIC)
    assert {record.key for record in published} == {
        row.sender_account.encode() for row in by_hour.values()
    }


def test_history_raises_no_alert(played: Played) -> None:
    starts = [
        milliseconds(row.window_start)
        for row in played.pipeline.rows("SELECT window_start FROM fraud_alerts")
    ]
    assert min(starts) >= played.started_ms // MINUTE_MS * MINUTE_MS


def test_planted_fraud_raises_alerts(played: Played) -> None:
    file = pd.read_parquet(played.file)
    # Takeover and mule fan-in unfold over 10 to 15 minutes: more than what is played.
    frauds = file[file["pattern"].isin(["velocity", "high_amount", "card_testing"])]
    alerted = {row.sender_account for row in played.pipeline.rows("SELECT * FROM fraud_alerts")}
    is_found = frauds["sender_account"].isin(alerted).groupby(frauds["incident_id"]).any()
    assert len(is_found) >= 5
    assert is_found.mean() >= 0.6


def test_alerts_carry_the_current_model(played: Played) -> None:
    versions = {
        row.model_version for row in played.pipeline.rows("SELECT model_version FROM fraud_alerts")
    }
    assert versions == {played.pipeline.details(DETECTION)["model_version"]}


def test_closed_minutes_leave_the_state(played: Played) -> None:
    assert int(played.pipeline.details(DETECTION)["state_rows_removed"]) > 0


def test_the_dashboard_accounts_for_every_record(played: Played) -> None:
    accounting = wait_until(
        lambda: (
            (found := played.pipeline.api("/api/system")["accounting"])["published"]
            == len(played.records)
            and found["pending"] == 0
            and found
        ),
        30,
        "the dashboard has seen all records",
    )
    assert accounting["difference"] == 0
    assert accounting["published"] == (
        accounting["raw"] + accounting["dead_letters"] + accounting["duplicates"]
    )
    assert accounting["raw"] == accounting["scored"] + accounting["late"]


def test_the_api_shows_the_stored_alerts(played: Played) -> None:
    shown, cursor = [], ""
    while True:
        answer = played.pipeline.api(f"/api/alerts?limit=50{cursor}")
        shown += answer["alerts"]
        if not answer["next_cursor"]:
            break
        cursor = f"&cursor={answer['next_cursor']}"
    stored = {row.alert_id for row in played.pipeline.rows("SELECT * FROM fraud_alerts")}
    assert {alert["id"] for alert in shown} == stored
    assert len(shown) == len(stored)
    assert all(alert["reason"] for alert in shown)


def test_every_component_is_running(played: Played) -> None:
    components = {
        component["name"]: component["state"]
        for component in played.pipeline.api("/api/system")["components"]
    }
    assert components.pop("producer") in ("running", "stopped", "stale", "missing")
    assert set(components.values()) == {"running"}
    assert {CONNECT, DETECTION} < components.keys()


def test_labels_travel_only_on_their_own_topic(played: Played) -> None:
    assert read_topic(played.pipeline.servers, "ground_truth")
    record = read_topic(played.pipeline.servers, TRANSACTIONS_TOPIC)[-1]
    assert b"fraud" not in (record.value or b"")
    assert record.headers == {}


def milliseconds(moment: object) -> int:
    """Return UTC milliseconds of the driver's naive datetimes."""
    return int(pd.Timestamp(moment).timestamp() * 1000)  # type: ignore[arg-type]


def metrics(played: Played) -> list[object]:
    return played.pipeline.rows("SELECT * FROM metrics")


def batches(played: Played) -> list[object]:
    return played.pipeline.rows("SELECT * FROM batches")
