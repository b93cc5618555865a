"""Whether a drill lost or doubled anything: `make verify` on its pipeline, when all is drained."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from launcher.java import find_java
from launcher.own import Pipeline, failure
from launcher.services import spark_environment

RESULT: Final = "verify.json"
_TIME: Final = re.compile(r"(?:transaction_timestamp=(\d+)|window_start=([^ ]+))")


@dataclass(frozen=True)
class Difference:
    """What `make verify` names; ``kind``: ``missing``, ``extra`` or ``different``."""

    check: str
    kind: str
    key: str

    @property
    def at(self) -> float | None:
        """When that happened which the row is about, in seconds since the epoch; None: its key
        does not say."""
        found = _TIME.search(self.key)
        if found is None:
            return None
        milliseconds, moment = found.groups()
        return (
            int(milliseconds) / 1000
            if milliseconds
            else dt.datetime.fromisoformat(moment).timestamp()
        )


@dataclass(frozen=True)
class Accounting:
    """The result of `make verify`: its counts, and the first differences of each kind."""

    counts: Mapping[str, int]
    differences: tuple[Difference, ...]

    @classmethod
    def parse(cls, result: Mapping[str, Any]) -> Accounting:
        """Read the content of ``verify.json``."""
        return cls(
            counts={name: value for name, value in result.items() if type(value) is int},
            differences=tuple(
                Difference(found["check"], found["kind"], found["key"])
                for found in result["differences"]
            ),
        )


def account(pipeline: Pipeline, out: Path) -> Accounting:
    """Run `make verify`, which leaves ``verify.json`` in ``out``.

    Raises ``PipelineError`` when it does not come to a result.
    """
    path = out / RESULT
    path.unlink(missing_ok=True)
    arguments = ["verification", "--out", str(out.resolve())]
    pipeline.run("verification", arguments, "spark", spark_environment(find_java()))
    if not path.exists():
        raise failure("the accounting failed", pipeline.layout.log("verification"))
    return Accounting.parse(json.loads(path.read_text(encoding="utf-8")))
