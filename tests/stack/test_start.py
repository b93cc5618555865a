"""What `make run` and `make doctor` say before anything is started."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

from pipeline.settings import PROJECT_ROOT
from tests.support.pipeline import environment


def launcher(command: str, variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    python_path = os.pathsep.join(str(PROJECT_ROOT / path) for path in ("common", "local"))
    return subprocess.run(
        [sys.executable, "-m", "launcher", command],
        env={**os.environ, **variables, "PYTHONPATH": python_path},
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_wrong_key_stops_the_start_within_two_seconds_with_one_line(tmp_path: Path) -> None:
    began = time.monotonic()
    variables = {**environment(tmp_path), "FRAUD__SIMULATOR__RATE": "5"}
    ended = launcher("run", variables)
    assert time.monotonic() - began < 2.0
    assert ended.returncode == 2
    lines = (ended.stdout + ended.stderr).splitlines()
    assert lines == ["config: FRAUD__SIMULATOR__RATE: unknown key; did you mean rate_per_s?"]


def test_a_port_in_use_is_named_with_the_setting_that_moves_it(tmp_path: Path) -> None:
    no_engine = {"DOCKER_HOST": "unix:///dev/null"}  # or its port could be taken too
    variables = {**environment(tmp_path), **no_engine}
    port = int(variables["FRAUD__DASHBOARD__PORT"])
    with socket.create_server(("127.0.0.1", port)):
        for command in ("doctor", "run"):
            ended = launcher(command, variables)
            assert ended.returncode != 0
            failures = [
                line for line in (ended.stdout + ended.stderr).splitlines() if "FAIL" in line
            ]
            assert len(failures) == 1
            assert str(port) in failures[0]
            assert "dashboard.port" in failures[0]
