"""What the pipeline is compared with, and the second stage that learns from labels.

Each takes the facts of training and of test and returns a score for each of them: (train, test).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pyspark.ml.classification import GBTClassifier
from pyspark.ml.feature import VectorAssembler
from pyspark.ml.functions import vector_to_array
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from sklearn.cluster import KMeans
from sklearn.ensemble import HistGradientBoostingClassifier, IsolationForest
from sklearn.preprocessing import StandardScaler

Floats = NDArray[np.float64]
Scores = tuple[Floats, Floats]

THREE_COLUMNS = ["transaction_count", "total_amount", "failed_count"]


def three_columns(train: pd.DataFrame, test: pd.DataFrame, seed: int) -> tuple[Scores, Scores]:
    """Return flag and distance of a KMeans on what a minute holds, each column standardised.

    The flag is 1 outside the majority cluster, the distance is that to its centre.
    """
    scaler = StandardScaler().fit(train[THREE_COLUMNS])
    vectors = [scaler.transform(facts[THREE_COLUMNS]) for facts in (train, test)]
    kmeans = KMeans(n_clusters=2, n_init=10, random_state=seed).fit(vectors[0])
    majority = np.bincount(kmeans.labels_).argmax()
    flags = [(kmeans.predict(vector) != majority).astype(float) for vector in vectors]
    distances = [kmeans.transform(vector)[:, majority] for vector in vectors]
    return (flags[0], flags[1]), (distances[0], distances[1])


def isolation_forest(
    train: pd.DataFrame, test: pd.DataFrame, columns: Sequence[str], seed: int
) -> Scores:
    """Return how few random cuts isolate a fact; no labels."""
    forest = IsolationForest(random_state=seed, n_jobs=-1).fit(train[columns].to_numpy())
    of_train, of_test = (
        -forest.score_samples(facts[columns].to_numpy()) for facts in (train, test)
    )
    return of_train, of_test


def boosting_with_labels(
    train: pd.DataFrame, test: pd.DataFrame, columns: Sequence[str], seed: int
) -> Scores:
    """Return the probability of fraud by scikit-learn's boosting: what labels could reach."""
    boosting = HistGradientBoostingClassifier(random_state=seed)
    boosting.fit(train[columns].to_numpy(), train["is_fraud"])
    of_train, of_test = (
        boosting.predict_proba(facts[columns].to_numpy())[:, 1] for facts in (train, test)
    )
    return of_train, of_test


def second_stage(
    spark: SparkSession,
    train: pd.DataFrame,
    test: pd.DataFrame,
    columns: Sequence[str],
    seed: int,
) -> Scores:
    """Return the probability of fraud by Spark's boosting."""
    assembler = VectorAssembler(inputCols=list(columns), outputCol="vector")
    boosting = GBTClassifier(
        featuresCol="vector",
        labelCol="is_fraud",
        # Bins are quantiles: with 32 of them all that is rare falls into the last one.
        maxBins=1024,
        seed=seed,
    )
    vectors = [
        assembler.transform(spark.createDataFrame(facts[[*columns, "is_fraud"]].astype(float)))
        for facts in (train, test)
    ]
    model = boosting.fit(vectors[0])
    probability = vector_to_array(F.col("probability"))[1].alias("probability")
    of_train, of_test = (
        model.transform(vector).select(probability).toPandas()["probability"].to_numpy()
        for vector in vectors
    )
    return of_train, of_test
