"""The report of one data set: tables for people, the same figures as JSON, and the curves."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")  # needs no display
from matplotlib import pyplot as plt

from evaluation.report import Results, mean_of
from tests.evaluation.handbook import MARKS

METHODS = {
    "pipeline": "**this pipeline**, default settings",
    "known_payees": "**this pipeline**, known payees count fully, amount as a feature",
    "sender_day": "**this pipeline**, large amounts of a day as a feature",
    "receiver_risk": "the same, with the receiver's known frauds (labels)",
    "second_stage": "second stage: Spark's boosting (labels)",
    "three_column_flag": "KMeans flag on count, total, failed",
    "three_column_distance": "distance on the same three columns",
    "one_line_rule": "one-line rule: the largest amount",
    "isolation_forest": "isolation forest, default features",
    "boosting_with_labels": "scikit-learn's boosting (labels), without receiver's frauds",
}


def write_report(
    out: Path,
    name: str,
    scope: str,
    marks: Mapping[str, float],
    results: Results,
    curves: Mapping[str, tuple[Any, Any]],
) -> None:
    """Write ``evaluation-<name>`` .json, .md and .png into ``out``, replacing older ones.

    ``results``: {fold: {method: figures}}; ``curves``: {method: (precision, recall)}; ``marks``:
    what the harness check measured, empty where there is none.
    """
    out.mkdir(parents=True, exist_ok=True)
    report = {"models": mean_of(list(results.values())), "folds": results, "marks": marks}
    paths = {kind: out / f"evaluation-{name}.{kind}" for kind in ("json", "md", "png")}
    paths["json"].write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    lines = [f"# Evaluation: {name}", "", scope, ""]
    if marks:
        lines += ["## Harness check", "", *_marks(marks), ""]
    lines += ["## Methods", "", *_methods(report["models"], results), ""]
    lines += [f"![precision and recall]({paths['png'].name})", ""]
    lines += _budgets(report["models"])
    lines += _patterns(report["models"])
    lines += _folds(results)
    paths["md"].write_text("\n".join(lines), encoding="utf-8")
    _draw(paths["png"], name, curves)


def _marks(marks: Mapping[str, float]) -> list[str]:
    rows = ([mark.name, f"{mark.book:g}", f"{marks[mark.name]:.6g}"] for mark in MARKS)
    return _table(["random forest of chapter 3.4", "book", "here"], rows)


def _methods(models: Mapping[str, Any], results: Results) -> list[str]:
    rows = []
    for method, figures in models.items():
        of_folds = [fold[method]["average_precision"] for fold in results.values()]
        rows.append(
            [
                METHODS[method],
                f"{figures['average_precision']:.3f}",
                f"{min(of_folds):.3f}-{max(of_folds):.3f}",
                f"{figures['auc']:.3f}",
                f"{figures['card_precision_at_100']:.3f}",
                f"{figures['top_1_percent']['precision']:.3f}",
                f"{figures['top_1_percent']['recall']:.3f}",
            ]
        )
    header = ["method", "AP", "folds", "AUC", "CP@100", "precision@1 %", "recall@1 %"]
    return _table(header, rows)


def _budgets(models: Mapping[str, Any]) -> list[str]:
    keys = ("alert_rate", "precision", "recall")
    columns = [(level, key) for level in ("review", "alert") for key in keys]
    header = ["method", *(f"{level}: {key.replace('_', ' ')}" for level, key in columns)]
    rows = (
        [METHODS[method], *(_text(figures[level][key]) for level, key in columns)]
        for method, figures in models.items()
    )
    return ["## At the thresholds of training", "", *_table(header, rows), ""]


def _patterns(models: Mapping[str, Any]) -> list[str]:
    patterns = list(models["pipeline"]["by_pattern"])
    if not patterns:
        return []
    rows = (
        [METHODS[method], *(_text(figures["by_pattern"][name]["recall"]) for name in patterns)]
        for method, figures in models.items()
    )
    return [
        "## Recall by pattern at the review level",
        "",
        *_table(["method", *patterns], rows),
        "",
    ]


def _folds(results: Results) -> list[str]:
    rows = (
        [fold, METHODS[method], f"{figures['average_precision']:.3f}", f"{low:.3f}-{high:.3f}"]
        for fold, methods in results.items()
        for method, figures in methods.items()
        for low, high in [figures["average_precision_95"]]
    )
    header = ["fold", "method", "AP", "bootstrap 95 %"]
    return ["## Average precision by fold", "", *_table(header, rows), ""]


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows)]


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _draw(path: Path, title: str, curves: Mapping[str, tuple[Any, Any]]) -> None:
    figure, axes = plt.subplots(figsize=(9, 5), layout="constrained")
    for method, (precision, recall) in curves.items():
        axes.step(recall, precision, where="pre", label=METHODS[method].replace("**", ""))
    axes.set(title=title, xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1))
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=110)
    plt.close(figure)
