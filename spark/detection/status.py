"""What the detection job says of itself in its heartbeat."""

from __future__ import annotations

import datetime as dt
from typing import Any

from pyspark.sql.streaming.query import StreamingQuery

from detection.batch import BatchProcessor, Progress
from detection.checkpoint import explain
from detection.validate import LATE, SCORED, VERDICTS
from pipeline.heartbeat import Status


class StatusReporter:
    """Turns a query and its processor into a ``Status``; called by the heartbeat's thread."""

    def __init__(self) -> None:
        self._seen_batch = -1
        self._dropped = 0
        self._removed = 0

    def status(self, query: StreamingQuery, processor: BatchProcessor) -> Status:
        """Return the status of a query that was started.

        Lag in seconds: how long ago the newest record that was read arrived, as long as there
        are more to read; 0 when everything is read. A batch that hangs makes it grow.
        """
        progress = processor.progress
        updates = [update for update in query.recentProgress if "batchId" in update]
        self._count_rows(updates)
        last = updates[-1] if updates else {}
        details = _details(progress, last) | {
            "state_rows_removed": str(self._removed),
            "run_id": processor.run.run_id,
            **_model_details(processor),
        }
        common: dict[str, Any] = {
            "rate": last.get("processedRowsPerSecond"),
            "lag_messages": _behind(last),
            "lag_seconds": _lag_seconds(query, progress),
            "details": details,
        }
        if not query.isActive:
            return Status(state="failed", error=explain(query.exception(), processor.run), **common)
        if self._dropped:
            error = f"{self._dropped} rows came behind the watermark and are not counted"
            return Status(state="degraded", error=error, **common)
        if processor.model_source.error is not None:
            return Status(state="degraded", error=processor.model_source.error, **common)
        is_started = progress.batch_id is not None
        return Status(state="running" if is_started else "starting", **common)

    def _count_rows(self, updates: list[dict[str, Any]]) -> None:
        """Add up what left the state as closed, and what the watermark dropped.

        The second is always 0, unless a partition lags behind the other by minutes.
        """
        for update in updates:
            if update["batchId"] <= self._seen_batch:
                continue
            self._seen_batch = update["batchId"]
            for operator in update["stateOperators"]:
                self._dropped += operator["numRowsDroppedByWatermark"]
                self._removed += operator["numRowsRemoved"]


def _details(progress: Progress, last: dict[str, Any]) -> dict[str, str]:
    counts = progress.totals
    read = counts.get("read", 0)
    decided = sum(counts.get(verdict, 0) for verdict in VERDICTS)
    details = {
        "read_offsets": progress.read_until,
        "read": read,
        SCORED: counts.get(SCORED, 0),
        LATE: counts.get(LATE, 0),
        "duplicates": read - decided,
        **{f"rejected.{reason}": counts[reason] for reason in VERDICTS[2:] if reason in counts},
        "batch_id": progress.batch_id,
        "batch_ms": None if progress.duration_ms is None else round(progress.duration_ms),
        "phase": "rebuild" if progress.is_rebuild else "live",
        "watermark": last.get("eventTime", {}).get("watermark"),
        "state_rows": sum(operator["numRowsTotal"] for operator in last.get("stateOperators", [])),
    }
    return {name: str(value) for name, value in details.items() if value is not None}


def _model_details(processor: BatchProcessor) -> dict[str, str]:
    shadow = processor.models.shadow
    details = {
        "model_version": processor.models.live.version,
        "shadow_version": shadow.version if shadow else None,
        "shadow_failures": processor.shadow_failures or None,
        "models_error": processor.model_source.error,
    }
    return {name: str(value) for name, value in details.items() if value is not None}


def _behind(last: dict[str, Any]) -> int | None:
    """Return how many records the topic had beyond the last batch when that began."""
    for source in last.get("sources", []):
        latest, end = source.get("latestOffset"), source.get("endOffset")
        if isinstance(latest, dict) and isinstance(end, dict):
            return _sum_offsets(latest) - _sum_offsets(end)
    return None


def _sum_offsets(offsets: dict[str, dict[str, int]]) -> int:
    return sum(offset for topic in offsets.values() for offset in topic.values())


def _lag_seconds(query: StreamingQuery, progress: Progress) -> float | None:
    if not query.status["isDataAvailable"]:
        return 0.0
    if progress.newest_arrival_ms is None:
        return None
    now_ms = dt.datetime.now(dt.UTC).timestamp() * 1000
    return max(0.0, (now_ms - progress.newest_arrival_ms) / 1000)
