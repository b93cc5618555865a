"""Alerts recomputed in one go from the topic and the recorded batches."""

from __future__ import annotations

from collections.abc import Mapping

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from detection.decode import decode
from detection.emulate import link_batches
from detection.model import current_version, load_model
from detection.validate import LATE, SCORED, VERDICTS, validate
from pipeline.settings import PROJECT_ROOT
from tests.support.pipeline import LocalPipeline


def recompute_alerts(
    spark: SparkSession, pipeline: LocalPipeline, schemas: Mapping[int, str]
) -> dict[tuple[str, int], tuple[float, int]]:
    """Return {(sender, window start in ms): (score, batch id)} of all that must be alerts.

    Numbers every transaction with the batch that was recorded for its offset, and scores each
    minute at the end of each batch that touched it; the last one above the threshold counts.
    """
    scoring = pipeline.settings.scoring
    records = (
        spark.read.format("kafka")
        .option("kafka.bootstrap.servers", pipeline.servers)
        .option("subscribe", pipeline.settings.source.topic)
        .load()
    )
    decoded = decode(records, schemas, pipeline.settings.source)
    validated = validate(decoded, scoring.allowed_lateness_s)
    valid = [VERDICTS.index(SCORED), VERDICTS.index(LATE)]
    first_of_id = (
        validated.where(F.col("verdict").isin(valid))
        .groupBy("transaction_id")
        .agg(F.min("position").alias("position"))
    )
    ranges = [
        (row.batch_id, partition, first, row.last_offsets[partition])
        for row in pipeline.rows("SELECT * FROM batches")
        for partition, first in row.first_offsets.items()
    ]
    batches = spark.createDataFrame(
        ranges, "batch long, kafka_partition int, first long, last long"
    )
    numbered = (
        validated.join(first_of_id, ["transaction_id", "position"], how="inner")
        .withColumn("kafka_partition", (F.col("position") % 1024).cast("int"))
        .withColumn("offset", F.floor(F.col("position") / 1024))
        .join(F.broadcast(batches), "kafka_partition")
        .where(F.col("offset").between(F.col("first"), F.col("last")))
    )
    links = link_batches(numbered.cache())
    model_dir = PROJECT_ROOT / scoring.model_dir
    model = load_model(model_dir, current_version(model_dir), scoring.large_amount)
    evaluations = model.scorer.score(links)
    flagged = evaluations[evaluations["score"] >= model.review_threshold].sort_values("batch")
    last = flagged.drop_duplicates(["sender", "window_start"], keep="last")
    accounts = {
        row.hash: row.sender_account
        for row in validated.select(F.xxhash64("sender_account").alias("hash"), "sender_account")
        .distinct()
        .collect()
    }
    return {
        (accounts[row.sender], row.window_start): (row.score, row.batch)
        for row in last.itertuples()
    }
