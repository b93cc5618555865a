"""What would have kept an alert from being raised: the same minute with one thing lower.

*No alert* means a score below the review threshold, where alerts begin. First in the space of
the features, where the answer is exact; then in the measures that people know (``MEASURES``),
where lowering one changes every feature that is made of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from detection.score import (
    LINK_COLUMNS,
    UP_LIMIT,
    Scorer,
    add_features,
    distinct_from_bits,
    feature_columns,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

LOWEST_AMOUNT = 0.01
"""No amount below it is proposed."""
STEPS, ROUNDS = 64, 2
"""An amount is narrowed down in rounds of steps of equal ratios, always from below: to .4 % of
itself, to .8 % if it is 10^12. A round costs about as much as scoring a batch; with 200 steps a
batch of 100 alerts took more than twice as long."""
AT_ONCE = 200
"""Alerts whose trials are scored together, some 300 each with all their columns: a batch of
thousands would take gigabytes."""


@dataclass(frozen=True)
class Counterfactuals:
    """What explains one alert beside its features; each map is by name of the feature.

    ``actual``: the measure behind the feature. ``values``: the value of the feature at which the
    score is the threshold, all others as they are. ``limits``: the highest value of the measure
    with which there is no alert, nor with a lower one; an amount is up to .8 % short. A feature
    that could not have done it alone is in neither. ``sentences``: the limits in words, the
    strongest feature first.
    """

    actual: Mapping[str, float]
    values: Mapping[str, float]
    limits: Mapping[str, float]
    sentences: list[str]


@dataclass(frozen=True)
class Measure:
    """What a feature is made of.

    ``actual`` reads it from links. ``lowered`` returns the links with other values of it, and
    with all that cannot be without it. ``words`` says (limit, actual value).
    """

    actual: Callable[[pd.DataFrame], Floats]
    lowered: Callable[[pd.DataFrame, Floats], pd.DataFrame]
    words: Callable[[float, float], str]


def _with_largest_amount(links: pd.DataFrame, amounts: Floats) -> pd.DataFrame:
    """Lower one payment only: the others of the ten minutes stay, unless they are above it."""
    change = np.log(amounts) - np.log(links["max_amount"])
    return _with_logs_changed(links.assign(max_amount=amounts), change)


def _with_recent_amounts(links: pd.DataFrame, amounts: Floats) -> pd.DataFrame:
    """Lower every payment of the ten minutes by the same factor."""
    change = np.log(amounts) - links["recent_sum_log"] / links["recent_count"]
    scaled = links.assign(max_amount=links["max_amount"] * np.exp(change))
    return _with_logs_changed(scaled, change * links["recent_count"])


def _with_logs_changed(links: pd.DataFrame, change: pd.Series[float]) -> pd.DataFrame:
    """Change the sum of the ten minutes, and the profile's, which includes it."""
    return links.assign(
        recent_sum_log=links["recent_sum_log"] + change,
        profile_sum_log=links["profile_sum_log"] + change,
    )


def _with_recent_receivers(links: pd.DataFrame, receivers: Floats) -> pd.DataFrame:
    """Lower both numbers: whoever is paid in the minute is paid in the ten minutes."""
    in_minute = np.minimum(links["distinct_receivers"], receivers)
    return links.assign(recent_receivers=receivers, distinct_receivers=in_minute)


def _number(count: float, noun: str) -> str:
    return f"{count:.0f} {noun}" if count == 1 else f"{count:.0f} {noun}s"


LARGEST_AMOUNT = Measure(
    lambda links: links["max_amount"].to_numpy(float),
    _with_largest_amount,
    lambda limit, actual: (
        f"with amounts of at most {limit:,.2f} in the minute (here {actual:,.2f})"
    ),
)

