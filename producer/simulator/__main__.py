"""Command line of the simulator; without a command it publishes until stopped.

Settings come from config.yml and the environment; options override them for one command.
"""

from __future__ import annotations

import argparse
import itertools
import math
import signal
import sys
import threading
from pathlib import Path
from typing import Final

from pipeline.logs import run_service
from pipeline.settings import Settings, load_settings
from simulator.labelled_file import write_labelled_file
from simulator.service import play, run
from simulator.stream import history, live
from simulator.world import make_world

EXPORT_START_MS: Final = 1_735_689_600_000
"""2025-01-01T00:00:00Z: a fixed moment, so that the same seed gives the same file."""


def main(arguments: list[str]) -> int:
    """Run the command that ``arguments`` name and return the exit status."""
    settings = load_settings()
    options = _parser(settings).parse_args(arguments)
    if options.command == "export":
        return _export(settings, options)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if options.command == "play":
        return play(settings, stop, options.file, options.speed, options.kafka_time)
    return run(settings, stop)


def _export(settings: Settings, options: argparse.Namespace) -> int:
    """Write the history and the given minutes of the live stream to a labelled file."""
    config = settings.simulator
    world = make_world(options.seed, options.accounts, config.history_per_account)
    end_ms = options.start_ms + round(options.minutes * 60_000)
    live_rows = itertools.takewhile(
        lambda row: row.transaction["transaction_timestamp"] < end_ms,
        live(world, options.start_ms, options.rate, config.fraud_rate),
    )
    past_rows = history(world, options.start_ms)
    count = write_labelled_file(options.out, itertools.chain(past_rows, live_rows))
    print(f"{options.out}: {count} transactions")
    return 0


def _parser(settings: Settings) -> argparse.ArgumentParser:
    config = settings.simulator
    parser = argparse.ArgumentParser(prog="python -m simulator", description=__doc__)
    commands = parser.add_subparsers(dest="command")

    commands.add_parser("run", help="publish until stopped (the default)")

    export = commands.add_parser("export", help="write a labelled file: history, then live")
    export.add_argument("--out", type=Path, required=True, help="FILE.parquet or FILE.csv")
    export.add_argument("--minutes", type=_positive, required=True, help="of the live stream")
    export.add_argument("--seed", type=_seed, default=config.seed)
    export.add_argument("--accounts", type=_account_count, default=config.accounts)
    export.add_argument(
        "--rate", type=_positive, default=config.rate_per_s, help="transactions per second"
    )
    export.add_argument(
        "--start-ms", type=int, default=EXPORT_START_MS, help="of the live stream, UTC"
    )

    play_parser = commands.add_parser("play", help="publish a labelled file, then end")
    play_parser.add_argument("file", type=Path)
    play_parser.add_argument(
        "--speed", type=_speed, default=1.0, help="x its own pace; max: as fast as possible"
    )
    play_parser.add_argument(
        "--kafka-time",
        choices=["now", "event"],
        default="now",
        help="now: the first row that is not history happens now; event: all timestamps as in"
        " the file",
    )
    return parser


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not allowed; it must be above 0")
    return value


def _speed(text: str) -> float:
    return math.inf if text in ("max", "0") else _positive(text)


def _seed(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is not allowed; it must be 0 or more")
    return value


def _account_count(text: str) -> int:
    value = int(text)
    if value < 20:
        raise argparse.ArgumentTypeError(f"{text} is not allowed; it must be 20 or more")
    return value


if __name__ == "__main__":
    sys.exit(run_service(lambda: main(sys.argv[1:])))
