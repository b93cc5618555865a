"""The figures of detection quality against cases counted by hand."""

from __future__ import annotations

import datetime as dt
import math
import random
import tracemalloc
from collections.abc import Sequence

import pytest
from sklearn.metrics import average_precision_score

from quality.figures import (
    Alert,
    Label,
    average_precision,
    judge,
    measure,
)

START = dt.datetime(2026, 3, 14, 15, 0, tzinfo=dt.UTC)


def at(seconds: float) -> dt.datetime:
    return START + dt.timedelta(seconds=seconds)


def alert(score: float, severity: str = "high", scored: float = 30) -> Alert:
    return Alert(score, severity, at(scored))


def label(incident: str | None, pattern: str | None = "velocity", first: float = 0) -> Label:
    return Label(pattern, incident, at(first))


class TestAveragePrecision:
    """Worked by hand, and against scikit-learn where every positive has a score."""

    @pytest.mark.parametrize("seed", range(20))
    def test_it_is_the_one_of_scikit_learn(self, seed: int) -> None:
        source = random.Random(seed)
        scores = [float(source.randint(1, 12)) for _ in range(source.randint(2, 60))]  # with ties
        found = source.sample(range(len(scores)), source.randint(1, len(scores)))
        is_hit = [place in found for place in range(len(scores))]
        ours = average_precision(
            [score for score, hit in zip(scores, is_hit, strict=True) if hit],
            [score for score, hit in zip(scores, is_hit, strict=True) if not hit],
            len(found),
        )
        assert ours == pytest.approx(average_precision_score(is_hit, scores))

    def test_the_example_of_its_documentation(self) -> None:
        # y = [0, 0, 1, 1], scores = [0.1, 0.4, 0.35, 0.8]: 1/2 * 1/1 + 1/2 * 2/3
        assert average_precision([0.35, 0.8], [0.1, 0.4], 2) == pytest.approx(0.8333333)

    def test_a_perfect_ranking_is_one(self) -> None:
        assert average_precision([3.0, 2.0], [1.0, 0.5], 2) == 1.0

    def test_equal_scores_are_one_step(self) -> None:
        # y = [1, 0, 1, 0], scores = [2, 2, 1, 1]: 1/2 * 1/2 + 1/2 * 2/4
        assert average_precision([2.0, 1.0], [2.0, 1.0], 2) == pytest.approx(0.5)

    def test_a_missed_fraud_is_never_found(self) -> None:
        # One of two frauds ranked first, the other without an alert: 1/2 * 1/1 + nothing
        assert average_precision([2.0], [1.0], 2) == pytest.approx(0.5)

    def test_it_is_a_lower_bound_of_the_one_with_all_scores(self) -> None:
        complete = average_precision([2.0, 0.2], [1.0, 0.1], 2)
        assert complete == pytest.approx(1 / 2 + 1 / 2 * 2 / 3)
        assert average_precision([2.0], [1.0], 2) < complete  # type: ignore[operator]

    def test_only_misses_are_zero_and_no_fraud_is_unknown(self) -> None:
        assert average_precision([], [1.0], 3) == 0.0
        assert average_precision([], [1.0], 0) is None


@pytest.mark.parametrize(
    ("delays", "expected"),
    [([], None), ([7.0], 7.0), ([2.0, 1.0], 2.0), (range(1, 101), 95.0), (range(1, 22), 20.0)],
)
def test_the_95th_percentile_of_the_delays_is_one_that_occurs(
    delays: Sequence[float], expected: float | None
) -> None:
    alerts = {f"a{delay}": alert(2.0, scored=delay) for delay in delays}
    labels = {f"a{delay}": label(f"i{delay}") for delay in delays}
    assert measure([judge(alerts, labels)]).delay_p95_s == expected


def test_a_minute_holds_frauds_with_their_alerts_and_counts_the_false_ones() -> None:
    minute = judge(
        {"a": alert(3.0), "c": alert(2.0), "d": alert(1.5, "low")},
        {"a": label("i1"), "b": label("i2")},
    )
    found, missed = minute.frauds
    assert (found["score"], found["is_alert"]) == (3.0, True)
    assert (math.isnan(missed["score"]), missed["is_alert"]) == (True, False)
    assert sorted(minute.false_scores) == [1.5, 2.0]
    assert minute.false_alerts == 1


def test_a_day_of_1_000_transactions_a_second_fits_into_the_container() -> None:
    # Every minute 200 frauds and 500 false alarms; a tenth of a day in a tenth of 64 MiB.
    rng = random.Random(0)
    tracemalloc.start()
    minutes = [
        judge(
            {f"a{n}": alert(rng.random()) for n in range(600)},
            {f"a{n}": label(f"i{minute}-{n % 50}") for n in range(500, 700)},
        )
        for minute in range(144)
    ]
    figures = measure(minutes)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (figures.fraud_minutes, figures.incidents) == (144 * 200, 144 * 50)
    assert peak_bytes < 6.4 * 2**20


def test_a_period_counted_by_hand() -> None:
    # i1 (velocity): two minutes, both with an alert; i2 (takeover): a review alert in its second
    # minute; i3 (velocity): missed. Two false alarms, one of them at the alert level.
    minutes = [
        judge(
            {"a": alert(5.0, scored=12), "x": alert(4.0, "medium")},
            {"a": label("i1", first=5), "b": label("i2", "takeover", first=10)},
        ),
        judge(
            {"a": alert(3.0, scored=70), "b": alert(1.2, "low", scored=75), "y": alert(1.1, "low")},
            {"a": label("i1", first=61), "b": label("i2", "takeover", first=65)},
        ),
        judge({}, {"c": label("i3", first=130)}),
    ]
    figures = measure(minutes)
    assert (figures.fraud_minutes, figures.incidents, figures.found_incidents) == (5, 3, 2)
    review, alerts = figures.review, figures.alert
    assert (review.alerts, review.precision, review.recall) == (5, 3 / 5, 3 / 5)
    assert review.incident_recall == 2 / 3
    assert (alerts.alerts, alerts.precision, alerts.recall) == (3, 2 / 3, 2 / 5)
    assert alerts.incident_recall == 1 / 3
    # Ranked 5 hit, 4 false, 3 hit, 1.2 hit, 1.1 false; two of five frauds never found.
    assert figures.average_precision == pytest.approx(1 / 5 * (1 / 1 + 2 / 3 + 3 / 4))
    # i1: first fraud at 5, first alert at 12; i2: 10 and 75.
    assert (figures.delay_median_s, figures.delay_p95_s) == ((7 + 65) / 2, 65)
    assert figures.pattern_incidents == {"takeover": 1, "velocity": 2}
    assert figures.pattern_incident_recall == {"takeover": 1.0, "velocity": 0.5}


def test_figures_without_a_count_are_unknown_and_not_zero() -> None:
    figures = measure([judge({}, {})])
    assert (figures.fraud_minutes, figures.incidents, figures.found_incidents) == (0, 0, 0)
    for level in (figures.review, figures.alert):
        assert (level.alerts, level.precision, level.recall, level.incident_recall) == (
            0, None, None, None,
        )  # fmt: skip
    assert figures.average_precision is None
    assert (figures.delay_median_s, figures.delay_p95_s) == (None, None)
    assert figures.pattern_incidents == {}


def test_labels_without_an_incident_count_as_minutes_only() -> None:
    figures = measure([judge({"a": alert(2.0)}, {"a": label(None, None), "b": label(None, None)})])
    assert (figures.fraud_minutes, figures.review.recall) == (2, 0.5)
    assert (figures.incidents, figures.review.incident_recall) == (0, None)
    assert figures.pattern_incidents == {}
