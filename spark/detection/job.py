"""The streaming job: ``python -m detection.job``. Wiring only; the work is in the other modules."""

from __future__ import annotations

import contextlib
import functools
import gc
import logging
import signal
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from py4j.protocol import Py4JError  # type: ignore[import-untyped]
from pyspark.sql import SparkSession
from pyspark.sql.streaming.query import StreamingQuery

from detection.batch import BatchProcessor, Progress
from detection.checkpoint import Run, explain, lock, open_run, read_until
from detection.decode import decode
from detection.registry import fetch_schemas
from detection.serving import ModelSource
from detection.session import close_session, spark_session
from detection.sinks import (
    AlertPublisher,
    AlertStore,
    RecordedBatch,
    TransactionReader,
    wait_for_topic,
)
from detection.status import StatusReporter
from detection.validate import validate
from detection.views import (
    active_views,
    aggregate_stream,
    deduplicate_stream,
    explode_views,
    specification_hash,
)
from pipeline.errors import PipelineError
from pipeline.heartbeat import Heartbeat, Status
from pipeline.logs import run_service
from pipeline.names import DETECTION
from pipeline.settings import PROJECT_ROOT, Settings, load_settings

POLL_S = 0.5
FINISH_TIMEOUT_S = 20.0
"""How long a clean stop waits for the running batch; without it the batch is repeated."""
JVM_GONE = (Py4JError, OSError)
"""What a call of Spark raises once its JVM has ended under us: killed, or out of memory."""
JVM_ENDED = "Spark's JVM has ended"

logger = logging.getLogger(__name__)


class QueryFailed(PipelineError):
    """The query ended by itself; the supervisor starts the job again from its checkpoint."""


