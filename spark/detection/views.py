"""The views: what is remembered of accounts, pairs and the pipeline itself.

One table, ``VIEWS``, says all of it. Each transaction is turned into one row for every view and
window that holds it (``explode_views``), and one ``groupBy`` keeps the aggregates of each
(view, entity, counterparty, window): ``aggregate_stream`` with Spark's state, and
``aggregate_batches`` the same for a bounded table whose transactions are numbered with their
batch. To add a view, add a row to ``VIEWS``; to add an aggregate, add one to ``AGGREGATES``.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Literal

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from detection.validate import LATE, SCORED, VERDICTS
from pipeline.records import DUPLICATE_WINDOW_MS
from pipeline.settings import SourceConfig

MINUTE_MS = 60_000
DAY_MS = 24 * 60 * MINUTE_MS
FOREVER_MS = 253_402_300_799_000
"""The window end of a view that never closes: 9999-12-31T23:59:59Z."""


@dataclass(frozen=True)
class View:
    """A row of the specification.

    ``entity``, ``counterparty`` and ``counted`` (whose distinct values are counted) are SQL
    expressions of longs over one transaction, ``matching`` one of a boolean. Windows
    are ``size_ms`` long and begin every ``slide_ms`` of ``clock_ms`` (a column of milliseconds);
    a size of None means one window for ever. ``verdicts`` are those that enter the view. The
    place in ``VIEWS`` is the view's code in the state.
    """

    name: str
    entity: str
    counterparty: str
    counted: str
    clock_ms: Literal["transaction_timestamp", "arrival_ms"]
    size_ms: int | None
    slide_ms: int
    verdicts: tuple[str, ...]
    matching: str = "transaction_status = 'failed'"


SENDER = "xxhash64(sender_account)"
RECEIVER = "xxhash64(receiver_account)"
"""Accounts are keyed by 64-bit hashes: fixed-length keys keep Spark in hash aggregation. Two
accounts with one hash would share their rows; among a million accounts the odds are 1 in 37
million."""
NOBODY = "0L"
TRANSACTION_TIME: Literal["transaction_timestamp"] = "transaction_timestamp"
ARRIVAL_TIME: Literal["arrival_ms"] = "arrival_ms"

RECENT_MS = (10 * MINUTE_MS, 5 * MINUTE_MS)
PROFILE_MS = (28 * DAY_MS, 14 * DAY_MS)
SENT = (SENDER, NOBODY, RECEIVER, TRANSACTION_TIME)
RECEIVED = (RECEIVER, NOBODY, SENDER, TRANSACTION_TIME)
PAIR = (SENDER, RECEIVER, RECEIVER, TRANSACTION_TIME)
PIPELINE = ("verdict", NOBODY, NOBODY, ARRIVAL_TIME)

VIEWS = (
    View("sender_minute", *SENT, MINUTE_MS, MINUTE_MS, (SCORED,)),
    View("sender_recent", *SENT, *RECENT_MS, (SCORED,)),
    View("receiver_recent", *RECEIVED, *RECENT_MS, (SCORED,)),
    View("sender_profile", *SENT, *PROFILE_MS, (SCORED, LATE)),
    View("sender_receiver", *PAIR, *PROFILE_MS, (SCORED, LATE)),
    View("pipeline_minute", *PIPELINE, MINUTE_MS, MINUTE_MS, VERDICTS),
    View("pipeline_total", *PIPELINE, None, MINUTE_MS, VERDICTS),
)

SENDER_DAY = View(
    "sender_day",
    *SENT,
    DAY_MS,
    DAY_MS // 2,
    (SCORED, LATE),
    matching="transaction_amount > {large_amount!r}",
)
"""An optional view; ``active_views`` adds it where ``scoring.large_amount`` is above 0."""

OF_THE_VIEW = None

AGGREGATES = {
    "transaction_count": ("sum", "1L"),
    "total_amount": ("sum", "transaction_amount"),
    "sum_log_amount": ("sum", "ln(transaction_amount)"),
    "max_amount": ("max", "transaction_amount"),
    "matching_count": ("sum", OF_THE_VIEW),
    "distinct_bits": ("bit_or", OF_THE_VIEW),
    "first_seen": ("min", "transaction_timestamp"),
    "last_seen": ("max", "transaction_timestamp"),
    "last_position": ("max", "position"),
    "last_arrival": ("max", "arrival_ms"),
}
"""{name: (function, value of one transaction)}. Each is a long or a double, so that the buffers
have a fixed length, and merging two groups is the same function again. Every view has them all:
one layout of the state. ``matching_count`` counts the view's ``matching``; ``distinct_bits`` is a
sketch of its ``counted``: bit (hash mod 64) of a long."""

KEYS = ("view", "entity", "counterparty", "window_end")
VIEW_COLUMNS = (*KEYS, *AGGREGATES)


def active_views(large_amount: float) -> tuple[View, ...]:
    """Return the views that are kept under the setting ``scoring.large_amount``."""
    if not large_amount:
        return VIEWS
    matching = SENDER_DAY.matching.format(large_amount=large_amount)
    return (*VIEWS, replace(SENDER_DAY, matching=matching))


def view_code(name: str) -> int:
    """Return the code of a view, its place among all views."""
    return next(code for code, view in enumerate((*VIEWS, SENDER_DAY)) if view.name == name)


def view_size_ms(name: str) -> int:
    """Return the length of a view's windows; ``ValueError`` for one without end."""
    size_ms = (*VIEWS, SENDER_DAY)[view_code(name)].size_ms
    if size_ms is None:
        raise ValueError(f"{name} has one window for ever")
    return size_ms


