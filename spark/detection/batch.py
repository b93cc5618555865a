"""One micro-batch, from the emitted rows of the views to stored and published alerts."""

from __future__ import annotations

import datetime as dt
import gc
import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import NoReturn

import pandas as pd
from pyspark.sql import DataFrame

from detection.alerts import AlertRow, build_alerts
from detection.checkpoint import Extent, Run
from detection.metrics import Latencies, minute_rows, totals
from detection.model import Model
from detection.score import link
from detection.serving import Models, ModelSource, ScoredBy
from detection.sinks import AlertPublisher, AlertStore, TransactionReader
from detection.views import view_code

logger = logging.getLogger(__name__)


class QueryMustRestart(Exception):
    """The batch can only be processed by a query that begins again from the checkpoint."""


class Stopping(Exception):
    """The job is about to stop and takes no further batch."""


@dataclass(frozen=True)
class Progress:
    """What the last finished batch left; the heartbeat reads it from another thread."""

    batch_id: int | None = None
    finished_at: dt.datetime | None = None
    newest_arrival_ms: int | None = None
    duration_ms: float | None = None
    is_rebuild: bool = False
    read_until: int = 0
    totals: Mapping[str, int] = field(default_factory=dict)


@dataclass
class BatchProcessor:
    """The ``foreachBatch`` function of the job.

    Spark calls it with a batch again after a crash, with the same rows: every step is an upsert
    under a deterministic key, so that a repetition leaves the same tables. An exception ends the
    query; nothing of the batch is committed then. A shadow never ends it.

    ``schema_ids``: the writers' schemas that the query knows.
    ``restarts_because``: why the query ended on purpose, to go on at once with another.
    ``last_scored_by``: of the last batch that the run has recorded, if any. ``models``: those of
    the last batch, before the first one those that it will take.
    """

    run: Run
    model_source: ModelSource
    store: AlertStore
    reader: TransactionReader
    publisher: AlertPublisher
    schema_ids: Collection[int]
    has_new_schema: Callable[[], bool]
    progress: Progress
    last_scored_by: ScoredBy | None
    models: Models = field(init=False)
    shadow_failures: int = 0
    restarts_because: str | None = None
    _is_finished: bool = False
    _running: threading.Lock = field(default_factory=threading.Lock)
    _latencies: Latencies = field(default_factory=Latencies)
    _may_be_repeated: bool = True

    def __post_init__(self) -> None:
        self.models = self.model_source.current()

    def __call__(self, emitted: DataFrame, batch_id: int) -> None:
        """Score a batch and write it, in this order.

        1. Compute the state: the only action on Spark.
        2. Take the models; record what the batch covers, with their versions.
        3. Score; write the alerts.
        4. Publish the alerts.
        5. Write the metrics, alert counts read back from what is stored.
        6. Score with the shadow; write what it would have raised.
        """
        with self._running:
            if self._is_finished:
                raise Stopping
            self._process(emitted, batch_id)
            # Each request of Cassandra's driver refers to itself. After a batch that caught up,
            # Python would not look for those before there are hundreds of megabytes of them.
            gc.collect()

    def finish(self, timeout_s: float) -> None:
        """Let the running batch end, ``timeout_s`` at most, and refuse any further one."""
        is_idle = self._running.acquire(timeout=timeout_s)
        self._is_finished = True
        if is_idle:
            self._running.release()

    def _process(self, emitted: DataFrame, batch_id: int) -> None:
        began = time.monotonic()
        extent = self.run.extent(batch_id)
        if self.run.crosses_end_of_rebuild(extent):
            # Scored now, the recorded minutes would get new alerts, with what came after them.
            self.run.shorten_to_rebuild(batch_id, extent)
            self._restart("the state is rebuilt up to here")
        rows = emitted.toPandas().assign(batch=batch_id)
        if "undecodable" in totals(rows) and self.has_new_schema():
            self._restart("a schema was registered since the query began")
        is_rebuild = self.run.is_rebuild(extent)
        all_totals = self._totals(rows, extent)
        if not is_rebuild:
            self.models = self._models_of(batch_id, extent)
            self._record(batch_id, extent, self.models, all_totals)
            live, shadow = self.models.live, self.models.shadow
            links = _links(rows)
            self._score(rows, links, batch_id, live)
            if shadow is not None and not self._shadow(links, batch_id, shadow):
                # The row must not claim what did not happen: comparisons rely on it.
                self._record(batch_id, extent, Models(live, None), all_totals)
        self.progress = Progress(
            batch_id=batch_id,
            finished_at=dt.datetime.now(dt.UTC),
            newest_arrival_ms=int(rows["last_arrival"].max()) if len(rows) else None,
            duration_ms=(time.monotonic() - began) * 1000,
            is_rebuild=is_rebuild,
            read_until=extent.read_until,
            totals=all_totals,
        )

    def _restart(self, reason: str) -> NoReturn:
        self.restarts_because = reason
        raise QueryMustRestart(reason)

    def _score(
        self, rows: pd.DataFrame, links: pd.DataFrame | None, batch_id: int, model: Model
    ) -> None:
        metrics = minute_rows(rows)
        if links is not None:
            evaluations = model.scorer.score(links)
            alerts = self._alerts(evaluations, batch_id, model)
            self.store.write_alerts(alerts)
            metrics += self._latencies.add(evaluations, dt.datetime.now(dt.UTC))
            metrics += self.store.alert_counts(alerts)
            self.publisher.publish(alerts)
        self.store.write_metrics(metrics)

    def _shadow(self, links: pd.DataFrame | None, batch_id: int, shadow: Model) -> bool:
        """Score with the shadow and write its alerts; False, and counted, if anything fails."""
        try:
            if links is not None:
                evaluations = shadow.scorer.score(links)
                self.store.write_shadow_alerts(self._alerts(evaluations, batch_id, shadow))
        except Exception as error:  # whatever it is, the live path goes on
            self.shadow_failures += 1
            logger.warning("shadow %s failed in batch %d: %s", shadow.version, batch_id, error)
            return False
        return True

    def _alerts(self, evaluations: pd.DataFrame, batch_id: int, model: Model) -> list[AlertRow]:
        flagged = evaluations[evaluations["score"] >= model.review_threshold]
        scored_at = dt.datetime.now(dt.UTC)
        transactions = self.reader.fetch(flagged["last_position"])
        return build_alerts(flagged, transactions, model, self.run.run_id, batch_id, scored_at)

    def _record(
        self, batch_id: int, extent: Extent, models: Models, all_totals: Mapping[str, int]
    ) -> None:
        versions = (models.live.version, models.shadow.version if models.shadow else None)
        before, since = self.last_scored_by, None
        if before is not None and versions == (before.model_version, before.shadow_version):
            since = before.since
        scored_by = ScoredBy(*versions, since=since or extent.started_at)
        self.store.write_batch(
            self.run.run_id, batch_id, extent, scored_by, self.schema_ids, all_totals
        )
        self.last_scored_by = scored_by

    def _totals(self, rows: pd.DataFrame, extent: Extent) -> dict[str, int]:
        """Return the counts of the run so far; a repeated batch gives the same ones."""
        before = self.progress.totals
        read = before.get("read", 0)
        if self.progress.read_until < extent.read_until:
            read += extent.record_count
        return {**before, **totals(rows), "read": read}

    def _models_of(self, batch_id: int, extent: Extent) -> Models:
        """Return the current models, or for a repeated batch those that it was recorded with.

        Only the first batch after a start can be a repetition.
        """
        if self._may_be_repeated:
            recorded = self.store.scored_by(self.run.run_id, batch_id, extent)
            self._may_be_repeated = False
            if recorded is not None:
                return self.model_source.recorded(recorded)
        return self.model_source.current()


def _links(rows: pd.DataFrame) -> pd.DataFrame | None:
    """Return the facts that every model scores; None if the batch touched no sender's minute."""
    has_minutes = (rows["view"] == view_code("sender_minute")).any()
    return link(rows) if has_minutes else None
