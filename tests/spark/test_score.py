"""Features and scores on views made by hand, where each figure can be followed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from detection.score import (
    MAX_HISTORY,
    Constants,
    Scorer,
    active_features,
    add_features,
    distinct_from_bits,
    link,
    scale_of,
    share_columns,
)
from detection.views import AGGREGATES, DAY_MS, MINUTE_MS, VIEW_COLUMNS, view_code

FEATURES = active_features(max_amount_feature=False, large_amount=0)
MINUTE = 20_000 * 14 * DAY_MS + 3 * DAY_MS
NEW_END, OLD_END = 20_002 * 14 * DAY_MS, 20_001 * 14 * DAY_MS
CONSTANTS = Constants(
    mu0=4.0,
    sd0=1.0,
    sd_within=0.5,
    c_minute=0.01,
    c_recent=0.05,
    inflow_mean=3.0,
    known_receiver_weight=0.5,
)
LN_50 = math.log(50)
PAYEE = 9


def view_row(view: str, window_end: int, entity: int = 1, **values: float) -> dict[str, Any]:
    keys = {"batch": 0, "view": view_code(view), "entity": entity, "counterparty": 0}
    usual = {
        "transaction_count": 1,
        "total_amount": 50.0,
        "sum_log_amount": LN_50,
        "max_amount": 50.0,
        "matching_count": 0,
        "distinct_bits": 1,
        "first_seen": MINUTE,
        "last_seen": MINUTE + 1,
        "last_position": 5,
        "last_arrival": MINUTE + 2,
    }
    assert usual.keys() == AGGREGATES.keys()
    return {**keys, "window_end": window_end, **usual, **values}


def minute(**values: float) -> dict[str, Any]:
    return view_row("sender_minute", MINUTE + MINUTE_MS, **values)


def recent(**values: float) -> dict[str, Any]:
    return view_row("sender_recent", MINUTE + 5 * MINUTE_MS, **values)


def profile(past: int = 30, end: int = OLD_END) -> dict[str, Any]:
    """Return the profile of an account that paid 50 each time: ``past`` times, and now once."""
    count = past + 1
    return view_row("sender_profile", end, transaction_count=count, sum_log_amount=count * LN_50)


def pair(payee: int = PAYEE, first_seen: int = MINUTE, **values: float) -> dict[str, Any]:
    return view_row("sender_receiver", OLD_END, counterparty=payee, first_seen=first_seen, **values)


def received(payee: int = PAYEE, **values: float) -> dict[str, Any]:
    return view_row("receiver_recent", MINUTE + 5 * MINUTE_MS, entity=payee, **values)


def frame(*rows: dict[str, Any]) -> pd.DataFrame:
    """Return the rows of a batch; views that are not given are those of one usual payment."""
    given = {row["view"] for row in rows}
    usual = (minute(), recent(), profile(), pair(), received())
    complete = [*rows, *(row for row in usual if row["view"] not in given)]
    return pd.DataFrame(complete, columns=["batch", *VIEW_COLUMNS])


def linked(rows: pd.DataFrame) -> pd.DataFrame:
    return add_features(link(rows), CONSTANTS)


def only(links: pd.DataFrame) -> Any:
    assert len(links) == 1
    return links.iloc[0]


def usual_log(past: int = 30) -> float:
    return (past * LN_50 + 4.0) / (past + 1)


def usual_sd(past: int = 30) -> float:
    return math.sqrt((past * 0.25 + 1.0) / (past + 1))


def test_a_usual_payment_to_a_known_payee_has_no_feature() -> None:
    link = only(linked(frame(pair(first_seen=0))))
    features = [link[f"feature_{name}"] for name in FEATURES]
    assert features == pytest.approx([0] * len(FEATURES), abs=0.01)


def test_amount_surprise_follows_its_formula() -> None:
    link = only(linked(frame(minute(max_amount=500.0))))
    expected = (math.log(500) - usual_log()) / usual_sd()
    assert link["feature_amount_surprise"] == pytest.approx(expected)
    assert link["usual_amount"] == pytest.approx(math.exp(usual_log()))


def test_recent_payments_are_no_part_of_the_past() -> None:
    rows = frame(recent(transaction_count=11, sum_log_amount=11 * LN_50), profile(past=30))
    link = only(linked(rows))
    assert link["usual_amount"] == pytest.approx(math.exp(usual_log(past=20)))


def test_a_known_payee_halves_the_surprise() -> None:
    new = only(linked(frame(minute(max_amount=500.0))))
    known_pair = pair(first_seen=MINUTE - 1)
    known = only(linked(frame(minute(max_amount=500.0), known_pair)))
    assert known["feature_amount_surprise"] == new["feature_amount_surprise"] / 2


def test_receiver_spread_follows_its_formula() -> None:
    rows = frame(minute(distinct_bits=0b11111), recent(distinct_bits=0b1111111))
    link = only(linked(rows))
    usual_minute, usual_recent = 0.01 * (30 + 2), 0.05 * (30 + 2)
    five, seven = -64 * math.log(59 / 64), -64 * math.log(57 / 64)
    assert link["feature_receiver_spread"] == pytest.approx(
        (five - 1 - usual_minute) / math.sqrt(1 + usual_minute)
    )
    assert link["feature_receiver_spread_recent"] == pytest.approx(
        (seven - 1 - usual_recent) / math.sqrt(1 + usual_recent)
    )
    assert link["usual_receivers"] == pytest.approx(1 + usual_minute)


def test_amount_surprise_recent_follows_its_formula() -> None:
    rows = frame(recent(transaction_count=4, sum_log_amount=4 * math.log(150)), profile(past=33))
    link = only(linked(rows))
    surplus = 4 * math.log(150) - 4 * link_log(link)
    past = 30
    assert link["feature_amount_surprise_recent"] == pytest.approx(
        surplus / (usual_sd(past) * math.sqrt(4))
    )


def link_log(link: Any) -> float:
    return math.log(link["usual_amount"])


def test_receiver_inflow_needs_many_senders_and_a_high_amount() -> None:
    many = received(distinct_bits=0b1111111111)
    high = minute(max_amount=5000.0)
    link = only(linked(frame(high, many)))
    ten = -64 * math.log(54 / 64)
    assert link["feature_receiver_inflow"] == pytest.approx((ten - 1 - 3) / 2 * 3 / 2)
    assert only(linked(frame(many)))["feature_receiver_inflow"] == 0


def test_the_usual_rate_stops_growing_with_history() -> None:
    long = only(linked(frame(profile(past=100_000))))
    assert long["usual_receivers"] == pytest.approx(1 + 0.01 * (MAX_HISTORY + 2))


def test_the_older_of_two_windows_is_the_past() -> None:
    rows = frame(profile(past=0, end=NEW_END), profile(past=30))
    assert only(linked(rows))["profile_count"] == 31


def test_a_payee_of_another_minute_is_no_link() -> None:
    later = pair(payee=8, first_seen=MINUTE + MINUTE_MS, last_seen=MINUTE + MINUTE_MS)
    earlier = pair(payee=7, first_seen=0, last_seen=MINUTE - 1)
    rows = frame(pair(), later, earlier, received(), received(8), received(7))
    assert linked(rows)["payee"].tolist() == [PAYEE]


def test_an_account_without_a_past_is_measured_against_everybody() -> None:
    link = only(linked(frame(profile(past=0))))
    assert link["usual_amount"] == pytest.approx(math.exp(4.0))


def test_score_is_the_distance_and_shares_explain_it() -> None:
    scales = np.array([scale_of(name) for name in FEATURES])
    centre = np.full(len(FEATURES), 0.1)
    scorer = Scorer(CONSTANTS, FEATURES, centre=centre, scales=scales)
    rows = frame(
        minute(max_amount=900.0, matching_count=9),
        pair(),
        pair(8, first_seen=0),
        received(),
        received(8),
    )
    found = only(scorer.evaluate(rows))
    vector = np.array([found[f"feature_{name}"] for name in FEATURES]) / scales
    assert found["payee"] == PAYEE, "the new payee scores higher than the known one"
    assert found["feature_failed_count"] == 6
    assert found["score"] == pytest.approx(float(np.linalg.norm(vector - centre)))
    assert found[share_columns(FEATURES)].sum() == pytest.approx(1.0)


@pytest.mark.parametrize("distinct", [1, 3, 10, 20])
def test_distinct_estimate_is_close_for_small_counts(distinct: int) -> None:
    rng = np.random.default_rng(1)
    sketches = [
        np.bitwise_or.reduce(np.left_shift(np.uint64(1), rng.integers(0, 64, distinct, np.uint64)))
        for _ in range(2_000)
    ]
    estimate = distinct_from_bits(pd.Series(np.array(sketches).view(np.int64))).mean()
    assert estimate == pytest.approx(distinct, rel=0.05)
