"""Measures of detection, computed from scores and labels alone.

Every function takes one element a unit (a transaction or a sender-minute): ``is_fraud``, and
``score``, of which a higher value is more suspicious. Units with one score are never told apart:
no measure depends on the order of the rows. Each raises ``ValueError`` if all labels are alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Bools = NDArray[np.bool_]
    Floats = NDArray[np.float64]

DRAWS = 500
"""Of a bootstrap: the ends of a 95 % interval move by less than .005 from seed to seed."""


@dataclass(frozen=True)
class OperatingPoint:
    """What raising alerts from one score on would do; shares of 1.

    ``precision`` is None if nothing is raised.
    """

    alert_rate: float
    precision: float | None
    recall: float


def precision_recall_curve(is_fraud: Bools, score: Floats) -> tuple[Floats, Floats]:
    """Return precision and recall at each distinct score, from the highest on."""
    found, raised = _cumulated(is_fraud, score, np.ones(len(score)))
    return found / raised, found / found[-1]


def average_precision(is_fraud: Bools, score: Floats) -> float:
    """Return the area under the precision-recall steps (no interpolation); chance = prevalence."""
    return _average_precision(*_cumulated(is_fraud, score, np.ones(len(score))))


def area_under_roc(is_fraud: Bools, score: Floats) -> float:
    """Return the chance that a fraud scores above another unit (a tie counts half)."""
    found, raised = _cumulated(is_fraud, score, np.ones(len(score)))
    true_rate = found / found[-1]
    false_rate = (raised - found) / (raised[-1] - found[-1])
    return float(np.trapezoid(np.append(0, true_rate), np.append(0, false_rate)))


def average_precision_interval(
    is_fraud: Bools, score: Floats, group: NDArray[Any], seed: int
) -> tuple[float, float]:
    """Return the bootstrap 95 % interval of the average precision.

    Whole groups (accounts) are drawn, with replacement: frauds of one account come together, and
    drawing them one by one would make the interval too narrow.
    """
    random = np.random.default_rng(seed)
    groups, code = np.unique(group, return_inverse=True)
    order = np.argsort(-score, kind="stable")
    is_fraud, score, code = is_fraud[order], score[order], code[order]
    share = np.full(len(groups), 1 / len(groups))
    draws = []
    for _ in range(DRAWS):
        weight = random.multinomial(len(groups), share)[code].astype(float)
        if (is_fraud * weight).any():
            draws.append(_average_precision(*_at_distinct(is_fraud, score, weight)))
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(low), float(high)


def at_threshold(is_fraud: Bools, score: Floats, threshold: float) -> OperatingPoint:
    """Return what an alert for each unit at or above ``threshold`` does."""
    _check_labels(is_fraud)
    raised = score >= threshold
    return _operating_point(is_fraud, raised.astype(float))


def at_budget(is_fraud: Bools, score: Floats, budget: float) -> OperatingPoint:
    """Return what alerts for the highest ``budget`` (a share) of the units do.

    Of the units whose one score crosses the budget, each counts by the share that fits.
    """
    _check_labels(is_fraud)
    places = budget * len(score)
    border = np.sort(score)[::-1][int(np.ceil(places)) - 1]
    above, tied = score > border, score == border
    share = (places - above.sum()) / tied.sum()
    return _operating_point(is_fraud, above + share * tied)


def card_precision(frame: pd.DataFrame, places: int) -> float:
    """Return the mean share of compromised cards among each day's ``places`` highest cards.

    ``frame``: day, card, is_fraud, score, a row for each transaction. A card counts by its
    highest score of the day; once found it is blocked, and left out of the days after. The Fraud
    Detection Handbook's "card precision top-k" (ch. 4.3).
    """
    blocked: set[Any] = set()
    shares = []
    for _, of_day in frame.groupby("day"):
        cards = of_day[~of_day["card"].isin(blocked)].groupby("card")
        highest = cards.agg(is_fraud=("is_fraud", "max"), score=("score", "max"))
        shown = highest.sort_values("score", ascending=False, kind="stable").head(places)
        found = shown.index[shown["is_fraud"]]
        shares.append(len(found) / places)
        blocked.update(found)
    return float(np.mean(shares))


def _operating_point(is_fraud: Bools, raised: Floats) -> OperatingPoint:
    found, total = float(raised[is_fraud].sum()), float(raised.sum())
    return OperatingPoint(
        alert_rate=total / len(raised),
        precision=found / total if total else None,
        recall=found / float(is_fraud.sum()),
    )


def _cumulated(is_fraud: Bools, score: Floats, weight: Floats) -> tuple[Floats, Floats]:
    _check_labels(is_fraud)
    order = np.argsort(-score, kind="stable")
    return _at_distinct(is_fraud[order], score[order], weight[order])


def _check_labels(is_fraud: Bools) -> None:
    if is_fraud.all() or not is_fraud.any():
        raise ValueError(f"{len(is_fraud)} units need both labels, got one")


def _at_distinct(is_fraud: Bools, score: Floats, weight: Floats) -> tuple[Floats, Floats]:
    """Return the frauds found and the units raised down to each distinct score.

    The rows are in falling order of ``score``.
    """
    last_of_tie = np.append(score[1:] != score[:-1], True)
    found, raised = np.cumsum(weight * is_fraud), np.cumsum(weight)
    return found[last_of_tie], raised[last_of_tie]


def _average_precision(found: Floats, raised: Floats) -> float:
    precision = np.divide(found, raised, out=np.zeros_like(found), where=raised > 0)
    return float(np.sum(np.diff(found, prepend=0) * precision) / found[-1])
