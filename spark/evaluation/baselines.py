"""What a score must beat, and the ceiling: other methods on the same minutes.

Each takes two results of ``labelled_minutes`` and returns a score for each minute of ``test``
(higher: more suspicious).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import pandas as pd
from sklearn.cluster import KMeans
from sklearn.ensemble import HistGradientBoostingClassifier, IsolationForest
from sklearn.preprocessing import StandardScaler

from detection.score import Scorer, active_features, feature_columns
from detection.train import MINUTE_KEYS
from evaluation.protocol import make_stream

FEATURE_COLUMNS: Final = feature_columns(active_features(False, 0))
SEED: Final = 7
ISOLATION_SAMPLES: Final = 50_000
THREE_COLUMNS: Final = ["transaction_count", "total_amount", "failed_count"]
BOOSTING_COLUMNS: Final = [
    *FEATURE_COLUMNS,
    *THREE_COLUMNS,
    "max_amount",
    "distinct_receivers",
    "recent_count",
    "recent_receivers",
    "receiver_senders",
    "profile_count",
    "usual_amount",
    "score",
]

Baseline = Callable[[pd.DataFrame, pd.DataFrame], Any]


def labelled_minutes(scorer: Scorer, links: pd.DataFrame, frauds: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each sender-minute: its last state, the highest of each feature, its label.

    ``receiver_senders`` and ``score`` are the highest too.
    """
    ordered = scorer.score(links).sort_values("batch", kind="stable")
    last = ordered.drop_duplicates(MINUTE_KEYS, keep="last").set_index(MINUTE_KEYS)
    highest = ordered.groupby(MINUTE_KEYS)[[*FEATURE_COLUMNS, "score", "receiver_senders"]].max()
    last[highest.columns] = highest
    labels = make_stream(links, frauds).minutes[[*MINUTE_KEYS, "is_fraud"]]
    return last.reset_index().merge(labels, on=MINUTE_KEYS)


def three_column_distance(train: pd.DataFrame, test: pd.DataFrame) -> Any:
    """KMeans k=2 on a minute's count, total and failed: the distance to the larger cluster."""
    scaler, kmeans, majority = _three_column_clusters(train)
    points = scaler.transform(test[THREE_COLUMNS])
    return np.linalg.norm(points - kmeans.cluster_centers_[majority], axis=1)


def three_column_flag(train: pd.DataFrame, test: pd.DataFrame) -> Any:
    """The same clusters with membership as the verdict: 1 in the smaller one, else 0."""
    scaler, kmeans, majority = _three_column_clusters(train)
    return (kmeans.predict(scaler.transform(test[THREE_COLUMNS])) != majority).astype(float)


def one_line_rule(train: pd.DataFrame, test: pd.DataFrame) -> Any:
    """The largest amount of the minute."""
    return test["max_amount"].to_numpy()


def isolation_forest(train: pd.DataFrame, test: pd.DataFrame) -> Any:
    """An isolation forest on the pipeline's own features."""
    forest = IsolationForest(random_state=SEED, n_jobs=2)
    sample = train[FEATURE_COLUMNS].sample(min(len(train), ISOLATION_SAMPLES), random_state=SEED)
    return -forest.fit(sample.to_numpy()).score_samples(test[FEATURE_COLUMNS].to_numpy())


def boosting_with_labels(train: pd.DataFrame, test: pd.DataFrame) -> Any:
    """Gradient boosting that has seen the labels of the training slice: the ceiling."""
    boosting = HistGradientBoostingClassifier(random_state=SEED)
    boosting.fit(train[BOOSTING_COLUMNS], train["is_fraud"])
    return boosting.predict_proba(test[BOOSTING_COLUMNS])[:, 1]


BASELINES: Final[Mapping[str, Baseline]] = {
    "three_column_flag": three_column_flag,
    "three_column_distance": three_column_distance,
    "one_line_rule": one_line_rule,
    "isolation_forest": isolation_forest,
    "boosting_with_labels": boosting_with_labels,
}


def _three_column_clusters(train: pd.DataFrame) -> tuple[Any, Any, int]:
    scaler = StandardScaler().fit(train[THREE_COLUMNS])
    kmeans = KMeans(2, n_init=10, random_state=SEED).fit(scaler.transform(train[THREE_COLUMNS]))
    return scaler, kmeans, int(np.argmax(np.bincount(kmeans.labels_)))
