"""One batch, one version: promotions, repeated batches and failing shadows."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import pandas as pd
import pytest
from pyspark.sql import DataFrame

from detection.alerts import AlertRow
from detection.batch import BatchProcessor, Progress, QueryMustRestart
from detection.checkpoint import Extent, Run
from detection.metrics import MetricsRow
from detection.serving import ModelSource, ScoredBy
from detection.sinks import AlertPublisher, AlertStore, SinkError, TransactionReader
from detection.versions import Versions, write_versions
from tests.spark.test_score import frame, minute
from tests.support.models import DEFAULT, add_version, copy_models

BEGAN = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)


class MemoryStore:
    """The tables of the job, and the order in which they were written."""

    def __init__(self) -> None:
        self.batches: dict[int, ScoredBy] = {}
        self.alerts: dict[tuple[Any, ...], AlertRow] = {}
        self.shadow_alerts: dict[tuple[Any, ...], AlertRow] = {}
        self.steps: list[str] = []
        self.before_alerts: Callable[[], object] = lambda: None
        self.shadow_outage: Exception | None = None

    def scored_by(self, run_id: str, batch_id: int, extent: Extent) -> ScoredBy | None:
        return self.batches.get(batch_id)

    def write_batch(
        self,
        run_id: str,
        batch_id: int,
        extent: Extent,
        scored_by: ScoredBy,
        schema_ids: Collection[int],
        totals: Mapping[str, int],
    ) -> None:
        self.steps.append("batch")
        self.batches[batch_id] = scored_by

    def write_alerts(self, alerts: Sequence[AlertRow]) -> None:
        self.before_alerts()
        self.steps.append("alerts")
        self.alerts |= {(alert["window_start"], alert["sender_account"]): alert for alert in alerts}

    def write_shadow_alerts(self, alerts: Sequence[AlertRow]) -> None:
        self.steps.append("shadow alerts")
        if self.shadow_outage is not None:
            raise self.shadow_outage
        for alert in alerts:
            key = (alert["window_start"], alert["sender_account"], alert["model_version"])
            self.shadow_alerts[key] = alert

    def alert_counts(self, alerts: Iterable[AlertRow]) -> list[MetricsRow]:
        return []

    def write_metrics(self, rows: Iterable[MetricsRow]) -> None:
        self.steps.append("metrics")


class MemoryTopics:
    """Gives the transaction of any position, and takes published alerts."""

    def __init__(self) -> None:
        self.published: list[AlertRow] = []

    def fetch(self, positions: Iterable[int]) -> dict[int, Any]:
        transaction = {
            "transaction_id": "id",
            "transaction_timestamp": 0,
            "transaction_amount": 5000.0,
            "sender_account": "ACC-1",
            "receiver_account": "ACC-2",
            "transaction_type": "transfer",
            "transaction_status": "completed",
        }
        return dict.fromkeys(positions, transaction)

    def publish(self, alerts: Sequence[AlertRow]) -> None:
        self.published += alerts


class Emitted:
    """The rows of one unusual minute, as a micro-batch hands them over."""

    def toPandas(self) -> pd.DataFrame:
        return frame(minute(max_amount=5000.0, matching_count=4)).drop(columns="batch")


class Deployment:
    """A job that may start again: what stays on disk and in the tables."""

    def __init__(self, folder: Path) -> None:
        self.model_dir = copy_models(folder)
        add_version(self.model_dir, "second", 0.9)
        add_version(self.model_dir, "third", 0.8)
        self.checkpoint_dir = folder / "checkpoint"
        self.store = MemoryStore()
        self.topics = MemoryTopics()
        self.run = Run("run", self.checkpoint_dir / "run", {})
        (self.run.spark_folder / "offsets").mkdir(parents=True)
        (self.run.spark_folder / "sources" / "0").mkdir(parents=True)
        (self.run.spark_folder / "sources" / "0" / "0").write_text('{"transactions":{"0":0}}')

    def use(self, live: str, shadow: str | None = None) -> None:
        write_versions(self.checkpoint_dir, Versions(live, shadow=shadow))

    def processor(self) -> BatchProcessor:
        recorded = self.store.batches
        return BatchProcessor(
            run=self.run,
            model_source=ModelSource(self.model_dir, self.checkpoint_dir, large_amount=0),
            store=cast(AlertStore, self.store),
            reader=cast(TransactionReader, self.topics),
            publisher=cast(AlertPublisher, self.topics),
            schema_ids=[1],
            has_new_schema=lambda: False,
            progress=Progress(),
            last_scored_by=recorded[max(recorded)] if recorded else None,
        )

    def batch(self, processor: BatchProcessor, batch_id: int) -> ScoredBy:
        """Run a batch of ten records; returns what is recorded of it."""
        self.plan(batch_id)
        processor(cast(DataFrame, Emitted()), batch_id)
        return self.store.batches[batch_id]

    def plan(self, batch_id: int) -> None:
        """Write what Spark writes ahead of a batch."""
        moment = began(batch_id).timestamp() * 1000
        (self.run.spark_folder / "offsets" / str(batch_id)).write_text(
            f'v1\n{{"batchTimestampMs":{moment:.0f}}}\n'
            f'{{"transactions":{{"0":{10 * (batch_id + 1)}}}}}'
        )


def began(batch_id: int) -> dt.datetime:
    return BEGAN + dt.timedelta(seconds=batch_id)


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    return Deployment(tmp_path)


def test_a_promotion_takes_effect_at_the_next_batch_and_never_inside_one(
    deployment: Deployment,
) -> None:
    store, processor = deployment.store, deployment.processor()
    store.before_alerts = lambda: deployment.use("second")
    assert deployment.batch(processor, 0).model_version == DEFAULT
    (alert,) = store.alerts.values()
    assert alert["model_version"] == DEFAULT
    assert alert["batch_id"] == 0
    store.before_alerts = lambda: None
    assert deployment.batch(processor, 1).model_version == "second"
    (alert,) = store.alerts.values()
    assert (alert["model_version"], alert["batch_id"]) == ("second", 1)
    assert processor.models.live.version == "second"


def test_a_repeated_batch_uses_the_recorded_versions(deployment: Deployment) -> None:
    deployment.use("second", shadow="third")
    recorded = deployment.batch(deployment.processor(), 0)
    deployment.use(DEFAULT)
    restarted = deployment.processor()
    assert deployment.batch(restarted, 0) == recorded
    assert {key[2] for key in deployment.store.shadow_alerts} == {"third"}
    assert deployment.batch(restarted, 1) == ScoredBy(DEFAULT, None, began(1))


def test_the_shadow_scores_after_everything_of_the_live_model_is_written(
    deployment: Deployment,
) -> None:
    deployment.use(DEFAULT, shadow="third")
    deployment.batch(deployment.processor(), 0)
    assert deployment.store.steps == ["batch", "alerts", "metrics", "shadow alerts"]
    (alert,) = deployment.store.alerts.values()
    (shadow_alert,) = deployment.store.shadow_alerts.values()
    assert (alert["model_version"], shadow_alert["model_version"]) == (DEFAULT, "third")
    assert shadow_alert["score"] == pytest.approx(alert["score"])
    assert shadow_alert["threshold"] == pytest.approx(0.8 * alert["threshold"])
    assert deployment.topics.published == [alert]


@pytest.mark.parametrize("error", [SinkError("Cassandra"), ZeroDivisionError("a bug")])
def test_a_failing_shadow_is_counted_and_leaves_the_live_path_alone(
    deployment: Deployment, error: Exception
) -> None:
    deployment.use(DEFAULT, shadow="third")
    processor = deployment.processor()
    deployment.batch(processor, 0)
    deployment.store.shadow_outage = error
    assert deployment.batch(processor, 1) == ScoredBy(DEFAULT, None, began(1))
    (alert,) = deployment.store.alerts.values()
    assert alert["batch_id"] == 1
    assert processor.shadow_failures == 1
    assert processor.progress.batch_id == 1
    deployment.store.shadow_outage = None
    assert deployment.batch(processor, 2) == ScoredBy(DEFAULT, "third", began(2))


def test_the_sequence_that_two_versions_scored_survives_a_restart(deployment: Deployment) -> None:
    processor = deployment.processor()
    assert deployment.batch(processor, 0) == ScoredBy(DEFAULT, None, began(0))
    deployment.use(DEFAULT, shadow="third")
    assert deployment.batch(processor, 1) == ScoredBy(DEFAULT, "third", began(1))
    assert deployment.batch(processor, 2) == ScoredBy(DEFAULT, "third", began(1))
    assert deployment.batch(deployment.processor(), 3) == ScoredBy(DEFAULT, "third", began(1))
    deployment.use("second", shadow="third")
    assert deployment.batch(processor, 4) == ScoredBy("second", "third", began(4))


def test_a_shadow_that_is_gone_is_left_out_of_a_repeated_batch(deployment: Deployment) -> None:
    deployment.use(DEFAULT, shadow="third")
    deployment.batch(deployment.processor(), 0)
    deployment.use(DEFAULT)
    (deployment.model_dir / "third").rename(deployment.model_dir / "elsewhere")
    restarted = deployment.processor()
    assert deployment.batch(restarted, 0) == ScoredBy(DEFAULT, None, began(0))
    assert restarted.model_source.error is not None
    assert "no shadow" in restarted.model_source.error


def test_a_rebuild_ends_with_a_batch_of_its_own_and_writes_nothing_before(
    deployment: Deployment,
) -> None:
    deployment.run = dataclasses.replace(deployment.run, rebuild_until={0: 14})
    store, processor = deployment.store, deployment.processor()
    emitted = cast(DataFrame, Emitted())
    deployment.plan(0)
    processor(emitted, 0)
    deployment.plan(1)
    with pytest.raises(QueryMustRestart, match="rebuilt up to here"):
        processor(emitted, 1)
    assert processor.progress.batch_id == 0
    # Spark repeats the batch with the offsets of its log.
    restarted = deployment.processor()
    restarted(emitted, 1)
    assert restarted.progress.is_rebuild
    assert restarted.progress.read_until == 15
    assert store.steps == []
    deployment.batch(restarted, 2)
    assert (restarted.progress.is_rebuild, restarted.progress.read_until) == (False, 30)
    assert store.steps == ["batch", "alerts", "metrics"]
