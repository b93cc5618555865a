"""The columns of the past: what they say, and that they know nothing of the future."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tests.evaluation.past import NEVER_DAYS, PAST_COLUMNS, add_past

WEEK = np.timedelta64(7, "D")


def payments(days: list[float], **columns: object) -> pd.DataFrame:
    start = pd.Timestamp("2018-08-01", tz="UTC")
    usual = {"sender_account": "a", "receiver_account": "shop", "transaction_amount": 10.0}
    times = start + pd.to_timedelta(days, unit="D")
    return pd.DataFrame({"transaction_timestamp": times, "is_fraud": False, **usual, **columns})


def test_a_payment_is_compared_with_the_median_of_those_before_it() -> None:
    past = add_past(payments([0, 1, 2, 3], transaction_amount=[10.0, 10.0, 50.0, 20.0]))
    assert list(past["usual_payment"]) == [10, 10, 10, 10]
    assert list(past["usual_multiple"]) == [1, 1, 5, 2]


def test_large_payments_count_for_two_weeks_and_not_for_themselves() -> None:
    amounts = [10.0, 10.0, 50.0, 10.0, 10.0]
    past = add_past(payments([0, 1, 2, 15, 17], transaction_amount=amounts))
    assert list(past["recent_large_payments"]) == [0, 0, 0, 1, 0]


def test_an_honest_payment_ends_a_streak_of_frauds() -> None:
    is_fraud = [True, False, True, True, False, False, False]
    past = add_past(payments([0, 1, 2, 3, 4, 10.5, 11.5], is_fraud=is_fraud))
    assert list(past["fraud_streak"]) == [0, 0, 0, 0, 0, 2, 0]
    assert list(past["fraud_streak_days"][5:]) == [8.5, NEVER_DAYS]


def test_a_large_fraud_is_the_senders_and_no_sign_of_the_receiver() -> None:
    rows = payments([0, 1, 2, 10], sender_account=["a", "a", "b", "c"])
    rows["transaction_amount"] = [10.0, 90.0, 10.0, 10.0]
    rows["is_fraud"] = [False, True, True, False]
    assert add_past(rows)["ordinary_fraud_days"].iloc[3] == 8
    assert add_past(rows.drop(index=2))["ordinary_fraud_days"].iloc[2] == NEVER_DAYS


def test_no_row_reads_later_rows_or_labels_of_its_last_week() -> None:
    random = np.random.default_rng(3)
    count = 2_000
    rows = payments(
        sorted(random.uniform(0, 60, count)),
        sender_account=random.integers(0, 20, count).astype(str),
        receiver_account=random.integers(0, 30, count).astype(str),
        transaction_amount=random.lognormal(3, 1, count),
        is_fraud=random.random(count) < 0.3,
    )
    past = add_past(rows)
    for row in random.integers(0, count, 25):
        until = rows.iloc[: row + 1].copy()
        time = until["transaction_timestamp"]
        until.loc[time > time.iloc[-1] - WEEK, "is_fraud"] = random.random() < 0.5
        alone = add_past(until).iloc[-1]
        pd.testing.assert_series_equal(
            alone[PAST_COLUMNS].astype(float), past.loc[row, PAST_COLUMNS].astype(float)
        )
