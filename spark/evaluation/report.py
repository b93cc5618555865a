"""The report: ``evaluation.json`` for machines, ``evaluation.md`` for people, and plots."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

METHODS: Final = {
    "pipeline": "**this pipeline**",
    "three_column_flag": "KMeans flag on count, total, failed",
    "three_column_distance": "distance on the same three columns",
    "one_line_rule": "one-line rule: the largest amount",
    "isolation_forest": "isolation forest, same features",
    "boosting_with_labels": "boosting with labels (ceiling)",
}

SHOWN: Final = 10
"""Differences that are printed; the JSON has them all."""

Results = Mapping[str, Mapping[str, Any]]
"""{stream: {method: figures}}."""


def write_report(results: Results, out: Path) -> None:
    """Write ``evaluation.json`` and ``evaluation.md`` into ``out``."""
    out.mkdir(parents=True, exist_ok=True)
    streams = {
        name: {method: figures[method] for method in METHODS} for name, figures in results.items()
    }
    report = {
        "models": mean_of(list(streams.values())),
        "streams": streams,
        "checks": {
            name: figures["checks"] for name, figures in results.items() if "checks" in figures
        },
    }
    (out / "evaluation.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    (out / "evaluation.md").write_text(markdown(report), encoding="utf-8")


def write_recorded(result: Mapping[str, Any], out: Path) -> int:
    """Write ``recorded.json`` into ``out`` and print it in short.

    Returns the exit status: 1 if the stream's alerts are not what the batch gives.
    """
    out.mkdir(parents=True, exist_ok=True)
    (out / "recorded.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"alerts of the stream            {result['alerts']:>8,}")
    print(f"differences to recorded batches {len(result['differences']):>8,}")
    common = result["one_second_batches"]["alerts_in_common"]
    print(f"in common with 1 s batches      {common:>8.1%}")
    for name in ("recorded_batches", "one_second_batches", "sixty_second_batches"):
        figures = result[name]
        found = figures["review"]["incident_recall"]
        print(f"{name:<24}AP {figures['average_precision']:.3f}, incidents found {found:.3f}")
    for difference in result["differences"][:SHOWN]:
        print("DIFFERENCE:", *difference)
    return 1 if result["differences"] else 0


def write_hours(hours: Mapping[str, Sequence[Mapping[str, Any]]], out: Path) -> None:
    """Write ``stationarity.json`` and ``stationarity.md`` into ``out``; add to what is there."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / "stationarity.json"
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    complete = {**before, **hours}
    path.write_text(json.dumps(complete, indent=2) + "\n", encoding="utf-8")
    lines = ["# Stationarity", "", "The first hour teaches; every later one is judged by it.", ""]
    for name, figures in complete.items():
        lines += ["", f"## {name}", ""]
        lines += _table(
            ["hour", "AP", "prevalence", "alert rate 1 %", "alert rate .5 %", "incidents found"],
            ([str(each["hour"]), *_hour_row(each)] for each in figures),
        )
    (out / "stationarity.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def mean_of(figures: list[Any]) -> Any:
    """Return nested figures with the mean over the streams; null where no stream has one."""
    first = figures[0]
    if isinstance(first, Mapping):
        keys = {key: None for each in figures for key in each}
        return {key: mean_of([each[key] for each in figures if key in each]) for key in keys}
    if isinstance(first, list | tuple):
        return [mean_of(list(values)) for values in zip(*figures, strict=True)]
    known = [value for value in figures if value is not None]
    return float(np.mean(known)) if known else None


def markdown(report: Mapping[str, Any]) -> str:
    """Return the report as tables."""
    models, streams = report["models"], report["streams"]
    pipeline = models["pipeline"]
    lines = ["# Evaluation", "", *_scope(streams), ""]
    lines += _table(
        ["method", "AP", "AUC", "precision 1 %", "recall 1 %", "precision .5 %", "recall .5 %"],
        ([METHODS[name], *_method_row(figures)] for name, figures in models.items()),
    )
    lines += ["", "## Budgets", ""]
    keys = [
        "precision",
        "recall",
        "alert_rate",
        "alerts_per_1000_transactions",
        "incident_recall",
        "amount_recall",
        "delay_median_s",
        "delay_p95_s",
        "frauds_passed",
    ]
    lines += _table(
        ["", "review level (1 %)", "alert level (.5 %)"],
        (
            [key.replace("_", " "), *(_text(pipeline[level][key]) for level in LEVELS)]
            for key in keys
        ),
    )
    lines += ["", "## By pattern, at the review level", ""]
    lines += _table(
        ["pattern", "incidents", "found", "delay, median s", "frauds passed"],
        (
            [name, *(_text(row[key]) for key in PATTERN_KEYS)]
            for name, row in sorted(pipeline["by_pattern"].items())
        ),
    )
    lines += ["", "## By stream", ""]
    lines += _table(
        ["stream", "AP", "95 %", "prevalence", "incidents found 1 %", "alert rate 1 %", ".5 %"],
        ([name, *_stream_row(figures["pipeline"])] for name, figures in streams.items()),
    )
    for name, checks in report["checks"].items():
        lines += ["", f"## Checks on {name}", "", *_checks(checks)]
    return "\n".join(lines) + "\n"


LEVELS: Final = ("review", "alert")
PATTERN_KEYS: Final = ("incidents", "incident_recall", "delay_median_s", "frauds_passed")


def _scope(streams: Results) -> list[str]:
    minutes = sum(figures["pipeline"]["minutes"] for figures in streams.values())
    return [
        f"Means over {len(streams)} labelled streams, {minutes:,} tested sender-minutes in all."
        " The first 40 % of a stream teach constants, centres and thresholds (no label is read),"
        " the rest is the test. Simulated data: nothing here is a claim about fraud in the wild.",
    ]


def _checks(checks: Mapping[str, Any]) -> list[str]:
    seeds, shuffled = checks["seeds"], checks["shuffled_labels"]
    precisions, rates = seeds["average_precision"], seeds["review_rate"]
    return [
        f"- {len(precisions)} training seeds: AP {min(precisions):.4f} to {max(precisions):.4f},"
        f" alert rate at the 1 % budget {min(rates):.3%} to {max(rates):.3%}.",
        f"- Labels in random order: AP {shuffled['pipeline']:.4f}, of boosting"
        f" {shuffled['boosting_with_labels']:.4f}; the prevalence is"
        f" {shuffled['prevalence']:.4f}.",
    ]


def _method_row(figures: Mapping[str, Any]) -> list[str]:
    levels = [figures[level][key] for level in LEVELS for key in ("precision", "recall")]
    return [_text(value) for value in (figures["average_precision"], figures["auc"], *levels)]


def _stream_row(figures: Mapping[str, Any]) -> list[str]:
    low, high = figures["average_precision_95"]
    return [
        _text(figures["average_precision"]),
        f"{low:.3f}-{high:.3f}",
        f"{figures['prevalence']:.2%}",
        _text(figures["review"]["incident_recall"]),
        f"{figures['review']['alert_rate']:.2%}",
        f"{figures['alert']['alert_rate']:.2%}",
    ]


def _hour_row(figures: Mapping[str, Any]) -> list[str]:
    return [
        _text(figures["average_precision"]),
        f"{figures['prevalence']:.2%}",
        f"{figures['review']['alert_rate']:.2%}",
        f"{figures['alert']['alert_rate']:.2%}",
        _text(figures["review"]["incident_recall"]),
    ]


def _table(header: list[str], rows: Iterable[list[str]]) -> list[str]:
    lines = [header, ["---"] * len(header), *rows]
    return [f"| {' | '.join(cells)} |" for cells in lines]


def _text(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if abs(value) < 1 else f"{value:,.1f}"
