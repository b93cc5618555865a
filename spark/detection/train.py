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
from collections.abc import Callable, Iterator
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

from detection.history import export_transactions, read_transactions
from detection.model import (
    CARD_FILE,
    CURRENT_FILE,
    PIPELINE_FOLDER,
    ModelError,
    folder_hashes,
)
from detection.score import (
    EVALUATION_COLUMNS,
    EVALUATION_KEYS,
    FEATURE_COLUMNS,
    FEATURE_NAMES,
    FEATURES,
    Constants,
    Scorer,
    link_payees,
    past_count,
    strongest,
    usual_rate,
)
from detection.session import spark_session
from detection.validate import validate
from detection.views import MINUTE_MS, aggregate_batches, explode_views, view_code
from pipeline.logs import run_service
from pipeline.records import FIELDS
from pipeline.settings import PROJECT_ROOT, load_settings

BATCH_MS = 1_000
"""Length of an emulated batch: what the stream's batches come to, waiting included."""
WARM_UP_MS = 10 * MINUTE_MS
"""The first minutes of a stream only fill the short views."""
TRAIN_SHARE = 0.6
"""Of the time after the warm-up; the rest is the later slice on which the gate decides."""
STARTS = 10
ALERT_BUDGET = 0.005
REVIEW_BUDGET = 0.01
"""Shares of sender-minutes that may reach the alert and the review threshold."""
KNOWN_RECEIVER_WEIGHT = 0.5
MIN_MAJORITY = 0.6
MAX_BUDGET_MISS = 0.2
"""The gate: a smaller majority cluster is no "normal"; an alert rate on the later slice that
misses the budget by more than this share would flood or starve the people who read alerts."""

