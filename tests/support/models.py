"""A second version to promote and to shadow with, made without training."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from detection.model import CARD_FILE, current_version
from pipeline.settings import PROJECT_ROOT, load_settings

MODEL_DIR = PROJECT_ROOT / load_settings(environment={}).scoring.model_dir
DEFAULT = current_version(MODEL_DIR)


def copy_models(folder: Path) -> Path:
    """Copy the committed models to where a test may add to them and damage them."""
    return Path(shutil.copytree(MODEL_DIR, folder / "models"))


def add_version(model_dir: Path, version: str, factor: float, **constants: float) -> str:
    """Add a copy of the default version: other constants, and thresholds times ``factor``."""
    folder = model_dir / version
    shutil.copytree(model_dir / DEFAULT, folder)
    card: dict[str, Any] = json.loads((folder / CARD_FILE).read_text())
    thresholds = {level: factor * value for level, value in card["thresholds"].items()}
    changed = {"version": version, "thresholds": thresholds}
    (folder / CARD_FILE).write_text(
        json.dumps({**card, **changed, "constants": {**card["constants"], **constants}})
    )
    return version


def damage(model_dir: Path, version: str) -> None:
    """Change a byte of the version's centres."""
    data = next((model_dir / version / "pipeline").rglob("*.parquet"))
    data.write_bytes(data.read_bytes()[:-1] + b"x")
