"""How long a micro-batch of the detection job takes, live, and what parts of it cost.

    make bench-micro-batch RATE=1000 ACCOUNTS=20000

Starts the real servers and the simulator, lets each variant of the job catch up, and then
measures the batches that follow. `job` is the whole job with its writes; the others compute the
same views without scoring or writing, so their differences are what a part costs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.streaming.query import StreamingQuery

from detection import job, views
from detection.batch import BatchProcessor, Progress
from detection.checkpoint import Run
from detection.registry import fetch_schemas
from detection.serving import ModelSource
from detection.session import spark_session
from detection.sinks import AlertPublisher, AlertStore, TransactionReader
from pipeline.settings import PROJECT_ROOT, Settings
from tests.support.pipeline import environment, running_pipeline
from tests.support.wait import wait_until

CAUGHT_UP = 4_000
"""Records in a batch below which it counts as live."""


@contextmanager
def without_deduplication() -> Iterator[None]:
    def only_watermark(validated: DataFrame) -> DataFrame:
        delay = f"{views.DUPLICATE_WINDOW_MS} milliseconds"
        return validated.withWatermark("kafka_timestamp", delay)

    with mock.patch.object(job, "deduplicate_stream", only_watermark):
        yield


@contextmanager
def without_pairs() -> Iterator[None]:
    kept = tuple(view for view in views.VIEWS if view.name != "sender_receiver")
    with mock.patch.object(views, "VIEWS", kept):
        yield


@contextmanager
def everything() -> Iterator[None]:
    yield


def whole_job(settings: Settings, schemas: dict[int, str], run: Run) -> Any:
    return BatchProcessor(
        run=run,
        model_source=ModelSource(
            PROJECT_ROOT / settings.scoring.model_dir, run.folder, large_amount=0
        ),
        store=AlertStore(settings.cassandra),
        reader=TransactionReader(settings.kafka.bootstrap_servers, schemas, settings.source),
        publisher=AlertPublisher(settings.kafka.bootstrap_servers),
        schema_ids=schemas.keys(),
        has_new_schema=lambda: False,
        progress=Progress(),
        last_scored_by=None,
    )


class Collect:
    """Computes the views and throws them away."""

    def __init__(self, settings: Settings, schemas: dict[int, str], run: Run) -> None:
        self.run = run

    def __call__(self, emitted: DataFrame, batch_id: int) -> None:
        emitted.toPandas()


VARIANTS: dict[str, tuple[Callable[[], Any], Callable[..., Any]]] = {
    "job": (everything, whole_job),
    "views": (everything, Collect),
    "views without de-duplication": (without_deduplication, Collect),
    "views without pairs": (without_pairs, Collect),
}


def measure(
    spark: SparkSession, settings: Settings, folder: Path, variant: str, batches: int
) -> dict[str, Any]:
    """Run a variant from the start of the topic; return figures of its last ``batches``."""
    schemas = fetch_schemas(settings.registry.url, settings.source.topic)
    patch, make = VARIANTS[variant]
    with patch():
        processor = make(settings, schemas, Run(folder.name, folder, {}))
        query = job.start_query(spark, settings, schemas, processor)
        try:
            wait_until(lambda: _is_live(query), 900, f"{variant}: caught up")
            first = query.lastProgress["batchId"]
            updates: dict[int, dict[str, Any]] = {}

            def enough() -> bool:
                updates.update({update["batchId"]: update for update in query.recentProgress})
                return max(updates) - first >= batches

            wait_until(enough, 900, f"{variant}: {batches} batches")
        finally:
            query.stop()
    live = [update for batch, update in sorted(updates.items()) if batch > first]
    took = sorted(update["durationMs"]["triggerExecution"] for update in live)
    return {
        "variant": variant,
        "batches": len(took),
        "records_a_batch": statistics.median(update["numInputRows"] for update in live),
        "p50_ms": took[len(took) // 2],
        "p95_ms": took[int(len(took) * 0.95)],
        "state_rows": [operator["numRowsTotal"] for operator in live[-1]["stateOperators"]],
    }


def _is_live(query: StreamingQuery) -> bool:
    if not query.isActive:
        raise AssertionError(query.exception())
    last = query.lastProgress
    return bool(last) and 0 < last["numInputRows"] < CAUGHT_UP


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=1000)
    parser.add_argument("--accounts", type=int, default=20_000)
    parser.add_argument("--batches", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--out", type=Path, default=PROJECT_ROOT / ".local" / "results")
    options = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        variables = environment(folder / "pipeline") | {
            "FRAUD__LOCAL__FAST_START": "false",
            "FRAUD__SIMULATOR__RATE_PER_S": str(options.rate),
            "FRAUD__SIMULATOR__ACCOUNTS": str(options.accounts),
            "FRAUD__SCORING__DRIVER_MEMORY": "4g",
        }
        (folder / "pipeline").mkdir()
        left_out = ["detection", "dashboard", "watcher", "connector", "connect"]
        with running_pipeline(folder / "pipeline", variables, without=left_out) as pipeline:
            settings = pipeline.settings
            spark = spark_session("bench", "4g", settings.scoring.shuffle_partitions)
            for round_ in range(options.rounds):
                for number, variant in enumerate(VARIANTS):
                    run = folder / f"run-{round_}-{number}"
                    run.mkdir()
                    results.append(measure(spark, settings, run, variant, options.batches))
                    print(json.dumps(results[-1]), flush=True)
            spark.stop()
    options.out.mkdir(parents=True, exist_ok=True)
    report = {"rate": options.rate, "accounts": options.accounts, "micro_batch": results}
    (options.out / "micro_batch.json").write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
