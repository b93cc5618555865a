"""The tables of cassandra/schema.cql, read from the file."""

from __future__ import annotations

import re

from pipeline.settings import PROJECT_ROOT

SCHEMA_CQL = PROJECT_ROOT / "cassandra" / "schema.cql"


def table_columns() -> dict[str, dict[str, str]]:
    """Return {table: {column: type}, in the order of the file}."""
    tables = {}
    for table, body in re.findall(
        r"CREATE TABLE IF NOT EXISTS fraud\.(\w+) \((.*?)\n\)", SCHEMA_CQL.read_text(), re.DOTALL
    ):
        lines = [line.strip() for line in body.splitlines() if line.strip()]
        columns = [line.split(maxsplit=1) for line in lines if not line.startswith("PRIMARY KEY")]
        tables[table] = {
            name: kind.removesuffix(",").removesuffix(" PRIMARY KEY") for name, kind in columns
        }
    return tables
