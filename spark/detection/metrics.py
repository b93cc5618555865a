"""Rows of the table ``metrics``: the pipeline's minutes, exact counts and observed latency."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from typing import Any

import numpy as np
import pandas as pd

from detection.validate import LATE, SCORED, VERDICTS
from detection.views import MINUTE_MS, view_code

MetricsRow = dict[str, Any]

KEPT_MINUTES = 3
"""Latencies are kept for the newest minutes of arrival only; older ones no longer change."""


def minute_rows(rows: pd.DataFrame) -> list[MetricsRow]:
    """Return a partial row of ``metrics`` for each minute of arrival that a batch touched.

    Each holds the columns of the verdicts that the batch touched, with their full values: counts
    of the whole minute so far, so that writing them again changes nothing.
    """
    minutes: dict[int, MetricsRow] = {}
    touched = rows[rows["view"] == view_code("pipeline_minute")]
    for row in touched.to_dict("records"):
        start = row["window_end"] - MINUTE_MS
        columns = minutes.setdefault(start, _keys(start))
        verdict = VERDICTS[row["entity"]]
        if verdict == SCORED:
            columns["transaction_count"] = row["transaction_count"]
            columns["total_amount"] = row["total_amount"]
            columns["failed_count"] = row["matching_count"]
        elif verdict == LATE:
            columns["late_count"] = row["transaction_count"]
        else:
            columns[f"rejected_{verdict}"] = row["transaction_count"]
    return list(minutes.values())


def totals(rows: pd.DataFrame) -> dict[str, int]:
    """Return {verdict: records of this run so far} for the verdicts that a batch touched."""
    touched = rows[rows["view"] == view_code("pipeline_total")]
    return {
        VERDICTS[code]: int(count)
        for code, count in zip(touched["entity"], touched["transaction_count"], strict=True)
    }


class Latencies:
    """Time from a minute's last transaction in Kafka to its alert, if any, being readable.

    Observation, not accounting: a restart forgets the samples of the current minute.
    """

    def __init__(self) -> None:
        self._samples: dict[int, list[float]] = defaultdict(list)

    def add(self, evaluations: pd.DataFrame, readable_at: dt.datetime) -> list[MetricsRow]:
        """Add a batch's evaluations; return partial rows with the percentiles so far (ms)."""
        now_ms = readable_at.timestamp() * 1000
        touched = set()
        for arrival in evaluations["last_arrival"]:
            start = int(arrival) // MINUTE_MS * MINUTE_MS
            self._samples[start].append(now_ms - arrival)
            touched.add(start)
        for old in sorted(self._samples)[:-KEPT_MINUTES]:
            del self._samples[old]
        return [self._row(start) for start in sorted(touched & self._samples.keys())]

    def _row(self, start: int) -> MetricsRow:
        p50, p95, p99 = np.percentile(self._samples[start], [50, 95, 99])
        return _keys(start) | {
            "latency_p50_ms": float(p50),
            "latency_p95_ms": float(p95),
            "latency_p99_ms": float(p99),
        }


def _keys(start_ms: int) -> MetricsRow:
    start = dt.datetime.fromtimestamp(start_ms / 1000, dt.UTC)
    return {"hour": start.replace(minute=0, second=0), "window_start": start}
