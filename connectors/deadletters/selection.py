"""Which letters a command means: all, those of a reason, or a single one."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass

from deadletters.letters import LETTER_REASONS, Letter, Position


@dataclass(frozen=True)
class Selection:
    """Without ``reason`` and ``position`` every letter."""

    reason: str | None = None
    position: Position | None = None

    def takes(self, letter: Letter) -> bool:
        if self.position is not None:
            return letter.position == self.position
        return self.reason in (None, letter.reason)

    def __str__(self) -> str:
        return str(self.position or self.reason or "all")


def parse_position(text: str) -> Position:
    """Parse ``partition/offset``; raises ``ArgumentTypeError``."""
    if (found := re.fullmatch(r"([0-9]{1,9})/([0-9]{1,18})", text, re.ASCII)) is None:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not allowed; give a letter as partition/offset, for example 0/17"
        )
    return Position(int(found[1]), int(found[2]))


def parse_selection(text: str) -> Selection:
    """Parse ``all``, a reason or ``partition/offset``; raises ``ArgumentTypeError``."""
    if text == "all":
        return Selection()
    if text in LETTER_REASONS:
        return Selection(reason=text)
    if "/" in text:
        return Selection(position=parse_position(text))
    raise argparse.ArgumentTypeError(
        f"{text!r} is not allowed; give partition/offset, all, or one of"
        f" {', '.join(LETTER_REASONS)}"
    )
