"""Every record is stored as it was sent, or kept as a dead letter with its reason."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Final

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from detection.validate import VERDICTS
from detection.views import DAY_MS
from pipeline import names
from pipeline.records import FIELDS
from pipeline.settings import Settings
from verification.findings import Difference, Proof, compare_rows
from verification.snapshot import Snapshot
from verification.tables import RAW_TABLES
from verification.topics import VALID, Offsets, Range, below, read_dead_letters, read_values

HOUR_MS: Final = 3_600_000


def check_topic(proof: Proof, records: DataFrame, extent: Range) -> None:
    """Every offset of the topic was read."""
    rows = records.groupBy("kafka_partition").count().collect()
    found = {row.kafka_partition: row["count"] for row in rows}
    for partition, end in extent.ends.items():
        wanted = end - extent.starts[partition]
        if found.get(partition, 0) != wanted:
            proof.findings.add(
                Difference(
                    "topic",
                    "missing",
                    f"partition={partition}",
                    f"{found.get(partition, 0)} of {wanted} offsets can be read",
                )
            )
    proof.counts["kafka_records"] = sum(found.values())
    if extent.is_cut:
        proof.notes.append(
            "retention has removed the beginning of the topic: what was stored and scored of it"
            " is taken as it is, and scores, which depend on it, are not recomputed"
        )


def check_raw(
    proof: Proof, settings: Settings, snapshot: Snapshot, records: DataFrame, extent: Range
) -> None:
    """Every valid record that the sink has committed is in each raw table, as it was sent."""
    is_stored = below(snapshot.stored)
    # Rows expire one by one, also while the proof reads: the oldest hour is not asked for.
    oldest_ms = _now_ms() - settings.cassandra.raw_ttl_days * DAY_MS + HOUR_MS
    expected = records.where(F.col("verdict").isin(*VALID)).select(
        *FIELDS,
        F.to_date(F.timestamp_millis("transaction_timestamp")).alias("day"),
        "kafka_partition",
        "kafka_offset",
        F.col("arrival_ms").alias("kafka_timestamp"),
        (is_stored & (F.col("arrival_ms") > oldest_ms) & ~_is_erased(snapshot.erasures)).alias(
            "is_required"
        ),
    )
    proof.counts["pending_storage"] = records.where(~is_stored).count()
    for table, rows in snapshot.raw.items():
        actual = rows.withColumns(
            {
                name: F.unix_millis(name)
                for name in ("transaction_timestamp", "kafka_timestamp")
                if name in rows.columns
            }
        )
        comparable = expected
        if "kafka_offset" in rows.columns:
            actual = actual.where(~below(extent.starts))
            proof.counts["raw"] = actual.count()
        elif extent.is_cut:
            # These rows do not tell their offset: those from before the topic's beginning are
            # known by their time, as far as they came in time.
            (begin_ms,) = records.agg(F.min("arrival_ms")).first() or (None,)
            has_begun = F.col("transaction_timestamp") >= F.lit(begin_ms)
            actual, comparable = actual.where(has_begun), expected.where(has_begun)
        compare_rows(table, comparable, actual, RAW_TABLES[table], proof.findings)


def check_dead_letters(
    proof: Proof,
    spark: SparkSession,
    settings: Settings,
    snapshot: Snapshot,
    records: DataFrame,
    offsets: Offsets,
    extent: Range,
) -> None:
    """Every rejected record that the sink has committed is kept, with its reason and value."""
    rejected = records.where(~F.col("verdict").isin(*VALID)).select(
        "kafka_partition",
        "kafka_offset",
        _reason(F.col("verdict")).alias("reason"),
    )
    letters_extent = offsets.of(names.DEAD_LETTER_TOPIC)
    is_required = below(snapshot.stored)
    if letters_extent.is_cut:
        is_required = F.lit(False)
        proof.notes.append(
            "dead letters were purged or have expired: those that are left are compared, those"
            " that are missing are not looked for"
        )
    letters = read_dead_letters(spark, settings, letters_extent).cache()
    values = read_values(spark, settings, extent, rejected.drop("reason"))
    place = ["kafka_partition", "kafka_offset"]
    expected = rejected.join(values, place).withColumn("is_required", is_required)
    actual = letters.where(~below(extent.starts)).distinct()
    compare_rows(names.DEAD_LETTER_TOPIC, expected, actual, place, proof.findings)
    proof.counts["dead_letters"] = letters.select(*place).distinct().count()
    proof.counts["repeated_dead_letters"] = letters.count() - proof.counts["dead_letters"]
    letters.unpersist()


def _is_erased(erasures: Mapping[str, int]) -> Column:
    """Tell whether a record's rows were deleted with one of its accounts."""
    is_erased = F.lit(False)
    for name in ("sender_account", "receiver_account"):
        for account, erased_ms in erasures.items():
            is_theirs = F.sha2(name, 256) == account
            is_erased |= is_theirs & (F.col("arrival_ms") < erased_ms)
    return is_erased


def _reason(verdict: Column) -> Column:
    names_ = F.array(*(F.lit(name) for name in VERDICTS))
    return F.element_at(names_, verdict.cast("int") + 1)


def _now_ms() -> int:
    return int(dt.datetime.now(dt.UTC).timestamp() * 1000)
