"""The proof itself: snapshot, recount, comparison.

The order of reading makes it right beside a running pipeline: first what is finished (stored
offsets, last finished batch), then the tables, last the topic. So every row that a table holds
has its record in what is read of the topic, and what the pipeline had not finished at the
beginning is pending, never missing.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from pyspark.sql import SparkSession

from pipeline.settings import Settings
from verification.findings import Proof
from verification.scoring import check_scoring
from verification.snapshot import take_snapshot
from verification.storage import check_dead_letters, check_raw, check_topic
from verification.tables import Tables
from verification.topics import Offsets, read_records


def prove(spark: SparkSession, settings: Settings, folder: Path) -> Proof:
    """Account for every record and recompute every result; ``folder`` takes copies meanwhile."""
    offsets = Offsets(settings.kafka.bootstrap_servers)
    with contextlib.closing(Tables(settings.cassandra)) as tables:
        snapshot = take_snapshot(spark, settings, tables, offsets, folder)
    extent = offsets.of(settings.source.topic)
    read_records(spark, settings, extent, snapshot.timelines).write.parquet(f"{folder}/records")
    records = spark.read.parquet(f"{folder}/records")
    proof = Proof()
    check_topic(proof, records, extent)
    check_raw(proof, settings, snapshot, records, extent)
    check_dead_letters(proof, spark, settings, snapshot, records, offsets, extent)
    if snapshot.timelines:
        check_scoring(proof, settings, snapshot, records, extent, folder)
    else:
        proof.notes.append("no batch is recorded: nothing is scored yet")
    return proof
