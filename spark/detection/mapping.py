"""A record of the source's topic → a transaction: ``pipeline.source`` as columns."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql import types as T

from detection.validate import is_malformed
from pipeline.records import FIELDS
from pipeline.settings import SourceConfig
from pipeline.source import ISO_8601, value_pairs

_MAX_SECONDS = (2**63 - 1) // 1000
"""As far as milliseconds reach; the rules reject it as future, or its negative as too old."""


def transaction(record: str, schema: T.StructType, source: SourceConfig) -> Column:
    """Return the struct of ``FIELDS`` in a column that holds records of ``schema``.

    It is null where the record is, where a value is missing, and where any text of the record is
    not UTF-8. ``schema`` was checked by ``pipeline.source.problem``.
    """
    at = {
        name: F.col(f"{record}.{path}") if path else F.lit(None)
        for name, path in dataclasses.asdict(source.mapping).items()
    }
    values = {name: column.cast("string") for name, column in at.items()} | {
        "transaction_timestamp": _milliseconds(at["transaction_timestamp"], source.time_format),
        "transaction_amount": at["transaction_amount"].cast("double") / source.amount_divisor,
        "transaction_type": _ours(at["transaction_type"], source.type_values, source.default_type),
        "transaction_status": _ours(
            at["transaction_status"], source.status_values, source.default_status
        ),
    }
    is_complete = F.lit(True)
    for name in FIELDS:
        is_complete &= values[name].isNotNull()
    is_valid = is_complete & ~is_malformed(*_texts(record, schema))
    return F.when(is_valid, F.struct(*(values[name].alias(name) for name in FIELDS)))


def _milliseconds(moment: Column, time_format: str) -> Column:
    if time_format == "iso_8601":
        is_moment = moment.rlike(f"^(?:{ISO_8601})\\z")
        return F.when(is_moment, F.unix_millis(moment.cast("timestamp")))
    number = moment.cast("long")
    if time_format == "epoch_s":
        limited = F.least(F.greatest(number, F.lit(-_MAX_SECONDS)), F.lit(_MAX_SECONDS))
        return F.when(number.isNotNull(), limited * 1000)  # they would pass over a null
    if time_format == "epoch_us":
        return F.unix_millis(F.timestamp_micros(number))
    return number


def _ours(theirs: Column, pairs: str, default: str) -> Column:
    text = theirs.cast("string")
    ours = text
    for their, our in value_pairs(pairs).items():
        ours = F.when(text == their, our).otherwise(ours)
    return F.coalesce(ours, F.lit(default))


def _texts(record: str, schema: T.StructType) -> Iterator[str]:
    """Yield the path of each text in a record and in the records within it."""
    for field in schema.fields:
        path = f"{record}.{field.name}"
        if isinstance(field.dataType, T.StringType):
            yield path
        elif isinstance(field.dataType, T.StructType):
            yield from _texts(path, field.dataType)
