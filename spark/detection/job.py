"""The streaming job: ``python -m detection.job``. Wiring only; the work is in the other modules."""

from __future__ import annotations

import functools
import logging
import signal
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pyspark.sql import SparkSession
from pyspark.sql.streaming.query import StreamingQuery

from detection.batch import BatchProcessor, Progress
from detection.checkpoint import lock, open_run, read_until
from detection.decode import decode
from detection.model import current_version, load_model
from detection.registry import fetch_schemas
from detection.session import spark_session
from detection.sinks import AlertPublisher, AlertStore, TransactionReader, wait_for_topic
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
from pipeline.names import DETECTION, TRANSACTIONS_TOPIC
from pipeline.settings import PROJECT_ROOT, Settings, load_settings

POLL_S = 0.5
FINISH_TIMEOUT_S = 20.0
"""How long a clean stop waits for the running batch; without it the batch is repeated."""

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

    def run(self) -> None:
        """Run until ``stopping`` is set; raises when the query fails."""
        checkpoint_dir = PROJECT_ROOT / self.settings.scoring.checkpoint_dir
        heartbeat = Heartbeat(self.settings.cassandra, self._snapshot)
        with lock(checkpoint_dir):
            heartbeat.start()
            scoring = self.settings.scoring
            spark = spark_session("detection", scoring.driver_memory, scoring.shuffle_partitions)
            try:
                while not self.stopping.is_set():
                    self._run_query(spark, checkpoint_dir)
            finally:
                heartbeat.stop()
                spark.stop()

    def _run_query(self, spark: SparkSession, checkpoint_dir: Path) -> None:
        """Run one query; returns when it was stopped, or ended to learn a new schema."""
        settings, scoring = self.settings, self.settings.scoring
        servers = settings.kafka.bootstrap_servers
        wait_for_topic(servers, TRANSACTIONS_TOPIC)
        schemas = fetch_schemas(settings.registry.url)
        store = AlertStore(settings.cassandra)
        reader = TransactionReader(servers, schemas)
        try:
            run = open_run(
                checkpoint_dir,
                specification_hash(
                    active_views(scoring.large_amount),
                    scoring.allowed_lateness_s,
                    scoring.shuffle_partitions,
                ),
                has_recorded=lambda run_id: store.last_batch(run_id) is not None,
                recorded_offsets=store.recorded_offsets,
            )
            last = store.last_batch(run.run_id)
            model_dir = PROJECT_ROOT / scoring.model_dir
            processor = BatchProcessor(
                run=run,
                model=load_model(model_dir, current_version(model_dir), scoring.large_amount),
                store=store,
                reader=reader,
                publisher=AlertPublisher(servers),
                load_model=functools.partial(
                    load_model, model_dir, large_amount=scoring.large_amount
                ),
                has_new_schema=lambda: fetch_schemas(settings.registry.url).keys() > schemas.keys(),
                progress=Progress()
                if last is None
                else Progress(read_until=read_until(last.last_offsets), totals=last.totals),
            )
            query = start_query(spark, settings, schemas, processor)
            self._current = (query, processor)
            logger.info("run %s, model %s", run.run_id, processor.model.version)
            self._wait(query, processor)
        finally:
            reader.close()
            store.close()

    def _wait(self, query: StreamingQuery, processor: BatchProcessor) -> None:
        while query.isActive and not self.stopping.wait(POLL_S):
            pass
        if self.stopping.is_set():
            processor.finish(FINISH_TIMEOUT_S)
            query.stop()
        elif processor.found_new_schema:
            logger.info("a schema was registered since the query began; it starts again with it")
        else:
            raise QueryFailed(f"the query ended: {query.exception()}")

    def _snapshot(self) -> Mapping[str, Status]:
        if self._current is None:
            return {DETECTION: Status(state="starting")}
        query, processor = self._current
        if self.stopping.is_set() and not query.isActive:
            return {DETECTION: Status(state="stopped")}
        return {DETECTION: self._reporter.status(query, processor)}


def start_query(
    spark: SparkSession, settings: Settings, schemas: Mapping[int, str], processor: BatchProcessor
) -> StreamingQuery:
    """Start the streaming plan: decode, validate, de-duplicate, views; then ``processor``."""
    records = (
        spark.readStream.format("kafka")
        .option("kafka.bootstrap.servers", settings.kafka.bootstrap_servers)
        .option("subscribe", TRANSACTIONS_TOPIC)
        .option("startingOffsets", "earliest")
        .option("failOnDataLoss", "true")
        .option("maxOffsetsPerTrigger", settings.scoring.max_records_per_batch)
        .load()
    )
    validated = validate(decode(records, schemas), settings.scoring.allowed_lateness_s)
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
