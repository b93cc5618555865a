"""``python -m drill``: kill, freeze and cut off each part of a pipeline under load; `make drill`.

It is a pipeline of its own, with its simulator as the load. After each fault everything must come
back by itself; at the end every record must be where it belongs, once.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from drill import faults, network
from drill.accounting import account
from drill.course import Course, NotRecovered
from drill.faults import Fault
from drill.observe import Tables, Watch
from drill.report import Report
from launcher import own
from launcher.own import Pipeline, say
from launcher.recount import Reader
from pipeline.errors import PipelineError
from pipeline.settings import load_settings

RESULT: Final = "drill.json"
TABLE: Final = "drill.md"
KILLS: Final = 20
LOAD: Final = {
    "FRAUD__SIMULATOR__RATE_PER_S": "50",
    "FRAUD__SIMULATOR__ACCOUNTS": "1000",
    # An alert every few seconds: the next one tells that scoring is back.
    "FRAUD__SIMULATOR__FRAUD_RATE": "0.05",
    # Shorter than the faults: a dashboard that does not notice them would be found out.
    "FRAUD__DASHBOARD__STALE_AFTER_S": "15",
}
"""Unless the environment says otherwise."""


def drill(chosen: Sequence[Fault], kills: int, seed: int, out: Path) -> int:
    """Run the drill and leave ``drill.json``, ``drill.md`` and ``verify.json`` in ``out``.

    Raises ``PipelineError``, and keeps the logs, when a promise was not kept.
    """
    out.mkdir(parents=True, exist_ok=True)
    for name in (RESULT, TABLE):  # an old result must not pass for that of a failed drill
        (out / name).unlink(missing_ok=True)
    root = own.folder_of("drill")
    variables = own.variables(root) | {
        name: os.environ.get(name, value) for name, value in LOAD.items()
    }
    settings = load_settings(environment={**os.environ, **variables})
    with network.proxied(settings) as roads:
        ports = [f"{road}={port}" for road, port in roads.ports.items()]
        with own.running(root, variables, ("-m", "drill.supervise", *ports)) as pipeline:
            report = _report(pipeline, roads, chosen, kills, seed, out)
            (out / RESULT).write_text(json.dumps(report.as_json(), indent=2) + "\n", "utf-8")
            (out / TABLE).write_text(report.as_markdown(), "utf-8")
            say(f"results in {out}")
            if report.problems:
                raise PipelineError("\n".join(["the drill found", *report.problems]))
    say("nothing was lost, nothing doubled")
    return 0


def _report(
    pipeline: Pipeline,
    roads: network.Network,
    chosen: Sequence[Fault],
    kills: int,
    seed: int,
    out: Path,
) -> Report:
    began_at = time.time()
    accounting = None
    with (
        contextlib.closing(Reader(pipeline.settings)) as reader,
        contextlib.closing(Tables(pipeline.settings)) as tables,
        Watch(pipeline.settings) as watch,
    ):
        course = Course(pipeline, roads, reader, tables, watch)
        course.wait_until_sound()
        try:
            course.run(chosen)
            course.kill_at_random(kills, seed)
            say("draining")
            faults.stop_for_good(pipeline, "simulator")
            pipeline.drain(reader)
            accounting = account(pipeline, out)
        except NotRecovered:
            say("it did not recover; the drill ends here")
        return Report(
            settings=pipeline.settings,
            seed=seed,
            began_at=began_at,
            seconds=time.time() - began_at,
            outcomes=course.outcomes,
            accounting=accounting,
            batch_starts=tables.batch_starts(),
        )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m drill", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--short", action="store_true", help="two faults instead of all")
    parser.add_argument(
        "--faults", metavar="COMPONENT[:FAULT],...", help="only these, in their order"
    )
    parser.add_argument(
        "--kills",
        type=int,
        help=f"of the Spark job at random moments, after them; {KILLS} after all faults, else 0",
    )
    parser.add_argument("--seed", type=int, help="of the random kills; else a new one, reported")
    arguments = parser.parse_args()
    seed = random.randrange(2**31) if arguments.seed is None else arguments.seed

    def run() -> int:
        chosen, kills = faults.ALL, KILLS
        if arguments.short or arguments.faults:
            chosen = faults.parse(arguments.faults) if arguments.faults else faults.SHORT
            kills = 0
        return drill(
            chosen, kills if arguments.kills is None else arguments.kills, seed, arguments.out
        )

    return own.run_command(run)


if __name__ == "__main__":
    sys.exit(main())
