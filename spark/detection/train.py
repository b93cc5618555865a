"""Learning: the links of past transactions → constants, centres and thresholds, and the gate.

No label is read. ``training`` makes a model version of what is learnt here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
import pandas as pd
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.clustering import KMeans, KMeansModel
from pyspark.ml.feature import ElementwiseProduct, VectorAssembler
from pyspark.ml.linalg import Vectors
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from detection.model import ModelError
from detection.score import (
    EVALUATION_KEYS,
    Constants,
    Scorer,
    active_features,
    add_features,
    feature_columns,
    past_count,
    scale_of,
    strongest,
    usual_rate,
)
from detection.views import MINUTE_MS
from pipeline.settings import ScoringConfig

WARM_UP_MS = 10 * MINUTE_MS
"""The first minutes of a stream only fill the short views."""
TRAIN_SHARE = 0.6
"""Of the time after the warm-up; the rest is the later slice on which the gate decides."""
STARTS = 10
BUDGETS = {"alert": 0.005, "review": 0.01}
"""Shares of sender-minutes that may reach the alert and the review threshold."""
MIN_MAJORITY = 0.6
MAX_BUDGET_MISS = 0.2
"""The gate: a smaller majority cluster is no "normal"; an alert rate on the later slice that
misses the budget by more than this share would flood or starve the people who read alerts."""

MINUTE_KEYS = ["sender", "window_start"]


@dataclass(frozen=True)
class Slices:
    """Rows before and after the moment that separates training from the later slice."""

    train: pd.DataFrame
    later: pd.DataFrame


@dataclass(frozen=True)
class Options:
    """What a model is to look at: settings, not learnt. ``features``: names in their order."""

    features: tuple[str, ...]
    known_receiver_weight: float
    large_amount: float

    @classmethod
    def of(cls, scoring: ScoringConfig) -> Options:
        """Return the options that the settings ask for."""
        return cls(
            active_features(scoring.max_amount_feature, scoring.large_amount),
            scoring.known_receiver_weight,
            scoring.large_amount,
        )


@dataclass(frozen=True)
class Population:
    """ln(amount) of all transactions: its mean, its deviation, and that inside accounts."""

    mean: float
    deviation: float
    deviation_within: float


@dataclass(frozen=True)
class Fitted:
    """What training learnt, before the gate; thresholds are scores, sizes count evaluations."""

    pipeline: PipelineModel
    scorer: Scorer
    centres: list[list[float]]
    cluster_sizes: list[int]
    majority_cluster: int
    thresholds: dict[str, float]


def split(rows: pd.DataFrame, train_share: float) -> Slices:
    """Cut off the warm-up, then split by time: ``train_share`` of it trains."""
    start = rows["window_start"].min() + WARM_UP_MS
    end = rows["window_start"].max()
    cut = start + train_share * (end - start)
    time = rows["window_start"]
    return Slices(rows[(time >= start) & (time < cut)], rows[time >= cut])


def population(decoded: DataFrame) -> Population:
    """Return what is usual over all amounts; ``ModelError`` if there are too few."""
    log_amount = F.ln("transaction_amount").alias("log_amount")
    amounts = decoded.where(F.col("transaction_amount") > 0).select("sender_account", log_amount)
    accounts = amounts.groupBy("sender_account").agg(
        F.count("*").alias("n"), F.var_pop("log_amount").alias("variance")
    )
    within = accounts.agg(
        F.sum(F.col("n") * F.col("variance")) / (F.sum("n") - F.count("*"))
    ).first()
    overall = amounts.agg(F.mean("log_amount"), F.stddev_pop("log_amount")).first()
    if within is None or overall is None or within[0] is None:
        raise ModelError("too few transactions to train on")
    return Population(float(overall[0]), float(overall[1]), float(np.sqrt(within[0])))


def fit_model(
    spark: SparkSession,
    links: pd.DataFrame,
    amounts: Population,
    seed: int,
    options: Options,
) -> Fitted:
    """Learn constants, centres and thresholds from the links of the training slice."""
    constants = learn_usual(links, amounts, options.known_receiver_weight)
    scales = np.array([scale_of(name) for name in options.features])
    featured = add_features(links, constants)
    size = np.linalg.norm(featured[feature_columns(options.features)].to_numpy() / scales, axis=1)
    pipeline = fit(spark, strongest(featured.assign(size=size), "size"), options.features, seed)
    kmeans = _kmeans(pipeline)
    sizes = kmeans.summary.clusterSizes
    majority = int(np.argmax(sizes))
    centres = [centre.tolist() for centre in kmeans.clusterCenters()]
    scorer = Scorer(constants, options.features, np.array(centres[majority]), scales)
    scores = minute_scores(scorer.score(links))
    thresholds = {name: float(scores.quantile(1 - budget)) for name, budget in BUDGETS.items()}
    return Fitted(pipeline, scorer, centres, sizes, majority, thresholds)


def learn_usual(
    links: pd.DataFrame, amounts: Population, known_receiver_weight: float
) -> Constants:
    """Return the constants of a training slice.

    c = sum(count - 1) / sum(past + 2), over the last state of each minute.
    """
    last = links.sort_values("batch").drop_duplicates(MINUTE_KEYS, keep="last")
    past = usual_rate(past_count(last), 1.0).sum()
    return Constants(
        mu0=amounts.mean,
        sd0=amounts.deviation,
        sd_within=amounts.deviation_within,
        c_minute=float((last["transaction_count"] - 1).sum() / past),
        c_recent=float((last["recent_count"] - 1).sum() / past),
        inflow_mean=float((links["receiver_senders"] - 1).mean()),
        known_receiver_weight=known_receiver_weight,
    )


def minute_scores(scored: pd.DataFrame) -> pd.Series[float]:
    """Return the highest score of each sender-minute, the unit that budgets count."""
    highest: pd.Series[float] = scored.groupby(MINUTE_KEYS)["score"].max()
    return highest


def fit(
    spark: SparkSession, evaluations: pd.DataFrame, names: tuple[str, ...], seed: int
) -> PipelineModel:
    """Fit KMeans k=2 ``STARTS`` times and return the pipeline with the lowest cost.

    Sorted and in one partition, so that one seed always gives the same centres.
    """
    ordered = evaluations.sort_values(EVALUATION_KEYS)[feature_columns(names)].astype(float)
    ordered.columns = pd.Index(names)
    features = spark.createDataFrame(ordered).coalesce(1).cache()
    assembler = VectorAssembler(inputCols=list(names), outputCol="raw_features")
    scaler = ElementwiseProduct(
        scalingVec=Vectors.dense([1 / scale_of(name) for name in names]),
        inputCol="raw_features",
        outputCol="features",
    )
    fits: Iterator[PipelineModel] = (
        Pipeline(stages=[assembler, scaler, KMeans(k=2, seed=seed + start)]).fit(features)
        for start in range(STARTS)
    )
    best = min(fits, key=lambda fitted: _kmeans(fitted).summary.trainingCost)
    features.unpersist()
    return best


def gate(majority_share: float, alert_rate: float) -> None:
    """Raise ``ModelError`` for a model that must not be used; see ``MIN_MAJORITY``."""
    if majority_share < MIN_MAJORITY:
        raise ModelError(
            f"refused: the majority cluster holds {majority_share:.0%} of the minutes,"
            f" at least {MIN_MAJORITY:.0%} are needed"
        )
    budget = BUDGETS["alert"]
    miss = abs(alert_rate - budget) / budget
    if miss > MAX_BUDGET_MISS:
        raise ModelError(
            f"refused: {alert_rate:.2%} of the later minutes would be alerts, which misses the"
            f" budget of {budget:.2%} by {miss:.0%} (at most {MAX_BUDGET_MISS:.0%});"
            " train on more rows"
        )


def _kmeans(pipeline: PipelineModel) -> KMeansModel:
    return cast(KMeansModel, pipeline.stages[-1])
