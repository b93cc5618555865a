"""``python -m launcher.replay``: a labelled file through a pipeline of its own; `make replay`.

The file is published with its own times as Kafka timestamps, so that nothing depends on the wall
clock. When the last record is scored and stored, everything is counted again, the alerts and the
recorded batches are written to files, and the pipeline is stopped and removed.
"""

from __future__ import annotations

import argparse
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
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from launcher import processes, recount
from launcher.layout import Layout
from launcher.ports import free_ports
from launcher.processes import Identity
from launcher.services import REGISTRY_API
from launcher.supervisor import ATTEMPTS, tail
from pipeline.errors import ConfigError, PipelineError
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
RESULT: Final = "replay.json"


@dataclass(frozen=True)
class Pipeline:
    """A pipeline that the launcher runs for us."""

    settings: Settings
    layout: Layout
    environment: Mapping[str, str]
    launcher: subprocess.Popen[bytes]
    log: Path
    ends: set[tuple[str, float]] = field(default_factory=set)
    """Name and time of each end of a service that was seen."""

    def require_running(self) -> None:
        """Raise ``PipelineError`` with the end of a log when it will not get any further.

        That is: the launcher has ended, or a service again and again. Once is no fault: it goes
        on from where it was.
        """
        if self.launcher.poll() is not None:
            raise _failure("the pipeline ended", self.log)
        for entry in self._states():
            if entry["state"] == "backoff":
                self.ends.add((entry["name"], entry["since"]))
        for name, count in Counter(name for name, _ in self.ends).items():
            if count >= ATTEMPTS:
                raise _failure(f"{name} ended {count} times", self.layout.log(name))

    def is_ready(self) -> bool:
        """Tell whether every service is up."""
        states = self._states()
        return bool(states) and all(entry["state"] in ("ready", "done") for entry in states)

    def _states(self) -> list[dict[str, Any]]:
        try:
            states: list[dict[str, Any]] = json.loads(self.layout.state.read_text(encoding="utf-8"))
        except FileNotFoundError:  # the launcher has not begun, or has just ended
            return []
        return states


def replay(path: Path, speed: str, out: Path) -> int:
    """Play the file and leave ``replay.json``, ``replay_alerts.parquet`` and
    ``replay_batches.parquet`` in ``out``; 0 when every record is accounted for, else 1.
    """
    if not path.is_file():
        raise PipelineError(f"DATA={path}: no such file; `python -m simulator export` writes one")
    out.mkdir(parents=True, exist_ok=True)
    (out / RESULT).unlink(missing_ok=True)  # an old result must not pass for that of a failed run
    began_at = time.monotonic()
    root = (PROJECT_ROOT / load_settings().local.dir).resolve() / "replay" / str(os.getpid())
    with _running(Layout(root)) as pipeline, recount.Reader(pipeline.settings) as reader:
        # Else all that is published while Spark starts would be one late, large batch.
        _wait(pipeline, reader.has_query, "the detection job has not begun")
        _say("playing")
        _play(pipeline, path.resolve(), speed)
        _drain(pipeline, reader)
        result = reader.recount()
        reader.dump("fraud_alerts", out / "replay_alerts.parquet")
        reader.dump("batches", out / "replay_batches.parquet")
    report = {
        "ok": not result.differences,
        "data": str(path),
        "speed": speed,
        "seconds": round(time.monotonic() - began_at, 1),
        **result.as_json(),
    }
    (out / RESULT).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    _say(result.summary())
    _say(f"results in {out}")
    return 1 if result.differences else 0


def own_settings(root: Path) -> dict[str, str]:
    """Return the variables that set a replay's pipeline apart from any other."""
    kafka, controller, registry, connect, cassandra, storage, dashboard = free_ports(7)
    return {
        "FRAUD__LOCAL__DIR": str(root),
        "FRAUD__SCORING__CHECKPOINT_DIR": str(root / "checkpoint"),
        "FRAUD__SIMULATOR__ENABLED": "false",
        # A labelled file holds records of schema.avsc, whatever topic this machine watches.
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
        # The file's times may be years ago; nothing may expire while it is read.
        "FRAUD__KAFKA__TRANSACTIONS_RETENTION_DAYS": "36500",
        "FRAUD__KAFKA__TRANSACTIONS_RETENTION_GIB": "1000000",
        # Faster than real time, one of two partitions can come to lie minutes of event time
        # before the other, and the watermark would then close windows that are still to be read.
        "FRAUD__KAFKA__PARTITIONS": "1",
    }


