"""What the pipeline had written, copied while it may be running."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from pipeline.erasure import account_hash
from pipeline.settings import Settings
from verification.tables import RAW_TABLES, Tables, read_raw, utc_ms
from verification.timeline import Batch, Timeline
from verification.topics import Offsets

AlertKey = tuple[str, dt.datetime]
"""Account and start of the minute."""


@dataclass(frozen=True)
class Snapshot:
    """What the pipeline had written; read before the topic.

    ``stored``: offsets that the sink had committed before. ``timelines``: of each run, in their
    order, up to the last batch that was finished before; ``totals``: the newest run's after it.
    ``has_moved``: the job was at work meanwhile. ``raw``: the tables of transactions, copied.
    ``erasures``: {hash of an erased account: when}, in milliseconds.
    """

    stored: Mapping[int, int]
    timelines: list[Timeline]
    totals: Mapping[str, int]
    has_moved: bool
    raw: Mapping[str, DataFrame]
    alerts: Mapping[AlertKey, Any]
    alerts_by_account: Mapping[AlertKey, Any]
    metrics: Mapping[int, Any]
    erasures: Mapping[str, int]

    def is_erased(self, account: str, at_ms: int) -> bool:
        """Tell whether an account's rows of then were deleted on purpose."""
        return at_ms < self.erasures.get(account_hash(account), 0)


def take_snapshot(
    spark: SparkSession, settings: Settings, tables: Tables, offsets: Offsets, folder: Path
) -> Snapshot:
    stored = offsets.stored(settings.source.topic)
    finished = tables.finished_batch()
    runs, is_under_way = _finished(tables.batches(), finished)
    raw = {}
    for table in RAW_TABLES:
        read_raw(spark, settings.cassandra, table).write.parquet(f"{folder}/{table}")
        raw[table] = spark.read.parquet(f"{folder}/{table}")
    alerts = {alert_key(row): row for row in tables.rows("fraud_alerts")}
    by_account = {alert_key(row): row for row in tables.rows("fraud_alerts_by_account")}
    metrics = {utc_ms(row.window_start): row for row in tables.rows("metrics")}
    erasures = {row.account_hash: utc_ms(row.erased_at) for row in tables.rows("erasures")}
    return Snapshot(
        stored=stored,
        timelines=[Timeline.of(run_id, batches) for run_id, batches in runs.items()],
        totals=runs[max(runs)][-1].totals if runs else {},
        has_moved=is_under_way or tables.finished_batch() != finished,
        raw=raw,
        alerts=alerts,
        alerts_by_account=by_account,
        metrics=metrics,
        erasures=erasures,
    )


def _finished(
    runs: Mapping[str, list[Batch]], finished: tuple[str, int] | None
) -> tuple[dict[str, list[Batch]], bool]:
    """Return the finished batches of each run in order, and whether one more is under way.

    A batch is recorded before its alerts are written. It is finished when the heartbeat says so,
    or when a later one is recorded. Of an older run every batch is: a restart repeats the last.
    """
    ordered = {
        run_id: sorted(runs[run_id], key=lambda batch: batch.batch_id) for run_id in sorted(runs)
    }
    if not ordered:
        return {}, False
    newest = max(ordered)
    batches = ordered[newest]
    last = batches[-1].batch_id
    is_told = finished is not None and finished[0] == newest
    end = finished[1] if finished is not None and is_told else last - 1
    ordered[newest] = [batch for batch in batches if batch.batch_id <= end]
    return {run_id: of_run for run_id, of_run in ordered.items() if of_run}, end < last


def alert_key(row: Any) -> AlertKey:
    return row.sender_account, row.window_start.replace(tzinfo=dt.UTC)
