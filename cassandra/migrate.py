"""Brings the tables of Cassandra to the state of ``schema.cql``: ``python cassandra/migrate.py``.

Safe to run again and at any time: missing tables and columns are added, the time to live follows
config.yml, and nothing is ever dropped. A column whose type differs is an error, because its
data would have to be moved by hand.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cassandra.cluster import NoHostAvailable

from pipeline.database import cluster
from pipeline.errors import PipelineError
from pipeline.logs import run_service
from pipeline.names import KEYSPACE
from pipeline.settings import CassandraConfig, load_settings

SCHEMA = Path(__file__).with_name("schema.cql")

WAIT_S = 180.0
"""A cold Cassandra takes 10 to 20 s, on a busy machine a minute."""

RETRY_S = 1.0
REQUEST_TIMEOUT_S = 60.0
"""Changing the schema takes longer than a query; the driver's 10 s is short on a busy machine."""

DAY_S = 24 * 60 * 60

logger = logging.getLogger("migrate")


@dataclass(frozen=True)
class Table:
    """A CREATE TABLE statement, taken apart as far as a later version may differ from it."""

    name: str
    columns: Mapping[str, str]
    default_ttl_s: int


def fill_in(text: str, config: CassandraConfig) -> str:
    """Replace the placeholders of ``schema.cql``."""
    text = text.replace("<raw_ttl_s>", str(config.raw_ttl_days * DAY_S))
    return text.replace("<alert_ttl_s>", str(config.alert_ttl_days * DAY_S))


def statements(text: str) -> list[str]:
    """Split CQL without string literals that hold ``;`` or ``--``; comments are left out."""
    uncommented = re.sub(r"--.*", "", text)
    return [part.strip() for part in uncommented.split(";") if part.strip()]


def parse_table(statement: str) -> Table | None:
    """Return the table that a statement creates, None when it creates something else."""
    match = re.match(
        r"CREATE TABLE IF NOT EXISTS \w+\.(\w+)\s*\((.*?)\n?\)\s*(WITH\b.*)?$", statement, re.DOTALL
    )
    if match is None:
        return None
    name, body, options = match.groups()
    columns = {}
    for definition in _split_top_level(body):
        column, _, rest = definition.partition(" ")
        if column.upper() != "PRIMARY":
            columns[column] = normal_type(rest.removesuffix("PRIMARY KEY"))
    ttl = re.search(r"default_time_to_live\s*=\s*(\d+)", options or "")
    return Table(name, columns, int(ttl.group(1)) if ttl else 0)


def _split_top_level(body: str) -> Iterator[str]:
    """Yield the parts of a list between commas that are in no brackets."""
    depth, part = 0, ""
    for character in body:
        depth += (character in "(<") - (character in ")>")
        if character == "," and depth == 0:
            yield " ".join(part.split())
            part = ""
        else:
            part += character
    if part.strip():
        yield " ".join(part.split())


def normal_type(text: str) -> str:
    """Return a CQL type as Cassandra writes it in ``system_schema``."""
    return re.sub(r"\s*([<>,])\s*", r"\1", text.strip().lower()).replace(",", ", ")


def changes(
    table: Table, columns: Mapping[str, str], default_ttl_s: int, keyspace: str = KEYSPACE
) -> list[str]:
    """Return the statements that bring an existing table to its definition.

    Raises ``PipelineError`` when a column has another type.
    """
    for column, wanted in table.columns.items():
        if column in columns and columns[column] != wanted:
            raise PipelineError(
                f"table {keyspace}.{table.name}, column {column}: the type is {columns[column]},"
                f" schema.cql has {wanted}; move its data by hand, or drop the table"
            )
    qualified = f"{keyspace}.{table.name}"
    altered = [
        f"ALTER TABLE {qualified} ADD {column} {wanted}"
        for column, wanted in table.columns.items()
        if column not in columns
    ]
    if default_ttl_s != table.default_ttl_s:
        altered.append(f"ALTER TABLE {qualified} WITH default_time_to_live = {table.default_ttl_s}")
    return altered


def migrate(session: Any, text: str) -> int:
    """Apply ``schema.cql``, its placeholders filled in; returns the number of later changes."""
    count = 0
    for statement in statements(text):
        session.execute(statement)
        table = parse_table(statement)
        if table is None:
            continue
        rows = session.execute(
            "SELECT column_name, type FROM system_schema.columns"
            " WHERE keyspace_name = %s AND table_name = %s",
            (KEYSPACE, table.name),
        )
        columns = {row.column_name: row.type for row in rows}
        options = session.execute(
            "SELECT default_time_to_live FROM system_schema.tables"
            " WHERE keyspace_name = %s AND table_name = %s",
            (KEYSPACE, table.name),
        ).one()
        for change in changes(table, columns, options.default_time_to_live):
            logger.info("%s", change)
            session.execute(change)
            count += 1
    return count


def connect(config: CassandraConfig, wait_s: float = WAIT_S) -> tuple[Any, Any]:
    """Return (cluster, session) once Cassandra answers; ``PipelineError`` after ``wait_s``."""
    # The driver logs each failed attempt with its traceback; we say it once, at the end.
    logging.getLogger("cassandra.cluster").setLevel(logging.CRITICAL)
    deadline = time.monotonic() + wait_s
    pause = threading.Event()
    while True:
        handle = cluster(config, request_timeout_s=REQUEST_TIMEOUT_S)
        try:
            return handle, handle.connect()
        except NoHostAvailable as error:
            handle.shutdown()
            if time.monotonic() > deadline:
                raise PipelineError(
                    f"Cassandra does not answer at {config.contact_points}:{config.port}"
                    f" (cassandra.contact_points, cassandra.port) within {wait_s:.0f} s: {error}"
                ) from error
        pause.wait(RETRY_S)


def main() -> int:
    config = load_settings().cassandra
    handle, session = connect(config)
    try:
        count = migrate(session, fill_in(SCHEMA.read_text(encoding="utf-8"), config))
    finally:
        handle.shutdown()
    logger.info("schema is up to date, %d changes to existing tables", count)
    return 0


if __name__ == "__main__":
    sys.exit(run_service(main))
