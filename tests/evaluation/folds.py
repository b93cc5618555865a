"""Training and test of each data set, apart in time as its source has them.

Handbook: Le Borgne, Siblini, Lebichot, Bontempi, "Reproducible Machine Learning for Credit Card
Fraud Detection - Practical Handbook" (2022), chapters 3.4 (split) and 5.3 (prequential folds).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Ints = NDArray[np.int64]

DAY_S = 86_400
WEEK = 7
"""Days of training, of delay until labels are known, and of test, one after the other."""
HANDBOOK_STARTS = ("2018-07-25", "2018-08-01", "2018-08-08", "2018-08-15")
SPARKOV_TRAIN, SPARKOV_TEST = "2020-03-22", "2020-06-21"


@dataclass(frozen=True)
class Fold:
    """Row numbers of the training and of the test slice."""

    name: str
    train: Ints
    test: Ints


def seconds_of(rows: pd.DataFrame) -> Ints:
    """Return the second of each row since 1970 (UTC)."""
    return rows["transaction_timestamp"].to_numpy("datetime64[s]").astype(np.int64)


def day_of(rows: pd.DataFrame) -> Ints:
    """Return the day of each row since 1970 (UTC)."""
    return seconds_of(rows) // DAY_S


def handbook_fold(rows: pd.DataFrame, start: str) -> Fold:
    """Return the fold whose training week begins on ``start`` (a date).

    Left out of the test are the cards whose fraud was known by then: those of the training week,
    and each day those of the day that left the delay.
    """
    day = day_of(rows) - int(pd.Timestamp(start, tz="UTC").timestamp()) // DAY_S
    card, is_fraud = rows["sender_account"].to_numpy(), rows["is_fraud"].to_numpy()
    train = np.flatnonzero((day >= 0) & (day < WEEK))
    known = set(card[train][is_fraud[train]])
    test = []
    for test_day in range(2 * WEEK, 3 * WEEK):
        # As in the book, whose first "day before" still lies in the training week.
        known |= set(card[(day == test_day - WEEK - 1) & is_fraud])
        of_day = np.flatnonzero(day == test_day)
        test.append(of_day[~np.isin(card[of_day], list(known))])
    return Fold(start, train, np.concatenate(test))


def sparkov_fold(rows: pd.DataFrame) -> Fold:
    """Return the one split of Sparkov: thirteen weeks of training, and all after it."""
    time = rows["transaction_timestamp"]
    is_test = (time >= SPARKOV_TEST).to_numpy()
    is_train = (time >= SPARKOV_TRAIN).to_numpy() & ~is_test
    return Fold(SPARKOV_TEST, np.flatnonzero(is_train), np.flatnonzero(is_test))
