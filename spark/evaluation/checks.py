"""Checks of the evaluation itself: does the seed matter, and would a leak be seen?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
import pandas as pd
from pyspark.sql import SparkSession

from detection.score import Scorer
from detection.train import Options, Population, Slices, fit_model, minute_scores
from evaluation.baselines import boosting_with_labels, labelled_minutes
from evaluation.metrics import average_precision
from evaluation.protocol import make_stream

TRAINING_SEEDS: Final = range(10)
SHUFFLE_SEED: Final = 11


def over_seeds(
    spark: SparkSession,
    slices: Slices,
    frauds: pd.DataFrame,
    amounts: Population,
    options: Options,
    seeds: Iterable[int],
) -> dict[str, list[float]]:
    """Return the average precision and the alert rate at the 1 % budget for each training seed."""
    minutes = make_stream(slices.later, frauds).minutes
    figures: dict[str, list[float]] = {"average_precision": [], "review_rate": []}
    for seed in seeds:
        fitted = fit_model(spark, slices.train, amounts, seed, options)
        scores = minute_scores(fitted.scorer.score(slices.later)).rename("score").reset_index()
        judged = minutes.merge(scores)
        score = judged["score"].to_numpy()
        figures["average_precision"].append(average_precision(judged["is_fraud"].to_numpy(), score))
        figures["review_rate"].append(float((score >= fitted.thresholds["review"]).mean()))
    return figures


def with_shuffled_labels(scorer: Scorer, slices: Slices, frauds: pd.DataFrame) -> dict[str, float]:
    """Return average precisions against labels in random order: the prevalence, if nothing leaks.

    Boosting is trained on shuffled labels too.
    """
    random = np.random.default_rng(SHUFFLE_SEED)
    train, test = (
        table.assign(is_fraud=random.permutation(table["is_fraud"].to_numpy()))
        for table in (
            labelled_minutes(scorer, slices.train, frauds),
            labelled_minutes(scorer, slices.later, frauds),
        )
    )
    is_fraud = test["is_fraud"].to_numpy()
    return {
        "prevalence": float(is_fraud.mean()),
        "pipeline": average_precision(is_fraud, test["score"].to_numpy()),
        "boosting_with_labels": average_precision(is_fraud, boosting_with_labels(train, test)),
    }
