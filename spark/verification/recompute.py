"""The alerts that must be there: recomputed from the records and the recorded batches."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, cast

import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from detection.alerts import AlertRow, build_alerts
from detection.emulate import iterate_links
from detection.model import Model
from detection.views import View
from pipeline.records import FIELDS, Transaction
from verification.snapshot import AlertKey
from verification.timeline import Timeline
from verification.topics import VALID

MINUTE: Final = ["sender", "window_start"]
EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def expected_alerts(
    accepted: DataFrame,
    timeline: Timeline,
    views: tuple[View, ...],
    load: Callable[[str], Model],
) -> dict[AlertKey, AlertRow]:
    """Return the alert rows that a run must have left, but for ``scored_at``.

    ``accepted``: the records that the run counted, numbered with their batch. Every minute is
    scored at the end of each batch that touched it, by the model that the batch was recorded
    with; the last evaluation at or above the review threshold is the row.
    """
    models = {version: load(version) for version in set(timeline.versions.values())}
    valid = accepted.where(F.col("verdict").isin(*VALID))
    flagged = [_flagged(links, timeline, models) for links in iterate_links(valid, views)]
    if not any(len(part) for part in flagged):
        return {}
    last = (
        pd.concat(flagged).sort_values("batch", kind="stable").drop_duplicates(MINUTE, keep="last")
    )
    transactions = _transactions(accepted, last["last_position"])
    rows = (
        row
        for batch_id, of_batch in last.groupby("batch")
        for row in build_alerts(
            of_batch,
            transactions,
            models[timeline.versions[cast(int, batch_id)]],
            timeline.run_id,
            cast(int, batch_id),
            EPOCH,
        )
    )
    return {(row["sender_account"], row["window_start"]): row for row in rows}


def _flagged(links: pd.DataFrame, timeline: Timeline, models: Mapping[str, Model]) -> pd.DataFrame:
    """Return the evaluations that reach the review threshold of their batch's model."""
    version = links["batch"].map(timeline.versions)
    found = []
    for name, of_version in links.groupby(version):
        model = models[name]
        evaluations = model.scorer.score(of_version)
        found.append(evaluations[evaluations["score"] >= model.review_threshold])
    return pd.concat(found) if found else links.head(0)


def _transactions(accepted: DataFrame, positions: pd.Series[int]) -> dict[int, Transaction]:
    spark = accepted.sparkSession
    wanted = spark.createDataFrame(pd.DataFrame({"position": positions.unique()}))
    rows: Iterator[Any] = iter(accepted.join(F.broadcast(wanted), "position").collect())
    return {
        row["position"]: cast(Transaction, {name: row[name] for name in FIELDS}) for row in rows
    }
