"""The corpus as a file, for the tests of the Connect sink: ``python -m tests.support.vectors``."""

from __future__ import annotations

from pipeline.settings import PROJECT_ROOT
from tests.support.corpus import CORPUS, Case

FILE = PROJECT_ROOT / "connectors" / "sink" / "src" / "test" / "resources" / "corpus.txt"
SCHEMA_ID = 7
ARRIVAL_MS = 1_772_366_400_000
LONGEST = 1024
"""Longer records would only swell the file; the stack's test plays them too."""


def lines() -> list[str]:
    """Return a line for each short record: its name, verdict and bytes in hexadecimal digits."""
    return [line for case in CORPUS if (line := _line(case)) is not None]


def _line(case: Case) -> str | None:
    value = case.value(SCHEMA_ID, ARRIVAL_MS)
    if value is not None and len(value) > LONGEST:
        return None
    return f"{case.name} {case.verdict} {'null' if value is None else value.hex()}"


if __name__ == "__main__":
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_text("".join(f"{line}\n" for line in lines()), encoding="ascii")
