"""Whether a drill lost or doubled anything: each record of the topic against the tables."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import fastavro
from confluent_kafka import Consumer, TopicPartition

from launcher.recount import REQUEST_TIMEOUT_S, Reader
from pipeline.errors import PipelineError
from pipeline.names import TRANSACTIONS_TOPIC
from pipeline.records import REASONS, SCHEMA_JSON, WIRE_HEADER_BYTES
from pipeline.settings import Settings
from pipeline.source import plain_times

Position = tuple[int, int]
"""Partition and offset of a record."""

_COUNTS: Final = ("transaction_count", "late_count", *(f"rejected_{reason}" for reason in REASONS))


@dataclass(frozen=True)
class Difference:
    """Records that are not where they must be (``missing``: lost) or once too often (``extra``).

    ``position``: of the first of them, where that is known.
    """

    check: str
    kind: Literal["missing", "extra"]
    key: str
    records: int = 1
    position: Position | None = None


def differences(settings: Settings, reader: Reader) -> list[Difference]:
    """Compare the topic, which nobody writes to any more, with what was made of it."""
    published = _published(settings, reader.end_offsets(TRANSACTIONS_TOPIC))
    query = "SELECT transaction_id, kafka_partition, kafka_offset FROM transactions"
    stored = {row.transaction_id: (row[1], row[2]) for row in reader.select(query)}
    batches = sorted(reader.select("SELECT * FROM batches"), key=lambda row: row.batch_id)
    counts = reader.recount()
    minutes = reader.select("SELECT * FROM metrics")
    counted = sum(getattr(row, name) or 0 for row in minutes for name in _COUNTS)
    alerts, by_account = (
        {row.alert_id for row in reader.select(f"SELECT alert_id FROM {table}")}  # noqa: S608
        for table in ("fraud_alerts", "fraud_alerts_by_account")
    )
    return [
        *compare_ids("raw", published, stored),
        *compare_ranges((row.first_offsets, row.last_offsets) for row in batches),
        *compare_counts("scored or late", counts.raw, counts.scored + counts.late),
        *compare_counts("metrics", counts.raw + counts.dead_letters, counted),
        *compare_ids("alerts", dict.fromkeys(alerts), dict.fromkeys(by_account)),
    ]


def compare_ids(
    check: str, expected: Mapping[str, Position | None], found: Mapping[str, Position | None]
) -> list[Difference]:
    """Compare two sets of ids, with their positions."""
    return [
        *(
            Difference(check, "missing", key, position=expected[key])
            for key in sorted(expected.keys() - found.keys())
        ),
        *(
            Difference(check, "extra", key, position=found[key])
            for key in sorted(found.keys() - expected.keys())
        ),
    ]


def compare_ranges(
    ranges: Iterable[tuple[Mapping[int, int], Mapping[int, int]]],
) -> list[Difference]:
    """Find offsets that no batch or two batches cover.

    ``ranges``: first and last offsets by partition, in the order of the batches.
    """
    found = []
    following: dict[int, int] = {}
    for first_offsets, last_offsets in ranges:
        for partition, first in first_offsets.items():
            expected = following.get(partition, 0)
            following[partition] = max(expected, last_offsets[partition] + 1)
            if first != expected:
                found.append(
                    Difference(
                        "batches",
                        "missing" if first > expected else "extra",
                        f"{partition}/{min(first, expected)}",
                        abs(first - expected),
                        (partition, min(first, expected)),
                    )
                )
    return found


def compare_counts(check: str, expected: int, found: int) -> list[Difference]:
    """Compare two numbers of records."""
    if expected == found:
        return []
    kind: Literal["missing", "extra"] = "missing" if found < expected else "extra"
    return [Difference(check, kind, f"{expected} against {found}", abs(expected - found))]


def _published(settings: Settings, ends: Mapping[int, int]) -> dict[str, Position]:
    """Return {transaction id: position} of all records of the topic."""
    consumer = Consumer(
        {
            "bootstrap.servers": settings.kafka.bootstrap_servers,
            "group.id": "drill",  # required by the client; nothing is committed
            "enable.auto.commit": False,
        }
    )
    schema: Any = fastavro.parse_schema(json.loads(plain_times(SCHEMA_JSON)))
    positions: dict[str, Position] = {}
    left = sum(ends.values())
    try:
        consumer.assign([TopicPartition(TRANSACTIONS_TOPIC, partition, 0) for partition in ends])
        while left:
            messages = consumer.consume(min(left, 10_000), REQUEST_TIMEOUT_S)
            if not messages:
                raise PipelineError(f"{left} records of {TRANSACTIONS_TOPIC} cannot be read")
            left -= len(messages)
            for message in messages:
                value: Any = message.value()
                record: Any = fastavro.schemaless_reader(
                    io.BytesIO(value[WIRE_HEADER_BYTES:]), schema, None
                )
                position: Any = (message.partition(), message.offset())
                positions[record["transaction_id"]] = position
    finally:
        consumer.close()
    return positions
