"""`make drill SHORT=1`: parts of a pipeline under load are killed or frozen, nothing is lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from drill.faults import SHORT
from pipeline.settings import PROJECT_ROOT

TIMEOUT_S = 600


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    paths = ("common", "local")
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(str(PROJECT_ROOT / path) for path in paths),
        "FRAUD__LOCAL__DIR": str(tmp_path_factory.mktemp("local")),
        "FRAUD__LOCAL__FAST_START": "true",
        "FRAUD__SCORING__DRIVER_MEMORY": "1g",
    }


def test_a_short_drill_loses_and_doubles_nothing(
    environment: dict[str, str], tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "drill", "--short", "--out", str(tmp_path)]
    subprocess.run(command, env=environment, cwd=PROJECT_ROOT, check=True, timeout=TIMEOUT_S)

    result = json.loads((tmp_path / "drill.json").read_text())
    assert result["problems"] == []
    assert (result["lost"], result["doubled"]) == (0, 0)
    assert json.loads((tmp_path / "verify.json").read_text())["ok"]
    assert result["counts"]["alerts"] > 0

    found = result["faults"]
    assert [f"{fault['component']}:{fault['fault']}" for fault in found] == list(map(str, SHORT))
    assert all(fault["first_alert_s"] < fault["recovered_s"] for fault in found)
    assert all(fault["said_live_while_dead"] == 0 for fault in found)
    by_component = {fault["component"]: fault for fault in found}
    assert by_component["detection"]["restarted_s"] > 0
    assert set(by_component["kafka"]["dashboard"]) & {"delayed", "stale"}
    table = (tmp_path / "drill.md").read_text()
    assert all(f"| {fault.component} | {fault.kind} | 0 | 0 |" in table for fault in SHORT)
    assert list((Path(environment["FRAUD__LOCAL__DIR"]) / "drill").iterdir()) == []
