"""Processes on Linux: start them in a session of their own, and end that session whole."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


@dataclass(frozen=True)
class Stat:
    """What we need of ``/proc/<pid>/stat``."""

    pid: int
    state: str
    session: int
    start_ticks: int


def parse_stat(text: str) -> Stat:
    """Parse a line of ``/proc/<pid>/stat``; the command in it may hold blanks and brackets."""
    head, _, tail = text.rpartition(")")
    fields = tail.split()
    return Stat(
        pid=int(head.partition("(")[0]),
        state=fields[0],
        session=int(fields[3]),
        start_ticks=int(fields[19]),
    )


def stat(pid: int) -> Stat | None:
    """Return what is known of a process, None when there is none or it has already ended."""
    try:
        found = parse_stat((PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace"))
    except (OSError, ValueError, IndexError):
        return None
    return None if found.state in "ZX" else found


def session_members(session: int) -> list[int]:
    """Return the living processes of a session: a service and all that it started."""
    stats = (stat(int(entry.name)) for entry in PROC.iterdir() if entry.name.isdecimal())
    return [found.pid for found in stats if found is not None and found.session == session]


@dataclass(frozen=True)
class Identity:
    """A process for certain: Linux uses a pid again, but not with the same start time."""

    pid: int
    start_ticks: int

    @classmethod
    def of(cls, pid: int) -> Identity:
        found = stat(pid)
        return cls(pid, found.start_ticks if found else 0)

    def members(self) -> list[int]:
        """Return what lives of the session that this process leads, also after its own end."""
        leader = stat(self.pid)
        if leader is not None and leader.start_ticks != self.start_ticks:
            return []
        return session_members(self.pid)


def _prepare_child(parent: int) -> None:
    """End with the launcher, even if it is killed: it could no longer stop us."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(1)


def start(
    command: Sequence[str], environment: Mapping[str, str], folder: Path, log: Path
) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own; its output is appended to ``log``."""
    parent = os.getpid()
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            env=dict(environment),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            # Safe: the launcher has one thread.
            preexec_fn=lambda: _prepare_child(parent),
        )


def _signal_all(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def end(processes: Sequence[Identity], grace_s: float) -> bool:
    """End the sessions of these processes: SIGTERM to each leader, SIGKILL to what is left.

    Returns when nothing of them lives: true when every leader ended by itself. Leaders that are
    children of ours are left for the caller to reap.
    """
    pause = threading.Event()
    for identity in processes:
        members = identity.members()
        leader = [identity.pid] if identity.pid in members else members
        _signal_all(leader, signal.SIGTERM)
    deadline = time.monotonic() + grace_s
    while is_alive := any(identity.pid in identity.members() for identity in processes):
        if time.monotonic() > deadline:
            break
        pause.wait(0.05)
    while left := [pid for identity in processes for pid in identity.members()]:
        _signal_all(left, signal.SIGKILL)
        pause.wait(0.02)
    return not is_alive
