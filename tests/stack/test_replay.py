"""`make replay` on the real servers: every row of a file with times long past is accounted for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.compute
import pyarrow.parquet
import pytest

from pipeline.settings import PROJECT_ROOT

ACCOUNTS, RATE, MINUTES = 300, 10, 30
TIMEOUT_S = 600


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    paths = ("common", "producer", "local")
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(str(PROJECT_ROOT / path) for path in paths),
        "FRAUD__LOCAL__DIR": str(tmp_path_factory.mktemp("local")),
        "FRAUD__LOCAL__FAST_START": "true",
        "FRAUD__SCORING__DRIVER_MEMORY": "1g",
    }


@pytest.fixture(scope="module")
def file(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("data") / "labelled.parquet"
    options = f"--accounts {ACCOUNTS} --rate {RATE} --minutes {MINUTES} --seed 11 --out {file}"
    command = [sys.executable, "-m", "simulator", "export", *options.split()]
    subprocess.run(command, env=environment, cwd=PROJECT_ROOT, check=True)
    return file


def test_a_replay_accounts_for_every_row_and_leaves_nothing_behind(
    environment: dict[str, str], file: Path, tmp_path: Path
) -> None:
    options = ["--data", str(file), "--speed", "max", "--out", str(tmp_path)]
    command = [sys.executable, "-m", "launcher.replay", *options]
    subprocess.run(command, env=environment, cwd=PROJECT_ROOT, check=True, timeout=TIMEOUT_S)

    is_history = pyarrow.parquet.read_table(file)["history"]
    history = pyarrow.compute.sum(is_history).as_py()
    result = json.loads((tmp_path / "replay.json").read_text())
    assert result["ok"]
    assert result["published"] == result["raw"] == len(is_history)
    assert (result["late"], result["scored"]) == (history, len(is_history) - history)
    assert (result["dead_letters"], result["duplicates"]) == (0, 0)

    alerts = pyarrow.parquet.read_table(tmp_path / "replay_alerts.parquet").to_pylist()
    assert len(alerts) == result["alerts"] > 0
    assert all(alert["kafka_timestamp"] == alert["event_time"] for alert in alerts)
    batches = pyarrow.parquet.read_table(tmp_path / "replay_batches.parquet").to_pylist()
    last = max(batches, key=lambda batch: batch["batch_id"])
    assert dict(last["last_offsets"]) == {0: len(is_history) - 1}
    assert list((Path(environment["FRAUD__LOCAL__DIR"]) / "replay").iterdir()) == []
