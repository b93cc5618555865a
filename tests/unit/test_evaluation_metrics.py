"""Measures of detection, against figures worked out by hand and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from evaluation.metrics import (
    area_under_roc,
    at_budget,
    at_threshold,
    average_precision,
    average_precision_interval,
    card_precision,
    precision_recall_curve,
)

IS_FRAUD = np.array([True, False, True, False, False])
SCORE = np.array([0.9, 0.8, 0.7, 0.2, 0.1])


def tied_scores(seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    is_fraud = random.random(2_000) < 0.05
    return is_fraud, np.round(random.normal(is_fraud, 1.0), 1)


def test_average_precision_by_hand() -> None:
    assert average_precision(IS_FRAUD, SCORE) == pytest.approx((1 + 2 / 3) / 2)


def test_area_under_roc_by_hand() -> None:
    assert area_under_roc(IS_FRAUD, SCORE) == pytest.approx(5 / 6)


@pytest.mark.parametrize("seed", range(5))
def test_both_areas_are_those_of_scikit_learn(seed: int) -> None:
    is_fraud, score = tied_scores(seed)
    assert average_precision(is_fraud, score) == pytest.approx(
        average_precision_score(is_fraud, score)
    )
    assert area_under_roc(is_fraud, score) == pytest.approx(roc_auc_score(is_fraud, score))


def test_one_score_for_all_is_chance() -> None:
    score = np.ones(5)
    assert average_precision(IS_FRAUD, score) == pytest.approx(0.4)
    assert area_under_roc(IS_FRAUD, score) == pytest.approx(0.5)


def test_the_curve_ends_with_everything_raised() -> None:
    precision, recall = precision_recall_curve(IS_FRAUD, SCORE)
    np.testing.assert_allclose(precision, [1, 1 / 2, 2 / 3, 2 / 4, 2 / 5])
    np.testing.assert_allclose(recall, [0.5, 0.5, 1, 1, 1])


def test_at_threshold_includes_the_threshold() -> None:
    point = at_threshold(IS_FRAUD, SCORE, 0.8)
    assert (point.alert_rate, point.precision, point.recall) == (0.4, 0.5, 0.5)


def test_no_alerts_have_no_precision() -> None:
    point = at_threshold(IS_FRAUD, SCORE, 2.0)
    assert (point.alert_rate, point.precision, point.recall) == (0.0, None, 0.0)


def test_at_budget_raises_exactly_the_budget_although_scores_tie() -> None:
    point = at_budget(IS_FRAUD, np.array([3.0, 1.0, 1.0, 1.0, 1.0]), 0.4)
    assert point.alert_rate == pytest.approx(0.4)
    assert point.precision == pytest.approx((1 + 1 / 4) / 2)
    assert point.recall == pytest.approx((1 + 1 / 4) / 2)


def test_the_interval_holds_the_figure_and_one_seed_repeats_it() -> None:
    is_fraud, score = tied_scores(1)
    account = np.arange(2_000) // 4
    low, high = average_precision_interval(is_fraud, score, account, seed=3)
    assert low < average_precision(is_fraud, score) < high
    assert (low, high) == average_precision_interval(is_fraud, score, account, seed=3)


def test_frauds_that_share_an_account_widen_the_interval() -> None:
    random = np.random.default_rng(2)
    account = np.arange(4_000) // 20
    bad_account = random.random(200) < 0.1
    is_fraud = bad_account[account]
    score = random.normal(size=200)[account] + is_fraud
    low, high = average_precision_interval(is_fraud, score, account, seed=3)
    alone_low, alone_high = average_precision_interval(is_fraud, score, np.arange(4_000), seed=3)
    assert high - low > 2 * (alone_high - alone_low)


def test_a_found_card_is_blocked_on_the_days_after() -> None:
    frame = pd.DataFrame(
        [
            (0, "a", False, 0.1),
            (0, "a", True, 0.9),  # found: the card's highest score and label of the day
            (0, "b", False, 0.8),
            (0, "c", True, 0.2),
            (1, "a", True, 0.9),  # blocked
            (1, "b", False, 0.8),
            (1, "c", True, 0.7),
        ],
        columns=["day", "card", "is_fraud", "score"],
    )
    assert card_precision(frame, places=1) == pytest.approx((1 + 0) / 2)
    assert card_precision(frame, places=2) == pytest.approx((1 / 2 + 1 / 2) / 2)


@pytest.mark.parametrize("label", [True, False])
def test_labels_of_one_kind_are_refused(label: bool) -> None:
    with pytest.raises(ValueError, match="need both labels"):
        average_precision(np.full(3, label), np.arange(3.0))
