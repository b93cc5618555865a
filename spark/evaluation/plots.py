"""The report's plots, as SVG: they stay sharp and their differences can be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from detection.score import feature_columns
from detection.train import MINUTE_KEYS, Fitted
from evaluation.metrics import precision_recall_curve

SIZE: Final = (6.4, 4.0)
POINTS: Final = 400
"""Of a curve: more would only make the file larger."""
BINS: Final = 60
SCATTER_POINTS: Final = 1_000

# Else each run writes other ids, and the file differs without a difference to see.
mpl.rcParams["svg.hashsalt"] = "evaluation"


def precision_recall(curves: dict[str, tuple[Any, Any]], path: Path) -> None:
    """Plot precision over recall; ``curves``: {name: (is_fraud, score)}."""
    figure, axes = _axes("recall", "precision")
    for name, (is_fraud, score) in curves.items():
        precision, recall = precision_recall_curve(is_fraud, score)
        at = np.unique(np.linspace(0, len(recall) - 1, POINTS).astype(int))
        axes.plot(recall[at], precision[at], label=name, linewidth=1.2)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.legend(fontsize=8)
    _save(figure, path)


def score_histogram(
    scored: pd.DataFrame, frauds: pd.DataFrame, thresholds: dict[str, float], path: Path
) -> None:
    """Plot how many sender-minutes have each score, by pattern; normal ones in grey."""
    highest = scored.groupby(MINUTE_KEYS)["score"].max().reset_index()
    labelled = highest.merge(
        frauds[[*MINUTE_KEYS, "pattern"]].drop_duplicates(MINUTE_KEYS), how="left", on=MINUTE_KEYS
    )
    figure, axes = _axes("score", "sender-minutes")
    edges = np.linspace(0, labelled["score"].max(), BINS)
    normal = labelled.loc[labelled["pattern"].isna(), "score"]
    axes.hist(normal, edges, color="0.8", label="no fraud")
    for pattern, of_pattern in labelled.groupby("pattern"):
        axes.hist(of_pattern["score"], edges, histtype="step", label=str(pattern))
    for name, threshold in thresholds.items():
        axes.axvline(threshold, color="black", linewidth=0.8, linestyle=":")
        axes.text(threshold, 1, f" {name}", transform=axes.get_xaxis_transform(), fontsize=7)
    axes.set_yscale("log")
    axes.legend(fontsize=8)
    _save(figure, path)


def cluster_scatter(scored: pd.DataFrame, fitted: Fitted, path: Path) -> None:
    """Plot evaluations by the cluster that they are nearest to, on the two axes that differ most.

    Those are the features in which the centres lie farthest apart.
    """
    scorer, centres = fitted.scorer, np.array(fitted.centres)
    sample = scored.sample(min(len(scored), SCATTER_POINTS), random_state=0)
    points = sample[feature_columns(scorer.features)].to_numpy() / scorer.scales
    cluster = np.linalg.norm(points[:, None] - centres[None], axis=2).argmin(axis=1)
    x, y = np.argsort(-np.abs(centres[0] - centres[1]))[:2]
    figure, axes = _axes(f"{scorer.features[x]} / scale", f"{scorer.features[y]} / scale")
    for number in range(len(centres)):
        is_larger = number == fitted.majority_cluster
        colour, label = ("0.6", "larger cluster") if is_larger else ("tab:red", "smaller cluster")
        of_cluster = points[cluster == number]
        axes.scatter(of_cluster[:, x], of_cluster[:, y], s=4, color=colour, label=label)
        axes.scatter(*centres[number][[x, y]], marker="+", s=120, color="black")
    axes.legend(fontsize=8)
    _save(figure, path)


def delays(incidents: pd.DataFrame, path: Path) -> None:
    """Plot the share of an incident's pattern that is found within a time of its first fraud."""
    figure, axes = _axes("seconds since the first fraud", "incidents with an alert")
    for pattern, of_pattern in incidents.groupby("pattern"):
        found = np.sort(of_pattern["delay_s"].dropna().to_numpy())
        share = np.arange(1, len(found) + 1) / len(of_pattern)
        axes.step(found, share, where="post", label=str(pattern), linewidth=1.2)
    axes.set_xscale("symlog")
    axes.set_xlim(left=0)
    axes.set_ylim(0, 1)
    axes.legend(fontsize=8)
    _save(figure, path)


def _axes(x_label: str, y_label: str) -> tuple[Figure, Any]:
    figure = Figure(SIZE, layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, metadata={"Date": None})
