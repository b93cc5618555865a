"""A full disk: the query ends and says so, its checkpoint stays whole, and it goes on later."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from pyspark.errors import StreamingQueryException
from pyspark.sql import DataFrame, SparkSession

from tests.support.stream import Stream, mixed_row

SIZE = "4m"
FULL_AT = 3
"""The batch in which the disk gets full, before its state is written."""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return the folder of a query whose checkpoint has a file system of its own."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    mount = ["/bin/mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(checkpoint)]
    subprocess.run(mount, check=True)
    yield tmp_path
    subprocess.run(["/bin/umount", "--lazy", str(checkpoint)], check=True)


class FullOnce(Stream):
    """A stream that fills its disk in one batch."""

    def __init__(self, spark: SparkSession, folder: Path) -> None:
        super().__init__(spark, folder)
        self.filler = folder / "checkpoint" / "filler"
        self.by_batch: dict[int, pd.DataFrame] = {}

    def collect(self, emitted: DataFrame, batch_id: int) -> None:
        rows = emitted.toPandas()
        if batch_id == FULL_AT and batch_id not in self.by_batch:
            with self.filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
                while True:  # until there is no space
                    file.write(bytes(4096))
        self.by_batch[batch_id] = rows


def test_a_full_disk_ends_the_query_and_harms_nothing(
    spark: SparkSession, small_disk: Path
) -> None:
    batches = [[mixed_row(batch, i) for i in range(10)] for batch in range(6)]
    stream = FullOnce(spark, small_disk)
    stream.feed(batches)
    with pytest.raises(StreamingQueryException, match="No space left on device"):
        stream.run()
    assert max(stream.by_batch) == FULL_AT

    stream.filler.unlink()
    stream.run()
    undisturbed = Stream(spark, small_disk / "undisturbed")
    undisturbed.play(batches)
    assert [len(rows) for _, rows in sorted(stream.by_batch.items())] == [
        len(rows) for rows in undisturbed.emitted
    ]
    for (_, rows), expected in zip(
        sorted(stream.by_batch.items()), undisturbed.emitted, strict=True
    ):
        order = list(rows.columns)
        pd.testing.assert_frame_equal(
            rows.sort_values(order, ignore_index=True),
            expected.sort_values(order, ignore_index=True),
        )
