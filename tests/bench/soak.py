"""A long run under load with hostile records, then the proof: does it hold, does memory grow?

    make soak MINUTES=30 RATE=1000 ACCOUNTS=20000

Starts the real pipeline, publishes the corpus of bad records and duplicates every few seconds
beside the simulator, and samples the resident memory of every service. At the end the simulator
is stopped, what it published is scored and stored, and ``make verify`` must find no difference.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

from detection.registry import fetch_schemas
from drill.report import commit, machine
from pipeline.names import TRANSACTIONS_TOPIC
from pipeline.records import encode
from tests.support.corpus import CORPUS, transaction
from tests.support.kafka import end_offsets, publish
from tests.support.pipeline import LocalPipeline, environment, running_pipeline
from tests.support.wait import wait_until

EVERY_S = 5.0
"""Between two injections, and two samples of the memory."""
TWICE = 20
"""Good transactions of an injection that are published twice."""
HISTORY_TIMEOUT_S = 300.0
PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024


def inject(pipeline: LocalPipeline, schema_id: int) -> int:
    """Publish the whole corpus and some duplicates; return the number of records."""
    now = time.time_ns() // 1_000_000
    records = [(case.name.encode(), case.value(schema_id, now), now) for case in CORPUS]
    good = [transaction(f"twice-{number}-{now}", now) for number in range(TWICE)]
    twice = [(item["sender_account"].encode(), encode(item, schema_id), now) for item in good]
    publish(pipeline.servers, TRANSACTIONS_TOPIC, [*records, *twice, *twice])
    return len(records) + 2 * len(twice)


def published(pipeline: LocalPipeline) -> int:
    """Return the number of records in the topic of the transactions."""
    return sum(end_offsets(pipeline.servers, TRANSACTIONS_TOPIC).values())


def resident_mib(pipeline: LocalPipeline, simulator_pid: int) -> dict[str, float]:
    """Return the resident set of each service with its children, and of the simulator."""
    parents: dict[int, list[int]] = defaultdict(list)
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:  # ended meanwhile
            continue
        parents[int(fields[1])].append(int(path.parent.name))
    found = {"simulator": _resident_kib(simulator_pid) / 1024}
    for entry in pipeline.states():
        if entry["pid"]:
            family, waiting = [], [entry["pid"]]
            while waiting:
                family.append(waiting.pop())
                waiting += parents[family[-1]]
            found[entry["name"]] = sum(map(_resident_kib, family)) / 1024
    # An init step keeps its number after its end.
    return {name: mib for name, mib in found.items() if mib}


def _resident_kib(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_KIB
    except OSError:
        return 0


def growth(samples: Mapping[str, list[tuple[float, float]]], begin: int) -> dict[str, Any]:
    """Return, for each service, the memory around minute ``begin`` and at the end, and the growth.

    Medians of a minute: a garbage collection moves single samples.
    """
    table = {}
    for name, of_service in samples.items():
        minutes: dict[int, list[float]] = defaultdict(list)
        for at, mib in of_service:
            minutes[int(at)].append(mib)
        by_minute = {minute: round(statistics.median(each)) for minute, each in minutes.items()}
        before, after = by_minute.get(begin), by_minute[max(by_minute)]
        if before is None:  # an init step that had ended
            continue
        table[name] = {
            "begin_mib": before,
            "end_mib": after,
            "growth_percent": round(100 * (after / before - 1), 1),
            "peak_mib": round(max(mib for _, mib in of_service)),
            "by_minute_mib": list(by_minute.values()),
        }
    return table


def soak(
    pipeline: LocalPipeline, simulator: subprocess.Popen[bytes], minutes: float
) -> dict[str, Any]:
    """Inject and sample for ``minutes``, then stop the simulator and let everything drain."""
    (schema_id,) = fetch_schemas(pipeline.settings.registry.url, TRANSACTIONS_TOPIC)
    samples: dict[str, list[tuple[float, float]]] = defaultdict(list)
    lags: list[float] = []
    injected = unanswered = 0
    config = pipeline.settings.simulator
    wait_until(
        lambda: published(pipeline) > config.accounts * config.history_per_account,
        HISTORY_TIMEOUT_S,
        "the history is published; with anything in the topic there would be none",
    )
    began = time.monotonic()
    pause = threading.Event()
    while (at := (time.monotonic() - began) / 60) < minutes:
        injected += inject(pipeline, schema_id)
        for name, mib in resident_mib(pipeline, simulator.pid).items():
            samples[name].append((at, mib))
        try:
            lag = pipeline.api("/api/overview")["lag"]["seconds"]
        except HTTPError:  # Cassandra did not answer the dashboard in time
            unanswered += 1
        else:
            if lag is not None:
                lags.append(lag)
        pause.wait(EVERY_S)
    simulator.send_signal(signal.SIGTERM)
    assert simulator.wait(120) == 0
    count = published(pipeline)
    drain_began = time.monotonic()
    pipeline.wait_drained(count, timeout_s=1800)
    begin = int(min(10, minutes / 3))
    return {
        "minutes": minutes,
        "published": count,
        "injected": injected,
        "lag_median_s": statistics.median(lags),
        "lag_max_s": max(lags),
        "dashboard_unanswered": unanswered,
        "asked": unanswered + len(lags),
        "drained_s": round(time.monotonic() - drain_began, 1),
        "begin_minute": begin,
        "memory": growth(samples, begin),
    }


def as_markdown(result: Mapping[str, Any]) -> str:
    """Return the result of a soak as a page."""
    verdict = "no difference" if result["verified"] else "**differences**"
    lines = [
        "# Soak",
        "",
        f"- commit {result['commit']}, {result['machine']}",
        f"- {result['minutes']:g} min at {result['rate_per_s']:,.0f} transactions/s of"
        f" {result['accounts']:,} accounts: {result['published']:,} records with their history,"
        f" {result['injected']:,} of them broken, late, from the future or doubled",
        f"- `make verify`: {verdict}, after {result['verify_s']:.0f} s",
        f"- scoring was {result['lag_median_s']:.1f} s behind (median; {result['lag_max_s']:.1f} s"
        f" at most), and through {result['drained_s']:.0f} s after the last record",
        f"- the dashboard had no answer in time for {result['dashboard_unanswered']} of"
        f" {result['asked']} requests",
        "",
        "| service | resident at first, MiB | at the end | growth | highest |",
        "|---|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {name} | {row['begin_mib']:,} | {row['end_mib']:,} | {row['growth_percent']:+.1f} %"
        f" | {row['peak_mib']:,} |"
        for name, row in result["memory"].items()
    ]
    notes = (
        f"Medians of minute {result['begin_minute']:g} and of the last one; with its children."
        " The samples of each minute are in soak.json."
    )
    return "\n".join([*lines, "", notes, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=1000)
    parser.add_argument("--accounts", type=int, default=20_000)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        variables = environment(folder) | {
            "FRAUD__LOCAL__FAST_START": "false",
            "FRAUD__SCORING__DRIVER_MEMORY": "2g",
            "FRAUD__SIMULATOR__RATE_PER_S": str(arguments.rate),
            "FRAUD__SIMULATOR__ACCOUNTS": str(arguments.accounts),
        }
        with running_pipeline(folder, variables, without=["simulator"]) as pipeline:
            simulator = pipeline.python("-m", "simulator")
            try:
                result = soak(pipeline, simulator, arguments.minutes)
            finally:
                simulator.kill()
            began = time.monotonic()
            proof = pipeline.python("-m", "verification", "--out", str(arguments.out))
            result["verified"] = proof.wait(3600) == 0
            result["verify_s"] = round(time.monotonic() - began, 1)
    result |= {"rate_per_s": arguments.rate, "accounts": arguments.accounts}
    result |= {"machine": machine(), "commit": commit()}
    text = json.dumps(result, indent=2)
    (arguments.out / "soak.json").write_text(text + "\n", encoding="utf-8")
    (arguments.out / "soak.md").write_text(as_markdown(result), encoding="utf-8")
    print(text)
    sys.exit(0 if result["verified"] else 1)


if __name__ == "__main__":
    main()
