"""Where things lie: the checkout with its downloads, and the folder of one pipeline."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.settings import PROJECT_ROOT

LIB = PROJECT_ROOT / ".local" / "lib"
"""Jars by server, put there by local/setup.sh. Shared by all pipelines of this checkout."""

TEMPLATES = PROJECT_ROOT / "local" / "templates"


@dataclass(frozen=True)
class Layout:
    """The folders of one pipeline, below ``local.dir``."""

    root: Path

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def conf(self) -> Path:
        return self.root / "conf"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def temporary(self) -> Path:
        return self.root / "tmp"

    @property
    def lock(self) -> Path:
        return self.root / "launcher.pid"

    @property
    def state(self) -> Path:
        return self.root / "state.json"

    def create(self) -> None:
        """Make the folders; does nothing where they exist."""
        for folder in (self.data, self.conf, self.logs, self.temporary):
            folder.mkdir(parents=True, exist_ok=True)

    def log(self, service: str) -> Path:
        return self.logs / f"{service}.log"
