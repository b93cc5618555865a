"""A pipeline of a command's own, beside any other: on free ports, in a folder that is removed."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from launcher import processes, recount
from launcher.layout import Layout
from launcher.ports import free_ports
from launcher.processes import Identity
from launcher.services import REGISTRY_API
from launcher.supervisor import ATTEMPTS, tail
from pipeline.errors import PipelineError
from pipeline.logs import run_service
from pipeline.records import FIELDS
from pipeline.settings import PROJECT_ROOT, Settings, load_settings
from pipeline.source import OWN

POLL_S: Final = 0.5
START_TIMEOUT_S: Final = 300.0
"""The four servers and Spark from empty folders: 25 s, several times that on a busy machine."""
STALL_TIMEOUT_S: Final = 600.0
"""Without a record scored or stored for this long the pipeline will not get there any more."""
STOP_TIMEOUT_S: Final = 120.0
"""Above the sum of the graces of all waves; then it is killed."""
REPORT_S: Final = 30.0


@dataclass(frozen=True)
class Pipeline:
    """A pipeline that the launcher runs for us."""

    settings: Settings
    layout: Layout
    environment: Mapping[str, str]
    launcher: subprocess.Popen[bytes]
    log: Path
    ends: set[tuple[str, float]] = field(default_factory=set)
    """Name and time of each end of a service that ``require_running`` saw."""

    def require_launcher(self) -> None:
        """Raise ``PipelineError`` with the end of its log when the launcher has ended."""
        if self.launcher.poll() is not None:
            raise failure("the pipeline ended", self.log)

    def require_running(self) -> None:
        """Raise ``PipelineError`` with the end of a log when it will not get any further.

        That is: the launcher has ended, or a service again and again. Once is no fault: it goes
        on from where it was.
        """
        self.require_launcher()
        for entry in self.states():
            if entry["state"] == "backoff":
                self.ends.add((entry["name"], entry["since"]))
        for name, count in Counter(name for name, _ in self.ends).items():
            if count >= ATTEMPTS:
                raise failure(f"{name} ended {count} times", self.layout.log(name))

    def is_ready(self) -> bool:
        """Tell whether every service is up."""
        states = self.states()
        return bool(states) and all(entry["state"] in ("ready", "done") for entry in states)

    def states(self) -> list[dict[str, Any]]:
        """Return what the launcher says of each service; nothing before it begins."""
        try:
            states: list[dict[str, Any]] = json.loads(self.layout.state.read_text(encoding="utf-8"))
        except FileNotFoundError:  # the launcher has not begun, or has just ended
            return []
        return states

    def pid_of(self, service: str) -> int:
        """Return the process id of a service; of the last one while it waits to start again."""
        return int(self._state_of(service)["pid"])

    def started_at(self, service: str) -> float:
        """Return when the service's process was started, in seconds since the epoch."""
        since_boot_s = self._state_of(service)["start_ticks"] / os.sysconf("SC_CLK_TCK")
        booted_at = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
        return float(booted_at + since_boot_s)

    def _state_of(self, service: str) -> dict[str, Any]:
        for entry in self.states():
            if entry["name"] == service and entry["pid"] is not None:
                return entry
        raise PipelineError(f"{service} has not been started")

    def run(
        self,
        name: str,
        arguments: Sequence[str],
        folder: str,
        extra: Mapping[str, str] | None = None,
    ) -> int:
        """Run one of our commands with the settings of this pipeline; return its exit status.

        ``folder`` holds its packages, beside ``common``; ``name`` is that of its log; ``extra``
        are further variables. It is ended when the pipeline will not get any further.
        """
        python_path = os.pathsep.join(str(PROJECT_ROOT / path) for path in ("common", folder))
        process = processes.start(
            [sys.executable, "-m", *arguments],
            {**self.environment, **(extra or {}), "PYTHONPATH": python_path},
            PROJECT_ROOT,
            self.layout.log(name),
        )
        identity = Identity.of(process.pid)
        pause = threading.Event()
        try:
            while process.poll() is None:
                self.require_running()
                pause.wait(POLL_S)
        finally:
            processes.end([identity], grace_s=0)
            process.wait()
        return process.returncode

    def wait(self, is_there: Callable[[], bool], problem: str) -> None:
        """Wait for something of the start; ``PipelineError`` when it does not come."""
        pause, deadline = threading.Event(), time.monotonic() + START_TIMEOUT_S
        while not is_there():
            self.require_running()
            if time.monotonic() > deadline:
                folder = self.layout.logs
                raise PipelineError(f"{problem} after {START_TIMEOUT_S:.0f} s; see {folder}")
            pause.wait(POLL_S)

    def drain(self, reader: recount.Reader) -> None:
        """Wait until the last published record is scored and stored; nobody publishes any more.

        Raises ``PipelineError`` when nothing moves.
        """
        pause = threading.Event()
        published = reader.published()
        seen, moved_at, said_at = (-1, -1), time.monotonic(), time.monotonic()
        while min(done := reader.done()) < published:
            self.require_running()
            now = time.monotonic()
            if done != seen:
                seen, moved_at = done, now
            if now - moved_at > STALL_TIMEOUT_S:
                raise PipelineError(
                    f"of {published} records {done[0]} are scored and {done[1]} stored, and for"
                    f" {STALL_TIMEOUT_S:.0f} s no further one; see {self.layout.logs}"
                )
            if now - said_at > REPORT_S:
                said_at = now
                say(f"of {published} records {done[0]} scored, {done[1]} stored")
            pause.wait(POLL_S)


