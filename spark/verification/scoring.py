"""Every record was counted once, and every alert and minute can be recomputed."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from detection.alerts import ALERT_COLUMNS, AlertRow
from detection.model import Model, load_model
from detection.validate import LATE, SCORED, VERDICTS
from detection.views import active_views
from pipeline.records import REASONS
from pipeline.settings import PROJECT_ROOT, Settings
from verification.findings import SUM_TOLERANCE, Difference, Kind, Proof, is_close
from verification.minutes import check_alert_counts, check_metrics
from verification.recompute import expected_alerts
from verification.snapshot import AlertKey, Snapshot
from verification.tables import utc_ms
from verification.timeline import PENDING, Timeline, repeated, watermarks
from verification.topics import Range

SCORE_TOLERANCE: Final = 1e-6


def check_scoring(
    proof: Proof,
    settings: Settings,
    snapshot: Snapshot,
    records: DataFrame,
    extent: Range,
    folder: Path,
) -> None:
    """Every record was counted once, and every alert and minute can be recomputed."""
    *older, newest = snapshot.timelines
    accepted, duplicates = _accepted(records, newest)
    accepted = _copied(accepted, folder / "accepted")
    pending = _copied(newest.number(records).where(F.col("batch") == PENDING), folder / "pending")
    told = {} if extent.is_cut else snapshot.totals
    _check_totals(proof, told, records, accepted, duplicates, newest)
    check_metrics(proof, snapshot, accepted, pending, extent)
    proof.counts["alerts"] = len(snapshot.alerts)
    if extent.is_cut:
        # Of alerts from before the topic's beginning nothing tells which were erased.
        check_alert_counts(
            proof, snapshot, pending, range(max(snapshot.erasures.values(), default=0))
        )
    else:
        views, load = active_views(settings.scoring.large_amount), _loader(settings)
        alerts: dict[AlertKey, AlertRow] = {}
        for timeline in older:
            alerts |= expected_alerts(_accepted(records, timeline)[0], timeline, views, load)
        # What the newest run evaluated again replaces what the others left.
        alerts |= expected_alerts(accepted, newest, views, load)
        _check_alerts(proof, snapshot, alerts, newest)
        erased = {utc_ms(key[1]) for key in alerts if _is_erased(snapshot, key)}
        check_alert_counts(proof, snapshot, pending, erased)
    _check_copies(proof, snapshot, newest)


def _accepted(records: DataFrame, timeline: Timeline) -> tuple[DataFrame, pd.DataFrame]:
    """Return the records that a run counted, numbered with their batch, and the duplicates.

    The latter have ``position``, ``is_dropped``: whether the stream dropped them, as it does for
    some time, or counted them again.
    """
    numbered = timeline.number(records).where(F.col("batch") != PENDING)
    arrivals = numbered.groupBy("batch").agg(F.max("arrival_ms").alias("newest")).toPandas()
    in_force = watermarks(arrivals.set_index("batch")["newest"], timeline.batch_ids)
    is_valid = F.col("identity").isNotNull()
    several = (
        numbered.where(is_valid).groupBy("identity").agg(F.count("*").alias("records"))
    ).where(F.col("records") > 1)
    again = (
        numbered.where(is_valid)
        .join(several.select("identity"), "identity")
        .select("identity", "batch", "arrival_ms", "position")
        .toPandas()
    )
    again["is_dropped"] = repeated(again, in_force)
    again["is_first"] = ~again.sort_values(["batch", "arrival_ms", "position"]).duplicated(
        "identity"
    )
    dropped = again.loc[again["is_dropped"], ["position"]].astype("int64")
    if dropped.empty:
        return numbered, again
    positions = records.sparkSession.createDataFrame(dropped)
    return numbered.join(F.broadcast(positions), "position", "left_anti"), again


def _check_totals(
    proof: Proof,
    told: Mapping[str, int],
    records: DataFrame,
    accepted: DataFrame,
    duplicates: pd.DataFrame,
    timeline: Timeline,
) -> None:
    """Count the records by verdict; the job's own totals, if any are ``told``, are the same."""
    counts = {
        VERDICTS[row.verdict]: row["count"] for row in accepted.groupBy("verdict").count().collect()
    }
    dropped = int(duplicates["is_dropped"].sum())
    proof.rejected = {reason: counts[reason] for reason in REASONS if reason in counts}
    proof.counts |= {
        "scored": counts.get(SCORED, 0),
        "late": counts.get(LATE, 0),
        "rejected": sum(proof.rejected.values()),
        "duplicates": dropped,
        # Behind the time for which an id is remembered: counted again, as late, stored once.
        "late_duplicates": int((~duplicates["is_dropped"] & ~duplicates["is_first"]).sum()),
    }
    read = sum(counts.values()) + dropped
    proof.counts["pending_scoring"] = records.count() - read
    verdicts = (counts.keys() | told.keys()) - {"read"} if told else ()
    for name in sorted(verdicts):
        if counts.get(name, 0) != told.get(name, 0):
            detail = f"the job counted {told.get(name, 0)}, the topic has {counts.get(name, 0)}"
            is_less = told.get(name, 0) < counts.get(name, 0)
            kind: Kind = "missing" if is_less else "extra"
            key = f"run={timeline.run_id} verdict={name}"
            proof.findings.add(Difference("totals", kind, key, detail))


def _check_alerts(
    proof: Proof,
    snapshot: Snapshot,
    expected: Mapping[AlertKey, AlertRow],
    newest: Timeline,
) -> None:
    """Every alert is there with every value; no other one is."""
    under_way = {key for key, row in snapshot.alerts.items() if _is_under_way(row, newest)}
    for key in sorted((expected.keys() | snapshot.alerts.keys()) - under_way):
        wanted, found = expected.get(key), snapshot.alerts.get(key)
        name = _alert_name(key)
        if found is None and _is_erased(snapshot, key):
            continue
        if wanted is None or found is None:
            kind: Kind = "extra" if wanted is None else "missing"
            proof.findings.add(Difference("fraud_alerts", kind, name))
            continue
        for column in ALERT_COLUMNS:
            if column != "scored_at" and not (
                column == "receiver_account" and _has_erased_receiver(snapshot, wanted, found)
            ):
                tolerance = SUM_TOLERANCE if column == "total_amount" else SCORE_TOLERANCE
                stored = getattr(found, column)
                if not is_close(_plain(wanted[column]), _plain(stored), tolerance):
                    detail = f"{column} is {stored}, recomputed {wanted[column]}"
                    proof.findings.add(Difference("fraud_alerts", "different", name, detail))
                    break


def _check_copies(proof: Proof, snapshot: Snapshot, newest: Timeline) -> None:
    """Both tables of alerts hold the same rows, but for those that were just written."""
    check = "fraud_alerts_by_account"
    for key in sorted(snapshot.alerts.keys() | snapshot.alerts_by_account.keys()):
        row, copy = snapshot.alerts.get(key), snapshot.alerts_by_account.get(key)
        if any(found is not None and _is_under_way(found, newest) for found in (row, copy)):
            continue
        if row is None:
            proof.findings.add(Difference(check, "extra", _alert_name(key)))
        elif copy is None:
            proof.findings.add(Difference(check, "missing", _alert_name(key)))
        elif any(getattr(row, column) != getattr(copy, column) for column in ALERT_COLUMNS):
            proof.findings.add(Difference(check, "different", _alert_name(key)))


def _is_erased(snapshot: Snapshot, key: AlertKey) -> bool:
    return snapshot.is_erased(key[0], utc_ms(key[1]))


def _has_erased_receiver(snapshot: Snapshot, wanted: AlertRow, found: Any) -> bool:
    """Tell whether an alert's receiver was emptied because that account was erased."""
    return found.receiver_account is None and snapshot.is_erased(
        wanted["receiver_account"], utc_ms(wanted["window_start"])
    )


def _is_under_way(row: Any, newest: Timeline) -> bool:
    """Tell whether a row comes from a batch that was not finished when the proof began."""
    return (row.run_id, row.batch_id) > (newest.run_id, int(newest.batch_ids[-1]))


def _copied(frame: DataFrame, path: Path) -> DataFrame:
    """Return the frame after a round through a file: it is used several times."""
    frame.write.parquet(str(path))
    return frame.sparkSession.read.parquet(str(path))


def _loader(settings: Settings) -> Callable[[str], Model]:
    model_dir = PROJECT_ROOT / settings.scoring.model_dir
    return lambda version: load_model(model_dir, version, settings.scoring.large_amount)


def _alert_name(key: AlertKey) -> str:
    return f"sender_account={key[0]} window_start={key[1].isoformat()}"


def _plain(value: Any) -> Any:
    """Return a time as naive UTC, as the driver does, and a list for any sequence."""
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.UTC).replace(tzinfo=None) if value.tzinfo else value
    return list(value) if isinstance(value, tuple) else value
