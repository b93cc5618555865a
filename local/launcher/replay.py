"""``python -m launcher.replay``: a labelled file through a pipeline of its own; `make replay`.

The file is published with its own times as Kafka timestamps, so that nothing depends on the wall
clock. When the last record is scored and stored, everything is counted again, the alerts and the
recorded batches are written to files, and the pipeline is stopped and removed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from pathlib import Path
from typing import Final

from launcher import own, recount
from launcher.own import Pipeline, say
from pipeline.errors import PipelineError

RESULT: Final = "replay.json"


def replay(path: Path, speed: str, out: Path) -> int:
    """Play the file and leave ``replay.json``, ``replay_alerts.parquet`` and
    ``replay_batches.parquet`` in ``out``; 0 when every record is accounted for, else 1.
    """
    if not path.is_file():
        raise PipelineError(f"DATA={path}: no such file; `python -m simulator export` writes one")
    out.mkdir(parents=True, exist_ok=True)
    (out / RESULT).unlink(missing_ok=True)  # an old result must not pass for that of a failed run
    began_at = time.monotonic()
    root = own.folder_of("replay")
    with (
        own.running(root, variables(root)) as pipeline,
        contextlib.closing(recount.Reader(pipeline.settings)) as reader,
    ):
        # Else all that is published while Spark starts would be one late, large batch.
        pipeline.wait(reader.has_query, "the detection job has not begun")
        say("playing")
        _play(pipeline, path.resolve(), speed)
        pipeline.drain(reader)
        result = reader.recount()
        reader.dump("fraud_alerts", out / "replay_alerts.parquet")
        reader.dump("batches", out / "replay_batches.parquet")
    report = {
        "ok": not result.differences,
        "data": str(path),
        "speed": speed,
        "seconds": round(time.monotonic() - began_at, 1),
        **result.as_json(),
    }
    (out / RESULT).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    say(result.summary())
    say(f"results in {out}")
    return 1 if result.differences else 0


def variables(root: Path) -> dict[str, str]:
    """Return the variables of a replay's pipeline."""
    return {
        **own.variables(root),
        "FRAUD__SIMULATOR__ENABLED": "false",
        # The file's times may be years ago; nothing may expire while it is read.
        "FRAUD__KAFKA__TRANSACTIONS_RETENTION_DAYS": "36500",
        "FRAUD__KAFKA__TRANSACTIONS_RETENTION_GIB": "1000000",
        # Faster than real time, one of two partitions can come to lie minutes of event time
        # before the other, and the watermark would then close windows that are still to be read.
        "FRAUD__KAFKA__PARTITIONS": "1",
    }


def _play(pipeline: Pipeline, path: Path, speed: str) -> None:
    """Publish the file; raises ``PipelineError`` when a record was not acknowledged."""
    options = ["--kafka-time", "event", "--speed", speed]
    if pipeline.run("play", ["simulator", "play", str(path), *options], "producer") != 0:
        raise own.failure("the file is not published", pipeline.layout.log("play"))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m launcher.replay", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="labelled file")
    parser.add_argument("--speed", default="1", help="x the file's own pace; max: no waiting")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    arguments = parser.parse_args()
    return own.run_command(lambda: replay(arguments.data, arguments.speed, arguments.out))


if __name__ == "__main__":
    sys.exit(main())
