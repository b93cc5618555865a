"""What would have prevented an alert, checked by scoring the changed minute again."""

from __future__ import annotations

import datetime as dt
import math
import tracemalloc
from typing import Any

import numpy as np
import pandas as pd
import pytest

from detection.alerts import ALERT_COLUMNS, build_alerts
from detection.counterfactual import CANDIDATES, COUNT_ESTIMATES, MEASURES, explain
from detection.model import Model
from detection.score import (
    FEATURES,
    LINK_COLUMNS,
    Scorer,
    feature_columns,
)
from pipeline.records import Transaction
from tests.spark.test_score import (
    CONSTANTS,
    LN_50,
    MINUTE,
    frame,
    minute,
    pair,
    profile,
    received,
    recent,
)

THRESHOLD = 0.85
NAMES = tuple(feature.name for feature in FEATURES)
CENTRE = np.array([0.03, 0.04, 0.07, 0.0, 0.06, 0.03, 0.2, 0.0])
SCALES = np.array([feature.scale for feature in FEATURES])
WITH_OPTIONAL = Scorer(CONSTANTS, NAMES, CENTRE, SCALES)
SCORER = Scorer(CONSTANTS, NAMES[:6], CENTRE[:6], SCALES[:6])


def some_alerts() -> pd.DataFrame:
    """Return minutes of all kinds that reach the threshold."""
    rng = np.random.default_rng(7)
    count = 1500
    in_minute = COUNT_ESTIMATES[rng.geometric(0.5, count) - 1]
    payments = rng.integers(1, 8, count)
    past = rng.integers(0, 60, count)
    amounts = np.exp(rng.normal(4.3, 0.9, count))
    others = (payments - 1) * rng.normal(4.0, 1.0, count)
    recent_sum_log = np.log(amounts) + others
    links = pd.DataFrame(
        {
            "batch": 0,
            "sender": np.arange(count),
            "window_start": 0,
            "payee": 1,
            "transaction_count": payments,
            "total_amount": amounts,
            "failed_count": np.where(rng.random(count) < 0.15, rng.integers(1, 10, count), 0),
            "max_amount": amounts,
            "distinct_receivers": in_minute,
            "recent_count": payments,
            "recent_receivers": in_minute + rng.choice([0.0, 0.0, 0.0, 3.0], count),
            "recent_sum_log": recent_sum_log,
            "profile_count": payments + past,
            "profile_sum_log": recent_sum_log + past * rng.normal(4.0, 0.5, count),
            "is_new_receiver": rng.random(count) < 0.8,
            "receiver_senders": COUNT_ESTIMATES[rng.geometric(0.2, count) - 1],
            "large_amounts": np.where(rng.random(count) < 0.1, rng.integers(1, 4, count), 0),
            "last_position": 0,
            "last_arrival": 0,
        }
    )
    assert links.columns.tolist() == LINK_COLUMNS
    scored = WITH_OPTIONAL.score(links)
    return scored[scored["score"] >= THRESHOLD]


ALERTS = some_alerts()
EXPLAINED = explain(ALERTS, WITH_OPTIONAL, THRESHOLD)


def scores(features: pd.DataFrame) -> Any:
    return np.linalg.norm(features.to_numpy() / SCALES - CENTRE, axis=1)


@pytest.mark.parametrize("name", NAMES)
def test_with_the_value_of_one_feature_the_score_is_the_threshold(name: str) -> None:
    values = pd.Series([found.values.get(name) for found in EXPLAINED], index=ALERTS.index)
    has_value = values.notna()
    assert 4 < has_value.sum() < len(ALERTS)
    features = ALERTS[feature_columns(NAMES)]
    changed = features[has_value].assign(**{f"feature_{name}": values[has_value].astype(float)})
    assert scores(changed) == pytest.approx(THRESHOLD, abs=1e-9)
    assert (changed[f"feature_{name}"] <= features.loc[has_value, f"feature_{name}"]).all()
    hopeless = features[~has_value]
    for share in np.linspace(0, 1, 50):
        lower = hopeless.assign(**{f"feature_{name}": share * hopeless[f"feature_{name}"]})
        assert (scores(lower) >= THRESHOLD).all()