MEASURES = {
    "receiver_spread": Measure(
        lambda links: links["distinct_receivers"].to_numpy(float),
        lambda links, values: links.assign(distinct_receivers=values),
        lambda limit, actual: (
            f"with at most {_number(limit, 'receiver')} in the minute (here {actual:.0f})"
        ),
    ),
    "receiver_spread_recent": Measure(
        lambda links: links["recent_receivers"].to_numpy(float),
        _with_recent_receivers,
        lambda limit, actual: (
            f"with at most {_number(limit, 'receiver')} in ten minutes (here {actual:.0f})"
        ),
    ),
    "amount_surprise": LARGEST_AMOUNT,
    "failed_count": Measure(
        lambda links: links["failed_count"].to_numpy(float),
        lambda links, values: links.assign(failed_count=values),
        lambda limit, actual: (
            f"with at most {_number(limit, 'failed payment')} in the minute (here {actual:.0f})"
            if limit
            else f"without failed payments in the minute (here {actual:.0f})"
        ),
    ),
    "amount_surprise_recent": Measure(
        lambda links: np.exp((links["recent_sum_log"] / links["recent_count"]).to_numpy(float)),
        _with_recent_amounts,
        lambda limit, actual: (
            f"with all amounts of ten minutes {math.ceil(100 * (1 - limit / actual))} % lower"
            f" (typically {limit:,.2f}, here {actual:,.2f})"
        ),
    ),
    "receiver_inflow": Measure(
        lambda links: links["receiver_senders"].to_numpy(float),
        lambda links, values: links.assign(receiver_senders=values),
        lambda limit, actual: (
            f"with at most {_number(limit, 'account')} paying the receiver in ten minutes"
            f" (here {actual:.0f})"
        ),
    ),
    "max_amount": LARGEST_AMOUNT,
    "large_amounts": Measure(
        lambda links: links["large_amounts"].to_numpy(float),
        lambda links, values: links.assign(large_amounts=values),
        lambda limit, actual: (
            f"with at most {_number(limit, 'large amount')} within a day (here {actual:.0f})"
            if limit
            else f"without large amounts within a day (here {actual:.0f})"
        ),
    ),
}

COUNTS = np.arange(1, 64)
COUNT_ESTIMATES = distinct_from_bits(pd.Series((1 << COUNTS) - 1))
"""What the sketch of a view makes of so many accounts, if no two share a bit: at the most."""
PAYMENTS = np.arange(int(UP_LIMIT))
CANDIDATES: Mapping[str, tuple[Integers, Floats]] = {
    "receiver_spread": (COUNTS, COUNT_ESTIMATES),
    "receiver_spread_recent": (COUNTS, COUNT_ESTIMATES),
    "failed_count": (PAYMENTS, PAYMENTS.astype(float)),
    "receiver_inflow": (COUNTS, COUNT_ESTIMATES),
    "large_amounts": (PAYMENTS, PAYMENTS.astype(float)),
}
"""What can be proposed for the measures that are numbers, with its value in the links. More
payments than these count no more. The other measures are amounts."""


def explain(evaluations: pd.DataFrame, scorer: Scorer, threshold: float) -> list[Counterfactuals]:
    """Return the counterfactuals of each evaluation; all must reach ``threshold``.

    They concern the payee that made the score. Another payee of the same minute may take its
    place when its own measure is high: rare, as a minute's payees share all but novelty and
    inflow.
    """
    if evaluations.empty:
        return []
    values = feature_values(evaluations, scorer, threshold)
    links = evaluations[LINK_COLUMNS]
    actual = pd.DataFrame({name: MEASURES[name].actual(links) for name in scorer.features})
    limits = pd.concat(
        pd.DataFrame(_limits(links.iloc[begin : begin + AT_ONCE], scorer, threshold))
        for begin in range(0, len(links), AT_ONCE)
    )
    return [
        Counterfactuals(
            actual=_known(measured),
            values=_known(dict(zip(scorer.features, roots, strict=True))),
            limits=_known(limit),
            sentences=_sentences(evaluation, measured, _known(limit)),
        )
        for evaluation, measured, roots, limit in zip(
            evaluations.to_dict("records"),
            actual.to_dict("records"),
            values.tolist(),
            limits.to_dict("records"),
            strict=True,
        )
    ]


