"""Stream against batch: a replayed file recomputed with the batches that were recorded.

``make replay`` leaves the alerts and the batches of a labelled file's run. The same file, with
every row numbered with its recorded batch, must give the same alerts; emulated batches of a
second, nearly the same.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pandas as pd
from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from detection.emulate import BATCH_MS, link_batches, link_history, read_labelled, read_table
from detection.model import Model, ModelError, load_model
from detection.train import MINUTE_KEYS, WARM_UP_MS
from detection.validate import validate
from detection.views import SENDER, active_views
from evaluation.protocol import judge, make_stream, read_frauds, timed
from pipeline.settings import PROJECT_ROOT, Settings

ALERTS_FILE: Final = "replay_alerts.parquet"
BATCHES_FILE: Final = "replay_batches.parquet"
OFFSETS: Final = ("first_offsets", "last_offsets")
SLOW_BATCH_MS: Final = 60_000
"""What a job that catches up comes to: how much quality the delay costs."""
SCORE_TOLERANCE: Final = 1e-6


def evaluate_recorded(
    spark: SparkSession, settings: Settings, path: Path, folder: Path
) -> dict[str, Any]:
    """Return how the stream's alerts compare with the recorded batches and with emulated ones.

    ``folder`` is the result of ``make replay`` for the file ``path``. ``differences`` lists what
    is not the same with recorded batches: (account, minute, stream's score, recomputed score).
    """
    scoring = settings.scoring
    batches = pd.read_parquet(folder / BATCHES_FILE)
    versions = batches["model_version"].unique()
    if len(versions) != 1:
        raise ModelError(f"{folder}: its batches were scored by {len(versions)} models, not one")
    model = load_model(PROJECT_ROOT / scoring.model_dir, versions[0], scoring.large_amount)
    views = active_views(scoring.large_amount)
    decoded = read_labelled(spark, path)
    # One partition, one publisher: the place in the file is the offset.
    place = F.row_number().over(Window.orderBy("position")) - 1
    validated = validate(decoded.withColumn("position", place), scoring.allowed_lateness_s).cache()
    recorded = link_batches(_number(spark, validated, batches), views)
    emulated = link_history(decoded, scoring.allowed_lateness_s, views)
    slow = link_history(decoded, scoring.allowed_lateness_s, views, SLOW_BATCH_MS)
    accounts = validated.select(F.expr(SENDER).alias("sender"), "sender_account").distinct()
    stream = _stream_alerts(folder, accounts.toPandas())
    frauds = read_frauds(read_table(spark, path))
    return {
        "model_version": model.version,
        "alerts": len(stream),
        "differences": differences(stream, last_alerts(model, recorded)),
        "recorded_batches": _figures(model, recorded, frauds),
        "one_second_batches": {
            **_figures(model, emulated, frauds, BATCH_MS),
            "alerts_in_common": _in_common(stream, last_alerts(model, emulated)),
        },
        "sixty_second_batches": _figures(model, slow, frauds, SLOW_BATCH_MS),
    }


def last_alerts(model: Model, links: pd.DataFrame) -> pd.DataFrame:
    """Return the alert rows that evaluations leave: ``MINUTE_KEYS``, ``batch`` and ``score``.

    Of each minute the last evaluation at or above the review threshold.
    """
    scored = model.scorer.score(links)
    flagged = scored[scored["score"] >= model.review_threshold].sort_values("batch")
    last = flagged.drop_duplicates(MINUTE_KEYS, keep="last")
    return last[[*MINUTE_KEYS, "batch", "score"]]


def differences(stream: pd.DataFrame, recomputed: pd.DataFrame) -> list[list[Any]]:
    """Return (account, minute, stream's score, recomputed score) of each alert that differs."""
    both = stream.merge(
        recomputed, how="outer", on=MINUTE_KEYS, suffixes=("_stream", "_recomputed")
    )
    is_same = ((both["score_stream"] - both["score_recomputed"]).abs() <= SCORE_TOLERANCE) & (
        both["batch_stream"] == both["batch_recomputed"]
    )
    columns = ["sender_account", "window_start", "score_stream", "score_recomputed"]
    different: list[list[Any]] = both.loc[~is_same, columns].to_numpy().tolist()
    return different


def _number(spark: SparkSession, validated: DataFrame, batches: pd.DataFrame) -> DataFrame:
    """Add the recorded ``batch`` of each position."""
    # The topic has one partition, 0.
    first, last = (batches[name].map(lambda pairs: dict(pairs)[0]) for name in OFFSETS)
    ranges = pd.DataFrame({"batch": batches["batch_id"], "first": first, "last": last})
    table = spark.createDataFrame(ranges)
    return validated.join(
        F.broadcast(table), F.col("position").between(F.col("first"), F.col("last"))
    )


def _stream_alerts(folder: Path, accounts: pd.DataFrame) -> pd.DataFrame:
    alerts = pd.read_parquet(folder / ALERTS_FILE)
    minute = alerts["window_start"].astype("datetime64[ms, UTC]").astype("int64")
    return pd.DataFrame(
        {
            "sender_account": alerts["sender_account"],
            "window_start": minute,
            "batch": alerts["batch_id"],
            "score": alerts["score"],
        }
    ).merge(accounts, on="sender_account")


def _in_common(stream: pd.DataFrame, other: pd.DataFrame) -> float:
    """Return the alerts that both have as a share of the alerts that either has."""
    either = stream.merge(other, how="outer", on=MINUTE_KEYS, indicator=True)
    return float((either["_merge"] == "both").mean())


def _figures(
    model: Model, links: pd.DataFrame, frauds: pd.DataFrame, batch_ms: int | None = None
) -> dict[str, Any]:
    """Return the figures of all minutes after the warm-up.

    A recorded batch has no fixed length: it ends with the arrival of its last scored record.
    """
    tested = links[links["window_start"] >= links["window_start"].min() + WARM_UP_MS]
    thresholds = {"alert": model.alert_threshold, "review": model.review_threshold}
    scored = model.scorer.score(tested)
    if batch_ms is None:
        ends = scored.groupby("batch")["last_arrival"].transform("max")
        scored = scored.assign(alert_ms=ends + 1)
    else:
        scored = timed(scored, batch_ms)
    return judge(make_stream(tested, frauds), scored, thresholds)
