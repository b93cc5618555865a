"""Features and scores on views made by hand, where each figure can be followed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from detection.score import (
    FEATURE_NAMES,
    FEATURES,
    MAX_HISTORY,
    SHARE_COLUMNS,
    Constants,
    Scorer,
    distinct_from_bits,
    link_payees,
)
from detection.views import AGGREGATES, DAY_MS, MINUTE_MS, VIEW_COLUMNS, view_code

MINUTE = 20_000 * 14 * DAY_MS + 3 * DAY_MS
NEW_END, OLD_END = 20_002 * 14 * DAY_MS, 20_001 * 14 * DAY_MS
CONSTANTS = Constants(mu0=4.0, sd0=1.0, sd_within=0.5, c_minute=0.01, known_receiver_weight=0.5)
LN_50 = math.log(50)


def view_row(view: str, window_end: int, counterparty: int = 0, **values: float) -> dict[str, Any]:
    defaults = dict.fromkeys(AGGREGATES, 0) | {"first_seen": MINUTE, "last_seen": MINUTE + 1}
    keys = {"view": view_code(view), "entity": 1, "counterparty": counterparty}
    return {"batch": 0, **keys, "window_end": window_end, **defaults, **values}


def frame(*rows: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["batch", *VIEW_COLUMNS])


def minute(**values: float) -> dict[str, Any]:
    usual = {
        "transaction_count": 1,
        "total_amount": 50.0,
        "sum_log_amount": LN_50,
        "max_amount": 50.0,
        "receiver_bits": 1,
    }
    return view_row("sender_minute", MINUTE + MINUTE_MS, **usual | values)


def profile(end: int = OLD_END, past: int = 30, with_minute: int = 1) -> dict[str, Any]:
    count = past + with_minute
    values = {"transaction_count": count, "sum_log_amount": count * LN_50}
    return view_row("sender_profile", end, **values)


def pair(payee: int = 9, first_seen: int = MINUTE, **values: float) -> dict[str, Any]:
    return view_row("sender_receiver", OLD_END, payee, first_seen=first_seen, **values)


def only(links: pd.DataFrame) -> Any:
    assert len(links) == 1
    return links.iloc[0]


def test_a_usual_payment_to_a_known_payee_has_no_feature() -> None:
    link = only(link_payees(frame(minute(), profile(), pair(first_seen=0)), CONSTANTS))
    assert [link[f"feature_{name}"] for name in FEATURE_NAMES] == pytest.approx([0, 0, 0], abs=0.01)


def test_amount_surprise_follows_its_formula() -> None:
    rows = frame(minute(max_amount=500.0), profile(), pair())
    link = only(link_payees(rows, CONSTANTS))
    mean = (30 * LN_50 + 4.0) / 31
    deviation = math.sqrt((30 * 0.25 + 1.0) / 31)
    assert link["feature_amount_surprise"] == pytest.approx((math.log(500) - mean) / deviation)
    assert link["usual_amount"] == pytest.approx(math.exp(mean))


def test_a_known_payee_halves_the_surprise() -> None:
    new = only(link_payees(frame(minute(max_amount=500.0), profile(), pair()), CONSTANTS))
    known_pair = pair(first_seen=MINUTE - 1)
    known = only(link_payees(frame(minute(max_amount=500.0), profile(), known_pair), CONSTANTS))
    assert known["feature_amount_surprise"] == new["feature_amount_surprise"] / 2


def test_receiver_spread_follows_its_formula() -> None:
    rows = frame(minute(transaction_count=5, receiver_bits=0b11111), profile(with_minute=5), pair())
    link = only(link_payees(rows, CONSTANTS))
    usual = 0.01 * (30 + 2)
    distinct = -64 * math.log(59 / 64)
    assert link["feature_receiver_spread"] == pytest.approx(
        (distinct - 1 - usual) / math.sqrt(1 + usual)
    )
    assert link["usual_receivers"] == pytest.approx(1 + usual)


def test_the_usual_rate_stops_growing_with_history() -> None:
    long = only(link_payees(frame(minute(), profile(past=100_000), pair()), CONSTANTS))
    assert long["usual_receivers"] == pytest.approx(1 + 0.01 * (MAX_HISTORY + 2))


def test_the_older_of_two_windows_is_the_past() -> None:
    rows = frame(minute(), profile(NEW_END, past=0), profile(OLD_END, past=30), pair())
    assert only(link_payees(rows, CONSTANTS))["transaction_count_profile"] == 31


def test_a_payee_of_another_minute_is_no_link() -> None:
    later = pair(payee=8, first_seen=MINUTE + MINUTE_MS, last_seen=MINUTE + MINUTE_MS)
    earlier = pair(payee=7, first_seen=0, last_seen=MINUTE - 1)
    links = link_payees(frame(minute(), profile(), pair(), later, earlier), CONSTANTS)
    assert links["payee"].tolist() == [9]


def test_an_account_without_a_past_is_measured_against_everybody() -> None:
    link = only(link_payees(frame(minute(max_amount=5.0), profile(past=0), pair()), CONSTANTS))
    assert link["usual_amount"] == pytest.approx(math.exp(4.0))


def test_score_is_the_distance_and_shares_explain_it() -> None:
    scales = np.array([feature.scale for feature in FEATURES])
    scorer = Scorer(CONSTANTS, centre=np.array([0.1, 0.1, 0.1]), scales=scales)
    rows = frame(minute(max_amount=900.0, failed_count=9), profile(), pair(), pair(8, first_seen=0))
    found = only(scorer.evaluate(rows))
    vector = np.array([found[f"feature_{name}"] for name in FEATURE_NAMES]) / scales
    assert found["payee"] == 9, "the new payee scores higher than the known one"
    assert found["feature_failed_count"] == 6
    assert found["score"] == pytest.approx(float(np.linalg.norm(vector - 0.1)))
    assert found[SHARE_COLUMNS].sum() == pytest.approx(1.0)


@pytest.mark.parametrize("distinct", [1, 3, 10, 20])
def test_distinct_estimate_is_close_for_small_counts(distinct: int) -> None:
    rng = np.random.default_rng(1)
    sketches = [
        np.bitwise_or.reduce(np.left_shift(np.uint64(1), rng.integers(0, 64, distinct, np.uint64)))
        for _ in range(2_000)
    ]
    estimate = distinct_from_bits(np.array(sketches).view(np.int64)).mean()
    assert estimate == pytest.approx(distinct, rel=0.05)
