"""The stream in batch: a table of past transactions → the links that the stream would score.

The rows go through the same record rules and views as in the stream. Training and evaluation
number the transactions with emulated batches, a proof with the recorded ones.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from detection.model import ModelError
from detection.score import link
from detection.validate import LATE, VERDICTS, validate
from detection.views import VIEWS, View, aggregate_batches, explode_views
from pipeline.records import FIELDS

BATCH_MS = 1_000
"""Length of an emulated batch: what the stream's batches come to, waiting included."""
CHUNK_TRANSACTIONS = 200_000
"""Transactions whose view rows are in memory at a time, about 1 GB."""

BEFORE = -1
"""The batch of records that come before the first one that is scored."""

PIPELINE_VIEWS = ("pipeline_minute", "pipeline_total")


def read_table(spark: SparkSession, path: Path) -> DataFrame:
    """Read a labelled file (parquet or CSV) as it is.

    Raises ``ModelError`` if a field of a transaction is missing.
    """
    if path.suffix == ".csv":
        raw = spark.read.csv(str(path), header=True, inferSchema=True)
    else:
        raw = spark.read.parquet(str(path))
    if missing := set(FIELDS) - set(raw.columns):
        raise ModelError(f"{path}: lacks the columns {', '.join(sorted(missing))}")
    return raw


def read_labelled(spark: SparkSession, path: Path) -> DataFrame:
    """Return the rows of a labelled file as decoded records, labels left out.

    A row flagged ``history`` arrives with the first row that is not; any other arrives when it
    happens.
    """
    raw = read_table(spark, path)
    is_history = F.col("history") if "history" in raw.columns else F.lit(False)
    first_live = raw.where(~is_history).agg(F.min("transaction_timestamp")).first()
    if first_live is None or first_live[0] is None:
        raise ModelError(f"{path}: has no rows that are not history")
    arrival = F.when(is_history, F.lit(first_live[0])).otherwise(F.col("transaction_timestamp"))
    return raw.select(
        F.monotonically_increasing_id().alias("position"),
        arrival.alias("kafka_timestamp"),
        *(
            F.unix_millis(name).alias(name) if name == "transaction_timestamp" else F.col(name)
            for name in FIELDS
        ),
    )


def link_history(
    decoded: DataFrame,
    allowed_lateness_s: int,
    views: tuple[View, ...] = VIEWS,
    batch_ms: int = BATCH_MS,
) -> pd.DataFrame:
    """Return the links of decoded records in batches of ``batch_ms`` of arrival.

    What comes late in the first batch is the history: it only builds the state.
    """
    validated = validate(decoded, allowed_lateness_s)
    batch = F.floor(F.col("arrival_ms") / batch_ms)
    (first,) = validated.agg(F.min(batch)).first() or (None,)
    is_history = (F.col("verdict") == VERDICTS.index(LATE)) & (batch == F.lit(first))
    numbered = validated.withColumn("batch", F.when(is_history, BEFORE).otherwise(batch))
    return link_batches(numbered, views)


def link_batches(numbered: DataFrame, views: tuple[View, ...] = VIEWS) -> pd.DataFrame:
    """Return ``score.LINK_COLUMNS`` of validated records that carry the number of their ``batch``.

    Records of the batch ``BEFORE`` only build the state. Raises ``ModelError`` without others.
    """
    parts = list(iterate_links(numbered, views))
    if not parts:
        raise ModelError("there are no transactions to score")
    return pd.concat(parts, ignore_index=True)


def iterate_links(numbered: DataFrame, views: tuple[View, ...] = VIEWS) -> Iterator[pd.DataFrame]:
    """Yield the same in parts, in the order of the batches; nothing without transactions.

    What the stream emits is written to a temporary folder and linked there part by part: it holds
    about nine rows a transaction, the links only one or two.
    """
    live = numbered.where(F.col("batch") != BEFORE)
    extent = live.agg(F.count("*"), F.min("batch"), F.max("batch")).first()
    if extent is None or not extent[0]:
        return
    count, first, last = extent
    chunks = math.ceil(count / CHUNK_TRANSACTIONS)
    length = math.ceil((last - first + 1) / chunks)
    of_features = tuple(view for view in views if view.name not in PIPELINE_VIEWS)
    emitted = aggregate_batches(explode_views(numbered, "batch", views=of_features))
    chunk = F.floor((F.col("batch") - first) / length)
    with tempfile.TemporaryDirectory() as temporary:
        emitted.where(F.col("batch") != BEFORE).withColumn("chunk", chunk).write.partitionBy(
            "chunk"
        ).parquet(f"{temporary}/emitted")
        folders = Path(temporary, "emitted").glob("chunk=*")
        for folder in sorted(folders, key=lambda path: int(path.name.partition("=")[2])):
            yield link(pd.read_parquet(folder)).sort_values(
                "batch", kind="stable", ignore_index=True
            )