def folder_of(command: str) -> Path:
    """Return the folder for this process's pipeline, below that of the pipeline of `make run`."""
    return (PROJECT_ROOT / load_settings().local.dir).resolve() / command / str(os.getpid())


def variables(root: Path) -> dict[str, str]:
    """Return the variables that set a pipeline in ``root`` apart from any other."""
    kafka, controller, registry, connect, cassandra, storage, dashboard = free_ports(7)
    return {
        "FRAUD__LOCAL__DIR": str(root),
        "FRAUD__SCORING__CHECKPOINT_DIR": str(root / "checkpoint"),
        # The records are those of schema.avsc, whatever topic this machine watches.
        **{f"FRAUD__SOURCE__{key.upper()}": str(value) for key, value in OWN.items()},
        **{f"FRAUD__SOURCE__MAPPING__{name.upper()}": name for name in FIELDS},
        "FRAUD__KAFKA__BOOTSTRAP_SERVERS": f"127.0.0.1:{kafka}",
        "FRAUD__LOCAL__KAFKA_CONTROLLER_PORT": str(controller),
        "FRAUD__REGISTRY__URL": f"http://127.0.0.1:{registry}{REGISTRY_API}",
        "FRAUD__CONNECT__URL": f"http://127.0.0.1:{connect}",
        "FRAUD__CASSANDRA__CONTACT_POINTS": "127.0.0.1",
        "FRAUD__CASSANDRA__PORT": str(cassandra),
        "FRAUD__LOCAL__CASSANDRA_STORAGE_PORT": str(storage),
        "FRAUD__DASHBOARD__HOST": "127.0.0.1",
        "FRAUD__DASHBOARD__PORT": str(dashboard),
    }


@contextlib.contextmanager
def running(
    root: Path, own: Mapping[str, str], command: Sequence[str] = ("-m", "launcher", "run")
) -> Iterator[Pipeline]:
    """Start a pipeline in ``root`` with the variables ``own``, yield it when it is ready, stop it
    in any case.

    Its folder is removed, but for the logs when something went wrong. ``command`` are the
    arguments of Python that start the launcher.
    """
    layout = Layout(root)
    layout.create()
    environment = {**os.environ, **own}
    settings = load_settings(environment=environment)
    log = layout.log("launcher")
    say(f"starting a pipeline of its own; logs in {layout.logs}")
    launcher = processes.start([sys.executable, *command], environment, PROJECT_ROOT, log)
    identity = Identity.of(launcher.pid)
    pipeline = Pipeline(settings, layout, environment, launcher, log)
    try:
        pipeline.wait(pipeline.is_ready, "the pipeline is not ready")
        yield pipeline
    except BaseException:
        _stop(pipeline, identity)
        for folder in (layout.data, layout.temporary, layout.root / "checkpoint"):
            shutil.rmtree(folder, ignore_errors=True)
        raise
    _stop(pipeline, identity)
    shutil.rmtree(layout.root)


def run_command(command: Callable[[], int]) -> int:
    """Run a command that has a pipeline of its own, and return its exit status.

    A signal ends it by way of its ``finally`` blocks, an error with one line.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        return run_service(command)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def failure(what: str, log: Path) -> PipelineError:
    """Return an error that ends with the last lines of a log."""
    lines = [f"    {line}" for line in tail(log.read_text(errors="replace"))]
    return PipelineError("\n".join([f"{what}; the end of {log}:", *lines]))


def say(line: str) -> None:
    print(line, flush=True)


def _stop(pipeline: Pipeline, identity: Identity) -> None:
    say("stopping the pipeline")
    processes.end([identity], STOP_TIMEOUT_S)
    pipeline.launcher.wait()


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt
