"""Runs and their checkpoints: what a restart continues, and what it must begin anew.

``<checkpoint_dir>/<run_id>/spark`` is Spark's own checkpoint; ``run.json`` beside it says which
specification of the views its state was built with and from which offsets on the run writes.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pipeline.errors import PipelineError

Offsets = dict[int, int]
"""Kafka offsets by partition."""

RUN_FILE = "run.json"
RUNS = f"*Z/{RUN_FILE}"
"""Names of runs end with Z; what a person has renamed is none any more."""

DATA_LOSS = "failOnDataLoss"
"""Spark names this option in each failure about records that Kafka does not hold any more."""
CAUSE = "Caused by: "


def read_until(last_offsets: Offsets) -> int:
    """Return the sum of the offsets that follow ``last_offsets``."""
    return sum(last + 1 for last in last_offsets.values())


def way_back(run_folder: Path) -> str:
    """Return what a person does about a checkpoint that cannot be continued."""
    return (
        f"mv {run_folder} {run_folder}.damaged; the next start rebuilds the state from the topic"
        " and leaves older alerts as they are (docs/operations.md)"
    )


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
        return bool(self.rebuild_until) and self._rebuilt_part(extent) == extent.last_offsets

    def crosses_end_of_rebuild(self, extent: Extent) -> bool:
        """Tell whether a batch holds records that earlier runs recorded, and others too."""
        return not self.is_rebuild(extent) and any(
            last >= extent.first_offsets[partition]
            for partition, last in self._rebuilt_part(extent).items()
        )

    def shorten_to_rebuild(self, batch_id: int, extent: Extent) -> None:
        """Let a batch end where the records end that earlier runs recorded.

        Spark has no such limit, but repeats a batch that failed with the offsets in its log: the
        caller lets the batch fail, and the query start again.
        """
        path = self.spark_folder / "offsets" / str(batch_id)
        *head, following = _read_lines(path)
        (topic,) = _parse_topics(following)
        ends = {str(key): last + 1 for key, last in self._rebuilt_part(extent).items()}
        # Its checksum would not fit any more; without one the file is taken as it is.
        path.with_name(f".{path.name}.crc").unlink(missing_ok=True)
        _write_durably(path, "\n".join([*head, json.dumps({topic: ends})]))

    def _rebuilt_part(self, extent: Extent) -> Offsets:
        """Return the last offsets of a batch without what no earlier run recorded."""
        return {
            partition: min(
                last,
                max(self.rebuild_until.get(partition, -1), extent.first_offsets[partition] - 1),
            )
            for partition, last in extent.last_offsets.items()
        }

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
    ``CheckpointError`` when it is damaged, or read another topic: offsets of that one would hide
    the new one's transactions, and the tables would mix both.
    """
    runs = sorted(path.parent for path in checkpoint_dir.glob(RUNS))
    if runs:
        newest = runs[-1]
        _require_topic(newest, topic)
        try:
            content = json.loads((newest / RUN_FILE).read_text(encoding="utf-8"))
            rebuild_until = {int(key): value for key, value in content["rebuild_until"].items()}
            is_same = content["specification"] == specification
        except (OSError, ValueError, KeyError) as error:
            raise _damaged(newest / RUN_FILE, newest, error) from error
        if is_same and has_recorded(newest.name):
            _require_readable(newest)
            return Run(newest.name, newest, rebuild_until)
    return _begin_run(checkpoint_dir, specification, recorded_offsets())


def explain(failure: object, run: Run) -> str:
    """Return why a query failed in one line, with the way back if its checkpoint is at fault.

    Of all that Spark says the innermost cause tells most. Only of lost records it advises to skip
    them in silence.
    """
    text = str(failure).partition("=== Streaming Query ===")[0]  # what follows is its plan
    if DATA_LOSS in text:
        return f"Kafka no longer holds what follows the checkpoint: {way_back(run.folder)}"
    # Frames of stack traces are indented.
    lines = [line for line in text.splitlines() if line.strip() and not line[0].isspace()]
    causes = [line for line in lines if line.startswith(CAUSE)] or lines or ["the query ended"]
    cause = causes[-1].removeprefix(CAUSE)
    if f"{run.spark_folder}/" in text:
        return (
            f"{cause}; if the disk is neither full nor read-only, the state is damaged:"
            f" {way_back(run.folder)}"
        )
    return cause


def _require_topic(run_folder: Path, topic: str) -> None:
    first_offsets = run_folder / "spark" / "sources" / "0" / "0"
    if not first_offsets.exists():
        return
    with _named_if_damaged(first_offsets, run_folder):
        (read_topic,) = _parse_topics(_read_lines(first_offsets)[-1])
    if read_topic != topic:
        raise CheckpointError(
            f"{run_folder}: holds the state of the topic {read_topic}, and source.topic is {topic};"
            " begin without data (make clean), or set source.topic back"
        )


def _require_readable(run_folder: Path) -> None:
    """Read what Spark will read to continue.

    A power cut can leave these files empty, as Spark does not sync them; it would fail on them
    without a way back, again at every restart. Without any it would begin anew, under this run.
    """
    spark_folder = run_folder / "spark"
    with _named_if_damaged(spark_folder / "metadata", run_folder) as path:
        json.loads(path.read_text(encoding="utf-8"))["id"]
    offsets = _newest_entries(spark_folder / "offsets", 2)
    for path in offsets or [spark_folder / "offsets" / "0"]:
        with _named_if_damaged(path, run_folder):
            _, metadata, following = _read_lines(path)
            json.loads(metadata)["batchTimestampMs"]
            _parse_offsets(following)
    for path in _newest_entries(spark_folder / "commits", 1):
        with _named_if_damaged(path, run_folder):
            json.loads(_read_lines(path)[1])


def _newest_entries(log: Path, count: int) -> list[Path]:
    """Return the last entries of one of Spark's logs, without its checksums and partial files."""
    entries = (path for path in log.glob("*") if path.name.isdecimal())
    return sorted(entries, key=lambda path: int(path.name))[-count:]


@contextmanager
def _named_if_damaged(path: Path, run_folder: Path) -> Iterator[Path]:
    """Turn whatever reading ``path`` fails with into a line that names it and the way back."""
    try:
        yield path
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise _damaged(path, run_folder, error) from error


def _damaged(path: Path, run_folder: Path, error: Exception) -> CheckpointError:
    return CheckpointError(f"{path}: damaged ({error}); {way_back(run_folder)}")


def _begin_run(checkpoint_dir: Path, specification: str, recorded: Offsets) -> Run:
    run_id = dt.datetime.now(dt.UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    folder = checkpoint_dir / run_id
    folder.mkdir(parents=True)
    content = {"specification": specification, "rebuild_until": recorded}
    _write_durably(folder / RUN_FILE, json.dumps(content))
    return Run(run_id, folder, recorded)


def _write_durably(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)


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
