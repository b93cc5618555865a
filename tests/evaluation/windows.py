"""Sums over a trailing time window of each account, for a whole data set at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


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
