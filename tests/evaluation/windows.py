"""Sums over a trailing time window of each account, for a whole data set at once."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tests.evaluation.folds import DAY_S, WEEK, Ints, seconds_of

Floats = NDArray[np.float64]

WINDOW_DAYS = (1, 7, 30)
"""The handbook's windows (ch. 3.3)."""


def trailing_sums(key: Ints, time: Ints, values: Floats, since: Ints) -> Floats:
    """Return, for each row, the sums of ``values`` (rows x columns) over its key's window.

    A row's window (since, time] holds the row itself; rows of one key and time count in their
    order. ``time`` and ``since`` (before it) are in one unit, from any zero.
    """
    # Keys lie so far apart on one axis that no window reaches the key before.
    distance = int(time.max() - min(time.min(), since.min())) + 1
    place = key * distance + (time - time.min())
    order = np.argsort(place, kind="stable")
    first = np.searchsorted(place[order], (place - (time - since))[order], side="right")
    totals = np.vstack([np.zeros(values.shape[1]), np.cumsum(values[order], axis=0)])
    sums = np.empty_like(totals[1:])
    sums[order] = totals[1:] - totals[first]
    return sums


def known_labels(rows: pd.DataFrame, days: int) -> tuple[Floats, Floats]:
    """Return how many payments the row's receiver had, and how many of them were frauds.

    Over the ``days`` that ended a week before the row: younger labels are not known yet.
    """
    time = seconds_of(rows)
    receiver = pd.factorize(rows["receiver_account"])[0]
    labels = np.column_stack([np.ones(len(rows)), rows["is_fraud"].to_numpy(float)])
    known = time - WEEK * DAY_S
    since = known - days * DAY_S
    payments, frauds = (
        trailing_sums(receiver, time, labels, since) - trailing_sums(receiver, time, labels, known)
    ).T
    return payments, frauds