@pytest.mark.parametrize("name", MEASURES)
def test_the_limit_is_the_highest_value_without_an_alert(name: str) -> None:
    measure = MEASURES[name]
    limits = pd.Series(
        [found.limits.get(name) for found in EXPLAINED], index=ALERTS.index, dtype=float
    )
    has_limit = limits.notna()
    assert 4 < has_limit.sum() < len(ALERTS)

    def rescored(rows: pd.Series[bool], values: Any) -> Any:
        changed = measure.lowered(ALERTS.loc[rows, LINK_COLUMNS], np.asarray(values, float))
        return WITH_OPTIONAL.score(changed)["score"]

    found = limits[has_limit]
    if name not in CANDIDATES:
        at, above, lowest = found, found * 1.008 + 0.01, 0.01
    else:
        numbers, estimates = CANDIDATES[name]
        place = found.astype(int) - numbers[0]
        at, above, lowest = estimates[place], np.append(estimates, np.inf)[place + 1], estimates[0]
    assert (rescored(has_limit, at) < THRESHOLD).all()
    above = np.minimum(above, measure.actual(ALERTS[has_limit]))
    assert (rescored(has_limit, above) >= THRESHOLD).all()
    assert (rescored(~has_limit, np.full((~has_limit).sum(), lowest)) >= THRESHOLD).all()


def test_thousands_of_alerts_take_little_memory() -> None:
    many = pd.concat([ALERTS] * 5, ignore_index=True)
    tracemalloc.start()
    found = explain(many, WITH_OPTIONAL, THRESHOLD)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 2**28  # scored all together: a gibibyte
    assert found == 5 * EXPLAINED


def one_payment(amount: float) -> pd.DataFrame:
    """Return an account's 31st payment, after 30 of 50, to a receiver that many pay."""
    log = math.log(amount)
    whole = profile() | {"sum_log_amount": 30 * LN_50 + log}
    many = received(distinct_bits=0b11111)
    return frame(minute(max_amount=amount), recent(sum_log_amount=log), whole, many)


def test_a_single_payment_is_lowered_in_every_feature_that_it_made() -> None:
    evaluation = SCORER.evaluate(one_payment(1900.0))
    (found,) = explain(evaluation, SCORER, THRESHOLD)
    assert "amount_surprise" not in found.values, "the ten minutes alone reach the threshold"
    limit = found.limits["amount_surprise"]
    assert SCORER.evaluate(one_payment(limit))["score"].item() < THRESHOLD
    assert SCORER.evaluate(one_payment(limit * 1.008))["score"].item() >= THRESHOLD
    assert found.sentences == [
        f"No alert with amounts of at most {limit:,.2f} in the minute (here 1,900.00)."
    ]


def test_receivers_and_failures_are_proposed_as_whole_numbers() -> None:
    def evaluated(receivers: int, failures: int) -> pd.DataFrame:
        bits = (1 << receivers) - 1
        rows = (
            minute(distinct_bits=bits, matching_count=failures),
            recent(distinct_bits=bits),
            profile(past=0),
            pair(),
        )
        return SCORER.evaluate(frame(*rows))

    (found,) = explain(evaluated(6, 1), SCORER, THRESHOLD)
    in_ten_minutes = int(found.limits["receiver_spread_recent"])
    assert evaluated(in_ten_minutes, 1)["score"].item() < THRESHOLD
    assert evaluated(in_ten_minutes + 1, 1)["score"].item() >= THRESHOLD
    assert f"No alert with at most {in_ten_minutes} receivers in ten minutes (here 6)." in (
        found.sentences
    )
    (found,) = explain(evaluated(1, 4), SCORER, THRESHOLD)
    assert found.limits == {"failed_count": 1.0}
    assert found.sentences == ["No alert with at most 1 failed payment in the minute (here 4)."]


def test_an_alert_carries_its_counterfactuals() -> None:
    evaluation = SCORER.evaluate(one_payment(1900.0))
    position = evaluation["last_position"].item()
    transaction: Transaction = {
        "transaction_id": "7f2c1c1e-3b5e-4f0a-9a53-0d8a1f6d2b11",
        "transaction_timestamp": MINUTE,
        "transaction_amount": 1900.0,
        "sender_account": "ACC-1",
        "receiver_account": "ACC-2",
        "transaction_type": "transfer",
        "transaction_status": "completed",
    }
    model = Model("kmeans-0", SCORER, THRESHOLD, alert_threshold=1.0)
    now = dt.datetime.now(dt.UTC)
    (alert,) = build_alerts(evaluation, {position: transaction}, model, "run", 0, now)
    assert alert.keys() == set(ALERT_COLUMNS)
    assert alert["actual"].keys() == alert["features"].keys() == set(SCORER.features)
    assert alert["limits"].keys() == {"amount_surprise", "amount_surprise_recent"}
    assert len(alert["no_alert_if"]) == 1
    columns = [alert[name] for name in ("actual", "counterfactuals", "limits")]
    assert {type(value) for column in columns for value in column.values()} == {float}
