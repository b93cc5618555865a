"""The versions of schema.avsc: those that were, and one that may come."""

from __future__ import annotations

import json
from typing import Any

from pipeline.settings import PROJECT_ROOT

_FOLDER = PROJECT_ROOT / "tests" / "contract" / "schemas"


def history() -> list[dict[str, Any]]:
    """Return every version that was ever registered, the oldest first."""
    files = sorted((_FOLDER / "history").glob("*.avsc"), key=lambda path: int(path.stem))
    return [json.loads(path.read_text("utf-8")) for path in files]


def later() -> dict[str, Any]:
    """Return a version that an update may bring: more fields, at the beginning and at the end."""
    found: dict[str, Any] = json.loads((_FOLDER / "later" / "channel.avsc").read_text("utf-8"))
    return found
