"""How well the pipeline detects, on labelled streams (``make evaluate``).

A labelled file is judged by time: its first 40 % teach constants, centres and thresholds, the
rest is the test; with ``--model`` all of it is scored with that version. Without ``--data`` the
streams are simulated worlds.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from detection.emulate import link_history, read_labelled, read_table
from detection.model import load_model
from detection.score import Scorer
from detection.session import spark_session
from detection.train import BUDGETS, MINUTE_KEYS, Options, fit_model, population, split
from detection.views import active_views
from evaluation.baselines import BASELINES, minute_table
from evaluation.metrics import at_threshold
from evaluation.protocol import judge, make_stream, ranking, read_frauds
from evaluation.report import write_report
from evaluation.worlds import SMALL_WORLDS, WORLDS, export
from pipeline.logs import run_service
from pipeline.settings import PROJECT_ROOT, Settings, load_settings

TRAIN_SHARE = 0.4


def evaluate_file(
    spark: SparkSession, settings: Settings, path: Path, seed: int, model: str | None
) -> dict[str, Any]:
    """Return {method: figures} for one labelled file."""
    decoded = read_labelled(spark, path).cache()
    frauds = read_frauds(read_table(spark, path))
    scoring = settings.scoring
    views = active_views(scoring.large_amount)
    links = link_history(decoded, scoring.allowed_lateness_s, views)
    slices = split(links, TRAIN_SHARE)
    cut_ms = int(slices.later["window_start"].min())
    if model is None:
        amounts = population(decoded.where(F.col("transaction_timestamp") < cut_ms))
        fitted = fit_model(spark, slices.train, amounts, seed, Options.of(scoring))
        scorer, thresholds = fitted.scorer, fitted.thresholds
    else:
        loaded = load_model(PROJECT_ROOT / scoring.model_dir, model, scoring.large_amount)
        scorer = loaded.scorer
        thresholds = {"alert": loaded.alert_threshold, "review": loaded.review_threshold}
    decoded.unpersist()
    return compare(scorer, thresholds, slices.train, slices.later, frauds)


def compare(
    scorer: Scorer,
    thresholds: dict[str, float],
    train: pd.DataFrame,
    test: pd.DataFrame,
    frauds: pd.DataFrame,
) -> dict[str, Any]:
    """Return the figures of the pipeline and of every baseline on the links of ``test``."""
    stream = make_stream(test, frauds)
    scored = scorer.score(test)
    figures = {"pipeline": judge(stream, scored, thresholds)}
    known = make_stream(train, frauds).minutes
    train_table = minute_table(scorer.score(train)).merge(known[[*MINUTE_KEYS, "is_fraud"]])
    test_table = minute_table(scored).merge(stream.minutes[[*MINUTE_KEYS, "is_fraud"]])
    for name, baseline in BASELINES.items():
        figures[name] = judge_baseline(
            test_table["is_fraud"].to_numpy(),
            baseline(train_table, test_table),
            baseline(train_table, train_table),
        )
    return figures


def judge_baseline(is_fraud: Any, score: Any, train_score: Any) -> dict[str, Any]:
    """Return a baseline's figures; its thresholds are quantiles of its own training scores."""
    levels = {}
    for name, budget in BUDGETS.items():
        threshold = float(np.quantile(train_score, 1 - budget))
        levels[name] = {"threshold": threshold, **vars(at_threshold(is_fraud, score, threshold))}
    return {**ranking(is_fraud, score), **levels}


def main() -> int:
    """Parse the command line and evaluate; see ``make evaluate``."""
    settings = load_settings()
    parser = argparse.ArgumentParser(prog="python -m evaluation", description=__doc__)
    parser.add_argument("--data", type=Path, nargs="*", default=[], help="labelled files")
    parser.add_argument("--worlds", choices=["all", "small"], default="all")
    parser.add_argument("--model", help="a version; default: learn from the first 40 %%")
    parser.add_argument("--seed", type=int, default=settings.simulator.seed)
    parser.add_argument("--out", type=Path, required=True, help="folder of the report")
    arguments = parser.parse_args()
    spark = spark_session("evaluate", "6g", shuffle_partitions=8)
    results = {}
    try:
        with tempfile.TemporaryDirectory() as temporary:
            worlds = {"all": WORLDS, "small": SMALL_WORLDS}[arguments.worlds]
            files = arguments.data or (export(world, Path(temporary)) for world in worlds)
            for path in files:
                began = time.monotonic()
                results[path.stem] = evaluate_file(
                    spark, settings, path, arguments.seed, arguments.model
                )
                seconds = time.monotonic() - began
                print(f"{path.stem}: {seconds:.0f} s", flush=True)
    finally:
        spark.stop()
    write_report(results, arguments.out)
    return 0


if __name__ == "__main__":
    sys.exit(run_service(main))
