"""Figures of one model on one fold, and their mean over folds.

Both data sets are judged by the transaction, as their sources do: its score is the highest that
its sender's minute had reached by then, 0 if it was never scored (the record rules reject a
payment of nothing).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from detection.train import ALERT_BUDGET, REVIEW_BUDGET
from evaluation.metrics import (
    area_under_roc,
    at_budget,
    at_threshold,
    average_precision,
    average_precision_interval,
)
from tests.evaluation.folds import Fold
from tests.evaluation.handbook import card_precision_at_100

Floats = NDArray[np.float64]

SEED = 7
"""Of the bootstrap and of the baselines."""
BUDGETS = {"alert": ALERT_BUDGET, "review": REVIEW_BUDGET}


def transaction_scores(rows: pd.DataFrame, facts: pd.DataFrame, score: Floats) -> Floats:
    """Return the score of each row, from that of each of the facts.

    ``rows`` and ``facts`` share ``sender`` and ``batch``; an emulated batch lies within a minute.
    """
    links = facts[["sender", "batch", "window_start"]].assign(score=score)
    evaluations = links.groupby(["sender", "batch"], as_index=False).max()
    minutes = evaluations.groupby(["sender", "window_start"])["score"]
    evaluations["score"] = minutes.cummax()
    joined = rows[["sender", "batch"]].merge(evaluations, how="left", on=["sender", "batch"])
    return joined["score"].fillna(0.0).to_numpy()


def minute_threshold(facts: pd.DataFrame, score: Floats, budget: float) -> float:
    """Return the score that ``budget`` (a share) of the sender-minutes reach, as training does."""
    minutes = facts[["sender", "window_start"]].assign(score=score)
    highest = minutes.groupby(["sender", "window_start"])["score"].max()
    return float(highest.quantile(1 - budget))


def figures(
    rows: pd.DataFrame, fold: Fold, score: Floats, thresholds: dict[str, float]
) -> dict[str, Any]:
    """Return the figures of a model on the test of ``fold``; ``score``: of each row of the test.

    ``at_alert`` and ``at_review`` use the thresholds of training, ``top_1_percent`` the test's
    own highest scores.
    """
    of_test = rows.iloc[fold.test]
    is_fraud = of_test["is_fraud"].to_numpy()
    reviewed = score >= thresholds["review"]
    interval = average_precision_interval(is_fraud, score, of_test["sender"].to_numpy(), SEED)
    found = pd.Series(reviewed[is_fraud]).groupby(of_test["pattern"].to_numpy()[is_fraud])
    amount = of_test["transaction_amount"].to_numpy()
    return {
        "fold": fold.name,
        "prevalence": float(is_fraud.mean()),
        "average_precision": average_precision(is_fraud, score),
        "average_precision_95": interval,
        "auc": area_under_roc(is_fraud, score),
        "card_precision_at_100": card_precision_at_100(rows, fold.test, score),
        **{
            level: {
                "budget": BUDGETS[level],
                "threshold": threshold,
                **dataclasses.asdict(at_threshold(is_fraud, score, threshold)),
            }
            for level, threshold in thresholds.items()
        },
        "top_1_percent": dataclasses.asdict(at_budget(is_fraud, score, 0.01)),
        "fraud_amount_flagged": float(amount[is_fraud & reviewed].sum() / amount[is_fraud].sum()),
        "by_pattern": {str(name): {"recall": float(share)} for name, share in found.mean().items()},
    }


def mean_of_folds(folds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the mean of each figure, with the folds themselves under ``folds``."""
    mean = _mean(folds)
    mean["folds"] = list(folds)
    return mean


def _mean(values: Sequence[Any]) -> Any:
    first = values[0]
    if isinstance(first, dict):
        return {
            key: _mean([value[key] for value in values])
            for key in first
            if not isinstance(first[key], str | tuple)
        }
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
