"""The record rules as columns: every record gets one verdict."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from pipeline.records import (
    CONTROL_CHARACTERS,
    FIELDS,
    FUTURE_TOLERANCE_MS,
    MAX_AGE_MS,
    MAX_AMOUNT,
    MAX_ID_BYTES,
    REASONS,
    TRANSACTION_STATUSES,
    TRANSACTION_TYPES,
)

SCORED = "scored"
LATE = "late"
VERDICTS = (SCORED, LATE, *REASONS)
"""Every record has exactly one verdict: scored, late, or the reason of its rejection. The place
in this tuple is the verdict's code in the views; append only."""

TEXT_FIELDS = (
    "transaction_id",
    "sender_account",
    "receiver_account",
    "transaction_type",
    "transaction_status",
)

VALIDATED_COLUMNS = ("position", "kafka_timestamp", "arrival_ms", "verdict", *FIELDS)


def validate(decoded: DataFrame, allowed_lateness_s: int) -> DataFrame:
    """Add ``arrival_ms`` and the ``verdict`` (an index into ``VERDICTS``), drop nothing.

    The rules and their order are those of ``pipeline.records.rejection``.
    """
    arrival = F.unix_millis("kafka_timestamp")
    verdict = F.lit(None)
    for name, is_broken in reversed(_rules(arrival, allowed_lateness_s)):
        verdict = F.when(is_broken, F.lit(VERDICTS.index(name))).otherwise(verdict)
    return (
        decoded.withColumn("arrival_ms", arrival)
        .withColumn("verdict", verdict.cast("long"))
        .select(*VALIDATED_COLUMNS)
    )


def is_malformed(*columns: str) -> Column:
    """Tell whether a text is not UTF-8: Spark takes such bytes as they are, Connect refuses them.

    Decoding replaces what is malformed, and so changes it.
    """
    texts = F.concat_ws(" ", *columns)
    return F.decode(texts.cast("binary"), "UTF-8") != texts


def _rules(arrival: Column, allowed_lateness_s: int) -> list[tuple[str, Column]]:
    timestamp, amount = F.col("transaction_timestamp"), F.col("transaction_amount")
    # A record that could not be decoded has nulls only; the contract has no nullable field.
    broken = {
        "undecodable": F.col("transaction_id").isNull() | is_malformed(*TEXT_FIELDS),
        "invalid_transaction_id": ~_is_id("transaction_id"),
        "invalid_account": ~(_is_id("sender_account") & _is_id("receiver_account")),
        "same_account": F.col("sender_account") == F.col("receiver_account"),
        "invalid_amount": F.isnan(amount) | ~((amount > 0) & (amount <= MAX_AMOUNT)),
        "unknown_type": ~F.col("transaction_type").isin(*TRANSACTION_TYPES),
        "unknown_status": ~F.col("transaction_status").isin(*TRANSACTION_STATUSES),
        "future": timestamp > arrival + FUTURE_TOLERANCE_MS,
        "too_old": timestamp < arrival - MAX_AGE_MS,
    }
    is_late = arrival - timestamp > allowed_lateness_s * 1000
    return [(reason, broken[reason]) for reason in REASONS] + [
        (LATE, is_late),
        (SCORED, F.lit(True)),
    ]


def _is_id(column: str) -> Column:
    has_length = F.octet_length(column).between(1, MAX_ID_BYTES)
    return has_length & ~F.col(column).rlike(CONTROL_CHARACTERS)
