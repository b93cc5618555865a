"""The scores of every method on one fold, a score for each transaction.

Both data sets are judged by the transaction, as their sources do: its score is the highest that
its sender's minute has reached by then, and 0 if it is never scored (the record rules reject a
payment of nothing).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pyspark.ml.classification import GBTClassifier
from pyspark.ml.feature import VectorAssembler
from pyspark.ml.functions import vector_to_array
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from detection.emulate import BATCH_MS
from detection.score import EVALUATION_KEYS, feature_columns
from detection.train import MINUTE_KEYS, Options, fit_model, population
from evaluation.baselines import BASELINES
from tests.evaluation.folds import Fold
from tests.evaluation.past import PAST_COLUMNS
from tests.evaluation.windows import WINDOW_DAYS, known_labels

Floats = NDArray[np.float64]
Scores = tuple[Floats, Floats]
"""Of the transactions of the training slice, and of the test."""
Tables = tuple[pd.DataFrame, pd.DataFrame]
"""The transactions of the training slice and of the test, with all columns of their evaluation."""

RISK_COLUMNS = [f"receiver_risk_{days}" for days in WINDOW_DAYS]
RISK_COLUMN, RISK_SCALE = "receiver_risk_7", 0.4
"""What is added to the distance, and its value that counts as 1. Average precision on the
handbook's first fold: .46; at .1 of the same share .38, of thirty days at best .19."""
LABEL_COLUMNS = ["score", "max_amount", *feature_columns(["large_amounts"]), *PAST_COLUMNS]
"""What the second stage looks at: the distance and what labels need beside it. A training week
holds 600 frauds: with all columns of the evaluation it finds no more."""
BOOSTING: dict[str, int] = {"maxIter": 40, "maxDepth": 4, "minInstancesPerNode": 10}
"""Chosen on the handbook's weeks before the first test: average precision .744; .741 with Spark's
defaults (20, 5, 1)."""


@dataclass(frozen=True)
class History:
    """A data set as the pipeline sees it.

    ``rows``: the labelled file with ``EVALUATION_KEYS``, ``RISK_COLUMNS`` and ``PAST_COLUMNS``;
    ``decoded``: the same without labels; ``links``: of all of it.
    """

    rows: pd.DataFrame
    decoded: DataFrame
    links: pd.DataFrame


def add_risks(rows: pd.DataFrame) -> pd.DataFrame:
    """Return ``rows`` with the share of frauds among the receiver's payments: ``RISK_COLUMNS``."""
    risks = {}
    for days, column in zip(WINDOW_DAYS, RISK_COLUMNS, strict=True):
        payments, frauds = known_labels(rows, days)
        risks[column] = frauds / np.maximum(payments, 1)
    return rows.assign(**risks)


def fold_scores(
    spark: SparkSession, history: History, fold: Fold, settings: Mapping[str, Options], seed: int
) -> dict[str, Scores]:
    """Return {method: scores} on a fold.

    The pipeline under each of ``settings`` (the first one is the default), what labels add to
    the last one of them, and the baselines.
    """
    tables = {
        name: _pipeline_tables(spark, history, fold, options, seed)
        for name, options in settings.items()
    }
    (train, test), *_, last = tables.values()
    raw = {name: (table[0]["score"], table[1]["score"]) for name, table in tables.items()}
    raw["receiver_risk"] = (with_risk(last[0]), with_risk(last[1]))
    raw["second_stage"] = _second_stage(spark, *last, seed)
    for name, baseline in BASELINES.items():
        raw[name] = (baseline(train, train), baseline(train, test))
    return {
        name: (running_maximum(train, of_train), running_maximum(test, of_test))
        for name, (of_train, of_test) in raw.items()
    }


def _pipeline_tables(
    spark: SparkSession, history: History, fold: Fold, options: Options, seed: int
) -> Tables:
    """Train the pipeline on a fold and score it; what is never scored holds zeros."""
    batch = history.rows["batch"].to_numpy()
    of_train, of_test = (
        history.links[history.links["batch"].between(*batch[places[[0, -1]]])]
        for places in (fold.train, fold.test)
    )
    start, end = batch[fold.train[[0, -1]]].tolist()
    time = F.col("transaction_timestamp")
    in_train = time.between(start * BATCH_MS, (end + 1) * BATCH_MS - 1)
    amounts = population(history.decoded.where(in_train))
    scorer = fit_model(spark, of_train, amounts, seed, options).scorer
    return (
        _join(history.rows.iloc[fold.train], scorer.score(of_train)),
        _join(history.rows.iloc[fold.test], scorer.score(of_test)),
    )


def _join(rows: pd.DataFrame, scored: pd.DataFrame) -> pd.DataFrame:
    numbers = scored.set_index(EVALUATION_KEYS).astype(float).reset_index()
    return rows.merge(numbers, how="left", on=EVALUATION_KEYS).fillna(
        dict.fromkeys(numbers.columns.difference(EVALUATION_KEYS), 0.0)
    )


def with_risk(table: pd.DataFrame) -> Floats:
    """Return the distance with the receiver's risk as one more dimension, its centre at 0."""
    return np.hypot(table["score"].to_numpy(), table[RISK_COLUMN].to_numpy() / RISK_SCALE)


def _second_stage(
    spark: SparkSession, train: pd.DataFrame, test: pd.DataFrame, seed: int
) -> Scores:
    """Return the probability of fraud that Spark's boosting learnt from labels."""
    assembler = VectorAssembler(inputCols=LABEL_COLUMNS, outputCol="features")
    columns = [*LABEL_COLUMNS, "is_fraud"]
    of_train, of_test = (
        assembler.transform(spark.createDataFrame(table[columns].astype(float)))
        for table in (train, test)
    )
    # Bins are quantiles: among the usual 32 all that is rare would share the last one.
    boosting = GBTClassifier(labelCol="is_fraud", maxBins=1024, seed=seed, **BOOSTING).fit(of_train)
    probability = vector_to_array(F.col("probability"))[1].alias("probability")
    fitted, predicted = (
        boosting.transform(vectors).select(probability).toPandas()["probability"].to_numpy()
        for vectors in (of_train, of_test)
    )
    return fitted, predicted


def running_maximum(table: pd.DataFrame, score: Floats) -> Floats:
    """Return what the sender's minute had reached at each transaction, in order of time."""
    minutes = table[MINUTE_KEYS].assign(score=np.asarray(score)).groupby(MINUTE_KEYS)["score"]
    return minutes.cummax().to_numpy()
