"""The evaluation end to end, on a small simulated world."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from evaluation.__main__ import evaluate_file
from evaluation.report import write_report
from evaluation.worlds import World, export
from pipeline.settings import load_settings

WORLD = World(seed=201, accounts=5_000, rate_per_s=20, minutes=45)
UNSUPERVISED = ("three_column_flag", "three_column_distance", "one_line_rule", "isolation_forest")


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("evaluation")


@pytest.fixture(scope="module")
def figures(spark: SparkSession, out: Path) -> dict[str, Any]:
    arguments = argparse.Namespace(model=None, seed=42, out=out)
    settings = load_settings(environment={})
    return evaluate_file(spark, settings, export(WORLD, out), arguments, check_seeds=range(3))


def test_the_pipeline_finds_fraud_that_the_baselines_do_not(figures: dict[str, Any]) -> None:
    pipeline = figures["pipeline"]
    assert pipeline["average_precision"] > 0.45
    assert pipeline["review"]["incident_recall"] > 0.8
    assert 0.005 < pipeline["review"]["alert_rate"] < 0.015
    assert all(
        figures[name]["average_precision"] < pipeline["average_precision"] for name in UNSUPERVISED
    )


def test_labels_in_random_order_are_found_by_chance(figures: dict[str, Any]) -> None:
    shuffled = figures["checks"]["shuffled_labels"]
    assert shuffled["pipeline"] < 3 * shuffled["prevalence"]
    assert shuffled["boosting_with_labels"] < 3 * shuffled["prevalence"]


def test_the_training_seed_hardly_matters(figures: dict[str, Any]) -> None:
    precisions = figures["checks"]["seeds"]["average_precision"]
    assert max(precisions) - min(precisions) <= 0.01


def test_the_report_has_every_method_and_plot(figures: dict[str, Any], out: Path) -> None:
    write_report({WORLD.name: figures}, out)
    text = (out / "evaluation.md").read_text()
    assert f"{figures['pipeline']['average_precision']:.3f}" in text
    assert text.count("\n| KMeans flag") == 1
    assert {path.name.removeprefix(f"{WORLD.name}-") for path in (out / "plots").iterdir()} == {
        "precision-recall.svg",
        "scores.svg",
        "delays.svg",
    }