def specification_hash(
    views: tuple[View, ...],
    allowed_lateness_s: int,
    shuffle_partitions: int,
    source: SourceConfig,
) -> str:
    """Return a hash of all that the meaning of the state depends on; the checkpoint carries it."""
    parts = (views, AGGREGATES, VERDICTS, DUPLICATE_WINDOW_MS, allowed_lateness_s)
    return hashlib.sha256(repr((*parts, shuffle_partitions, source)).encode()).hexdigest()[:16]


def deduplicate_stream(validated: DataFrame) -> DataFrame:
    """Drop transactions whose id arrived before, within the delay of the watermark.

    Sets the watermark of the whole job, on the time of arrival: a transaction's own time is
    whatever its sender says, and one date in the future must not close everybody's windows. A
    rejected record counts by its place in Kafka, or all undecodable ones would be one.
    """
    is_valid = F.col("verdict").isin(VERDICTS.index(SCORED), VERDICTS.index(LATE))
    identity = F.when(is_valid, F.xxhash64("transaction_id")).otherwise(F.xxhash64("position"))
    return (
        validated.withColumn("identity", identity)
        .withWatermark("kafka_timestamp", f"{DUPLICATE_WINDOW_MS} milliseconds")
        .dropDuplicatesWithinWatermark(["identity"])
        .drop("identity")
    )


def explode_views(
    transactions: DataFrame, *carried: str, views: tuple[View, ...] = VIEWS
) -> DataFrame:
    """Return a row for every view and window that takes the transaction.

    ``carried`` columns are kept. A transaction enters only windows that end after its arrival:
    closed ones have left the state, or soon will.
    """
    rows = F.array(*(row for view in views for row in _rows_of(view)))
    values = {name: value for name, (_, value) in AGGREGATES.items() if value is not OF_THE_VIEW}
    computed = [F.expr(value).alias(name) for name, value in values.items()]
    return (
        transactions.select(rows.alias("rows"), "arrival_ms", *carried, *computed)
        .select(F.explode("rows").alias("row"), "arrival_ms", *carried, *values)
        .where(F.col("row.window_end") > F.col("arrival_ms"))
        .select("row.*", *carried, *values)
    )


def aggregate_stream(exploded: DataFrame) -> DataFrame:
    """Keep the aggregates of every open window in Spark's state; for update mode.

    The key ``window_end`` carries the watermark's own metadata. Spark knows windows by it, and
    so emits, filters and evicts each row by its own end; without it the state would grow for
    ever. It must be a column before it is a key (the optimiser drops the metadata of a key that
    is an expression), and no other column with that metadata may reach the aggregation.
    """
    window_end = F.timestamp_millis("window_end").alias(
        "window_end", metadata={"spark.watermarkDelayMs": DUPLICATE_WINDOW_MS}
    )
    return (
        exploded.select("view", "entity", "counterparty", window_end, *AGGREGATES)
        .groupBy(*KEYS)
        .agg(*_merged())
        .withColumn("window_end", F.unix_millis("window_end"))
        .select(*VIEW_COLUMNS)
    )


def aggregate_batches(exploded: DataFrame) -> DataFrame:
    """Return what ``aggregate_stream`` emits in each batch, for transactions of a bounded table.

    ``exploded`` carries the column ``batch`` (a growing number). The result has a row for every
    batch and every row of a view that the batch touched: its aggregates up to and including it.
    """
    so_far = Window.partitionBy(*KEYS).orderBy("batch").rowsBetween(Window.unboundedPreceding, 0)
    cumulated = [
        getattr(F, function)(name).over(so_far).alias(name)
        for name, (function, _) in AGGREGATES.items()
    ]
    return exploded.groupBy(*KEYS, "batch").agg(*_merged()).select("batch", *KEYS, *cumulated)


def _merged() -> list[Column]:
    return [getattr(F, function)(name).alias(name) for name, (function, _) in AGGREGATES.items()]


def _rows_of(view: View) -> list[Column]:
    """Return a view's rows for one transaction; their end is null if its verdict stays out."""
    if view.size_ms is None:
        ends = [F.lit(FOREVER_MS)]
    else:
        slide_start = F.col(view.clock_ms) - F.pmod(F.col(view.clock_ms), F.lit(view.slide_ms))
        slides = view.size_ms // view.slide_ms
        ends = [slide_start + (slide + 1) * view.slide_ms for slide in range(slides)]
    enters = F.col("verdict").isin(*(VERDICTS.index(verdict) for verdict in view.verdicts))
    columns = [
        F.lit(view_code(view.name)).cast("byte").alias("view"),
        F.expr(view.entity).alias("entity"),
        F.expr(view.counterparty).alias("counterparty"),
        F.expr(f"shiftleft(1L, cast({view.counted} & 63 as int))").alias("distinct_bits"),
        F.expr(f"if({view.matching}, 1L, 0L)").alias("matching_count"),
    ]
    return [F.struct(*columns, F.when(enters, end).alias("window_end")) for end in ends]
