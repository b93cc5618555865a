"""Live detection quality on real servers: equal to a recount from the file's labels and the alerts.

The quality service, too, was killed in the middle of what was played (see conftest.py).
"""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pandas as pd
import pytest

from pipeline.names import QUALITY, TRANSACTIONS_TOPIC
from pipeline.records import DUPLICATE_WINDOW_MS
from tests.stack.conftest import Played
from tests.support.kafka import decoded
from tests.support.wait import wait_until

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
BATCHES_BEHIND_MS = 15_000

SenderMinute = tuple[int, str]


@dataclass(frozen=True)
class Fraud:
    """The earliest fraud of a sender-minute."""

    first_ms: int
    pattern: str
    incident_id: str


def milliseconds(moment: Any) -> int:
    """Return UTC milliseconds of the driver's naive datetimes."""
    return int(pd.Timestamp(moment).timestamp() * 1000)


@pytest.fixture(scope="module")
def frauds(played: Played) -> dict[SenderMinute, Fraud]:
    """The fraudulent sender-minutes, from the file's labels and the records of the topic."""
    file = pd.read_parquet(played.file)
    labels = {row.transaction_id: row for row in file[file["is_fraud"]].itertuples()}
    found: dict[SenderMinute, Fraud] = {}
    for record in played.records:
        content = decoded(record.value, played.schemas)
        label = labels.get(content["transaction_id"]) if content is not None else None
        if content is None or label is None:
            continue
        moment = content["transaction_timestamp"]
        key = (moment // MINUTE_MS * MINUTE_MS, content["sender_account"])
        fraud = Fraud(moment, str(label.pattern), str(label.incident_id))
        found[key] = min(found.get(key, fraud), fraud, key=lambda item: item.first_ms)
    assert found
    return found


@pytest.fixture(scope="module")
def quality(played: Played) -> Any:
    """The newest figures of the hour, once every label is read and resolved.

    They end with the last minute that the watermark has passed, a batch or two behind the stream.
    """
    watermark_ms = max(record.timestamp_ms for record in played.records) - DUPLICATE_WINDOW_MS
    expected_ms = (watermark_ms - BATCHES_BEHIND_MS) // MINUTE_MS * MINUTE_MS

    def settled() -> Any:
        (row,) = played.pipeline.rows("SELECT * FROM pipeline_status WHERE component = %s", QUALITY)
        rows = played.pipeline.rows("SELECT * FROM detection_quality WHERE period = 'hour' LIMIT 1")
        is_done = row.lag_messages == 0 and row.details["pending"] == "0"
        is_there = rows and milliseconds(rows[0].period_end) >= expected_ms
        return rows[0] if is_done and is_there else None

    return wait_until(settled, 120, "the quality service has judged what was played")


def test_every_labelled_fraud_is_stored_with_its_earliest_time(
    played: Played, frauds: dict[SenderMinute, Fraud], quality: Any
) -> None:
    stored = {
        (milliseconds(row.window_start), row.sender_account): Fraud(
            milliseconds(row.first_fraud_at), row.pattern, row.incident_id
        )
        for row in played.pipeline.rows("SELECT * FROM fraud_labels")
    }
    assert stored == frauds


def test_the_figures_equal_a_recount(
    played: Played, frauds: dict[SenderMinute, Fraud], quality: Any
) -> None:
    end = milliseconds(quality.period_end)
    judged = {key: fraud for key, fraud in frauds.items() if end - HOUR_MS <= key[0] < end}
    alerts = {
        (milliseconds(row.window_start), row.sender_account): row
        for row in played.pipeline.rows("SELECT * FROM fraud_alerts")
        if end - HOUR_MS <= milliseconds(row.window_start) < end
    }
    incidents = {fraud.incident_id: fraud.pattern for fraud in judged.values()}
    assert (quality.fraud_minutes, quality.incidents) == (len(judged), len(incidents))
    assert len(judged) >= 3
    assert judged.keys() & alerts.keys()

    for level, counted in (
        ("review", set(alerts)),
        ("alert", {key for key, row in alerts.items() if row.severity != "low"}),
    ):
        hits = counted & judged.keys()
        found = {judged[key].incident_id for key in hits}
        assert getattr(quality, f"{level}_alerts") == len(counted)
        assert getattr(quality, f"{level}_precision") == pytest.approx(len(hits) / len(counted))
        assert getattr(quality, f"{level}_recall") == pytest.approx(len(hits) / len(judged))
        share = len(found) / len(incidents)
        assert getattr(quality, f"{level}_incident_recall") == pytest.approx(share)

    scores = {key: row.score for key, row in alerts.items()}
    assert quality.average_precision == pytest.approx(average_precision(scores, judged.keys()))
    assert dict(quality.pattern_incidents) == Counter(incidents.values())

    delays = []
    for incident in incidents:
        keys = [key for key, fraud in judged.items() if fraud.incident_id == incident]
        scored = [milliseconds(alerts[key].scored_at) for key in keys if key in alerts]
        if scored:
            delays.append((min(scored) - min(judged[key].first_ms for key in keys)) / 1000)
    assert quality.found_incidents == len(delays)
    assert quality.delay_median_s == pytest.approx(statistics.median(delays))
    assert quality.delay_p95_s in [pytest.approx(delay) for delay in delays]


def average_precision(
    scores: dict[SenderMinute, float], positives: Iterable[SenderMinute]
) -> float:
    """Return the area under recall and precision, one step for each threshold."""
    wanted = set(positives)
    steps = [(0.0, 1.0)]
    for threshold in sorted(set(scores.values()), reverse=True):
        taken = {key for key, score in scores.items() if score >= threshold}
        hits = len(taken & wanted)
        steps.append((hits / len(wanted), hits / len(taken)))
    return sum(
        (recall - before) * precision for (before, _), (recall, precision) in pairwise(steps)
    )


def test_the_dashboard_shows_the_stored_figures(played: Played, quality: Any) -> None:
    shown = played.pipeline.api("/api/quality")["periods"]["hour"]
    assert shown["fraud_minutes"] == quality.fraud_minutes
    assert shown["review"]["precision"] == quality.review_precision
    assert shown["average_precision"] == quality.average_precision
    assert shown["delay"]["median_s"] == quality.delay_median_s


def test_scoring_reads_the_transactions_only(played: Played) -> None:
    """Spark records for each batch what it read of which topic: the labels' is none of them."""
    batches = list((played.pipeline.folder / "checkpoint").rglob("offsets/[0-9]*"))
    assert batches
    for batch in batches:
        _, _, *sources = batch.read_text().splitlines()
        assert [set(json.loads(source)) for source in sources] == [{TRANSACTIONS_TOPIC}]
