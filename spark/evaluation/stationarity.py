"""Does a model stay as good as it was? Figures of each hour of a long stream."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from detection.emulate import link_history, read_labelled, read_table
from detection.train import WARM_UP_MS, Options, fit_model, population
from detection.views import MINUTE_MS, active_views
from evaluation.protocol import judge, make_stream, read_frauds, timed
from pipeline.settings import Settings

HOUR_MS: Final = 60 * MINUTE_MS


def evaluate_by_hour(
    spark: SparkSession, settings: Settings, path: Path, seed: int
) -> list[dict[str, Any]]:
    """Return the pipeline's figures of each hour; the first, without its warm-up, teaches it."""
    scoring = settings.scoring
    decoded = read_labelled(spark, path).cache()
    frauds = read_frauds(read_table(spark, path))
    links = link_history(decoded, scoring.allowed_lateness_s, active_views(scoring.large_amount))
    start = int(links["window_start"].min())
    hour = (links["window_start"] - start) // HOUR_MS
    first = links[(hour == 0) & (links["window_start"] >= start + WARM_UP_MS)]
    amounts = population(decoded.where(F.col("transaction_timestamp") < start + HOUR_MS))
    decoded.unpersist()
    fitted = fit_model(spark, first, amounts, seed, Options.of(scoring))
    figures = []
    for number in range(int(hour.max()) + 1):
        tested = first if number == 0 else links[hour == number]
        judged = judge(
            make_stream(tested, frauds), timed(fitted.scorer.score(tested)), fitted.thresholds
        )
        figures.append({"hour": number + 1, **judged})
    return figures
