"""Brings the services up in order, keeps them up, and takes them down in reverse order."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from launcher import processes
from launcher.layout import Layout
from launcher.processes import Identity
from launcher.service import Service, start_order
from pipeline.errors import PipelineError
from pipeline.settings import PROJECT_ROOT

TICK_S = 0.05
FIRST_BACKOFF_S = 1.0
MAX_BACKOFF_S = 30.0
STEADY_S = 60.0
"""A service that ran this long starts its back-off anew when it ends."""

ATTEMPTS = 3
"""Ends in a row after which a service that was never ready is given up: it will not come."""

CONFIG_STATUS = 2
"""Exit status of a service that rejects a setting; trying again would not help."""

State = Literal["waiting", "starting", "ready", "done", "backoff"]


@dataclass
class _Unit:
    """A service and what has become of it."""

    service: Service
    state: State = "waiting"
    process: subprocess.Popen[bytes] | None = None
    identity: Identity | None = None
    started_at: float = 0.0
    retry_at: float = 0.0
    ends_in_a_row: int = 0
    was_ready: bool = False
    since: float = field(default_factory=time.time)

    @property
    def is_up(self) -> bool:
        return self.state in ("ready", "done")


class Supervisor:
    """Runs services until ``stop`` is called or one of them cannot be brought up.

    ``say`` gets one line for each event that a person wants to see.
    """

    def __init__(
        self, services: Sequence[Service], layout: Layout, say: Callable[[str], None]
    ) -> None:
        self._waves = start_order(services)
        self._units = {service.name: _Unit(service) for service in services}
        self._layout = layout
        self._say = say
        self._stop = threading.Event()
        self._began_at = time.monotonic()

    def stop(self, *_: object) -> None:
        """Make ``run`` end; callable from a signal handler."""
        self._stop.set()

    def run(self, when_ready: Callable[[float], None]) -> bool:
        """Start everything and watch it; returns after ``stop``, with everything ended.

        True when every service ended by itself, false when one had to be killed.

        ``when_ready`` is called once, with the seconds it took. Raises ``PipelineError``, also
        with everything ended, when a service cannot be brought up.
        """
        was_announced = False
        is_clean = False
        try:
            while not self._stop.is_set():
                for unit in self._units.values():
                    self._advance(unit)
                if not was_announced and all(unit.is_up for unit in self._units.values()):
                    was_announced = True
                    when_ready(time.monotonic() - self._began_at)
                self._stop.wait(TICK_S)
        finally:
            is_clean = self._shut_down()
        return is_clean

    def _advance(self, unit: _Unit) -> None:
        """Take a service one step on: its next state follows from its process and its probe."""
        if unit.state == "waiting":
            if all(self._units[name].is_up for name in unit.service.depends_on):
                self._start(unit)
        elif unit.state == "backoff":
            if time.monotonic() >= unit.retry_at:
                self._start(unit)
        elif unit.process is not None and unit.state in ("starting", "ready"):
            status = unit.process.poll()
            if status is not None:
                self._ended(unit, status)
            elif unit.state == "starting" and not unit.service.is_one_shot:
                self._probe(unit)

    def _start(self, unit: _Unit) -> None:
        service = unit.service
        environment = {**os.environ, **service.environment}
        log = self._layout.log(service.name)
        unit.process = processes.start(service.command, environment, PROJECT_ROOT, log)
        unit.identity = Identity.of(unit.process.pid)
        unit.started_at = time.monotonic()
        self._change(unit, "starting")

    def _probe(self, unit: _Unit) -> None:
        service = unit.service
        if service.probe is None or service.probe.is_ready():
            unit.was_ready = True
            self._change(unit, "ready")
            self._report_up(unit)
        elif time.monotonic() - unit.started_at > service.ready_timeout_s:
            raise self._failure(unit, f"not ready after {service.ready_timeout_s:.0f} s")

    def _ended(self, unit: _Unit, status: int) -> None:
        if unit.identity is not None:
            processes.end([unit.identity], grace_s=0)  # what it may have left behind
        service = unit.service
        if service.is_one_shot and status == 0:
            self._change(unit, "done")
            self._report_up(unit)
            return
        if time.monotonic() - unit.started_at > STEADY_S:
            unit.ends_in_a_row = 0
        unit.ends_in_a_row += 1
        reason = f"ended with status {status}" if status >= 0 else _signal_text(-status)
        if status == CONFIG_STATUS or (not unit.was_ready and unit.ends_in_a_row >= ATTEMPTS):
            raise self._failure(unit, reason)
        pause = min(FIRST_BACKOFF_S * 2 ** (unit.ends_in_a_row - 1), MAX_BACKOFF_S)
        unit.retry_at = time.monotonic() + pause
        self._say(f"{service.name:<12} {reason}; starts again in {pause:.0f} s")
        self._change(unit, "backoff")

    def _failure(self, unit: _Unit, reason: str) -> PipelineError:
        log = self._layout.log(unit.service.name)
        lines = [f"{unit.service.name}: {reason}; the end of {log}:"]
        lines += [f"    {line}" for line in tail(log.read_text(errors="replace"))]
        return PipelineError("\n".join(lines))

    def _report_up(self, unit: _Unit) -> None:
        took = time.monotonic() - unit.started_at
        total = time.monotonic() - self._began_at
        word = "done" if unit.service.is_one_shot else "ready"
        self._say(f"{unit.service.name:<12} {word:<6} {took:5.1f} s   (at {total:.1f} s)")

    def _change(self, unit: _Unit, state: State) -> None:
        unit.state = state
        unit.since = time.time()
        self._write_state()

    def _write_state(self) -> None:
        """Leave word for ``status``, and for ``stop`` in case we are killed."""
        entries = [
            {
                "name": name,
                "state": unit.state,
                "since": unit.since,
                "pid": unit.identity.pid if unit.identity else None,
                "start_ticks": unit.identity.start_ticks if unit.identity else None,
            }
            for name, unit in self._units.items()
        ]
        temporary = self._layout.state.with_suffix(".new")
        temporary.write_text(json.dumps(entries), encoding="utf-8")
        temporary.replace(self._layout.state)

    def _shut_down(self) -> bool:
        self._say("stopping")
        is_clean = True
        for wave in reversed(self._waves):
            units = [self._units[service.name] for service in wave]
            identities = [unit.identity for unit in units if unit.identity is not None]
            grace_s = max(unit.service.stop_grace_s for unit in units)
            is_clean = processes.end(identities, grace_s) and is_clean
            for unit in units:
                if unit.process is not None:
                    unit.process.wait()
        self._layout.state.unlink(missing_ok=True)
        return is_clean


def tail(text: str, lines: int = 15) -> list[str]:
    """Return the last lines of a log that say something."""
    return [line for line in text.splitlines() if line.strip()][-lines:]


def _signal_text(number: int) -> str:
    try:
        return f"was ended by {signal.Signals(number).name}"
    except ValueError:
        return f"was ended by signal {number}"