@dataclass
class Job:
    """One process: a query after the other, until it is told to stop."""

    settings: Settings
    stopping: threading.Event
    _reporter: StatusReporter = field(default_factory=StatusReporter)
    _current: tuple[StreamingQuery, BatchProcessor] | None = None
    _error: str | None = None

    def run(self) -> None:
        """Run until ``stopping`` is set; raises when the query fails."""
        checkpoint_dir = PROJECT_ROOT / self.settings.scoring.checkpoint_dir
        heartbeat = Heartbeat(self.settings.cassandra, self._snapshot)
        scoring = self.settings.scoring
        with lock(checkpoint_dir), ThreadPoolExecutor(1, "spark-start") as starter:
            model_dir = PROJECT_ROOT / scoring.model_dir
            model_source = ModelSource(model_dir, checkpoint_dir, scoring.large_amount)
            gc.freeze()  # the modules stay: the collection after each batch skips them
            heartbeat.start()
            # It takes seconds, in which the first query finds its servers and its run.
            spark = starter.submit(
                spark_session, "detection", scoring.driver_memory, scoring.shuffle_partitions
            )
            try:
                while not self.stopping.is_set():
                    self._run_query(spark, checkpoint_dir, model_source)
            except PipelineError as error:
                self._error = str(error)  # the last heartbeat says it, until the next start
                raise
            finally:
                heartbeat.stop()
                with contextlib.suppress(*JVM_GONE):
                    close_session(spark.result())

    def _run_query(
        self, spark: Future[SparkSession], checkpoint_dir: Path, model_source: ModelSource
    ) -> None:
        """Run one query; returns when it was stopped, or ended to begin again."""
        settings, scoring = self.settings, self.settings.scoring
        before = None if self._current is None else self._current[1]
        servers, source = settings.kafka.bootstrap_servers, settings.source
        wait_for_topic(servers, source.topic)
        find_schemas = functools.partial(fetch_schemas, settings.registry.url, source.topic)
        schemas = find_schemas()
        store = AlertStore(settings.cassandra)
        reader = TransactionReader(servers, schemas, source)
        try:
            run = open_run(
                checkpoint_dir,
                source.topic,
                specification_hash(
                    active_views(scoring.large_amount),
                    scoring.allowed_lateness_s,
                    scoring.shuffle_partitions,
                    source,
                ),
                # In the middle of a rebuild nothing is recorded yet, but this process knows.
                has_recorded=lambda run_id: (
                    (before is not None and run_id == before.run.run_id)
                    or store.last_batch(run_id) is not None
                ),
                recorded_offsets=store.recorded_offsets,
            )
            last = store.last_batch(run.run_id)
            processor = BatchProcessor(
                run=run,
                model_source=model_source,
                store=store,
                reader=reader,
                publisher=AlertPublisher(servers),
                schema_ids=schemas.keys(),
                has_new_schema=lambda: find_schemas().keys() > schemas.keys(),
                progress=_progress(run, last, before),
                last_scored_by=None if last is None else last.scored_by,
            )
            query = start_query(spark.result(), settings, schemas, processor)
            self._current = (query, processor)
            logger.info("run %s, model %s", run.run_id, processor.models.live.version)
            self._wait(query, processor)
        finally:
            reader.close()
            store.close()

    def _wait(self, query: StreamingQuery, processor: BatchProcessor) -> None:
        try:
            while query.isActive and not self.stopping.wait(POLL_S):
                pass
        except JVM_GONE as error:
            raise QueryFailed(JVM_ENDED) from error
        if self.stopping.is_set():
            processor.finish(FINISH_TIMEOUT_S)
            query.stop()
        elif processor.restarts_because is not None:
            logger.info("the query starts again: %s", processor.restarts_because)
        else:
            raise QueryFailed(f"the query ended: {explain(query.exception(), processor.run)}")

    def _snapshot(self) -> Mapping[str, Status]:
        try:
            status = self._status()
        except JVM_GONE:
            status = Status(state="failed", error=JVM_ENDED)
        if self._error is not None:
            status = replace(status, state="failed", error=self._error)
        return {DETECTION: status}

    def _status(self) -> Status:
        if self._current is None:
            return Status(state="starting")
        query, processor = self._current
        status = self._reporter.status(query, processor)
        if not query.isActive:
            # With its last figures: they tell which batch was finished.
            if self.stopping.is_set():
                return replace(status, state="stopped", error=None)
            if processor.restarts_because is not None:
                return replace(status, state="starting", error=None)
        return status


def _progress(run: Run, last: RecordedBatch | None, before: BatchProcessor | None) -> Progress:
    """Return what a run has done: as its last batch was recorded, or else as this process knows."""
    if last is not None:
        return Progress(read_until=read_until(last.last_offsets), totals=last.totals)
    return before.progress if before is not None and before.run == run else Progress()


def start_query(
    spark: SparkSession, settings: Settings, schemas: Mapping[int, str], processor: BatchProcessor
) -> StreamingQuery:
    """Start the streaming plan: decode, validate, de-duplicate, views; then ``processor``."""
    records = (
        spark.readStream.format("kafka")
        .option("kafka.bootstrap.servers", settings.kafka.bootstrap_servers)
        .option("subscribe", settings.source.topic)
        .option("startingOffsets", "earliest")
        .option("failOnDataLoss", "true")
        .option("maxOffsetsPerTrigger", settings.scoring.max_records_per_batch)
        .load()
    )
    decoded = decode(records, schemas, settings.source)
    validated = validate(decoded, settings.scoring.allowed_lateness_s)
    views = active_views(settings.scoring.large_amount)
    emitted = aggregate_stream(explode_views(deduplicate_stream(validated), views=views))
    return (
        emitted.writeStream.outputMode("update")
        .option("checkpointLocation", str(processor.run.spark_folder))
        .foreachBatch(processor)
        .start()
    )


def main() -> int:
    """Run the job until SIGTERM or SIGINT."""
    settings = load_settings()
    stopping = threading.Event()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signal_number, lambda *_: stopping.set())
    Job(settings, stopping).run()
    return 0


if __name__ == "__main__":
    sys.exit(run_service(main))