def feature_values(evaluations: pd.DataFrame, scorer: Scorer, threshold: float) -> Floats:
    """Return the value of each feature at which the score is ``threshold``, the others as they are.

    The upper root of (value / scale - centre)^2 + the other squares = threshold^2. NaN where
    the others alone reach the threshold, and where the feature is not above its centre, so that
    lowering it does not help. A row for each evaluation, in the order of the features.
    """
    scaled = evaluations[feature_columns(scorer.features)].to_numpy() / scorer.scales
    squares = (scaled - scorer.centre) ** 2
    room = threshold**2 - (squares.sum(axis=1, keepdims=True) - squares)
    roots = scorer.scales * (scorer.centre + np.sqrt(np.maximum(room, 0.0)))
    return np.where((room > 0) & (scaled > scorer.centre), roots, np.nan)


def _limits(links: pd.DataFrame, scorer: Scorer, threshold: float) -> dict[str, Floats]:
    """Return the highest value of each measure without an alert, an amount rounded down to cents;
    NaN where even the lowest has one."""
    counted = [name for name in scorer.features if name in CANDIDATES]
    amounts = [name for name in scorer.features if name not in CANDIDATES]
    low = {name: np.full(len(links), math.log(LOWEST_AMOUNT)) for name in amounts}
    high = {name: np.log(MEASURES[name].actual(links)) for name in amounts}
    trials = {name: np.tile(CANDIDATES[name][1], (len(links), 1)) for name in counted}
    limits = {}
    for _ in range(ROUNDS):
        grids = {name: np.linspace(low[name], high[name], STEPS + 1, axis=1) for name in amounts}
        trials |= {name: np.exp(grid[:, :-1]) for name, grid in grids.items()}
        for name, passed in _passed(links, trials, scorer, threshold).items():
            place = np.maximum(passed - 1, 0)
            if name in CANDIDATES:
                found = CANDIDATES[name][0][place]
            else:
                rows = np.arange(len(links))
                low[name], high[name] = grids[name][rows, place], grids[name][rows, place + 1]
                found = np.floor(100 * np.exp(low[name])) / 100
            limits[name] = np.where(passed > 0, found, np.nan)
        trials = {}
    return limits


def _passed(
    links: pd.DataFrame, trials: Mapping[str, Floats], scorer: Scorer, threshold: float
) -> dict[str, Integers]:
    """Return how many values of a measure raise no alert before the first that does.

    ``trials``: growing values, a row for each link. They are all scored at once, as a frame costs
    about the same up to some ten thousand rows.
    """
    lowered = [
        MEASURES[name].lowered(links.loc[links.index.repeat(values.shape[1])], values.ravel())
        for name, values in trials.items()
    ]
    tried = add_features(pd.concat(lowered, ignore_index=True), scorer.constants)
    scaled = tried[feature_columns(scorer.features)].to_numpy() / scorer.scales
    is_below = np.linalg.norm(scaled - scorer.centre, axis=1) < threshold
    ends = np.cumsum([values.size for values in trials.values()])
    passed = {}
    for (name, values), part in zip(trials.items(), np.split(is_below, ends[:-1]), strict=True):
        is_lower = values < MEASURES[name].actual(links)[:, None]
        passes = part.reshape(values.shape) & is_lower
        passed[name] = np.logical_and.accumulate(passes, axis=1).sum(axis=1)
    return passed


def _known(values: Mapping[Any, float]) -> dict[str, float]:
    return {name: value for name, value in values.items() if not math.isnan(value)}


def _sentences(
    evaluation: Mapping[Any, Any], actual: Mapping[Any, float], limits: Mapping[str, float]
) -> list[str]:
    named = sorted(limits, key=lambda name: -evaluation[f"share_{name}"])
    if evaluation["recent_count"] == 1:
        # The only payment of the ten minutes is the largest of its minute: said once.
        named = [name for name in named if name != "amount_surprise_recent"]
    sentences = [f"No alert {MEASURES[name].words(limits[name], actual[name])}." for name in named]
    return list(dict.fromkeys(sentences))  # two features may have one measure
