"""Prints what the page Models shows: ``python -m dashboard.compare``; ``make compare``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import Any

from dashboard import formats
from dashboard.comparison import DEFAULT_HOURS, MAX_HOURS
from dashboard.repository import CassandraRepository, Unavailable
from dashboard.service import Service
from dashboard.times import utc_now
from pipeline.errors import PipelineError
from pipeline.logs import run_service
from pipeline.settings import load_settings

QUERY_TIMEOUT_S = 10.0
"""A person waits for the whole answer, unlike a browser that asks again."""

COLUMNS = ("live", "shadow", "common", "gained", "lost")


def summary(answer: Mapping[str, Any]) -> str:
    """Return the lines for a person."""
    lines = [f"live {answer['live'] or '-'}, shadow {answer['shadow'] or '-'}"]
    if answer["error"]:
        lines.append(f"ERROR: {answer['error']}")
    if answer["shadow_failures"]:
        lines.append(f"ERROR: the shadow failed in {answer['shadow_failures']} batches")
    if answer["compared"] is None:
        return "\n".join([*lines, answer["message"]])
    lines.append(f"minutes from {answer['compared']['since']} until {answer['compared']['until']}")
    heading = "".join(f"{column:>8}" for column in COLUMNS)
    lines += ["", f"{'alerts':<22}{heading}"]
    lines += [_line(formats.level(entry["level"]), entry) for entry in answer["levels"]]
    if answer["patterns"]:
        lines += ["", f"{'alerts by fraud':<22}{heading}"]
        lines += [_line(_pattern(entry), entry) for entry in answer["patterns"]]
    return "\n".join(lines)


def _pattern(entry: Mapping[str, Any]) -> str:
    if entry["pattern"] is None:
        return "no fraud known"
    return f"{formats.pattern(entry['pattern'])} ({entry['minutes']})"


def _line(name: str, entry: Mapping[str, Any]) -> str:
    return f"{name:<22}" + "".join(f"{entry[column]:>8,}" for column in COLUMNS)


def main() -> int:
    """Read, compare, print."""
    parser = argparse.ArgumentParser(prog="python -m dashboard.compare", description=__doc__)
    parser.add_argument("--hours", type=int, default=DEFAULT_HOURS, help=f"1 to {MAX_HOURS}")
    hours = parser.parse_args().hours
    if not 1 <= hours <= MAX_HOURS:
        raise PipelineError(f"HOURS={hours}: must be a whole number from 1 to {MAX_HOURS}")
    settings = load_settings()
    repository = CassandraRepository(settings.cassandra, QUERY_TIMEOUT_S)
    try:
        print(summary(Service(repository, settings, utc_now).models(hours)))
    except Unavailable as outage:
        raise PipelineError(f"{outage}: does the pipeline run? see `make status`") from outage
    return 0


if __name__ == "__main__":
    sys.exit(run_service(main))
