"""A file of past transactions → a new model version (``make train-model``).

The rows go through the same record rules, views and features as the stream, in emulated batches
of one second. No label is read to learn; if there are some, the card says how the model does.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from sklearn.metrics import silhouette_score

from detection.emulate import link_history, read_labelled
from detection.history import export_transactions, read_transactions
from detection.model import described
from detection.score import feature_columns
from detection.session import spark_session
from detection.train import (
    BUDGETS,
    MINUTE_KEYS,
    TRAIN_SHARE,
    Fitted,
    Options,
    fit_model,
    gate,
    minute_scores,
    population,
    split,
)
from detection.views import active_views
from evaluation.protocol import judge, make_stream, read_frauds, timed
from pipeline.logs import run_service
from pipeline.settings import PROJECT_ROOT, ScoringConfig, load_settings
from training.version import Plots, write_version

SILHOUETTE_SAMPLE = 5_000
"""Evaluations; the silhouette compares each with each."""

logger = logging.getLogger(__name__)


def train(
    spark: SparkSession,
    data: Path,
    out: Path,
    seed: int,
    scoring: ScoringConfig,
    read: Callable[[SparkSession, Path], DataFrame] = read_labelled,
) -> str:
    """Train on ``data``, write ``out/<version>``; it is the default where ``out`` has none.

    ``read`` makes decoded records of the file. Returns the version, which follows from the data,
    the seed and the features. Raises ``ModelError`` when the gate refuses the model; nothing is
    written then.
    """
    decoded = read(spark, data).cache()
    options = Options.of(scoring)
    views = active_views(scoring.large_amount)
    slices = split(link_history(decoded, scoring.allowed_lateness_s, views), TRAIN_SHARE)
    before_later = F.col("transaction_timestamp") < int(slices.later["window_start"].min())
    amounts = population(decoded.where(before_later))
    fitted = fit_model(spark, slices.train, amounts, seed, options)
    scored = fitted.scorer.score(slices.later)
    later = minute_scores(scored)
    rates = {name: float((later >= value).mean()) for name, value in fitted.thresholds.items()}
    sizes = fitted.cluster_sizes
    gate(sizes[fitted.majority_cluster] / sum(sizes), rates["alert"])
    table = spark.read.parquet(str(data)) if data.suffix == ".parquet" else None
    is_labelled = table is not None and "is_fraud" in table.columns
    frauds = read_frauds(table) if table is not None and is_labelled else None
    data_hash = hashlib.sha256(data.read_bytes()).hexdigest()
    features = described(options.features)
    card = {
        "version": version_name(data_hash, seed, features, options),
        "code": _commit(),
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
        "silhouette": silhouette(fitted, slices.train),
        "thresholds": fitted.thresholds,
        "budgets": BUDGETS,
        "later_slice": {f"{name}_rate": rate for name, rate in rates.items()},
        "evaluation": None
        if frauds is None
        else judge(make_stream(slices.later, frauds), timed(scored), fitted.thresholds),
    }
    write_version(fitted.pipeline, card, Plots(fitted, scored, frauds), out)
    return str(card["version"])


def silhouette(fitted: Fitted, links: pd.DataFrame) -> float:
    """Return the silhouette of the two clusters, from a sample of the training slice."""
    scorer = fitted.scorer
    sample = links.sample(min(len(links), SILHOUETTE_SAMPLE), random_state=0)
    points = scorer.score(sample)[feature_columns(scorer.features)].to_numpy() / scorer.scales
    distances = np.linalg.norm(points[:, None] - np.array(fitted.centres)[None], axis=2)
    return float(silhouette_score(points, distances.argmin(axis=1)))


def version_name(
    data_hash: str, seed: int, features: list[dict[str, Any]], options: Options
) -> str:
    """Return the name that follows from all that a model is learnt from."""
    learnt_from = [data_hash, seed, features, dataclasses.asdict(options)]
    digest = hashlib.sha256(json.dumps(learnt_from).encode()).hexdigest()
    return f"kmeans-{digest[:8]}"


def _commit() -> str | None:
    """Return the commit of the code, marked if files were changed since; None without git."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        found = subprocess.run(
            command, cwd=PROJECT_ROOT, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip()


def main() -> int:
    """Parse the command line and train; see ``make train-model``."""
    settings = load_settings()
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    data = parser.add_mutually_exclusive_group(required=True)
    data.add_argument("--data", type=Path, help="labelled file, parquet or CSV")
    data.add_argument("--source", choices=["cassandra"], help="the raw transactions stored there")
    parser.add_argument("--out", type=Path, default=PROJECT_ROOT / settings.scoring.model_dir)
    parser.add_argument("--seed", type=int, default=settings.simulator.seed)
    arguments = parser.parse_args()
    data_file, read = arguments.data, read_labelled
    if arguments.source:
        data_file = PROJECT_ROOT / settings.local.dir / "transactions.parquet"
        read = read_transactions
        count = export_transactions(settings.cassandra, data_file)
        logger.info("%d raw transactions read from Cassandra", count)
    spark = spark_session("train-model", settings.scoring.driver_memory, shuffle_partitions=8)
    try:
        version = train(spark, data_file, arguments.out, arguments.seed, settings.scoring, read)
    finally:
        spark.stop()
    print(f"trained {arguments.out / version}; take it into use: make promote VERSION={version}")
    return 0


if __name__ == "__main__":
    sys.exit(run_service(main))
