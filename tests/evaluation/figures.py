"""The figures of one method on one fold."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd

from detection.train import BUDGETS
from evaluation.metrics import at_budget, at_threshold, average_precision_interval
from evaluation.protocol import ranking
from tests.evaluation.comparison import Floats, Scores
from tests.evaluation.folds import Fold
from tests.evaluation.handbook import card_precision_at_100

BOOTSTRAP_SEED = 1


def figures(rows: pd.DataFrame, fold: Fold, scores: Scores) -> dict[str, Any]:
    """Return what a method's scores are worth on the transactions of the test.

    The two levels use the thresholds that training sets at its budgets; ``top_1_percent`` uses
    the test's own highest scores.
    """
    in_test = rows.iloc[fold.test]
    is_fraud, amount = in_test["is_fraud"].to_numpy(), in_test["transaction_amount"].to_numpy()
    in_train = rows.iloc[fold.train]
    thresholds = {
        level: minute_threshold(in_train, scores[0], budget) for level, budget in BUDGETS.items()
    }
    is_found = scores[1][is_fraud] >= thresholds["review"]
    patterns = pd.Series(is_found).groupby(in_test["pattern"].to_numpy()[is_fraud]).mean()
    account = in_test["sender"].to_numpy()
    return {
        **ranking(is_fraud, scores[1]),
        "average_precision_95": average_precision_interval(
            is_fraud, scores[1], account, BOOTSTRAP_SEED
        ),
        "prevalence": float(is_fraud.mean()),
        "transactions": len(in_test),
        "card_precision_at_100": card_precision_at_100(rows, fold.test, scores[1]),
        "top_1_percent": dataclasses.asdict(at_budget(is_fraud, scores[1], 0.01)),
        **{
            level: {
                "threshold": threshold,
                **dataclasses.asdict(at_threshold(is_fraud, scores[1], threshold)),
            }
            for level, threshold in thresholds.items()
        },
        "amount_recall": float(amount[is_fraud][is_found].sum() / amount[is_fraud].sum()),
        "by_pattern": {str(name): {"recall": float(share)} for name, share in patterns.items()},
    }


def minute_threshold(rows: pd.DataFrame, score: Floats, budget: float) -> float:
    """Return the score that ``budget`` (a share) of the training's sender-minutes reach."""
    minutes = rows[["sender", "window_start"]].assign(score=score)
    highest = minutes.groupby(["sender", "window_start"])["score"].max()
    return float(np.quantile(highest, 1 - budget))
