"""``python -m deadletters``, ``make dlq``: without an option, the list."""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import functools
import sys
import time
from collections.abc import Iterable

from deadletters.content import find_schema
from deadletters.ledger import Ledger
from deadletters.letters import Letter, fetch, scan, utc
from deadletters.listing import Tally
from deadletters.purging import PurgePlan, purge
from deadletters.reinjection import Reinjection, counted
from deadletters.selection import Selection, parse_position, parse_selection
from deadletters.showing import describe
from deadletters.topic import Sender, TopicReader
from pipeline.logs import run_service
from pipeline.names import DEAD_LETTER_TOPIC
from pipeline.settings import Settings, load_settings


def parse_time(text: str) -> int:
    """Parse ISO 8601, UTC unless it says otherwise, to ms; raises ``ArgumentTypeError``."""
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not allowed; give a time (UTC), for example 2026-03-01T12:00"
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    return int(moment.timestamp() * 1000)


def parse_arguments() -> argparse.Namespace:
    """Return the arguments; ends with status 2 and one line if they are wrong."""
    parser = argparse.ArgumentParser(
        prog="deadletters",
        usage=argparse.SUPPRESS,  # else it would stand above that one line
        description=f"Lists what {DEAD_LETTER_TOPIC} holds, or does one of these.",
    )
    command = parser.add_mutually_exclusive_group()
    command.add_argument("--show", type=parse_position, metavar="PARTITION/OFFSET")
    command.add_argument(
        "--reinject",
        type=parse_selection,
        metavar="WHAT",
        help="publish again: all, a reason, or partition/offset",
    )
    command.add_argument(
        "--purge", type=parse_selection, metavar="WHAT", help="delete; only from the oldest on"
    )
    parser.add_argument(
        "--force", action="store_true", help="with --reinject: also what was re-injected before"
    )
    parser.add_argument(
        "--before", type=parse_time, metavar="TIME", help="with --purge: only what arrived before"
    )
    arguments = parser.parse_args()
    if arguments.force and arguments.reinject is None:
        parser.error("FORCE (--force) goes with REINJECT (--reinject) only")
    if arguments.before is not None and arguments.purge is None:
        parser.error("BEFORE (--before) goes with PURGE (--purge) only")
    return arguments


def selected(reader: TopicReader, selection: Selection) -> Iterable[Letter]:
    """Return the letters of a selection; a single one must exist."""
    if selection.position is not None:
        return [fetch(reader, selection.position)]
    return filter(selection.takes, scan(reader))


def reinject(
    settings: Settings, reader: TopicReader, ledger: Ledger, selection: Selection, force: bool
) -> str:
    sender = Sender(settings.kafka.bootstrap_servers)
    reinjection = Reinjection(settings.source.topic, ledger, sender, force)
    reinjection.publish(selected(reader, selection))
    return reinjection.summary()


def purge_letters(
    settings: Settings, reader: TopicReader, selection: Selection, before_ms: int | None
) -> str:
    if selection.position is not None:
        fetch(reader, selection.position)
    plan = PurgePlan(scan(reader), selection, before_ms)
    plan.check(selection)
    if plan.ends:
        purge(settings.kafka.bootstrap_servers, plan.ends)
    meant = f"{selection}" + ("" if before_ms is None else f" before {utc(before_ms)}")
    return f"purged {meant}: {counted(plan.selected)}; {plan.remaining:,} remain"


def main() -> int:
    arguments = parse_arguments()
    settings = load_settings()
    servers = settings.kafka.bootstrap_servers
    with (
        contextlib.closing(TopicReader(servers)) as reader,
        contextlib.closing(TopicReader(servers)) as ledger_reader,
    ):
        if arguments.purge is not None:
            print(purge_letters(settings, reader, arguments.purge, arguments.before))
            return 0
        ledger = Ledger(ledger_reader)
        if arguments.reinject is not None:
            print(reinject(settings, reader, ledger, arguments.reinject, arguments.force))
        elif arguments.show is not None:
            find = functools.partial(find_schema, settings.registry.url)
            letter = fetch(reader, arguments.show)
            entry = ledger.entries.get(letter.position)
            now_ms = time.time_ns() // 1_000_000
            print(describe(letter, entry, settings, find, now_ms))
        else:
            print(Tally(scan(reader), ledger.entries).summary())
    return 0


if __name__ == "__main__":
    sys.exit(run_service(main))
