"""The simulated worlds that the report is made on, exported by the simulator."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pipeline.errors import PipelineError
from pipeline.settings import PROJECT_ROOT


@dataclass(frozen=True)
class World:
    """A labelled stream: ``rate_per_s`` transactions a second over ``accounts`` accounts."""

    seed: int
    accounts: int
    rate_per_s: float
    minutes: float
    fraud_rate: float = 0.0065
    """Share of transactions in incidents: about as many of the sender-minutes are fraudulent."""

    @property
    def name(self) -> str:
        """Return the name of the world's file and of its row in the report."""
        return f"world-{self.seed}-{self.rate_per_s:g}"


WORLDS: Final = {
    "all": (
        World(101, 100_000, 60, 75),
        World(102, 100_000, 150, 60),
        World(103, 100_000, 300, 45),
        World(104, 100_000, 600, 35),
    ),
    "small": (World(105, 20_000, 60, 40),),
    "day": (World(106, 2_000, 20, 24 * 60),),
    "fast": (World(107, 100, 50, 24 * 60, fraud_rate=0.001),),
}
"""``all``: from a payment for each account every 28 minutes to one every 167 seconds, the hard end.
``day``: the default pace of the simulator, ``fast``: 50 times that for each account, where a minute
holds thirty payments and a smaller share of fraud touches as many minutes."""


def export(world: World, folder: Path) -> Path:
    """Write the world's labelled file into ``folder`` and return its path."""
    path = folder / f"{world.name}.parquet"
    options = {
        "--out": path,
        "--minutes": world.minutes,
        "--seed": world.seed,
        "--accounts": world.accounts,
        "--rate": world.rate_per_s,
    }
    arguments = [str(part) for option in options.items() for part in option]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(str(PROJECT_ROOT / name) for name in ("common", "producer")),
        "FRAUD__SIMULATOR__FRAUD_RATE": str(world.fraud_rate),
    }
    command = [sys.executable, "-m", "simulator", "export", *arguments]
    if subprocess.run(command, env=environment, check=False).returncode != 0:
        raise PipelineError(f"{world.name}: the simulator could not export it")
    return path
