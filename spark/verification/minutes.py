"""The table ``metrics``: each minute equals a recount."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Container
from typing import Any, Final

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from detection.validate import LATE, SCORED, VERDICTS
from detection.views import MINUTE_MS
from pipeline.records import REASONS
from verification.findings import SUM_TOLERANCE, Difference, Kind, Proof, is_close
from verification.snapshot import Snapshot
from verification.tables import utc_ms
from verification.topics import Range

EXACT_METRICS: Final = (
    "transaction_count",
    "total_amount",
    "failed_count",
    "late_count",
    *(f"rejected_{reason}" for reason in REASONS),
)
ALERT_METRICS: Final = ("alert_count", "flagged_amount")


def check_metrics(
    proof: Proof, snapshot: Snapshot, accepted: DataFrame, pending: DataFrame, extent: Range
) -> None:
    """Each minute of arrival equals a recount; alert counts, one of the stored alerts."""
    minute = (F.floor(F.col("arrival_ms") / MINUTE_MS) * MINUTE_MS).alias("minute")
    failed = F.sum(F.when(F.col("transaction_status") == "failed", 1).otherwise(0))
    counted = accepted.groupBy(minute, "verdict").agg(
        F.count("*").alias("count"),
        F.sum("transaction_amount").alias("amount"),
        failed.alias("failed"),
    )
    expected: dict[int, dict[str, Any]] = defaultdict(dict)
    for row in counted.collect():
        verdict = VERDICTS[row.verdict]
        if verdict == SCORED:
            expected[row.minute] |= {
                "transaction_count": row["count"],
                "total_amount": row.amount,
                "failed_count": row.failed,
            }
        else:
            column = "late_count" if verdict == LATE else f"rejected_{verdict}"
            expected[row.minute][column] = row["count"]
    unsettled = set()
    if snapshot.has_moved:
        unsettled = {row.minute for row in pending.select(minute).distinct().collect()}
    begin_ms = min(expected, default=0) if extent.is_cut else -1
    wanted = {start for start in expected if start > begin_ms} - unsettled
    stored = {start for start in snapshot.metrics if start > begin_ms} - unsettled
    for start in sorted(wanted | stored):
        found = snapshot.metrics.get(start)
        for name in EXACT_METRICS:
            value = getattr(found, name, None)
            _compare(proof, _minute(start), name, expected[start].get(name), value)
    proof.counts["metrics"] = len(snapshot.metrics)


def check_alert_counts(
    proof: Proof, snapshot: Snapshot, pending: DataFrame, exempt: Container[int]
) -> None:
    """The alert columns equal a recount of the stored alerts, but for the ``exempt`` minutes."""
    of_minute: dict[int, list[float]] = defaultdict(list)
    for row in snapshot.alerts.values():
        of_minute[utc_ms(row.window_start)].append(row.total_amount)
    unsettled = set()
    if snapshot.has_moved:
        happened = F.floor(F.col("transaction_timestamp") / MINUTE_MS) * MINUTE_MS
        rows = pending.where(F.col("verdict") == VERDICTS.index(SCORED))
        unsettled = {
            row.minute for row in rows.select(happened.alias("minute")).distinct().collect()
        }
    with_alerts = {start for start, row in snapshot.metrics.items() if row.alert_count is not None}
    for start in sorted((with_alerts | of_minute.keys()) - unsettled):
        if start in exempt:
            continue
        found = snapshot.metrics.get(start)
        amounts = of_minute.get(start, [])
        expected = (len(amounts), sum(amounts))
        for name, value in zip(ALERT_METRICS, expected, strict=True):
            _compare(proof, _minute(start), name, value, getattr(found, name, None))


def _compare(proof: Proof, key: str, name: str, expected: Any, found: Any) -> None:
    if not is_close(expected, found, SUM_TOLERANCE):
        kind: Kind = "different"
        if found is None or expected is None:
            kind = "missing" if found is None else "extra"
        detail = f"{name} is {found}, recounted {expected}"
        proof.findings.add(Difference("metrics", kind, key, detail))


def _minute(start_ms: int) -> str:
    moment = dt.datetime.fromtimestamp(start_ms / 1000, dt.UTC)
    return f"window_start={moment.isoformat()}"