FEATURE_VIEWS = (
    "sender_minute",
    "sender_recent",
    "receiver_recent",
    "sender_profile",
    "sender_receiver",
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Slices:
    """Evaluations before and after the moment that separates training from the later slice."""

    train: pd.DataFrame
    later: pd.DataFrame


def read_history(spark: SparkSession, path: Path) -> DataFrame:
    """Read a labelled file (parquet or CSV) as decoded records, labels left out.

    A row flagged ``history`` arrives with the first row that is not; any other arrives when it
    happens. Raises ``ModelError`` if a column is missing.
    """
    if path.suffix == ".csv":
        raw = spark.read.csv(str(path), header=True, inferSchema=True)
    else:
        raw = spark.read.parquet(str(path))
    if missing := set(FIELDS) - set(raw.columns):
        raise ModelError(f"{path}: lacks the columns {', '.join(sorted(missing))}")
    is_history = F.col("history") if "history" in raw.columns else F.lit(False)
    first_live = raw.where(~is_history).agg(F.min("transaction_timestamp")).first()
    if first_live is None or first_live[0] is None:
        raise ModelError(f"{path}: has no rows that are not history")
    arrival = F.when(is_history, F.lit(first_live[0])).otherwise(F.col("transaction_timestamp"))
    return raw.select(
        F.monotonically_increasing_id().alias("position"),
        arrival.alias("kafka_timestamp"),
        *(
            F.unix_millis(name).alias(name) if name == "transaction_timestamp" else F.col(name)
            for name in FIELDS
        ),
    )


def emulate(decoded: DataFrame, allowed_lateness_s: int) -> pd.DataFrame:
    """Return the rows that the stream would emit in batches of ``BATCH_MS``, feature views only."""
    validated = validate(decoded, allowed_lateness_s)
    batch = F.floor(F.col("arrival_ms") / BATCH_MS)
    exploded = explode_views(validated.withColumn("batch", batch), "batch")
    of_features = exploded.where(F.col("view").isin(*(view_code(name) for name in FEATURE_VIEWS)))
    return aggregate_batches(of_features).toPandas()


def population(decoded: DataFrame) -> tuple[float, float, float]:
    """Return (mu0, sd0, sd_within) of ln(amount); see ``score.Constants``."""
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
    return float(overall[0]), float(overall[1]), float(np.sqrt(within[0]))


def learn_usual(rows: pd.DataFrame, constants: Constants) -> Constants:
    """Return ``constants`` with the usual rates of accounts and receivers.

    c = sum(count - 1) / sum(past + 2), over the last state of each minute of the training slice.
    """
    links = split(link_payees(rows, constants)).train
    last = links.sort_values("batch").drop_duplicates(["sender", "window_start"], keep="last")
    past = usual_rate(past_count(last), 1.0).sum()
    return dataclasses.replace(
        constants,
        c_minute=float((last["transaction_count"] - 1).sum() / past),
        c_recent=float((last["recent_count"] - 1).sum() / past),
        inflow_mean=float((links["receiver_senders"] - 1).mean()),
    )


def split(evaluations: pd.DataFrame) -> Slices:
    """Cut off the warm-up, then split by time."""
    start = evaluations["window_start"].min() + WARM_UP_MS
    end = evaluations["window_start"].max()
    cut = start + TRAIN_SHARE * (end - start)
    time = evaluations["window_start"]
    return Slices(evaluations[(time >= start) & (time < cut)], evaluations[time >= cut])


def fit(spark: SparkSession, evaluations: pd.DataFrame, seed: int) -> PipelineModel:
    """Fit KMeans k=2 ``STARTS`` times and return the pipeline with the lowest cost.

    Sorted and in one partition, so that one seed always gives the same centres.
    """
    ordered = evaluations.sort_values(EVALUATION_KEYS)[FEATURE_COLUMNS].astype(float)
    ordered.columns = pd.Index(FEATURE_NAMES)
    features = spark.createDataFrame(ordered).coalesce(1).cache()
    assembler = VectorAssembler(inputCols=FEATURE_NAMES, outputCol="raw_features")
    scaler = ElementwiseProduct(
        scalingVec=Vectors.dense([1 / feature.scale for feature in FEATURES]),
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
    miss = abs(alert_rate - ALERT_BUDGET) / ALERT_BUDGET
    if miss > MAX_BUDGET_MISS:
        raise ModelError(
            f"refused: {alert_rate:.2%} of the later minutes would be alerts, which misses the"
            f" budget of {ALERT_BUDGET:.2%} by {miss:.0%} (at most {MAX_BUDGET_MISS:.0%});"
            " train on more rows"
        )


def train(
    spark: SparkSession,
    data: Path,
    out: Path,
    seed: int,
    allowed_lateness_s: int,
    read: Callable[[SparkSession, Path], DataFrame] = read_history,
) -> str:
    """Train on ``data``, write ``out/<version>`` and point ``out/CURRENT`` to it.

    ``read`` makes decoded records of the file. Returns the version, which follows from the data,
    the seed and the features. Raises ``ModelError`` when the gate refuses the model; nothing is
    written then.
    """
    decoded = read(spark, data).cache()
    mu0, sd0, sd_within = population(decoded)
    rows = emulate(decoded, allowed_lateness_s)
    unlearnt = Constants(mu0, sd0, sd_within, 0.0, 0.0, 0.0, KNOWN_RECEIVER_WEIGHT)
    constants = learn_usual(rows, unlearnt)
    links = link_payees(rows, constants)
    scales = np.array([feature.scale for feature in FEATURES])
    size = np.linalg.norm(links[FEATURE_COLUMNS].to_numpy() / scales, axis=1)
    candidates = split(strongest(links.assign(size=size), "size")[EVALUATION_COLUMNS])
    pipeline = fit(spark, candidates.train, seed)
    sizes = _kmeans(pipeline).summary.clusterSizes
    majority = int(np.argmax(sizes))
    centres = _kmeans(pipeline).clusterCenters()
    scorer = Scorer(constants, np.array(centres[majority]), scales)
    scores = split(scorer.evaluate(rows))
    per_minute = scores.train.groupby(["sender", "window_start"])["score"].max()
    later = scores.later.groupby(["sender", "window_start"])["score"].max()
    thresholds = {
        "alert": float(per_minute.quantile(1 - ALERT_BUDGET)),
        "review": float(per_minute.quantile(1 - REVIEW_BUDGET)),
    }
    majority_share = sizes[majority] / sum(sizes)
    alert_rate = float((later >= thresholds["alert"]).mean())
    gate(majority_share, alert_rate)
    data_hash = hashlib.sha256(data.read_bytes()).hexdigest()
    features = [dataclasses.asdict(feature) for feature in FEATURES]
    card = {
        "version": _version(data_hash, seed, features),
        "data": {
            "sha256": data_hash,
            "train_minutes": len(per_minute),
            "later_minutes": len(later),
        },
        "seed": seed,
        "features": features,
        "constants": dataclasses.asdict(constants),
        "centres": [centre.tolist() for centre in centres],
        "cluster_sizes": sizes,
        "majority_cluster": majority,
        "thresholds": thresholds,
        "budgets": {"alert": ALERT_BUDGET, "review": REVIEW_BUDGET},
        "later_slice": {
            "alert_rate": alert_rate,
            "review_rate": float((later >= thresholds["review"]).mean()),
        },
    }
    _write(pipeline, card, out)
    return str(card["version"])


def _kmeans(pipeline: PipelineModel) -> KMeansModel:
    return cast(KMeansModel, pipeline.stages[-1])


def _version(data_hash: str, seed: int, features: list[dict[str, Any]]) -> str:
    digest = hashlib.sha256(json.dumps([data_hash, seed, features]).encode()).hexdigest()
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
    current = out / f"{CURRENT_FILE}.partial"
    current.write_text(f"{card['version']}\n", encoding="utf-8")
    current.rename(out / CURRENT_FILE)


def main() -> int:
    """Parse the command line and train; see ``make train-model``."""
    settings = load_settings()
    parser = argparse.ArgumentParser(description="Train a new model version.")
    data = parser.add_mutually_exclusive_group(required=True)
    data.add_argument("--data", type=Path, help="labelled file, parquet or CSV")
    data.add_argument("--source", choices=["cassandra"], help="the raw transactions stored there")
    parser.add_argument("--out", type=Path, default=PROJECT_ROOT / settings.scoring.model_dir)
    parser.add_argument("--seed", type=int, default=settings.simulator.seed)
    arguments = parser.parse_args()
    data_file, read = arguments.data, read_history
    if arguments.source:
        data_file = PROJECT_ROOT / settings.local.dir / "transactions.parquet"
        read = read_transactions
        count = export_transactions(settings.cassandra, data_file)
        logger.info("%d raw transactions read from Cassandra", count)
    spark = spark_session("train-model", settings.scoring.driver_memory, shuffle_partitions=2)
    try:
        version = train(
            spark,
            data_file,
            arguments.out,
            arguments.seed,
            settings.scoring.allowed_lateness_s,
            read,
        )
    finally:
        spark.stop()
    print(f"trained {arguments.out / version}; it is the current version now")
    return 0


if __name__ == "__main__":
    sys.exit(run_service(main))
