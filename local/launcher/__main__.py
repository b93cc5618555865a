"""``python -m launcher run|stop|status|clean|backup|restore|doctor``; the Makefile calls it."""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from launcher import archive, backups, doctor, processes, services
from launcher.java import find_java
from launcher.layout import Layout
from launcher.processes import Identity
from launcher.service import Service, select
from launcher.supervisor import Supervisor
from pipeline.errors import ConfigError, PipelineError
from pipeline.settings import PROJECT_ROOT, Settings, load_settings

STOP_TIMEOUT_S = 120.0
"""Above the sum of the graces of all waves; ``stop`` then says which process still runs."""


def run(
    settings: Settings,
    layout: Layout,
    without: list[str],
    change: Callable[[Service], Service] = lambda service: service,
) -> int:
    """Start the pipeline and keep it until it is told to stop; says when it is up.

    ``change`` gets each service and returns what is to run in its place.
    """
    layout.create()
    with _exclusive(layout):
        doctor.require_downloads()
        all_services = services.services(settings, layout, find_java(), without)
        wanted = [change(service) for service in select(all_services, without)]
        doctor.require_free_ports(settings, without)
        supervisor = Supervisor(wanted, layout, _say)

        def announce(seconds: float) -> None:
            _say(f"ready after {seconds:.1f} s; logs in {layout.logs}; Ctrl-C stops everything")
            if any(service.name == "dashboard" for service in wanted):
                _say(f"dashboard: http://{settings.dashboard.host}:{settings.dashboard.port}")

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, supervisor.stop)
        if supervisor.run(announce):
            archive.keep(layout)
        _say("stopped")
    return 0


def stop(layout: Layout) -> int:
    """End the pipeline of this folder, whether or not its launcher still lives."""
    if (owner := _running_launcher(layout)) is not None:
        os.kill(owner, signal.SIGTERM)
        deadline = time.monotonic() + STOP_TIMEOUT_S
        pause = threading.Event()
        while _running_launcher(layout) is not None:
            if time.monotonic() > deadline:
                raise PipelineError(f"pid {owner} does not stop: kill -9 {owner}; make stop")
            pause.wait(0.1)
        _say(f"stopped pid {owner}")
    elif not _end_leftovers(layout):
        _say("not running")
    return 0


def status(layout: Layout) -> int:
    """Print a line per service; 0 when all are up, 1 when not, 3 when nothing runs."""
    if _running_launcher(layout) is None:
        _say("not running")
        return 3
    entries = _read_state(layout)
    for entry in entries:
        age = time.time() - entry["since"]
        pid = entry["pid"] or "-"
        _say(f"{entry['name']:<12} {entry['state']:<9} for {age:6.0f} s   pid {pid}")
    return 0 if entries and all(entry["state"] in ("ready", "done") for entry in entries) else 1


def clean(layout: Layout) -> int:
    """Stop, and remove the data, logs and checkpoint of this folder; downloads stay."""
    stop(layout)
    for name in ("data", "conf", "logs", "tmp", "checkpoint", backups.PARTIAL):
        shutil.rmtree(layout.root / name, ignore_errors=True)
    _say(f"removed data, logs and checkpoint in {layout.root}")
    return 0


def backup(settings: Settings, layout: Layout, out: Path) -> int:
    """Copy the stopped pipeline's state to the folder ``out``, and keep it stopped meanwhile."""
    with _exclusive(layout):
        began = time.monotonic()
        manifest = backups.write(_parts(settings, layout), out)
        _say(
            f"backed up {manifest.unpacked_mb:.0f} MB to {out}, {manifest.archive_mb:.0f} MB"
            f" packed, in {time.monotonic() - began:.0f} s"
        )
    return 0


def restore(settings: Settings, layout: Layout, source: Path) -> int:
    """Bring a pipeline without data to the state of a backup; ``make run`` then goes on there."""
    with _exclusive(layout):
        manifest = backups.restore(source, _parts(settings, layout))
        _say(
            f"restored {manifest.unpacked_mb:.0f} MB of {manifest.created_at}, made with version"
            f" {manifest.version}; this is {backups.version()}"
        )
    return 0


def _parts(settings: Settings, layout: Layout) -> backups.Parts:
    return backups.Parts(
        data=layout.data,
        checkpoint=services.checkpoint_dir(settings, layout),
        models=PROJECT_ROOT / settings.scoring.model_dir,
    )


@contextmanager
def _exclusive(layout: Layout) -> Iterator[None]:
    """Keep every other command that needs the pipeline's folder out, with nothing running in it.

    Raises ``PipelineError`` when the pipeline runs.
    """
    layout.root.mkdir(parents=True, exist_ok=True)
    with layout.lock.open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise PipelineError(f"already running, pid {_owner(lock)}: make stop") from error
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        _end_leftovers(layout)
        yield


def _running_launcher(layout: Layout) -> int | None:
    """Return the pid of the launcher that holds the lock, None when there is none."""
    try:
        with layout.lock.open(encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return _owner(lock)
    except FileNotFoundError:
        pass
    return None


def _owner(lock: TextIO) -> int:
    lock.seek(0)
    return int(lock.read())


def _read_state(layout: Layout) -> list[dict[str, Any]]:
    try:
        entries: list[dict[str, Any]] = json.loads(layout.state.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    return entries


def _end_leftovers(layout: Layout) -> bool:
    """End what a killed launcher left behind; true when there was something."""
    identities = [
        Identity(entry["pid"], entry["start_ticks"])
        for entry in _read_state(layout)
        if entry["pid"] is not None
    ]
    left = [identity for identity in identities if identity.members()]
    if left:
        _say(f"ending {len(left)} services that an earlier run left behind")
        processes.end(left, grace_s=30.0)
    layout.state.unlink(missing_ok=True)
    return bool(left)


def _say(line: str) -> None:
    try:
        print(line, flush=True)
    except BrokenPipeError:  # our reader has gone (`make run | head`); the pipeline stays
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m launcher", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run_parser = commands.add_parser("run", help="start the pipeline; Ctrl-C ends it")
    run_parser.add_argument(
        "--without",
        default="",
        metavar="SERVICES",
        help="services to leave out, comma separated",
    )
    commands.add_parser("stop", help="end it")
    commands.add_parser("clean", help="end it and remove its data and logs")
    commands.add_parser("status", help="a line per service")
    backup_parser = commands.add_parser("backup", help="copy the state of the stopped pipeline")
    backup_parser.add_argument("out", type=Path, help="folder to make")
    restore_parser = commands.add_parser("restore", help="go back to a backup")
    restore_parser.add_argument("source", type=Path, help="folder that backup made")
    commands.add_parser("doctor", help="check this machine, with the fix for what is wrong")
    arguments = parser.parse_args()
    try:
        if arguments.command == "doctor":
            return doctor.doctor()
        settings = load_settings()
        layout = Layout((PROJECT_ROOT / settings.local.dir).resolve())
        if arguments.command == "run":
            return run(settings, layout, [name for name in arguments.without.split(",") if name])
        if arguments.command == "backup":
            return backup(settings, layout, arguments.out)
        if arguments.command == "restore":
            return restore(settings, layout, arguments.source)
        actions = {"stop": stop, "status": status, "clean": clean}
        return actions[arguments.command](layout)
    except ConfigError as error:
        print(f"config: {error}", file=sys.stderr)
        return 2
    except PipelineError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
