"""Running ``make verify`` on a test's own pipeline."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from pipeline.settings import PROJECT_ROOT
from tests.support.pipeline import LocalPipeline

TIMEOUT_S = 600


def prove(pipeline: LocalPipeline, folder: Path) -> tuple[int, dict[str, Any]]:
    """Return the exit status and ``verify.json``, which is left in ``folder``."""
    jars = os.environ.get("SPARK_JARS_DIR", str(PROJECT_ROOT / ".local/lib/spark"))
    process = pipeline.python("-m", "verification", "--out", str(folder), SPARK_JARS_DIR=jars)
    status = process.wait(TIMEOUT_S)
    return status, json.loads((folder / "verify.json").read_text())
