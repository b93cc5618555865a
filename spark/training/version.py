"""A model version on disk: the pipeline, its card for machines and for people, two plots."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from pyspark.ml import PipelineModel

from detection.model import CARD_FILE, CURRENT_FILE, PIPELINE_FOLDER, folder_hashes
from detection.train import Fitted
from evaluation.plots import cluster_scatter, score_histogram

NO_FRAUDS = pd.DataFrame(columns=["sender", "window_start", "pattern"])


@dataclass(frozen=True)
class Plots:
    """What the plots show: evaluations of the later slice, and its frauds if there are labels."""

    fitted: Fitted
    scored: pd.DataFrame
    frauds: pd.DataFrame | None


def write_version(pipeline: PipelineModel, card: dict[str, Any], plots: Plots, out: Path) -> None:
    """Write the version under a temporary name and rename it: a half-written one is never seen."""
    folder = out / card["version"]
    partial = out / f".{card['version']}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    pipeline.write().save(str(partial / PIPELINE_FOLDER))
    for checksum in partial.rglob(".*.crc"):  # Hadoop's; the card has better ones
        checksum.unlink()
    complete = {**card, "sha256": folder_hashes(partial / PIPELINE_FOLDER)}
    (partial / CARD_FILE).write_text(json.dumps(complete, indent=2) + "\n", encoding="utf-8")
    (partial / "model_card.md").write_text(markdown(complete), encoding="utf-8")
    frauds = NO_FRAUDS if plots.frauds is None else plots.frauds
    score_histogram(plots.scored, frauds, card["thresholds"], partial / "scores.svg")
    cluster_scatter(plots.scored, plots.fitted, partial / "clusters.svg")
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    if not (out / CURRENT_FILE).exists():
        current = out / f"{CURRENT_FILE}.partial"
        current.write_text(f"{card['version']}\n", encoding="utf-8")
        current.rename(out / CURRENT_FILE)


def markdown(card: dict[str, Any]) -> str:
    """Return the card for people."""
    majority = card["majority_cluster"]
    sizes = card["cluster_sizes"]
    lines = [
        f"# Model {card['version']}",
        "",
        "KMeans with two clusters on account-relative features of sender-minutes. The score is the"
        " distance to the centre of the larger cluster; membership is not used.",
        "",
        "| | |",
        "|---|---|",
        f"| training data (SHA-256) | `{card['data']['sha256']}` |",
        f"| sender-minutes | {card['data']['train_minutes']:,} to learn from,"
        f" {card['data']['later_minutes']:,} later ones to check |",
        f"| seed | {card['seed']} |",
        f"| code | {card['code']} |",
        f"| clusters | {sizes[majority]:,} and {sizes[1 - majority]:,} evaluations |",
        f"| silhouette | {card['silhouette']:.3f} (**not** a measure of detection) |",
        *(
            f"| {name} threshold | {card['thresholds'][name]:.4f}, for {budget:.1%} of the"
            f" sender-minutes; later slice {card['later_slice'][f'{name}_rate']:.2%} |"
            for name, budget in card["budgets"].items()
        ),
        "",
        "## Features",
        "",
        "`up(v) = min(max(v, 0), 8)`. Each is divided by its scale.",
        "",
        "| feature | scale | centre, scaled | formula |",
        "|---|---|---|---|",
        *(
            f"| `{feature['name']}` | {feature['scale']:g} | {centre:.4f} |"
            f" `{feature['formula']}` |"
            for feature, centre in zip(card["features"], card["centres"][majority], strict=True)
        ),
        "",
        "## Constants",
        "",
        "| constant | value |",
        "|---|---|",
        *(f"| `{name}` | {value:.6g} |" for name, value in card["constants"].items()),
        "",
        "## Evaluation on the later slice",
        "",
        *_evaluation(card["evaluation"]),
        "",
        "![scores](scores.svg)",
        "",
        "![clusters](clusters.svg)",
    ]
    return "\n".join(lines) + "\n"


def _evaluation(figures: dict[str, Any] | None) -> list[str]:
    if figures is None:
        return ["The data have no labels."]
    review, alert = figures["review"], figures["alert"]
    return [
        "Labels were read here only, not to learn. Simulated data say nothing about fraud in the"
        " wild.",
        "",
        "| | review level | alert level |",
        "|---|---|---|",
        *(
            f"| {name.replace('_', ' ')} | {review[name]:.3f} | {alert[name]:.3f} |"
            for name in ("precision", "recall", "incident_recall")
        ),
        "",
        f"Average precision {figures['average_precision']:.3f}, prevalence"
        f" {figures['prevalence']:.2%}, {figures['minutes']:,} sender-minutes.",
    ]
