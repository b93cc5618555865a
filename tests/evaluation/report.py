"""The report of one data set: a table for people, the same figures as JSON, and the curves.

Result: ``title``, ``notes`` (paragraphs), ``marks`` (the harness check, or empty), ``models``
{key: {``title``, figures}}; figures of several folds are their mean. ``curves`` {model title:
(precision, recall)} of the first fold are drawn.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")  # needs no display
from matplotlib import pyplot as plt

from detection.train import ALERT_BUDGET, REVIEW_BUDGET

Figures = Mapping[str, Any]


def write_report(out: Path, name: str, result: Figures, curves: Mapping[str, Any]) -> None:
    """Write ``evaluation-<name>``.json, .md and .png into ``out``, replacing older ones."""
    out.mkdir(parents=True, exist_ok=True)
    stem = out / f"evaluation-{name}"
    stem.with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    stem.with_suffix(".md").write_text(_markdown(stem.name, result), encoding="utf-8")
    _draw(stem.with_suffix(".png"), result["title"], curves)


def _markdown(stem: str, result: Figures) -> str:
    parts = [f"# {result['title']}", *result["notes"]]
    if result["marks"]:
        parts += ["## Harness check", _marks_table(result["marks"])]
    parts += [
        "## Models",
        _table(
            ["model", "AP", "95 %", "AUC", "CP@100", *_budget_titles()],
            [_model_row(model) for model in result["models"].values()],
        ),
        f"![Precision and recall]({stem}.png)",
    ]
    if patterns := result["models"]["pipeline"]["by_pattern"]:
        rows = [
            [model["title"], *(_share(model["by_pattern"][pattern]) for pattern in patterns)]
            for model in result["models"].values()
        ]
        parts += ["## Recall by pattern at the review budget", _table(["model", *patterns], rows)]
    return "\n\n".join(parts) + "\n"


def _marks_table(marks: Sequence[Figures]) -> str:
    rows = [[mark["name"], f"{mark['book']:g}", f"{mark['value']:.6g}"] for mark in marks]
    return _table(["random forest", "book", "here"], rows)


def _budget_titles() -> list[str]:
    return [
        f"{figure} at {budget:.1%}"
        for budget in (ALERT_BUDGET, REVIEW_BUDGET)
        for figure in ("precision", "recall")
    ]


def _model_row(model: Figures) -> list[str]:
    low, high = model["average_precision_interval"]
    points = [model["alert"], model["review"]]
    figures = [point[figure] for point in points for figure in ("precision", "recall")]
    return [
        model["title"],
        f"**{model['average_precision']:.3f}**",
        f"{low:.3f}-{high:.3f}",
        f"{model['auc']:.3f}",
        _share(model["card_precision_at_100"]),
        *(_share(figure) for figure in figures),
    ]


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _draw(path: Path, title: str, curves: Mapping[str, Any]) -> None:
    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    for name, (precision, recall) in curves.items():
        axes.step(recall, precision, where="post", label=name)
    axes.set(title=title, xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1))
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=120)
    plt.close(figure)
