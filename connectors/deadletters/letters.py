"""The dead letters: records as they came, with what Connect says of them in their headers."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple, cast

from confluent_kafka import Message

from deadletters.topic import Headers, TopicReader
from pipeline.errors import PipelineError
from pipeline.names import DEAD_LETTER_TOPIC
from pipeline.records import REASONS, dead_letter_reason

UNWRITABLE: Final = "unwritable"
"""The sink's reason for a record that passed the rules and that Cassandra refused."""
OTHER: Final = "other"
"""Stands for any text that is no reason of ours: somebody else wrote into the topic."""
LETTER_REASONS: Final = (*REASONS, UNWRITABLE, OTHER)

CONNECT_PREFIX: Final = "__connect.errors."
MARKER: Final = "fraud.reinjected.from"
"""Header of a record that was published again: topic/partition/offset of its letter. Connect
copies headers, so if the record fails again the next letter tells where it comes from."""


class Position(NamedTuple):
    """The place of a letter in its topic."""

    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.partition}/{self.offset}"


@dataclass(frozen=True)
class Letter:
    """One dead letter; ``arrival_ms`` is the Kafka timestamp of the record that failed."""

    position: Position
    arrival_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers

    @property
    def reason(self) -> str:
        """The reason, one of ``LETTER_REASONS``."""
        reason = dead_letter_reason(dict(self.headers))
        return reason if reason in LETTER_REASONS else OTHER

    @property
    def origin(self) -> tuple[str, int, int] | None:
        """Topic, partition and offset of the record that failed; None without such headers."""
        said = dict(self.headers)
        topic, *place = (said.get(CONNECT_PREFIX + name) for name in _ORIGIN)
        try:
            partition, offset = (int(number or b"") for number in place)
            return str(topic or b"", "utf-8"), partition, offset
        except ValueError:
            return None


_ORIGIN: Final = ("topic", "partition", "offset")


def scan(reader: TopicReader) -> Iterator[Letter]:
    """Yield every letter that is there now, by partition and offset; holds one at a time."""
    for partition, (first, end) in reader.bounds(DEAD_LETTER_TOPIC).items():
        for message in reader.read(DEAD_LETTER_TOPIC, partition, first, end):
            yield to_letter(message)


def fetch(reader: TopicReader, position: Position) -> Letter:
    """Return one letter; raises ``PipelineError`` if there is none."""
    first, end = reader.bounds(DEAD_LETTER_TOPIC).get(position.partition, (0, 0))
    if first <= position.offset < end:
        for message in reader.read(
            DEAD_LETTER_TOPIC, position.partition, position.offset, position.offset + 1
        ):
            return to_letter(message)
    there = f"offsets are {first} to {end - 1}" if first < end else "there are none"
    raise PipelineError(
        f"no letter {position} in {DEAD_LETTER_TOPIC}: in partition {position.partition} {there}"
    )


def to_letter(message: Message) -> Letter:
    partition, offset = message.partition(), message.offset()
    return Letter(
        Position(cast(int, partition), cast(int, offset)),  # every record that is read has both
        message.timestamp()[1],
        message.key(),
        message.value(),
        cast(Headers, message.headers() or []),
    )


def utc(time_ms: int) -> str:
    """Return a time for people; the bare number where no calendar reaches."""
    try:
        moment = dt.datetime.fromtimestamp(time_ms / 1000, dt.UTC)
    except (ValueError, OverflowError, OSError):
        return f"{time_ms} ms"
    return moment.strftime("%Y-%m-%d %H:%M:%SZ")
