"""Training: a file of past transactions → a new model version (``make train-model``).

The rows go through the same record rules, views and features as the stream, in emulated batches
of one second. No label is read.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import logging
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.clustering import KMeans, KMeansModel
from pyspark.ml.feature import ElementwiseProduct, VectorAssembler
from pyspark.ml.linalg import Vectors
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from detection.emulate import link_history, read_labelled
from detection.model import (
    CARD_FILE,
    CURRENT_FILE,
    PIPELINE_FOLDER,
    ModelError,
    described,
    folder_hashes,
)
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
from detection.session import spark_session
from detection.views import MINUTE_MS, active_views
from pipeline.logs import run_service
from pipeline.settings import PROJECT_ROOT, ScoringConfig, load_settings

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

logger = logging.getLogger(__name__)


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


def train(spark: SparkSession, data: Path, out: Path, seed: int, scoring: ScoringConfig) -> str:
    """Train on ``data``, write ``out/<version>``; it is the default where ``out`` has none.

    Returns the version, which follows from the data, the seed and the features. Raises
    ``ModelError`` when the gate refuses the model; nothing is written then.
    """
    decoded = read_labelled(spark, data).cache()
    options = Options.of(scoring)
    views = active_views(scoring.large_amount)
    slices = split(link_history(decoded, scoring.allowed_lateness_s, views), TRAIN_SHARE)
    before_later = F.col("transaction_timestamp") < int(slices.later["window_start"].min())
    amounts = population(decoded.where(before_later))
    fitted = fit_model(spark, slices.train, amounts, seed, options)
    later = minute_scores(fitted.scorer.score(slices.later))
    rates = {name: float((later >= value).mean()) for name, value in fitted.thresholds.items()}
    sizes = fitted.cluster_sizes
    gate(sizes[fitted.majority_cluster] / sum(sizes), rates["alert"])
    data_hash = hashlib.sha256(data.read_bytes()).hexdigest()
    features = described(options.features)
    card = {
        "version": _version(data_hash, seed, features, options),
        "data": {
            "sha256": data_hash,
            "train_minutes": len(slices.train.drop_duplicates(MINUTE_KEYS)),
            "later_minutes": len(later),
        },
        "seed": seed,
        "features": features,
        "large_amount": options.large_amount,
        "constants": dataclasses.asdict(fitted.scorer.constants),
        "centres": fitted.centres,
        "cluster_sizes": sizes,
        "majority_cluster": fitted.majority_cluster,
        "thresholds": fitted.thresholds,
        "budgets": BUDGETS,
        "later_slice": {f"{name}_rate": rate for name, rate in rates.items()},
    }
    _write(fitted.pipeline, card, out)
    return str(card["version"])


def _kmeans(pipeline: PipelineModel) -> KMeansModel:
    return cast(KMeansModel, pipeline.stages[-1])


def _version(data_hash: str, seed: int, features: list[dict[str, Any]], options: Options) -> str:
    learnt_from = [data_hash, seed, features, dataclasses.asdict(options)]
    digest = hashlib.sha256(json.dumps(learnt_from).encode()).hexdigest()
    return f"kmeans-{digest[:8]}"


def _write(pipeline: PipelineModel, card: dict[str, Any], out: Path) -> None:
    """Write the version under a temporary name and rename it: a half-written one is never seen."""
    folder = out / card["version"]
    partial = out / f".{card['version']}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    pipeline.write().save(str(partial / PIPELINE_FOLDER))
    for checksum in partial.rglob(".*.crc"):  # Hadoop's; the card has better ones
        checksum.unlink()
    complete = {**card, "sha256": folder_hashes(partial / PIPELINE_FOLDER)}
    (partial / CARD_FILE).write_text(json.dumps(complete, indent=2) + "\n", encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    if not (out / CURRENT_FILE).exists():
        current = out / f"{CURRENT_FILE}.partial"
        current.write_text(f"{card['version']}\n", encoding="utf-8")
        current.rename(out / CURRENT_FILE)


def main() -> int:
    """Parse the command line and train; see ``make train-model``."""
    settings = load_settings()
    parser = argparse.ArgumentParser(description="Train a new model version.")
    parser.add_argument("--data", type=Path, required=True, help="labelled file, parquet or CSV")
    parser.add_argument("--out", type=Path, default=PROJECT_ROOT / settings.scoring.model_dir)
    parser.add_argument("--seed", type=int, default=settings.simulator.seed)
    arguments = parser.parse_args()
    spark = spark_session("train-model", settings.scoring.driver_memory, shuffle_partitions=8)
    try:
        version = train(
            spark,
            arguments.data,
            arguments.out,
            arguments.seed,
            settings.scoring,
        )
    finally:
        spark.stop()
    print(f"trained {arguments.out / version}; take it into use: make promote VERSION={version}")
    return 0


if __name__ == "__main__":
    sys.exit(run_service(main))
