"""The course of a drill: a fault, the recovery from it, the next one."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from confluent_kafka import KafkaException

from drill.faults import KILL, KILL_CHILD, Fault, inflict
from drill.network import Network
from drill.observe import Tables, Watch
from drill.report import Outcome
from launcher.own import Pipeline, say
from launcher.recount import Reader
from pipeline.database import OUTAGES
from pipeline.names import DETECTION

POLL_S: Final = 0.25
RECOVERY_TIMEOUT_S: Final = 240.0
"""The longest way back: 30 s of back-off, the start of a server, and the group of a sink that died
with its worker. Twice that on a busy machine."""
EARLIEST_S, LATEST_S = 0.5, 12.0
"""Of a random kill, after the job has scored or was started again."""
WHILE_STARTING: Final = 0.3
"""Share of the random kills that strike a job while it starts."""

_NO_ANSWER: Final[tuple[type[Exception], ...]] = (*OUTAGES, KafkaException)


class NotRecovered(Exception):
    """The pipeline did not get over a fault: what follows would not be that of the next one."""


@dataclass(frozen=True)
class Course:
    """Inflicts faults on a pipeline and waits for it; ``outcomes`` grows with each."""

    pipeline: Pipeline
    network: Network
    reader: Reader
    tables: Tables
    watch: Watch
    outcomes: list[Outcome] = field(default_factory=list)

    def wait_until_sound(self) -> None:
        """Wait for the first alert and for a dashboard that says that all components run."""
        began_at = time.time()
        self.pipeline.wait(lambda: self.tables.has_alert_since(began_at), "there is no alert")
        self.pipeline.wait(lambda: self._is_sound(began_at), "not every component runs")

    def run(self, faults: Sequence[Fault]) -> None:
        """Inflict one fault after the other; ``NotRecovered`` if one is not got over."""
        for number, fault in enumerate(faults, 1):
            say(f"{number} of {len(faults)}: {fault}")
            began_at = time.time()
            pid = self.pipeline.pid_of(fault.component)
            inflict(fault, self.pipeline, self.network)
            is_kill = fault.kind in (KILL, KILL_CHILD)
            ended_at = began_at if is_kill else time.time()
            self._recover(fault, began_at, ended_at, pid)

    def kill_at_random(self, count: int, seed: int) -> None:
        """Kill the Spark job ``count`` times, at moments that ``seed`` gives.

        Its driver or its JVM; soon after it has begun to score or, once it was killed, while it
        starts again.
        """
        chance = random.Random(seed)
        for number in range(1, count + 1):
            kind = chance.choice((KILL, KILL_CHILD))
            delay_s = chance.uniform(EARLIEST_S, LATEST_S)
            is_starting = chance.random() < WHILE_STARTING
            moment = "of its start" if is_starting else "of scoring"
            label = f"{kind} after {delay_s:.1f} s {moment}"
            say(f"random kill {number} of {count}: {label}")
            fault = Fault(DETECTION, kind)
            if is_starting:
                self._kill_and_await_start()
            threading.Event().wait(delay_s)
            pid, began_at = self.pipeline.pid_of(DETECTION), time.time()
            inflict(fault, self.pipeline, self.network)
            self._recover(Fault(DETECTION, label), began_at, began_at, pid, is_soon=True)

    def _kill_and_await_start(self) -> None:
        pid = self.pipeline.pid_of(DETECTION)
        inflict(Fault(DETECTION, KILL), self.pipeline, self.network)
        deadline = time.monotonic() + RECOVERY_TIMEOUT_S
        if not self._wait(lambda: self.pipeline.pid_of(DETECTION) != pid, deadline):
            raise NotRecovered

    def _recover(
        self, fault: Fault, began_at: float, ended_at: float, pid: int, *, is_soon: bool = False
    ) -> None:
        """Wait until the pipeline has got over a fault; ``is_soon``: only until it scores again."""
        deadline = time.monotonic() + RECOVERY_TIMEOUT_S
        first_alert_s = recovered_s = None
        if self._wait(lambda: self.tables.has_alert_since(ended_at), deadline):
            first_alert_s = time.time() - ended_at
            say(f"    first new alert after {first_alert_s:.1f} s")
        if first_alert_s is not None and not is_soon:
            is_through = self._passage()
            if self._wait(lambda: self._is_sound(ended_at) and is_through(), deadline):
                recovered_s = time.time() - ended_at
                say(f"    recovered after {recovered_s:.1f} s")
        is_other = self.pipeline.pid_of(fault.component) != pid
        is_over = (first_alert_s if is_soon else recovered_s) is not None
        self.outcomes.append(
            Outcome(
                fault=fault,
                began_at=began_at,
                restarted_s=self.pipeline.started_at(fault.component) - ended_at
                if is_other
                else None,
                first_alert_s=first_alert_s,
                recovered_s=recovered_s,
                is_over=is_over,
                samples=self.watch.since(began_at),
            )
        )
        if not is_over:
            raise NotRecovered

    def _wait(self, is_there: Callable[[], bool], deadline: float) -> bool:
        """Wait for a condition; false when it is not there at the deadline."""
        pause = threading.Event()
        while not is_there():
            self.pipeline.require_launcher()
            if time.monotonic() > deadline:
                return False
            pause.wait(POLL_S)
        return True

    def _passage(self) -> Callable[[], bool]:
        """Return what tells whether all that is published by its first call is scored and stored.

        While Kafka or Cassandra do not answer, nothing is.
        """
        published: int | None = None

        def is_through() -> bool:
            nonlocal published
            try:
                if published is None:
                    published = self.reader.published()
                return min(self.reader.done()) >= published
            except _NO_ANSWER:
                return False

        return is_through

    def _is_sound(self, since: float) -> bool:
        return self.pipeline.is_ready() and self.watch.is_sound(since)
