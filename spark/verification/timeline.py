"""The recorded batches of a run: which one took a record, and which record was a duplicate."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
from pyspark.sql import Column, DataFrame
from pyspark.sql.pandas.functions import pandas_udf
from pyspark.sql.types import LongType

from detection.emulate import BEFORE
from pipeline.records import DUPLICATE_WINDOW_MS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Bools = NDArray[np.bool_]
    Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """What is needed of a row of ``batches``; ``totals`` count the run up to and including it."""

    batch_id: int
    first_offsets: Mapping[int, int]
    last_offsets: Mapping[int, int]
    model_version: str
    schema_ids: frozenset[int]
    totals: Mapping[str, int]


@dataclass(frozen=True)
class Timeline:
    """A run's recorded batches in their order, up to the last finished one.

    ``firsts`` and ``lasts``: {partition: offset of each batch}, both ends included; a first behind
    its last means that the batch has no record of the partition. ``versions``: the model of each;
    ``schemas``: the schemas that the job knew, with the {partition: offset} that ends each span.
    """

    run_id: str
    batch_ids: Ints
    firsts: Mapping[int, Ints]
    lasts: Mapping[int, Ints]
    versions: Mapping[int, str]
    schemas: list[tuple[frozenset[int], Mapping[int, int]]]

    @classmethod
    def of(cls, run_id: str, batches: Iterable[Batch]) -> Timeline:
        """Return the timeline of ``batches``, in whatever order they come."""
        ordered = sorted(batches, key=lambda batch: batch.batch_id)
        partitions = sorted({partition for batch in ordered for partition in batch.last_offsets})
        firsts: dict[int, Ints] = {}
        lasts: dict[int, Ints] = {}
        for partition in partitions:
            # A partition that was added later has no offsets in the batches before.
            ends = [batch.last_offsets.get(partition, -1) for batch in ordered]
            firsts[partition] = np.array(
                [batch.first_offsets.get(partition, 0) for batch in ordered], dtype=np.int64
            )
            lasts[partition] = np.maximum.accumulate(np.array(ends, dtype=np.int64))
        return cls(
            run_id=run_id,
            batch_ids=np.array([batch.batch_id for batch in ordered], dtype=np.int64),
            firsts=firsts,
            lasts=lasts,
            versions={batch.batch_id: batch.model_version for batch in ordered},
            schemas=_spans(ordered),
        )

    def batches_of(self, partitions: Ints, offsets: Ints) -> Ints:
        """Return the batch of each record: its id, ``BEFORE`` if the run took it before its first
        recorded batch (to rebuild the state), ``PENDING`` if not yet."""
        found = np.full(len(offsets), PENDING, dtype=np.int64)
        for partition, lasts in self.lasts.items():
            here = partitions == partition
            wanted = offsets[here]
            place = np.searchsorted(lasts, wanted)
            is_taken = place < len(lasts)
            ids = np.full(len(wanted), PENDING, dtype=np.int64)
            ids[is_taken] = self.batch_ids[place[is_taken]]
            ids[wanted < self.firsts[partition][0]] = BEFORE
            found[here] = ids
        return found

    def number(self, records: DataFrame) -> DataFrame:
        """Add the ``batch`` of each record (``kafka_partition``, ``kafka_offset``)."""

        def lookup(partitions: pd.Series, offsets: pd.Series) -> pd.Series:
            found = self.batches_of(partitions.to_numpy(np.int64), offsets.to_numpy(np.int64))
            return pd.Series(found)

        # Numbers only: a text of a rejected record may be no UTF-8, which Arrow does not take.
        batch_of: Callable[..., Column] = cast(Any, pandas_udf)(lookup, LongType())
        return records.withColumn("batch", batch_of("kafka_partition", "kafka_offset"))


def _spans(ordered: list[Batch]) -> list[tuple[frozenset[int], Mapping[int, int]]]:
    """Return the schemas of each unbroken sequence of batches, and the offsets after its last."""
    spans: list[tuple[frozenset[int], Mapping[int, int]]] = []
    for batch in ordered:
        ends = {partition: last + 1 for partition, last in batch.last_offsets.items()}
        if spans and spans[-1][0] == batch.schema_ids:
            spans.pop()
        spans.append((batch.schema_ids, ends))
    return spans


PENDING = -2
"""The batch of records that no finished batch has taken."""


def watermarks(newest_arrivals: pd.Series[int], batch_ids: Ints) -> pd.Series[int]:
    """Return {batch: watermark in force while it ran}, in milliseconds.

    ``newest_arrivals``: {batch: newest arrival in it}, ``BEFORE`` among them, empty batches not.
    Spark takes the newest arrival of all batches before, less the delay.
    """
    order = np.concatenate([[BEFORE], batch_ids])
    newest = newest_arrivals.reindex(order).fillna(0).cummax().astype("int64")
    before = newest.shift(1, fill_value=0) - DUPLICATE_WINDOW_MS
    return before.clip(lower=0)


def repeated(valid: pd.DataFrame, in_force: pd.Series[int]) -> Bools:
    """Tell which of the records the stream dropped as duplicates.

    ``valid``: those records that share their ``identity`` with another one, with ``batch``,
    ``arrival_ms`` and ``position``; ``in_force``: the ``watermarks``. As
    ``dropDuplicatesWithinWatermark`` does it: an identity is remembered until the end of the
    first batch whose watermark has reached the arrival that let it in, plus the delay. So a
    second record is a duplicate if it comes within the delay, and for some time after that.
    """
    ordered = valid.sort_values(["identity", "batch", "arrival_ms", "position"])
    # The batch before each one, whose watermark decided what was forgotten when it began.
    previous = in_force.shift(1, fill_value=0)
    forgotten_until = previous.reindex(ordered["batch"]).fillna(0).to_numpy()
    dropped = np.zeros(len(ordered), dtype=bool)
    current: int | None = None
    let_in_batch = let_in_ms = 0
    columns = (ordered[name].to_numpy() for name in ("identity", "batch", "arrival_ms"))
    for row, (identity, batch, arrival_ms) in enumerate(zip(*columns, strict=True)):
        is_first = identity != current
        remembers = (
            arrival_ms <= let_in_ms + DUPLICATE_WINDOW_MS
            if batch == BEFORE
            else batch == let_in_batch or forgotten_until[row] < let_in_ms + DUPLICATE_WINDOW_MS
        )
        if not is_first and remembers:
            dropped[row] = True
        else:
            current, let_in_batch, let_in_ms = identity, batch, arrival_ms
    # Back in the order of the rows that were given.
    back = np.empty_like(dropped)
    back[valid.index.get_indexer(ordered.index)] = dropped
    return back
