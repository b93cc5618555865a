"""One micro-batch, from the emitted rows of the views to stored and published alerts."""

from __future__ import annotations

import datetime as dt
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pandas as pd
from pyspark.sql import DataFrame

from detection.alerts import build_alerts
from detection.checkpoint import Extent, Run
from detection.metrics import Latencies, minute_rows, totals
from detection.model import Model
from detection.sinks import AlertPublisher, AlertStore, TransactionReader
from detection.views import view_code

logger = logging.getLogger(__name__)


class NewSchema(Exception):
    """The batch holds records of a schema that was registered after the query began."""


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
    query; nothing of the batch is committed then.
    """

    run: Run
    model: Model
    store: AlertStore
    reader: TransactionReader
    publisher: AlertPublisher
    load_model: Callable[[str], Model]
    has_new_schema: Callable[[], bool]
    progress: Progress
    found_new_schema: bool = False
    _is_finished: bool = False
    _running: threading.Lock = field(default_factory=threading.Lock)
    _latencies: Latencies = field(default_factory=Latencies)
    _may_be_repeated: bool = True

    def __call__(self, emitted: DataFrame, batch_id: int) -> None:
        """Score a batch and write it, in this order.

        1. Compute the state: the only action on Spark.
        2. Record what the batch covers, with its model version.
        3. Score; write the alerts.
        4. Write the metrics, alert counts read back from what is stored.
        5. Publish the alerts.
        """
        with self._running:
            if self._is_finished:
                raise Stopping
            self._process(emitted, batch_id)

    def finish(self, timeout_s: float) -> None:
        """Let the running batch end, ``timeout_s`` at most, and refuse any further one."""
        is_idle = self._running.acquire(timeout=timeout_s)
        self._is_finished = True
        if is_idle:
            self._running.release()

    def _process(self, emitted: DataFrame, batch_id: int) -> None:
        began = time.monotonic()
        extent = self.run.extent(batch_id)
        rows = emitted.toPandas().assign(batch=batch_id)
        if "undecodable" in totals(rows) and self.has_new_schema():
            self.found_new_schema = True
            raise NewSchema
        is_rebuild = self.run.is_rebuild(extent)
        all_totals = self._totals(rows, extent)
        if not is_rebuild:
            model = self._model_of(batch_id, extent)
            self.store.write_batch(self.run.run_id, batch_id, extent, model.version, all_totals)
            self._score(rows, batch_id, model)
        self.progress = Progress(
            batch_id=batch_id,
            finished_at=dt.datetime.now(dt.UTC),
            newest_arrival_ms=int(rows["last_arrival"].max()) if len(rows) else None,
            duration_ms=(time.monotonic() - began) * 1000,
            is_rebuild=is_rebuild,
            read_until=extent.read_until,
            totals=all_totals,
        )

    def _score(self, rows: pd.DataFrame, batch_id: int, model: Model) -> None:
        metrics = minute_rows(rows)
        if (rows["view"] == view_code("sender_minute")).any():
            evaluations = model.scorer.evaluate(rows)
            flagged = evaluations[evaluations["score"] >= model.review_threshold]
            scored_at = dt.datetime.now(dt.UTC)
            transactions = self.reader.fetch(flagged["last_position"])
            alerts = build_alerts(
                flagged, transactions, model, self.run.run_id, batch_id, scored_at
            )
            self.store.write_alerts(alerts)
            metrics += self._latencies.add(evaluations, dt.datetime.now(dt.UTC))
            metrics += self.store.alert_counts(alerts)
            self.publisher.publish(alerts)
        self.store.write_metrics(metrics)

    def _totals(self, rows: pd.DataFrame, extent: Extent) -> dict[str, int]:
        """Return the counts of the run so far; a repeated batch gives the same ones."""
        before = self.progress.totals
        read = before.get("read", 0)
        if self.progress.read_until < extent.read_until:
            read += extent.record_count
        return {**before, **totals(rows), "read": read}

    def _model_of(self, batch_id: int, extent: Extent) -> Model:
        """Return the current model, or for a repeated batch the one that it was recorded with.

        Only the first batch after a start can be a repetition.
        """
        if not self._may_be_repeated:
            return self.model
        recorded = self.store.model_of_batch(self.run.run_id, batch_id, extent)
        self._may_be_repeated = False
        if recorded is None or recorded == self.model.version:
            return self.model
        return self.load_model(recorded)
