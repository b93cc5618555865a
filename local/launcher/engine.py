"""The container engine, for those who start the pipeline with docker-compose."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass

# An engine that answers does so at once; a client may wait for ever for one that hangs.
ANSWER_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class Engine:
    """An engine that answers; ``compose`` is the version of what `make up` calls, if any."""

    version: str
    memory_gib: float
    compose: str | None


def has_client() -> bool:
    """Say whether there is a ``docker`` command, with or without an engine behind it."""
    return shutil.which("docker") is not None


def find_engine() -> Engine | None:
    """Return the engine that answers the ``docker`` command, None when none does."""
    # Without an engine old clients succeed and leave the version empty.
    answer = _output("docker", "info", "--format", "{{.MemTotal}} {{.ServerVersion}}").split()
    if len(answer) < 2:
        return None
    command = ("docker-compose",) if shutil.which("docker-compose") else ("docker", "compose")
    return Engine(
        version=answer[1],
        memory_gib=int(answer[0]) / 2**30,
        compose=_output(*command, "version", "--short").strip() or None,
    )


def _output(*command: str) -> str:
    """Return what a command prints, "" when it fails."""
    try:
        return subprocess.run(
            command, capture_output=True, text=True, timeout=ANSWER_TIMEOUT_S, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
