"""The list: how many letters of each reason and hour, and the newest of each."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from typing import Final

from deadletters.ledger import Entry
from deadletters.letters import LETTER_REASONS, Letter, Position, utc
from pipeline.names import DEAD_LETTER_TOPIC

HOUR_MS: Final = 3_600_000
HOURS: Final = 24
"""Hours that are told apart, the newest with letters; those before are one line."""
NEWEST: Final = 5


class Tally:
    """Counts letters one by one; its size does not depend on how many there are."""

    def __init__(self, letters: Iterable[Letter], entries: Mapping[Position, Entry]) -> None:
        self.reasons: Counter[str] = Counter()
        self.reinjected: Counter[str] = Counter()
        self.hours: Counter[int] = Counter()
        self.earlier = 0
        self.newest: deque[Letter] = deque(maxlen=NEWEST)
        for letter in letters:
            self._add(letter, letter.position in entries)

    def _add(self, letter: Letter, is_reinjected: bool) -> None:
        self.reasons[letter.reason] += 1
        self.reinjected[letter.reason] += is_reinjected
        self.hours[letter.arrival_ms // HOUR_MS] += 1
        if len(self.hours) > HOURS:
            self.earlier += self.hours.pop(min(self.hours))
        self.newest.append(letter)

    def summary(self) -> str:
        """Return the lines for a person."""
        total = self.reasons.total()
        if not total:
            return f"{DEAD_LETTER_TOPIC} holds no letter"
        lines = [f"{DEAD_LETTER_TOPIC} holds {total:,} letters", ""]
        lines.append(f"{'reason':<24}{'letters':>12}{'re-injected':>14}")
        lines += [
            f"{reason:<24}{self.reasons[reason]:>12,}{self.reinjected[reason]:>14,}"
            for reason in LETTER_REASONS
            if self.reasons[reason]
        ]
        lines += ["", f"{'hour of arrival (UTC)':<24}{'letters':>12}"]
        if self.earlier:
            lines.append(f"{'earlier':<24}{self.earlier:>12,}")
        lines += [
            f"{utc(hour * HOUR_MS)[:16]:<24}{self.hours[hour]:>12,}" for hour in sorted(self.hours)
        ]
        lines += ["", f"{'newest':<24}{'SHOW=':>12}  reason"]
        lines += [
            f"{utc(letter.arrival_ms):<24}{letter.position!s:>12}  {letter.reason}"
            for letter in reversed(self.newest)
        ]
        return "\n".join(lines)
