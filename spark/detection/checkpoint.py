"""Runs and their checkpoints: what a restart continues, and what it must begin anew.

``<checkpoint_dir>/<run_id>/spark`` is Spark's own checkpoint; ``run.json`` beside it says which
specification of the views its state was built with and from which offsets on the run writes.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pipeline.errors import PipelineError

Offsets = dict[int, int]
"""Kafka offsets by partition."""

RUN_FILE = "run.json"


def read_until(last_offsets: Offsets) -> int:
    """Return the sum of the offsets that follow ``last_offsets``."""
    return sum(last + 1 for last in last_offsets.values())


class CheckpointError(PipelineError):
    """The checkpoint is in use by another job, or cannot be read."""


@dataclass(frozen=True)
class Extent:
    """What a micro-batch covers: offsets with both ends included, and when it began."""

    started_at: dt.datetime
    first_offsets: Offsets
    last_offsets: Offsets

    @property
    def record_count(self) -> int:
        """Number of Kafka records in the batch."""
        return sum(
            last - self.first_offsets[partition] + 1
            for partition, last in self.last_offsets.items()
        )

    @property
    def read_until(self) -> int:
        """Sum of the offsets that follow the batch: how far the topic is read."""
        return read_until(self.last_offsets)


@dataclass(frozen=True)
class Run:
    """The life of one checkpoint. ``rebuild_until``: last offsets that earlier runs recorded.

    A new run reads the topic from its beginning to rebuild the state, and writes nothing about
    records up to there: their alerts were raised with windows that retention may have cut since.
    """

    run_id: str
    folder: Path
    rebuild_until: Offsets

    @property
    def spark_folder(self) -> Path:
        """Return the location of Spark's checkpoint."""
        return self.folder / "spark"

    def is_rebuild(self, extent: Extent) -> bool:
        """Tell whether a batch lies wholly within what earlier runs recorded."""
        return bool(self.rebuild_until) and all(
            last <= self.rebuild_until.get(partition, -1) or last < extent.first_offsets[partition]
            for partition, last in extent.last_offsets.items()
        )

    def extent(self, batch_id: int) -> Extent:
        """Read what a batch covers from Spark's write-ahead log.

        Spark writes it before the batch runs, so a repeated batch has the same extent.
        """
        log = self.spark_folder / "offsets"
        _, metadata, following = _read_lines(log / str(batch_id))
        if batch_id == 0:
            first = _parse_offsets(_read_lines(self.spark_folder / "sources" / "0" / "0")[-1])
        else:
            first = _parse_offsets(_read_lines(log / str(batch_id - 1))[-1])
        started_ms = json.loads(metadata)["batchTimestampMs"]
        following_offsets = _parse_offsets(following)
        return Extent(
            started_at=dt.datetime.fromtimestamp(started_ms / 1000, dt.UTC),
            first_offsets={partition: first.get(partition, 0) for partition in following_offsets},
            last_offsets={partition: next_ - 1 for partition, next_ in following_offsets.items()},
        )


def lock(checkpoint_dir: Path) -> IO[str]:
    """Take the checkpoint for this process; keep the result open as long as it is used.

    Raises ``CheckpointError`` if another job holds it: two on one checkpoint would both write.
    """
    checkpoint_dir.mkdir(parents=True, exist_ok=True)
    handle = (checkpoint_dir / "lock").open("a+")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        handle.close()
        raise CheckpointError(
            f"{checkpoint_dir}: another detection job uses this checkpoint; stop it first"
        ) from error
    return handle


def open_run(
    checkpoint_dir: Path,
    topic: str,
    specification: str,
    has_recorded: Callable[[str], bool],
    recorded_offsets: Callable[[], Offsets],
) -> Run:
    """Continue the newest run, or begin a new one.

    A new one begins when there is none, when its state was built for another ``specification``,
    or when it ended before it recorded a batch (in the middle of a rebuild). Raises
    ``CheckpointError`` when it read another topic: offsets of that one would hide the new one's
    transactions, and the tables would mix both.
    """
    runs = sorted(path.parent for path in checkpoint_dir.glob(f"*/{RUN_FILE}"))
    if runs:
        newest = runs[-1]
        _require_topic(newest, topic)
        try:
            content = json.loads((newest / RUN_FILE).read_text(encoding="utf-8"))
            rebuild_until = {int(key): value for key, value in content["rebuild_until"].items()}
            is_same = content["specification"] == specification
        except (OSError, ValueError, KeyError) as error:
            raise CheckpointError(
                f"{newest / RUN_FILE}: damaged ({error}); move {newest} away, the state is then"
                " rebuilt from the topic"
            ) from error
        if is_same and has_recorded(newest.name):
            return Run(newest.name, newest, rebuild_until)
    return _begin_run(checkpoint_dir, specification, recorded_offsets())


def _require_topic(run_folder: Path, topic: str) -> None:
    first_offsets = run_folder / "spark" / "sources" / "0" / "0"
    if not first_offsets.exists():
        return
    (read_topic,) = _parse_topics(_read_lines(first_offsets)[-1])
    if read_topic != topic:
        raise CheckpointError(
            f"{run_folder}: holds the state of the topic {read_topic}, and source.topic is {topic};"
            " begin without data (make clean), or set source.topic back"
        )


def _begin_run(checkpoint_dir: Path, specification: str, recorded: Offsets) -> Run:
    run_id = dt.datetime.now(dt.UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    folder = checkpoint_dir / run_id
    folder.mkdir(parents=True)
    partial = folder / f"{RUN_FILE}.partial"
    with partial.open("w", encoding="utf-8") as file:
        json.dump({"specification": specification, "rebuild_until": recorded}, file)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(folder / RUN_FILE)
    return Run(run_id, folder, recorded)


def _read_lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def _parse_offsets(line: str) -> Offsets:
    """Return the offsets of the one topic in Spark's log."""
    (partitions,) = _parse_topics(line).values()
    return {int(partition): offset for partition, offset in partitions.items()}


def _parse_topics(line: str) -> dict[str, dict[str, int]]:
    """Parse Spark's {"<topic>": {"<partition>": offset}}."""
    topics: dict[str, dict[str, int]] = json.loads(line[line.index("{") :])
    return topics
