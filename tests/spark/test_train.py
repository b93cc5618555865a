"""Training: the same seed gives the same model, and a bad model is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pyspark.ml import PipelineModel
from pyspark.sql import SparkSession

from detection.model import CARD_FILE, CURRENT_FILE, ModelError, current_version, load_model
from detection.score import EVALUATION_KEYS, active_features, feature_columns
from detection.train import BUDGETS, fit, gate, split
from tests.support.models import MODEL_DIR, copy_models, damage

FEATURES = active_features(max_amount_feature=False, large_amount=0)
FEATURE_COLUMNS = feature_columns(FEATURES)


@pytest.fixture
def model_dir(tmp_path: Path) -> Path:
    """A copy of the committed models that a test may damage."""
    return copy_models(tmp_path)


def evaluations(count: int) -> pd.DataFrame:
    random = np.random.default_rng(3)
    frame = pd.DataFrame(
        random.exponential(0.3, (count, len(FEATURE_COLUMNS))), columns=FEATURE_COLUMNS
    )
    frame[EVALUATION_KEYS] = np.arange(count * 3).reshape(count, 3)
    return frame


def test_one_seed_gives_the_same_centres_whatever_the_order_of_rows(spark: SparkSession) -> None:
    rows = evaluations(500)
    first = fit(spark, rows, FEATURES, seed=5).stages[-1].clusterCenters()  # type: ignore[attr-defined]
    shuffled = rows.sample(frac=1, random_state=9)
    second = fit(spark, shuffled, FEATURES, seed=5).stages[-1].clusterCenters()  # type: ignore[attr-defined]
    np.testing.assert_allclose(first, second, rtol=0, atol=1e-9)


def test_split_leaves_out_the_warm_up_and_keeps_the_order_of_time() -> None:
    minutes = pd.DataFrame({"window_start": np.arange(0, 100 * 60_000, 60_000)})
    slices = split(minutes, 0.6)
    assert slices.train["window_start"].min() == 10 * 60_000
    assert slices.train["window_start"].max() < slices.later["window_start"].min()
    assert slices.later["window_start"].max() == 99 * 60_000


@pytest.mark.parametrize(
    ("majority", "rate", "words"),
    [
        (0.59, BUDGETS["alert"], "majority cluster holds 59%"),
        (0.9, BUDGETS["alert"] * 1.3, "misses the budget"),
        (0.9, 0.0, "misses the budget"),
    ],
)
def test_the_gate_refuses_with_a_reason(majority: float, rate: float, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        gate(majority, rate)


def test_the_gate_lets_a_good_model_pass() -> None:
    gate(0.9, BUDGETS["alert"] * 0.9)


def test_the_committed_model_scores_as_its_pipeline_does(spark: SparkSession) -> None:
    version = current_version(MODEL_DIR)
    model = load_model(MODEL_DIR, version, large_amount=0)
    pipeline = PipelineModel.load(str(MODEL_DIR / version / "pipeline"))
    vectors = evaluations(50)[FEATURE_COLUMNS].set_axis(list(FEATURES), axis=1)
    scaled = np.array(
        [
            row.features.toArray()
            for row in pipeline.transform(spark.createDataFrame(vectors)).collect()
        ]
    )
    np.testing.assert_allclose(scaled, vectors.to_numpy() / model.scorer.scales, rtol=1e-12)
    card = json.loads((MODEL_DIR / version / CARD_FILE).read_text())
    np.testing.assert_allclose(
        model.scorer.centre, card["centres"][card["majority_cluster"]], rtol=1e-12
    )
    assert 0 < model.review_threshold < model.alert_threshold


def test_a_damaged_model_is_refused(model_dir: Path) -> None:
    version = current_version(model_dir)
    damage(model_dir, version)
    with pytest.raises(ModelError, match="files differ from the hashes"):
        load_model(model_dir, version, large_amount=0)


def test_a_model_of_other_features_is_refused(model_dir: Path) -> None:
    version = current_version(model_dir)
    card = model_dir / version / CARD_FILE
    content = json.loads(card.read_text())
    content["features"][0]["scale"] = 99.0
    card.write_text(json.dumps(content))
    with pytest.raises(ModelError, match="trained on other features"):
        load_model(model_dir, version, large_amount=0)


def test_a_missing_model_is_named(model_dir: Path) -> None:
    with pytest.raises(ModelError, match=r"kmeans-none: no such version"):
        load_model(model_dir, "kmeans-none", large_amount=0)
    (model_dir / CURRENT_FILE).unlink()
    with pytest.raises(ModelError, match="run `make train-model`"):
        current_version(model_dir)
