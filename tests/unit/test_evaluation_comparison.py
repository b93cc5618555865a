"""From the scores of evaluations to those of transactions, and to figures."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tests.evaluation.comparison import (
    RISK_COLUMN,
    RISK_SCALE,
    add_risks,
    running_maximum,
    with_risk,
)
from tests.evaluation.figures import minute_threshold


def test_a_transaction_scores_what_its_minute_had_reached() -> None:
    table = pd.DataFrame(
        {"sender": [1, 2, 1, 1, 1], "window_start": [0, 0, 0, 0, 60_000]},
    )
    score = running_maximum(table, np.array([3.0, 9.0, 1.0, 5.0, 2.0]))
    np.testing.assert_array_equal(score, [3, 9, 3, 5, 2])


def test_a_threshold_counts_minutes_and_not_transactions() -> None:
    rows = pd.DataFrame({"sender": [1, 1, 1, 2, 3], "window_start": [0] * 5})
    assert minute_threshold(rows, np.array([1.0, 1.0, 9.0, 2.0, 3.0]), budget=0.5) == 3.0


def test_the_risk_of_a_receiver_knows_no_label_of_the_last_week() -> None:
    days = pd.to_timedelta([0, 1, 6, 8.5], unit="D")
    rows = pd.DataFrame(
        {
            "transaction_timestamp": pd.Timestamp("2018-08-01", tz="UTC") + days,
            "receiver_account": "shop",
            "is_fraud": [True, False, True, False],
        }
    )
    risks = add_risks(rows)
    assert list(risks["receiver_risk_7"]) == [0, 0, 0, 1 / 2]
    assert list(risks["receiver_risk_1"]) == [0, 0, 0, 0]


def test_the_risk_is_one_more_dimension_of_the_distance() -> None:
    table = pd.DataFrame({"score": [3.0, 3.0], RISK_COLUMN: [0.0, 4 * RISK_SCALE]})
    assert list(with_risk(table)) == pytest.approx([3, 5])
