"""The Fraud Detection Handbook's own features and marks: what this harness must reproduce.

Chapters 3.3 (features), 3.4 (random forest) and 4.3 (card precision) of the book that
``folds.py`` names.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier

from evaluation.metrics import area_under_roc, average_precision, card_precision
from pipeline.errors import PipelineError
from tests.evaluation.folds import (
    DAY_S,
    HANDBOOK_STARTS,
    Ints,
    day_of,
    handbook_fold,
    seconds_of,
)
from tests.evaluation.windows import WINDOW_DAYS, known_labels, trailing_sums

PLACES = 100
"""Cards that are checked a day."""


@dataclass(frozen=True)
class Mark:
    """A figure of chapter 3.4; another version of scikit-learn moves it within ``tolerance``."""

    name: str
    book: float
    tolerance: float


MARKS = (
    Mark("training transactions", 67_240, 0),
    Mark("training frauds", 598, 0),
    Mark("test transactions", 58_264, 0),
    Mark("test frauds", 385, 0),
    Mark("AUC", 0.867, 0.01),
    Mark("average precision", 0.658, 0.01),
    Mark("card precision@100", 0.287, 0.01),
)


def book_features(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the 15 features of chapter 3.3."""
    time, local = seconds_of(rows), rows["transaction_timestamp"].dt
    amount = rows["transaction_amount"].to_numpy()
    features = pd.DataFrame(
        {"amount": amount, "weekend": local.weekday >= 5, "night": local.hour <= 6}
    )
    customer = pd.factorize(rows["sender_account"])[0]
    payments = np.column_stack([np.ones(len(rows)), amount])
    for days in WINDOW_DAYS:
        count, total = trailing_sums(customer, time, payments, time - days * DAY_S).T
        features[f"customer_count_{days}"] = count
        features[f"customer_mean_{days}"] = total / count
    for days in WINDOW_DAYS:
        count, frauds = known_labels(rows, days)
        features[f"terminal_count_{days}"] = count
        features[f"terminal_risk_{days}"] = frauds / np.maximum(count, 1)
    return features.astype(float)


def card_precision_at_100(rows: pd.DataFrame, test: Ints, score: NDArray) -> float:
    """Return the card precision@100 of the rows numbered ``test``."""
    of_test = rows.iloc[test]
    frame = pd.DataFrame(
        {
            "day": day_of(of_test),
            "card": of_test["sender_account"].to_numpy(),
            "is_fraud": of_test["is_fraud"].to_numpy(),
            "score": score,
        }
    )
    return card_precision(frame, PLACES)


def reproduce(rows: pd.DataFrame) -> dict[str, float]:
    """Return the value of each of ``MARKS`` in this harness: the book's features and forest.

    Raises ``PipelineError`` if one differs by more than its tolerance: no figure of this harness
    means anything then.
    """
    features = book_features(rows).to_numpy()
    fold = handbook_fold(rows, HANDBOOK_STARTS[0])
    is_fraud = rows["is_fraud"].to_numpy()
    forest = RandomForestClassifier(random_state=0, n_jobs=-1)
    forest.fit(features[fold.train], is_fraud[fold.train])
    score = forest.predict_proba(features[fold.test])[:, 1]
    values = (
        len(fold.train),
        int(is_fraud[fold.train].sum()),
        len(fold.test),
        int(is_fraud[fold.test].sum()),
        area_under_roc(is_fraud[fold.test], score),
        average_precision(is_fraud[fold.test], score),
        card_precision_at_100(rows, fold.test, score),
    )
    for mark, value in zip(MARKS, values, strict=True):
        if abs(value - mark.book) > mark.tolerance:
            raise PipelineError(
                f"handbook: {mark.name} is {value:g}, the book says {mark.book:g};"
                " DATA= must name its published simulated data"
            )
    return {mark.name: value for mark, value in zip(MARKS, values, strict=True)}
