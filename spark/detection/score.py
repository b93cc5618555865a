"""Scoring: the rows of the views that a batch touched → one evaluation a sender and minute.

Works on pandas frames: in the stream on what one micro-batch emitted, in training on the same
rows of many batches (the column ``batch`` keeps them apart). The formulas are those of the
model card; ``FEATURES`` is the table to read first.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from detection.views import MINUTE_MS, view_code, view_size_ms

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Feature:
    """One dimension of the distance: ``scale`` is the raw value that counts as 1."""

    name: str
    scale: float
    formula: str
    is_optional: bool = False


FEATURES = (
    Feature(
        "receiver_spread",
        3.0,
        "novelty * up((distinct_receivers - 1 - usual_minute) / sqrt(1 + usual_minute))",
    ),
    Feature(
        "receiver_spread_recent",
        3.0,
        "novelty * up((recent_receivers - 1 - usual_recent) / sqrt(1 + usual_recent))",
    ),
    Feature("amount_surprise", 4.0, "novelty * z, z = up((ln(max_amount) - usual_log) / usual_sd)"),
    Feature("failed_count", 2.0, "min(failed_count, 6)"),
    Feature(
        "amount_surprise_recent",
        4.0,
        "novelty * up((recent_sum_log - recent_count * usual_log)"
        " / (usual_sd * sqrt(recent_count)))",
    ),
    Feature(
        "receiver_inflow",
        2.0,
        "novelty * up((receiver_senders - 1 - inflow_mean) / sqrt(1 + inflow_mean))"
        " * min(z, 3) / 2",
    ),
    Feature("max_amount", 4.0, "up((ln(max_amount) - mu0) / sd0)", is_optional=True),
    Feature("large_amounts", 2.0, "min(large_amounts_in_a_day, 8)", is_optional=True),
)
"""All features look upwards only: up(v) = min(max(v, 0), 8). Scales are fixed, not learnt: a
rare feature has a tiny deviation and would drown the others. A model names those that it uses."""

UP_LIMIT = 8.0
FAILED_LIMIT = 6
PRIOR_WEIGHT = 1.0
"""Weight K of the population in an account's own mean, in transactions."""
MAX_HISTORY = 30
"""Past transactions that count for an account's usual rate. Without a cap the usual rate of a
stream that runs faster than its history grows until nothing is unusual. Average precision on
three simulated hours: 30 .517, 60 .503."""

EVALUATION_KEYS = ["batch", "sender", "window_start"]
MINUTE_FACTS = ["transaction_count", "total_amount", "failed_count", "max_amount"]
LINK_COLUMNS = [
    *EVALUATION_KEYS,
    "payee",
    *MINUTE_FACTS,
    "distinct_receivers",
    "recent_count",
    "recent_receivers",
    "recent_sum_log",
    "profile_count",
    "profile_sum_log",
    "is_new_receiver",
    "receiver_senders",
    "large_amounts",
    "last_position",
    "last_arrival",
]


def active_features(max_amount_feature: bool, large_amount: float) -> tuple[str, ...]:
    """Return the names of the features under the settings of the same names."""
    wanted = {"max_amount": max_amount_feature, "large_amounts": large_amount > 0}
    return tuple(
        feature.name for feature in FEATURES if not feature.is_optional or wanted[feature.name]
    )


def scale_of(name: str) -> float:
    """Return the fixed scale of a feature."""
    return next(feature.scale for feature in FEATURES if feature.name == name)


def feature_columns(names: Iterable[str]) -> list[str]:
    """Return the columns of raw feature values."""
    return [f"feature_{name}" for name in names]


def share_columns(names: Iterable[str]) -> list[str]:
    """Return the columns of the features' shares of the squared distance."""
    return [f"share_{name}" for name in names]


@dataclass(frozen=True)
class Constants:
    """What training learnt of a population, without labels.

    ``mu0`` and ``sd0``: mean and deviation of ln(amount) over all transactions; ``sd_within``:
    pooled deviation inside accounts; ``c_minute`` and ``c_recent``: further transactions in a
    minute and in the recent window for each past transaction of the account; ``inflow_mean``:
    further senders that a receiver had recently; ``known_receiver_weight``: novelty of a payee
    that the account has paid before (a setting).
    """

    mu0: float
    sd0: float
    sd_within: float
    c_minute: float
    c_recent: float
    inflow_mean: float
    known_receiver_weight: float


