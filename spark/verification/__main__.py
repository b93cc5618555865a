"""``python -m verification``: proves what the pipeline wrote; exits 1 on any difference."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Final

from confluent_kafka import KafkaException

from detection.session import spark_session
from pipeline.database import OUTAGES
from pipeline.errors import PipelineError
from pipeline.logs import run_service
from pipeline.settings import load_settings
from verification.proof import prove
from verification.report import summary, write_result

NO_ANSWER: Final[tuple[type[Exception], ...]] = (*OUTAGES, KafkaException)
PARTITIONS = 8
"""Of Spark's shuffles: a part of some millions of rows fits the memory of one task."""


def main() -> int:
    settings = load_settings()
    parser = argparse.ArgumentParser(prog="python -m verification", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of verify.json")
    arguments = parser.parse_args()
    spark = spark_session("verification", settings.scoring.driver_memory, PARTITIONS)
    try:
        with tempfile.TemporaryDirectory(dir=arguments.out.parent) as folder:
            proof = prove(spark, settings, Path(folder))
    except NO_ANSWER as error:
        raise PipelineError(f"Kafka and Cassandra must answer: {error}") from error
    finally:
        spark.stop()
    path = write_result(proof, arguments.out)
    print(summary(proof))
    print(path)
    return 0 if proof.ok else 1


if __name__ == "__main__":
    sys.exit(run_service(main))
