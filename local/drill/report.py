"""The outcome of a drill as ``drill.json`` and ``drill.md``."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from drill.accounting import Accounting, Difference
from drill.faults import Fault
from drill.observe import LIVE, NO_ANSWER, Sample, calm, sequence
from pipeline.settings import PROJECT_ROOT, Settings

RESTART_TARGET_S: Final = 15.0
"""From the start of a new Spark job to its first alert."""


@dataclass(frozen=True)
class Outcome:
    """What came of one fault. Times are seconds since the epoch, durations are seconds.

    ``restarted_s``: from a kill to the start of the next process, None when none was needed.
    ``first_alert_s``: from the end of the fault until an alert that was scored after it could be
    read; ``recovered_s``: until everything that was published meanwhile was scored and stored and
    the dashboard said so. None: not in time, or not waited for. ``is_over``: the pipeline got over
    it, as far as it was given the time to.
    """

    fault: Fault
    began_at: float
    restarted_s: float | None
    first_alert_s: float | None
    recovered_s: float | None
    is_over: bool
    samples: Sequence[Sample] = field(repr=False)

    @property
    def is_hung(self) -> bool:
        """Tell whether the dashboard was silent though nothing was done to it."""
        is_its_own = self.fault.component == "dashboard"
        return not is_its_own and any(sample.state == NO_ANSWER for sample in self.samples)

    @property
    def slowest_answer_s(self) -> float:
        answers = (s.seconds for s in self.samples if s.state != NO_ANSWER)
        return max(answers, default=0.0)

    @property
    def troubles(self) -> list[str]:
        """What the system page said of the components, without repetition."""
        return sorted({trouble for sample in self.samples for trouble in sample.troubles})


@dataclass(frozen=True)
class Report:
    """A drill. ``accounting`` None: it did not come to that."""

    settings: Settings
    seed: int
    began_at: float
    seconds: float
    outcomes: Sequence[Outcome]
    accounting: Accounting | None
    batch_starts: Sequence[float]

    @property
    def problems(self) -> list[str]:
        """Each promise that was not kept, as a line."""
        lines = []
        for outcome in self.outcomes:
            if not outcome.is_over:
                lines.append(f"{outcome.fault}: did not recover")
            if outcome.is_hung:
                lines.append(f"{outcome.fault}: the dashboard did not answer")
            for sample in self._calm(outcome)[:1]:
                moment = dt.datetime.fromtimestamp(sample.at, dt.UTC).strftime("%H:%M:%S")
                said = f"the dashboard said {LIVE} at {moment} while nothing was scored"
                lines.append(f"{outcome.fault}: {said}")
        if self.accounting is None:
            lines.append("not accounted for")
        else:
            lines += [
                f"{difference.kind} in {difference.check}: {difference.key}"
                for difference in self.accounting.differences
            ]
        return lines

    def rows(self, kind: str, outcome: Outcome | None = None) -> int | None:
        """Return how many differences of a kind were named; ``outcome``: only those about the time
        from the beginning of its fault to that of the next."""
        if self.accounting is None:
            return None
        found = [item for item in self.accounting.differences if item.kind == kind]
        return sum(outcome is None or self._outcome_of(item) is outcome for item in found)

    def as_json(self) -> dict[str, Any]:
        return {
            "ok": not self.problems,
            "problems": self.problems,
            "machine": machine(),
            "commit": commit(),
            "load": load(self.settings),
            "seed": self.seed,
            "seconds": round(self.seconds, 1),
            "lost": self.rows("missing"),
            "doubled": self.rows("extra"),
            "different": self.rows("different"),
            "counts": dict(self.accounting.counts) if self.accounting else None,
            "faults": [
                {
                    "component": outcome.fault.component,
                    "fault": outcome.fault.kind,
                    "lost": self.rows("missing", outcome),
                    "doubled": self.rows("extra", outcome),
                    "restarted_s": _rounded(outcome.restarted_s),
                    "first_alert_s": _rounded(outcome.first_alert_s),
                    "recovered_s": _rounded(outcome.recovered_s),
                    "dashboard": sequence(outcome.samples),
                    "system": outcome.troubles,
                    "slowest_answer_s": round(outcome.slowest_answer_s, 2),
                    "said_live_while_dead": len(self._calm(outcome)),
                }
                for outcome in self.outcomes
            ],
        }

    def as_markdown(self) -> str:
        moment = dt.datetime.fromtimestamp(self.began_at, dt.UTC).strftime("%Y-%m-%d %H:%M UTC")
        result = self.as_json()
        totals = [
            f"- {moment}, {self.seconds / 60:.0f} min, commit {result['commit']}, {machine()}",
            f"- load: {load(self.settings)}; seed of the random kills {self.seed}",
            f"- {len(self.outcomes)} faults; {self._totals()}",
            *_restarts(self.outcomes),
        ]
        verdict = [f"- **{problem}**" for problem in self.problems] or ["- every promise was kept"]
        rows = [_markdown_row(fault) for fault in result["faults"]]
        return "\n".join(["# Failure drill", "", *totals, *verdict, "", *_HEAD, *rows, "", _NOTES])

    def _totals(self) -> str:
        if self.accounting is None:
            return "not accounted for"
        counts = self.accounting.counts
        return (
            f"of {counts['kafka_records']:,} records {self.rows('missing')} lost and"
            f" {self.rows('extra')} doubled; {counts['alerts']:,} alerts"
        )

    def _calm(self, outcome: Outcome) -> list[Sample]:
        stale_after_s = self.settings.dashboard.stale_after_s
        return calm(outcome.samples, self.batch_starts, stale_after_s)

    def _outcome_of(self, difference: Difference) -> Outcome | None:
        """Return the last fault that had begun then, if the difference tells a time."""
        at = difference.at
        begun = [found for found in self.outcomes if at is not None and found.began_at <= at]
        return begun[-1] if begun else None


_HEAD: Final = (
    "| component | fault | lost | doubled | restarted | first new alert | recovered"
    " | dashboard | slowest answer | system page |",
    "|---|---|---:|---:|---:|---:|---:|---|---:|---|",
)
_NOTES: Final = """\
Seconds, from the end of the fault; a kill is over at once. *Restarted*: the supervisor has
started the next process, after its back-off. *First new alert*: one that was scored after the
fault can be read. *Recovered*: everything published meanwhile is scored and stored, and the
dashboard says that all components run; after a random kill this is not waited for. *Dashboard*:
the states of its overview from the beginning of the fault until then, asked once a second. *Lost*
and *doubled*: rows that `make verify` found missing or extra, from the beginning of the fault to
that of the next; of each check it names the first ten.
"""


def _markdown_row(fault: Mapping[str, Any]) -> str:
    cells = [
        fault["component"],
        fault["fault"],
        fault["lost"],
        fault["doubled"],
        fault["restarted_s"],
        fault["first_alert_s"],
        fault["recovered_s"],
        " → ".join(fault["dashboard"]),
        fault["slowest_answer_s"],
        ", ".join(fault["system"]),
    ]
    return f"| {' | '.join('-' if cell in (None, '') else str(cell) for cell in cells)} |"


def _restarts(outcomes: Iterable[Outcome]) -> list[str]:
    """Summarise the starts of Spark jobs: from the start of the process to its first alert."""
    seconds = sorted(
        outcome.first_alert_s - outcome.restarted_s
        for outcome in outcomes
        if outcome.fault.component == "detection"
        and outcome.restarted_s is not None
        and outcome.first_alert_s is not None
    )
    if not seconds:
        return []
    in_time = sum(second <= RESTART_TARGET_S for second in seconds)
    return [
        f"- {len(seconds)} starts of the Spark job: first new alert after"
        f" {seconds[len(seconds) // 2]:.1f} s (median), {seconds[-1]:.1f} s at most;"
        f" {in_time} within {RESTART_TARGET_S:.0f} s"
    ]


def load(settings: Settings) -> str:
    """Return the load in words."""
    simulator, stale_after_s = settings.simulator, settings.dashboard.stale_after_s
    return (
        f"{simulator.rate_per_s:g} transactions/s of {simulator.accounts:,} accounts,"
        f" {simulator.fraud_rate:.0%} fraudulent; stale after {stale_after_s:g} s"
    )


def machine() -> str:
    """Return the number and kind of cores, and the memory."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if "model name" in line), "")
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores{f' ({model})' if model else ''}, {gib:.0f} GiB"


def commit() -> str:
    """Return the commit of the checkout, or ``unknown`` where there is no git."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    try:
        ended = subprocess.run(
            command, cwd=PROJECT_ROOT, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return ended.stdout.strip()


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)
