"""The protocol: scores and labels of a stream → the figures of one method.

The unit is the sender-minute: its score is the highest of its evaluations, and it is a fraud if
it holds one. An incident is found by an alert on any of its sender-minutes that comes after the
incident's first fraud in that minute.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from detection.emulate import BATCH_MS
from detection.train import MINUTE_KEYS
from detection.views import MINUTE_MS, SENDER
from evaluation.metrics import (
    area_under_roc,
    at_threshold,
    average_precision,
    average_precision_interval,
)

BOOTSTRAP_SEED = 1
UNDECIDED_MS = MINUTE_MS
"""An incident that begins this near to the end of the stream is not counted: nobody could tell
whether it would have been found."""


@dataclass(frozen=True)
class Stream:
    """The part of a labelled stream that a method is judged on.

    ``minutes``: a row for each sender-minute, by ``MINUTE_KEYS``, with ``is_fraud``. ``frauds``:
    a row for each fraudulent transaction, with ``MINUTE_KEYS``, ``transaction_timestamp`` (ms),
    ``transaction_amount``, ``pattern`` and ``incident_id``.
    """

    minutes: pd.DataFrame
    frauds: pd.DataFrame
    transaction_count: int

    @property
    def is_fraud(self) -> Any:
        """Return the labels of ``minutes``, an array of bool."""
        return self.minutes["is_fraud"].to_numpy()


def read_frauds(labelled: DataFrame) -> pd.DataFrame:
    """Return the fraudulent transactions of a labelled table; see ``Stream.frauds``.

    A fraud without an incident is an incident of its own; one without a pattern is of ``other``.
    """
    optional = {
        name: F.col(name) if name in labelled.columns else F.lit(None).cast("string")
        for name in ("pattern", "incident_id")
    }
    time_ms = F.unix_millis("transaction_timestamp")
    frauds: pd.DataFrame = (
        labelled.where(F.col("is_fraud").cast("boolean"))
        .select(
            F.expr(SENDER).alias("sender"),
            (time_ms - F.pmod(time_ms, F.lit(MINUTE_MS))).alias("window_start"),
            time_ms.alias("transaction_timestamp"),
            "transaction_amount",
            F.coalesce(optional["pattern"], F.lit("other")).alias("pattern"),
            F.coalesce(optional["incident_id"], F.col("transaction_id")).alias("incident_id"),
        )
        .toPandas()
    )
    return frauds.sort_values("transaction_timestamp", ignore_index=True)


def make_stream(links: pd.DataFrame, frauds: pd.DataFrame) -> Stream:
    """Return the stream of the minutes in ``links`` with their labels."""
    minutes = links[[*MINUTE_KEYS, "transaction_count"]].groupby(MINUTE_KEYS, as_index=False).max()
    labelled = minutes.merge(
        frauds[MINUTE_KEYS].drop_duplicates().assign(is_fraud=True), how="left", on=MINUTE_KEYS
    )
    labelled["is_fraud"] = labelled["is_fraud"].notna()
    start, end = links["window_start"].min(), links["window_start"].max() + MINUTE_MS
    within = frauds[(frauds["window_start"] >= start) & (frauds["window_start"] < end)]
    return Stream(labelled, within, int(minutes["transaction_count"].sum()))


def judge(stream: Stream, scored: pd.DataFrame, thresholds: dict[str, float]) -> dict[str, Any]:
    """Return the figures of a method that scored each evaluation of the stream.

    ``scored``: ``MINUTE_KEYS``, ``score`` and ``alert_ms``, a row for each evaluation; an alert
    exists from ``alert_ms`` on, the end of its batch. Rates and precisions are shares of 1, delays
    seconds of event time.
    """
    highest = scored.groupby(MINUTE_KEYS)["score"].max().rename("score").reset_index()
    minutes = stream.minutes.merge(highest, on=MINUTE_KEYS, validate="one_to_one")
    is_fraud, score = minutes["is_fraud"].to_numpy(), minutes["score"].to_numpy()
    interval = average_precision_interval(
        is_fraud, score, minutes["sender"].to_numpy(), BOOTSTRAP_SEED
    )
    levels = {
        name: _level(stream, minutes, scored, threshold) for name, threshold in thresholds.items()
    }
    return {
        **ranking(is_fraud, score),
        "average_precision_95": interval,
        "prevalence": float(is_fraud.mean()),
        "minutes": len(minutes),
        "transactions": stream.transaction_count,
        **levels,
        "by_pattern": levels["review"].pop("by_pattern"),
        "by_pattern_alert": levels["alert"].pop("by_pattern"),
    }


def timed(scored: pd.DataFrame, batch_ms: int = BATCH_MS) -> pd.DataFrame:
    """Add ``alert_ms`` to evaluations in emulated batches: the end of the batch."""
    return scored.assign(alert_ms=(scored["batch"] + 1) * batch_ms)


def ranking(is_fraud: Any, score: Any) -> dict[str, float]:
    """Return the figures that need no threshold."""
    return {
        "average_precision": average_precision(is_fraud, score),
        "auc": area_under_roc(is_fraud, score),
    }


def find_incidents(stream: Stream, scored: pd.DataFrame, threshold: float) -> pd.DataFrame:
    """Return a row for each incident that begins within the stream.

    Columns: ``incident_id``, ``pattern``, ``delay_s`` from its first fraud to its first alert, and
    ``frauds_passed`` meanwhile; both are null if no alert found it.
    """
    alerts = scored.loc[scored["score"] >= threshold, [*MINUTE_KEYS, "alert_ms"]]
    frauds = stream.frauds
    first = frauds.groupby(["incident_id", "pattern"])["transaction_timestamp"].min()
    # An incident whose beginning lies before this part of the stream was cut in two.
    start = stream.minutes["window_start"].min()
    end = stream.minutes["window_start"].max() + MINUTE_MS - UNDECIDED_MS
    whole = first[(first >= start) & (first < end)].rename("first_ms").reset_index()
    in_minute = frauds.groupby(["incident_id", *MINUTE_KEYS], as_index=False).agg(
        minute_first_ms=("transaction_timestamp", "min")
    )
    hits = in_minute.merge(alerts, on=MINUTE_KEYS)
    found = (
        hits[hits["alert_ms"] > hits["minute_first_ms"]].groupby("incident_id")["alert_ms"].min()
    )
    incidents: pd.DataFrame = whole.merge(
        found, how="left", left_on="incident_id", right_index=True
    )
    incidents["delay_s"] = (incidents["alert_ms"] - incidents["first_ms"]) / 1000
    before = frauds[["incident_id", "transaction_timestamp"]].merge(
        incidents[["incident_id", "alert_ms"]], on="incident_id"
    )
    passed = (before["transaction_timestamp"] < before["alert_ms"]).groupby(before["incident_id"])
    # The transaction that raised the alert has passed too, but it was not missed.
    incidents["frauds_passed"] = incidents["incident_id"].map(passed.sum() - 1)
    incidents.loc[incidents["alert_ms"].isna(), "frauds_passed"] = np.nan
    return incidents


def _level(
    stream: Stream, minutes: pd.DataFrame, scored: pd.DataFrame, threshold: float
) -> dict[str, Any]:
    """Return what raising alerts from ``threshold`` on does."""
    point = at_threshold(minutes["is_fraud"].to_numpy(), minutes["score"].to_numpy(), threshold)
    flagged = minutes.loc[minutes["score"] >= threshold, MINUTE_KEYS]
    amounts = stream.frauds["transaction_amount"]
    is_flagged = stream.frauds.merge(flagged.assign(hit=True), how="left", on=MINUTE_KEYS)["hit"]
    incidents = find_incidents(stream, scored, threshold)
    return {
        "threshold": threshold,
        "precision": point.precision,
        "recall": point.recall,
        "alert_rate": point.alert_rate,
        "alerts_per_1000_transactions": 1000 * len(flagged) / stream.transaction_count,
        "amount_recall": float(amounts[is_flagged.notna().to_numpy()].sum() / amounts.sum()),
        **_incident_figures(incidents),
        "by_pattern": {
            pattern: _incident_figures(of_pattern)
            for pattern, of_pattern in incidents.groupby("pattern")
        },
    }


def _incident_figures(incidents: pd.DataFrame) -> dict[str, Any]:
    delays = incidents["delay_s"].dropna()
    has_any = len(delays) > 0
    return {
        "incidents": len(incidents),
        "incident_recall": len(delays) / len(incidents) if len(incidents) else None,
        "delay_median_s": float(delays.median()) if has_any else None,
        "delay_p95_s": float(delays.quantile(0.95)) if has_any else None,
        "frauds_passed": float(incidents["frauds_passed"].mean()) if has_any else None,
    }
