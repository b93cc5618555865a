"""What the past says about a payment: its sender's own, and its receiver's known frauds.

For the second stage, which learns from labels. A row reads only earlier rows, and no label that
is younger than a week: it would not be known yet.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from tests.evaluation.folds import DAY_S, WEEK, Ints, seconds_of
from tests.evaluation.windows import Floats, trailing_sums

PAST_COLUMNS = [
    "usual_payment",
    "usual_multiple",
    "recent_large_payments",
    "fraud_streak",
    "fraud_streak_days",
    "ordinary_fraud_days",
]

USUAL_PAYMENTS = 100
"""A sender's last payments, whose median is the usual one: some frauds among them hardly move it,
while a mean would follow them."""
LARGE_MULTIPLE = 2.8
"""Of the usual payment; honest ones hardly reach it."""
LARGE_DAYS = 14
ORDINARY_DAYS = 30
NEVER_DAYS = 99.0
"""Age of a fraud that never was."""


def add_past(rows: pd.DataFrame) -> pd.DataFrame:
    """Return labelled ``rows``, which are in order of time, with ``PAST_COLUMNS``.

    ``usual_payment``: the sender's; ``usual_multiple``: the amount as a multiple of it;
    ``recent_large_payments``: how many of the sender's payments of the last days were large;
    ``fraud_streak``: how many frauds the receiver has had since its last honest payment, and
    ``fraud_streak_days``: age of the first of them; ``ordinary_fraud_days``: age of the receiver's
    first recent fraud that was not large. Such a fraud gives away the receiver, not the sender.
    """
    amount = rows["transaction_amount"]
    usual = amount.groupby(rows["sender_account"], sort=False).transform(
        lambda paid: paid.shift().rolling(USUAL_PAYMENTS, min_periods=1).median()
    )
    # The first payment of a sender is usual; payments of nothing leave something to divide by.
    usual = usual.fillna(amount).clip(lower=1.0)
    multiple = amount / usual
    is_large = (multiple > LARGE_MULTIPLE).to_numpy()
    streak, streak_days, ordinary_days = _receiver_frauds(rows, ~is_large)
    return rows.assign(
        usual_payment=usual,
        usual_multiple=multiple,
        recent_large_payments=_recent(rows, is_large),
        fraud_streak=streak,
        fraud_streak_days=streak_days,
        ordinary_fraud_days=ordinary_days,
    )


def _recent(rows: pd.DataFrame, is_large: Floats) -> Floats:
    """Return how many earlier payments of the sender's last ``LARGE_DAYS`` were large."""
    sender, time = pd.factorize(rows["sender_account"])[0], seconds_of(rows)
    large = is_large[:, None].astype(float)
    return (trailing_sums(sender, time, large, time - LARGE_DAYS * DAY_S) - large)[:, 0]


def _receiver_frauds(rows: pd.DataFrame, is_ordinary: Floats) -> tuple[Floats, Floats, Floats]:
    """Return the last three of ``PAST_COLUMNS``."""
    is_fraud = rows["is_fraud"].to_numpy(bool)
    time = seconds_of(rows) - seconds_of(rows).min()
    # Receivers lie so far apart on one axis that no window reaches the receiver before.
    distance = int(time.max()) + (ORDINARY_DAYS + WEEK) * DAY_S
    start = (pd.factorize(rows["receiver_account"])[0] + 1) * distance
    place = start + time
    known = place - WEEK * DAY_S
    honest = np.concatenate([[-1], np.sort(place[~is_fraud])])
    last_honest = honest[np.searchsorted(honest, known, side="right") - 1]
    streak, streak_days = _frauds_between(
        np.sort(place[is_fraud]), np.maximum(last_honest, start - 1), known, place
    )
    _, ordinary_days = _frauds_between(
        np.sort(place[is_fraud & is_ordinary]), place - ORDINARY_DAYS * DAY_S, known, place
    )
    return streak, streak_days, ordinary_days


def _frauds_between(frauds: Ints, since: Ints, until: Ints, now: Ints) -> tuple[Floats, Floats]:
    """Return how many of the sorted ``frauds`` lie in (since, until], and the first one's age.

    The age in days at ``now``, ``NEVER_DAYS`` if there is none.
    """
    first = np.searchsorted(frauds, since, side="right")
    count = np.maximum(np.searchsorted(frauds, until, side="right") - first, 0)
    age = np.full(len(now), NEVER_DAYS)
    found = count > 0
    age[found] = (now[found] - frauds[first[found]]) / DAY_S
    return count.astype(float), age
