"""The labelled file, parquet or CSV: transactions in time order with their labels.

Columns: the seven of ``schema.avsc`` (``transaction_timestamp`` as a UTC timestamp in
milliseconds), ``is_fraud``, and, optional when reading, ``pattern`` and ``incident_id`` (null
unless fraud) and ``history`` (true: only builds profiles; missing: false).
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.csv  # type: ignore[import-untyped]
import pyarrow.parquet  # type: ignore[import-untyped]

from pipeline.errors import PipelineError
from pipeline.records import FIELDS
from simulator.stream import LabelledTransaction

SCHEMA: Final = pa.schema(
    [
        ("transaction_id", pa.string()),
        ("transaction_timestamp", pa.timestamp("ms", tz="UTC")),
        ("transaction_amount", pa.float64()),
        ("sender_account", pa.string()),
        ("receiver_account", pa.string()),
        ("transaction_type", pa.string()),
        ("transaction_status", pa.string()),
        ("is_fraud", pa.bool_()),
        ("pattern", pa.string()),
        ("incident_id", pa.string()),
        ("history", pa.bool_()),
    ]
)
REQUIRED: Final = (*FIELDS, "is_fraud")
CHUNK: Final = 50_000
"""Rows in memory at a time: a file of any length is written and read in about 100 MB."""


def write_labelled_file(path: Path, rows: Iterable[LabelledTransaction]) -> int:
    """Write the rows in their order, replacing the file; return their number.

    The suffix (.parquet or .csv) names the format. Raises ``PipelineError`` for another one.
    """
    count = 0
    rows = iter(rows)
    with _writer(path) as writer:
        while chunk := list(itertools.islice(rows, CHUNK)):
            writer.write_table(_table(chunk))
            count += len(chunk)
    return count


def read_labelled_file(path: Path) -> Iterator[LabelledTransaction]:
    """Yield the rows of a labelled file in the file's order.

    Raises ``PipelineError`` if it cannot be read, lacks a column, or holds a null where only
    ``pattern``, ``incident_id`` and ``history`` may.
    """
    try:
        for batch in _batches(path):
            missing = [name for name in REQUIRED if name not in batch.schema.names]
            if missing:
                found = ", ".join(batch.schema.names)
                raise PipelineError(f"{path}: lacks {', '.join(missing)}; it has {found}")
            empty = [name for name in REQUIRED if batch.column(name).null_count]
            if empty:
                raise PipelineError(f"{path}: {', '.join(empty)} must not be null")
            for row in _conformed(batch).to_pylist():
                yield _labelled(row)
    except (OSError, pa.ArrowException) as error:
        summary = " ".join(str(error).split())
        raise PipelineError(f"{path}: cannot be read ({summary})") from error


def _is_csv(path: Path) -> bool:
    if path.suffix not in (".csv", ".parquet"):
        raise PipelineError(f"{path}: the name of a labelled file must end in .parquet or .csv")
    return path.suffix == ".csv"


@contextlib.contextmanager
def _writer(path: Path) -> Iterator[Any]:
    make = pa.csv.CSVWriter if _is_csv(path) else pa.parquet.ParquetWriter
    try:
        with make(path, SCHEMA) as writer:
            yield writer
    except OSError as error:
        raise PipelineError(f"{path}: cannot be written ({error})") from error


def _table(rows: list[LabelledTransaction]) -> Any:
    columns: dict[str, list[Any]] = {
        name: [row.transaction[name] for row in rows]  # type: ignore[literal-required]
        for name in FIELDS
    }
    columns["is_fraud"] = [row.is_fraud for row in rows]
    columns["pattern"] = [row.pattern for row in rows]
    columns["incident_id"] = [row.incident_id for row in rows]
    columns["history"] = [row.is_history for row in rows]
    return pa.table(columns, schema=SCHEMA)


def _batches(path: Path) -> Iterator[Any]:
    if _is_csv(path):
        types = {field.name: field.type for field in SCHEMA}
        types["transaction_timestamp"] = pa.timestamp("ns", tz="UTC")  # any number of digits
        options = pa.csv.ConvertOptions(
            column_types=types, null_values=[""], strings_can_be_null=True
        )
        with pa.csv.open_csv(path, convert_options=options) as reader:
            yield from reader
    else:
        with pa.parquet.ParquetFile(path) as file:
            yield from file.iter_batches(CHUNK)


def _conformed(batch: Any) -> Any:
    """Return the columns of ``SCHEMA`` in its types; optional ones that lack are null.

    But for the timestamp: a whole number of milliseconds, what is finer is cut off.
    """
    columns = {
        field.name: batch.column(field.name).cast(
            field.type, safe=not pa.types.is_timestamp(field.type)
        )
        if field.name in batch.schema.names
        else pa.nulls(batch.num_rows, field.type)
        for field in SCHEMA
    }
    # Far quicker than a Python datetime of each.
    columns["transaction_timestamp"] = columns["transaction_timestamp"].cast(pa.int64())
    return pa.table(columns)


def _labelled(row: dict[str, Any]) -> LabelledTransaction:
    is_fraud, pattern, incident_id = row.pop("is_fraud"), row.pop("pattern"), row.pop("incident_id")
    is_history = bool(row.pop("history"))
    return LabelledTransaction(row, is_fraud, pattern, incident_id, is_history)  # type: ignore[arg-type]