@contextlib.contextmanager
def _running(layout: Layout) -> Iterator[Pipeline]:
    """Start a pipeline in ``layout``, yield it when it is ready, stop it in any case.

    Its folder is removed, but for the logs when something went wrong.
    """
    layout.create()
    environment = {**os.environ, **own_settings(layout.root)}
    settings = load_settings(environment=environment)
    log = layout.log("launcher")
    _say(f"starting a pipeline of its own; logs in {layout.logs}")
    launcher = processes.start(
        [sys.executable, "-m", "launcher", "run"], environment, PROJECT_ROOT, log
    )
    identity = Identity.of(launcher.pid)
    pipeline = Pipeline(settings, layout, environment, launcher, log)
    try:
        _wait(pipeline, pipeline.is_ready, "the pipeline is not ready")
        yield pipeline
    except BaseException:
        _stop(pipeline, identity)
        for folder in (layout.data, layout.temporary, layout.root / "checkpoint"):
            shutil.rmtree(folder, ignore_errors=True)
        raise
    _stop(pipeline, identity)
    shutil.rmtree(layout.root)


def _stop(pipeline: Pipeline, identity: Identity) -> None:
    _say("stopping the pipeline")
    processes.end([identity], STOP_TIMEOUT_S)
    pipeline.launcher.wait()


def _wait(pipeline: Pipeline, is_there: Callable[[], bool], problem: str) -> None:
    pause, deadline = threading.Event(), time.monotonic() + START_TIMEOUT_S
    while not is_there():
        pipeline.require_running()
        if time.monotonic() > deadline:
            folder = pipeline.layout.logs
            raise PipelineError(f"{problem} after {START_TIMEOUT_S:.0f} s; see {folder}")
        pause.wait(POLL_S)


def _play(pipeline: Pipeline, path: Path, speed: str) -> None:
    """Publish the file; raises ``PipelineError`` when a record was not acknowledged."""
    log = pipeline.layout.log("play")
    python_path = os.pathsep.join(str(PROJECT_ROOT / name) for name in ("common", "producer"))
    options = ["--kafka-time", "event", "--speed", speed]
    player = processes.start(
        [sys.executable, "-m", "simulator", "play", str(path), *options],
        {**pipeline.environment, "PYTHONPATH": python_path},
        PROJECT_ROOT,
        log,
    )
    identity = Identity.of(player.pid)
    pause = threading.Event()
    try:
        while player.poll() is None:
            pipeline.require_running()
            pause.wait(POLL_S)
    finally:
        processes.end([identity], grace_s=0)
        player.wait()
    if player.returncode != 0:
        raise _failure("the file is not published", log)


def _drain(pipeline: Pipeline, reader: recount.Reader) -> None:
    """Wait until the last record is scored and stored; raises when nothing moves any more."""
    pause = threading.Event()
    published = reader.published()
    seen, moved_at, said_at = (-1, -1), time.monotonic(), time.monotonic()
    while min(done := reader.done()) < published:
        pipeline.require_running()
        now = time.monotonic()
        if done != seen:
            seen, moved_at = done, now
        if now - moved_at > STALL_TIMEOUT_S:
            raise PipelineError(
                f"of {published} records {done[0]} are scored and {done[1]} stored, and for"
                f" {STALL_TIMEOUT_S:.0f} s no further one; see {pipeline.layout.logs}"
            )
        if now - said_at > REPORT_S:
            said_at = now
            _say(f"of {published} records {done[0]} scored, {done[1]} stored")
        pause.wait(POLL_S)


def _failure(what: str, log: Path) -> PipelineError:
    lines = [f"    {line}" for line in tail(log.read_text(errors="replace"))]
    return PipelineError("\n".join([f"{what}; the end of {log}:", *lines]))


def _say(line: str) -> None:
    print(line, flush=True)


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m launcher.replay", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="labelled file")
    parser.add_argument("--speed", default="1", help="x the file's own pace; max: no waiting")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    arguments = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        return replay(arguments.data, arguments.speed, arguments.out)
    except ConfigError as error:
        print(f"config: {error}", file=sys.stderr)
        return 2
    except PipelineError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
