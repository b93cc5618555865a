"""Publishing letters again: the same key and value, to the partition that they came from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from confluent_kafka import Message

from deadletters.ledger import Ledger
from deadletters.letters import CONNECT_PREFIX, MARKER, Letter, Position
from deadletters.topic import Sender
from pipeline.errors import PipelineError
from pipeline.names import DEAD_LETTER_TOPIC

CHUNK: Final = 500
CHUNK_BYTES: Final = 2**23
"""Letters claimed and published together; a record has up to 1 MB, a container's limit is 112."""
NAMED: Final = 5
"""Letters left out that are named one by one; the others are counted."""


class Reinjection:
    """Publishes letters to ``topic``; ``force``: also those that were published before."""

    def __init__(self, topic: str, ledger: Ledger, sender: Sender, force: bool) -> None:
        self._topic = topic
        self._ledger = ledger
        self._sender = sender
        self._force = force
        self.published: Counter[str] = Counter()
        self.left_out: list[str] = []
        self.left_out_count = 0

    def publish(self, letters: Iterable[Letter]) -> None:
        """Publish each letter once; ``published`` counts acknowledged ones by reason.

        Raises ``PipelineError`` when one was not acknowledged, and goes no further.
        """
        for chunk in chunks(letters):
            mine = [letter for letter in chunk if self._may_publish(letter)]
            if mine:
                self._publish(mine)

    def summary(self) -> str:
        """Return the lines for a person."""
        lines = [f"re-injected {counted(self.published)} into {self._topic}"]
        if self.left_out_count:
            lines.append(f"left out {self.left_out_count:,}:")
            lines += [f"  {text}" for text in self.left_out]
        if (more := self.left_out_count - len(self.left_out)) > 0:
            lines.append(f"  and {more:,} more")
        return "\n".join(lines)

    def _may_publish(self, letter: Letter) -> bool:
        origin = letter.origin
        if origin is None or origin[0] != self._topic:
            self._leave_out(letter, f"its headers do not name {self._topic} as its origin")
            return False
        entry = self._ledger.entries.get(letter.position)
        if entry is not None and not self._force:
            self._leave_out(letter, f"re-injected before, {entry}; FORCE=1 does it again")
            return False
        return True

    def _publish(self, letters: Sequence[Letter]) -> None:
        mine = self._ledger.claim([letter.position for letter in letters], self._sender)
        places: dict[Position, str] = {}
        for letter in letters:
            if letter.position in mine or self._force:
                self._send(letter, places)
            else:
                self._leave_out(letter, "somebody else re-injects it at this moment")
        failures = self._sender.settle()
        self._ledger.note_published(places, self._sender)
        for letter in letters:
            self.published[letter.reason] += letter.position in places
        if failures:
            raise PipelineError(
                f"{counted(self.published)} re-injected, then {len(failures):,} of"
                f" {len(letters):,} were not acknowledged ({failures[0]}); they count as begun:"
                " FORCE=1 re-injects them"
            )

    def _send(self, letter: Letter, places: dict[Position, str]) -> None:
        def note(message: Message) -> None:
            places[letter.position] = f"{self._topic}/{message.partition()}/{message.offset()}"

        origin = letter.origin
        assert origin is not None  # noqa: S101 # else it would have been left out
        kept = [
            (name, value)
            for name, value in letter.headers
            if not name.startswith(CONNECT_PREFIX) and name != MARKER
        ]
        marker = (MARKER, f"{DEAD_LETTER_TOPIC}/{letter.position}".encode())
        self._sender.send(self._topic, origin[1], letter.key, letter.value, [*kept, marker], note)

    def _leave_out(self, letter: Letter, why: str) -> None:
        self.left_out_count += 1
        if len(self.left_out) < NAMED:
            self.left_out.append(f"{letter.position}: {why}")


def chunks(letters: Iterable[Letter]) -> Iterator[list[Letter]]:
    """Yield all letters, up to ``CHUNK`` or about ``CHUNK_BYTES`` at a time."""
    chunk: list[Letter] = []
    size = 0
    for letter in letters:
        chunk.append(letter)
        size += len(letter.value or b"")
        if len(chunk) == CHUNK or size >= CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def counted(reasons: Counter[str]) -> str:
    """Return a number of letters, by reason: ``3 letters (future 2, too_old 1)``."""
    found = [f"{reason} {number:,}" for reason, number in reasons.most_common() if number]
    total = reasons.total()
    return f"{total:,} letter{'' if total == 1 else 's'}" + (
        f" ({', '.join(found)})" if found else ""
    )
