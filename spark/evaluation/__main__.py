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
from collections.abc import Sequence
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
from detection.train import BUDGETS, Options, Slices, fit_model, population, split
from detection.views import active_views
from evaluation import plots
from evaluation.baselines import BASELINES, labelled_minutes
from evaluation.checks import TRAINING_SEEDS, over_seeds, with_shuffled_labels
from evaluation.metrics import at_threshold
from evaluation.protocol import find_incidents, judge, make_stream, ranking, read_frauds, timed
from evaluation.recorded import evaluate_recorded
from evaluation.report import write_hours, write_recorded, write_report
from evaluation.stationarity import evaluate_by_hour
from evaluation.worlds import WORLDS, export
from pipeline.logs import run_service
from pipeline.settings import PROJECT_ROOT, Settings, load_settings

TRAIN_SHARE = 0.4
DRIVER_MEMORY = "6g"


def evaluate_file(
    spark: SparkSession,
    settings: Settings,
    path: Path,
    arguments: argparse.Namespace,
    check_seeds: Sequence[int] = (),
) -> dict[str, Any]:
    """Return {method: figures} for one labelled file, and write its plots.

    ``check_seeds`` adds the checks of ``evaluation.checks``, with these training seeds.
    """
    scoring = settings.scoring
    decoded = read_labelled(spark, path).cache()
    frauds = read_frauds(read_table(spark, path))
    links = link_history(decoded, scoring.allowed_lateness_s, active_views(scoring.large_amount))
    slices = split(links, TRAIN_SHARE)
    cut_ms = int(slices.later["window_start"].min())
    amounts = population(decoded.where(F.col("transaction_timestamp") < cut_ms))
    decoded.unpersist()
    options = Options.of(scoring)
    if arguments.model is None:
        fitted = fit_model(spark, slices.train, amounts, arguments.seed, options)
        scorer, thresholds = fitted.scorer, fitted.thresholds
    else:
        model_dir = PROJECT_ROOT / scoring.model_dir
        loaded = load_model(model_dir, arguments.model, scoring.large_amount)
        scorer = loaded.scorer
        thresholds = {"alert": loaded.alert_threshold, "review": loaded.review_threshold}
    figures = compare(scorer, thresholds, slices, frauds, arguments.out / "plots", path.stem)
    if check_seeds:
        figures["checks"] = {
            "seeds": over_seeds(spark, slices, frauds, amounts, options, check_seeds),
            "shuffled_labels": with_shuffled_labels(scorer, slices, frauds),
        }
    return figures


def compare(
    scorer: Scorer,
    thresholds: dict[str, float],
    slices: Slices,
    frauds: pd.DataFrame,
    plots_folder: Path,
    name: str,
) -> dict[str, Any]:
    """Return the figures of the pipeline and of every baseline on the later slice."""
    stream = make_stream(slices.later, frauds)
    scored = timed(scorer.score(slices.later))
    figures = {"pipeline": judge(stream, scored, thresholds)}
    train, test = (labelled_minutes(scorer, rows, frauds) for rows in (slices.train, slices.later))
    is_fraud = test["is_fraud"].to_numpy()
    curves = {"pipeline": (is_fraud, test["score"].to_numpy())}
    for method, baseline in BASELINES.items():
        score = baseline(train, test)
        figures[method] = judge_baseline(is_fraud, score, baseline(train, train))
        curves[method] = (is_fraud, score)
    plots_folder.mkdir(parents=True, exist_ok=True)
    plots.precision_recall(curves, plots_folder / f"{name}-precision-recall.svg")
    plots.score_histogram(scored, stream.frauds, thresholds, plots_folder / f"{name}-scores.svg")
    found = find_incidents(stream, scored, thresholds["review"])
    plots.delays(found, plots_folder / f"{name}-delays.svg")
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
    parser.add_argument("--data", type=Path, help="labelled file")
    parser.add_argument("--worlds", choices=sorted(WORLDS), default="all")
    parser.add_argument("--model", help="a version; default: learn from the first 40 %%")
    parser.add_argument("--recorded", type=Path, help="result of `make replay` for --data")
    parser.add_argument("--by-hour", action="store_true", help="figures of each hour")
    parser.add_argument(
        "--checks", action="store_true", help="ten seeds and shuffled labels, on the first"
    )
    parser.add_argument("--seed", type=int, default=settings.simulator.seed)
    parser.add_argument("--out", type=Path, required=True, help="folder of the report")
    arguments = parser.parse_args()
    if arguments.recorded and not arguments.data:
        parser.error("--recorded needs --data: the file that was replayed")
    spark = spark_session("evaluate", DRIVER_MEMORY, shuffle_partitions=8)
    try:
        if arguments.recorded:
            result = evaluate_recorded(spark, settings, arguments.data, arguments.recorded)
            return write_recorded(result, arguments.out)
        results: dict[str, Any] = {}
        hours: dict[str, Any] = {}
        with tempfile.TemporaryDirectory() as temporary:
            worlds = WORLDS[arguments.worlds]
            exported = (export(world, Path(temporary)) for world in worlds)
            for path in [arguments.data] if arguments.data else exported:
                began = time.monotonic()
                if arguments.by_hour:
                    hours[path.stem] = evaluate_by_hour(spark, settings, path, arguments.seed)
                else:
                    # One stream tells enough.
                    seeds = TRAINING_SEEDS if arguments.checks and not results else ()
                    results[path.stem] = evaluate_file(spark, settings, path, arguments, seeds)
                print(f"{path.stem}: {time.monotonic() - began:.0f} s", flush=True)
        if arguments.by_hour:
            write_hours(hours, arguments.out)
        else:
            write_report(results, arguments.out)
    finally:
        spark.stop()
    return 0


if __name__ == "__main__":
    sys.exit(run_service(main))
