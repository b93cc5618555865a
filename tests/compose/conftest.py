"""The stack is started once; the tests of test_compose.py go through its life in their order."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator

import pytest

from pipeline.settings import PROJECT_ROOT
from tests.compose.stack import Stack, run

RATE, ACCOUNTS = 50, 300
"""Some load while containers are killed, and a short history."""

TIMINGS: dict[str, str] = {}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what was measured."""
    for what, measured in TIMINGS.items():
        terminalreporter.write_line(f"compose: {what}: {measured}")


def free_port() -> int:
    """Return a port of this machine that nobody uses: 5000 may belong to ``make run``."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(*command: str) -> bool:
    """Tell whether a command is there and works."""
    return (
        shutil.which(command[0]) is not None
        and subprocess.run([*command, "version"], capture_output=True, check=False).returncode == 0
    )


@pytest.fixture(scope="session")
def composes() -> dict[str, tuple[str, ...]]:
    """Return {major version: command} of what is here; the v2 plugin may be our own."""
    client = PROJECT_ROOT / ".local" / "compose" / "client"
    if not answers("docker", "compose") and client.exists():
        os.environ["DOCKER_CONFIG"] = str(client)
    found = {"v1": ("docker-compose", "--no-ansi"), "v2": ("docker", "compose")}
    return {version: command for version, command in found.items() if answers(*command[:2])}


@pytest.fixture(scope="session")
def empty(composes: dict[str, tuple[str, ...]]) -> Iterator[Stack]:
    """Return the stack with its images built, and nothing of it running; nothing stays."""
    stack = Stack(next(iter(composes.values())), free_port(), TIMINGS)
    os.environ["DASHBOARD_PORT"] = str(stack.port)
    os.environ["FRAUD__SIMULATOR__RATE_PER_S"] = str(RATE)
    os.environ["FRAUD__SIMULATOR__ACCOUNTS"] = str(ACCOUNTS)
    began = time.monotonic()
    run(*stack.compose, "build")
    TIMINGS["images built"] = f"{time.monotonic() - began:.0f} s"
    stack.down("-v")
    try:
        yield stack
    finally:
        stack.down("-v")


@pytest.fixture(scope="session")
def stack(empty: Stack) -> Stack:
    """Return the stack, running and with a true alert."""
    began = time.monotonic()
    empty.up()
    empty.wait_live()
    TIMINGS["from nothing to live"] = f"{time.monotonic() - began:.0f} s"
    empty.wait_true_alert()
    TIMINGS["from nothing to the first true alert"] = f"{time.monotonic() - began:.0f} s"
    return empty
