"""Who published which letter again: the topic ``transactions.dlq.reinjected``.

It has one partition, so whoever reads it sees one order. To publish a letter, a run first writes
a *claim* to it and reads on to the end: the letter belongs to the run whose claim comes first.
So of two runs at once only one publishes it, and a run that is killed in between leaves a claim
behind that nobody takes over unasked: a letter is published again at most once, unless forced.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from confluent_kafka import Message

from deadletters.letters import Position, utc
from deadletters.topic import Sender, TopicReader
from pipeline.errors import PipelineError
from pipeline.names import REINJECTED_TOPIC

_PARTITION = 0


@dataclass(frozen=True)
class Entry:
    """A letter's first claim; ``published`` is topic/partition/offset of the record that its
    letter has become, the last one if several: None while that is not known."""

    run_id: str
    claimed_ms: int
    published: str | None = None

    def __str__(self) -> str:
        if self.published is None:
            return f"begun at {utc(self.claimed_ms)}, but not known to be published"
        return f"at {utc(self.claimed_ms)} as {self.published}"


class Ledger:
    """The claims, as one run sees them; ``reader`` must be its own."""

    def __init__(self, reader: TopicReader) -> None:
        self._reader = reader
        self._next = 0
        self._run_id = str(uuid.uuid4())
        self.entries: dict[Position, Entry] = {}
        self.refresh()

    def refresh(self) -> None:
        """Read what was added since the last time."""
        first, end = self._reader.bounds(REINJECTED_TOPIC)[_PARTITION]
        for message in self._reader.read(REINJECTED_TOPIC, _PARTITION, max(first, self._next), end):
            self._add(message)
        self._next = end

    def claim(self, positions: Sequence[Position], sender: Sender) -> set[Position]:
        """Claim letters and return those that are this run's.

        Raises ``PipelineError`` if not every claim was acknowledged: then none may be used.
        """
        for position in positions:
            self._write(position, None, sender)
        if failures := sender.settle():
            raise PipelineError(f"nothing more is published, Kafka took no claim ({failures[0]})")
        self.refresh()
        return {at for at in positions if self.entries[at].run_id == self._run_id}

    def note_published(self, published: Mapping[Position, str], sender: Sender) -> None:
        """Write down what letters have become. Without it they would only look unfinished."""
        for position, place in published.items():
            self._write(position, place, sender)
        sender.settle()

    def _write(self, position: Position, published: str | None, sender: Sender) -> None:
        value = {"run_id": self._run_id, "published": published}
        sender.send(
            REINJECTED_TOPIC, _PARTITION, str(position).encode(), json.dumps(value).encode()
        )

    def _add(self, message: Message) -> None:
        partition, _, offset = (message.key() or b"").partition(b"/")
        position = Position(int(partition), int(offset))
        value = json.loads(message.value() or b"")
        entry = self.entries.setdefault(position, Entry(value["run_id"], message.timestamp()[1]))
        if value["published"] is not None:
            self.entries[position] = replace(entry, published=value["published"])