@dataclass(frozen=True)
class Scorer:
    """Distance to the centre of the majority cluster, in scaled feature space."""

    constants: Constants
    features: tuple[str, ...]
    centre: Floats
    scales: Floats

    def evaluate(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return one evaluation for each (batch, sender, minute) in ``rows``.

        ``rows``: ``batch`` and ``views.VIEW_COLUMNS``. The result has ``LINK_COLUMNS``, what
        ``add_features`` adds, ``score`` and the ``share_columns``: each feature's part of the
        squared distance (they add up to 1, or are all 0 at the centre). A minute's score is the
        highest over the payees that the batch paid in it.
        """
        return self.score(link(rows))

    def score(self, links: pd.DataFrame) -> pd.DataFrame:
        """Return what ``evaluate`` does, from the result of ``link``."""
        links = add_features(links, self.constants)
        scaled = links[feature_columns(self.features)].to_numpy() / self.scales
        squares = (scaled - self.centre) ** 2
        totals = squares.sum(axis=1)
        shares = np.divide(
            squares, totals[:, None], out=np.zeros_like(squares), where=totals[:, None] > 0
        )
        scored = links.assign(score=np.sqrt(totals))
        scored[share_columns(self.features)] = shares
        return strongest(scored, "score")


def link(rows: pd.DataFrame) -> pd.DataFrame:
    """Return a row of ``LINK_COLUMNS`` for each minute and each payee that the batch paid in it.

    All that the views know and no training constant: what is learnt from links can be learnt
    again without computing the views again. ``rows``: ``batch`` and ``views.VIEW_COLUMNS``.

    A payee belongs to a minute if the pair's first payment lies before the minute's end and its
    last not before its start: exact unless a known payee was paid before and after the minute
    but not in it, and such a payee has the lowest novelty.
    """
    minutes = _view(rows, "sender_minute").rename(
        columns={"entity": "sender", "matching_count": "failed_count"}
    )
    minutes["window_start"] = minutes["window_end"] - MINUTE_MS
    minutes["distinct_receivers"] = distinct_from_bits(minutes["distinct_bits"])
    recent = _older_window(minutes, rows, "sender_recent", EVALUATION_KEYS)
    recent["recent_receivers"] = distinct_from_bits(recent["distinct_bits"])
    profile = _older_window(minutes, rows, "sender_profile", EVALUATION_KEYS)
    pairs = _older_window(minutes, rows, "sender_receiver", [*EVALUATION_KEYS, "payee"])
    in_minute = (pairs["first_seen"] < pairs["window_start"] + MINUTE_MS) & (
        pairs["last_seen"] >= pairs["window_start"]
    )
    payees = pairs.loc[in_minute, [*EVALUATION_KEYS, "payee", "first_seen"]]
    received = _older_window(
        payees, rows, "receiver_recent", [*EVALUATION_KEYS, "payee"], entity="payee"
    )
    received["receiver_senders"] = distinct_from_bits(received["distinct_bits"])
    links = (
        minutes.drop(columns="first_seen")
        .merge(_renamed(recent, "recent"), on=EVALUATION_KEYS)
        .merge(_renamed(profile, "profile"), on=EVALUATION_KEYS)
        .merge(payees, on=EVALUATION_KEYS)
        .merge(
            received[[*EVALUATION_KEYS, "payee", "receiver_senders"]],
            on=[*EVALUATION_KEYS, "payee"],
        )
    )
    if (rows["view"] == view_code("sender_day")).any():
        day = _older_window(minutes, rows, "sender_day", EVALUATION_KEYS)
        of_day = day[[*EVALUATION_KEYS, "matching_count"]]
        links = links.merge(of_day.rename(columns={"matching_count": "large_amounts"}))
    else:
        links["large_amounts"] = 0
    links["is_new_receiver"] = links["first_seen"] >= links["window_start"]
    return links[LINK_COLUMNS]


def strongest(links: pd.DataFrame, by: str) -> pd.DataFrame:
    """Return the link with the highest ``by`` of each evaluation, in the order of its keys."""
    ordered = links.sort_values([*EVALUATION_KEYS, by, "payee"], ascending=[True] * 3 + [False] * 2)
    return ordered.drop_duplicates(EVALUATION_KEYS, ignore_index=True)


def distinct_from_bits(bits: pd.Series[int]) -> Floats:
    """Estimate how many distinct values set the bits of a 64-bit sketch (linear counting).

    Whang, Vander-Zanden and Taylor 1990: -m ln(z), z the share of zero bits; a full sketch is
    read as one with half a bit free.
    """
    set_bits = np.bitwise_count(bits.to_numpy().view(np.uint64)).astype(float)
    return np.asarray(-64 * np.log(np.maximum(64 - set_bits, 0.5) / 64))


def past_count(links: pd.DataFrame) -> pd.Series[int]:
    """Return the account's transactions before the recent window."""
    return (links["profile_count"] - links["recent_count"]).clip(lower=0)


def usual_rate(past: pd.Series[int], factor: float) -> pd.Series[float]:
    """Return the further transactions that an account usually has in a window."""
    return factor * (past.clip(upper=MAX_HISTORY) + 2)


def add_features(links: pd.DataFrame, constants: Constants) -> pd.DataFrame:
    """Return ``links`` with what is usual for the account and all features, optional ones too."""
    past = past_count(links)
    past_log = (links["profile_sum_log"] - links["recent_sum_log"]).where(past > 0, 0.0)
    weight = past + PRIOR_WEIGHT
    usual_log = (past_log + PRIOR_WEIGHT * constants.mu0) / weight
    usual_sd = np.sqrt((past * constants.sd_within**2 + PRIOR_WEIGHT * constants.sd0**2) / weight)
    usual_minute = usual_rate(past, constants.c_minute)
    usual_recent = usual_rate(past, constants.c_recent)
    novelty = np.where(links["is_new_receiver"], 1.0, constants.known_receiver_weight)
    surprise = _up((np.log(links["max_amount"]) - usual_log) / usual_sd)
    recent_surplus = links["recent_sum_log"] - links["recent_count"] * usual_log
    surprise_recent = _up(recent_surplus / (usual_sd * np.sqrt(links["recent_count"])))
    inflow = _excess(links["receiver_senders"], constants.inflow_mean)
    return links.assign(
        novelty=novelty,
        usual_log=usual_log,
        usual_sd=usual_sd,
        usual_receivers=1 + usual_minute,
        usual_recent_receivers=1 + usual_recent,
        usual_amount=np.exp(usual_log),
        feature_receiver_spread=novelty * _excess(links["distinct_receivers"], usual_minute),
        feature_receiver_spread_recent=novelty * _excess(links["recent_receivers"], usual_recent),
        feature_amount_surprise=novelty * surprise,
        feature_failed_count=links["failed_count"].clip(upper=FAILED_LIMIT),
        feature_amount_surprise_recent=novelty * surprise_recent,
        feature_receiver_inflow=novelty * inflow * surprise.clip(upper=3) / 2,
        feature_max_amount=_up((np.log(links["max_amount"]) - constants.mu0) / constants.sd0),
        feature_large_amounts=_up(links["large_amounts"]),
    )


def _excess(distinct: pd.Series[float], usual: pd.Series[float] | float) -> pd.Series[float]:
    """Return how far further counterparties exceed the usual number, in its own deviations."""
    return _up((distinct - 1 - usual) / np.sqrt(1 + usual))


def _up(values: pd.Series[float]) -> pd.Series[float]:
    return values.clip(0, UP_LIMIT)


def _view(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    return rows[rows["view"] == view_code(name)].copy()


def _renamed(of_view: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return the columns of a sender's view that the features need, named after it."""
    renamed = of_view.rename(
        columns={"transaction_count": f"{name}_count", "sum_log_amount": f"{name}_sum_log"}
    )
    kept = [f"{name}_count", f"{name}_sum_log", "recent_receivers"]
    return renamed[[*EVALUATION_KEYS, *(column for column in kept if column in renamed)]]


def _older_window(
    minutes: pd.DataFrame, rows: pd.DataFrame, view: str, keys: list[str], entity: str = "sender"
) -> pd.DataFrame:
    """Return, for each minute, the view's row of the older window that holds the minute.

    Windows slide by half their length, so two hold each minute; the older one remembers more.
    ``entity`` names the column of ``minutes`` whose rows of the view are looked up.
    """
    names = {"entity": entity, "window_end": "view_end"}
    if entity == "sender":
        names["counterparty"] = "payee"
    of_view = _view(rows, view).rename(columns=names)
    wanted = minutes[[*EVALUATION_KEYS, *({entity} - {"sender"})]]
    joined = wanted.merge(of_view, on=["batch", entity])
    holds = (joined["view_end"] > joined["window_start"]) & (
        joined["view_end"] - view_size_ms(view) <= joined["window_start"]
    )
    return joined[holds].sort_values("view_end", kind="stable").drop_duplicates(keys)
