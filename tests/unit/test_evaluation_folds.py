"""Who trains and who is tested, on small tables made by hand."""

from __future__ import annotations

import pandas as pd

from tests.evaluation.folds import handbook_fold, sparkov_fold

START = pd.Timestamp("2018-07-25", tz="UTC")


def payments(*rows: tuple[int, str, bool]) -> pd.DataFrame:
    """Return rows of (day after the start, card, is_fraud)."""
    table = pd.DataFrame(rows, columns=["day", "sender_account", "is_fraud"])
    table["transaction_timestamp"] = START + pd.to_timedelta(table["day"], unit="D")
    return table


def cards_tested(rows: pd.DataFrame) -> list[tuple[int, str]]:
    test = rows.iloc[handbook_fold(rows, "2018-07-25").test]
    return list(zip(test["day"], test["sender_account"], strict=True))


def test_a_week_trains_a_week_is_left_out_and_a_week_is_tested() -> None:
    rows = payments(*((day, "a", False) for day in range(-1, 23)))
    fold = handbook_fold(rows, "2018-07-25")
    assert list(rows["day"].iloc[fold.train]) == list(range(7))
    assert list(rows["day"].iloc[fold.test]) == list(range(14, 21))


def test_a_card_with_a_fraud_in_training_is_not_tested() -> None:
    rows = payments((3, "bad", True), (14, "bad", False), (15, "good", False))
    assert cards_tested(rows) == [(15, "good")]


def test_a_fraud_of_the_delay_is_known_a_week_and_a_day_later() -> None:
    rows = payments((8, "bad", True), (15, "bad", False), (16, "bad", False), (17, "bad", False))
    assert cards_tested(rows) == [(15, "bad")]


def test_sparkov_trains_before_the_test_begins() -> None:
    times = pd.to_datetime(
        ["2020-03-21", "2020-03-22", "2020-06-20 23:59:59", "2020-06-21"], format="mixed", utc=True
    )
    fold = sparkov_fold(pd.DataFrame({"transaction_timestamp": times}))
    assert (list(fold.train), list(fold.test)) == ([1, 2], [3])
