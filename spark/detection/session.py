"""The Spark session of the job, of training and of the tests."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

from pyspark.sql import SparkSession

from pipeline.errors import PipelineError

MAX_AVRO_VALUE = 16 * 2**20
"""Most bytes of a text, and most items of an array, that Avro makes room for. Without it a record
of a few bytes that claims a length of a gibibyte takes the whole heap, and every restarted job
meets it again."""

JVM_END_TIMEOUT_S = 20.0

_AVRO_LIMITS = " ".join(
    f"-Dorg.apache.avro.limits.{kind}.maxLength={MAX_AVRO_VALUE}"
    for kind in ("string", "bytes", "collectionItems")
)

# Ten times Java's defaults. On two cores the optimising compiler otherwise competes with the first
# batches after a start: over 22 restarts the first new alert came after 12.1 s (median; 18.0 at
# most) with the defaults, after 11.1 s (12.7) with these, and batches at 700 transactions a second
# are not slower (1.07 s against 1.13). Without that compiler they are, by 14 %.
_LATER_OPTIMISATION = (
    "-XX:Tier4InvocationThreshold=50000 -XX:Tier4MinInvocationThreshold=6000 "
    "-XX:Tier4CompileThreshold=150000 -XX:Tier4BackEdgeThreshold=400000"
)


def spark_session(name: str, driver_memory: str, shuffle_partitions: int) -> SparkSession:
    """Start a local session with the jars of ``spark/pom.xml``.

    The folder with the jars is named by the environment variable SPARK_JARS_DIR. Raises
    ``PipelineError`` if it holds none.
    """
    jars_dir = os.environ.get("SPARK_JARS_DIR", "")
    jars = sorted(str(path) for path in Path(jars_dir).glob("*.jar")) if jars_dir else []
    if not jars:
        raise PipelineError(f"SPARK_JARS_DIR={jars_dir!r}: no jars there; run `make setup`")
    # Functions in Python run in this environment, not in whatever `python3` is.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = (
        SparkSession.builder.appName(name)
        .master("local[2]")
        .config("spark.driver.memory", driver_memory)
        .config("spark.driver.extraClassPath", ":".join(jars))
        .config("spark.driver.extraJavaOptions", f"{_AVRO_LIMITS} {_LATER_OPTIMISATION}")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.shuffle.partitions", str(shuffle_partitions))
        .config("spark.sql.execution.arrow.pyspark.enabled", "true")
        # Batches are small: planning them anew at run time costs more than it gains.
        .config("spark.sql.adaptive.enabled", "false")
        # The optimiser would spend 200 ms of each batch on inferring constraints from the rules
        # and views, and find nothing to prune.
        .config("spark.sql.constraintPropagation.enabled", "false")
        .config("spark.sql.streaming.numRecentProgressUpdates", "25")
        # Else an empty batch at full cost follows each advance of the watermark.
        .config("spark.sql.streaming.noDataMicroBatches.enabled", "false")
        # PySpark has no native Hadoop library: every rename in the checkpoint forks a chmod.
        # These two write it with plain Java instead: 80-100 ms less a batch.
        .config(
            "spark.sql.streaming.checkpointFileManagerClass",
            "org.apache.spark.sql.execution.streaming.FileSystemBasedCheckpointFileManager",
        )
        .config(
            "spark.hadoop.fs.file.impl",
            "com.globalmentor.apache.hadoop.fs.BareLocalFileSystem",
        )
    )
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    return session


def close_session(session: SparkSession) -> None:
    """Stop a session and wait for the end of its JVM, which may still write what it leaves."""
    jvm = session.sparkContext._gateway.proc  # type: ignore[union-attr] # while it lives
    session.stop()
    jvm.stdin.close()  # the gateway in it ends with this
    with contextlib.suppress(subprocess.TimeoutExpired):  # the supervisor kills what is left
        jvm.wait(JVM_END_TIMEOUT_S)
