"""No label reaches a score: the job neither reads any nor has a column that could hold one."""

from __future__ import annotations

import json
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from detection.decode import decode
from detection.validate import validate
from detection.views import AGGREGATES, explode_views
from pipeline.records import FIELDS, MAGIC_BYTE, SCHEMA_JSON
from pipeline.settings import PROJECT_ROOT
from tests.support.kafka import OWN

LABELS = re.compile(r"ground_truth|is_fraud|incident_id|fraud_labels|detection_quality", re.I)


@pytest.fixture(scope="module")
def scoring_modules() -> list[Path]:
    """The files of ours that running the job loads; tables and topics have names in one of them."""
    code = "import detection.job, json, sys; print(json.dumps([*map(str, ("
    code += "module.__file__ for module in sys.modules.values() if getattr(module, '__file__', 0)"
    code += "))]))"
    command = [sys.executable, "-c", code]
    paths = ":".join(str(PROJECT_ROOT / folder) for folder in ("common", "spark"))
    environment = {"PYTHONPATH": paths}
    loaded = subprocess.run(command, env=environment, capture_output=True, check=True)
    files = [Path(name) for name in json.loads(loaded.stdout)]
    return [file for file in files if PROJECT_ROOT / "spark" in file.parents]


def test_no_module_of_the_job_names_a_label(scoring_modules: list[Path]) -> None:
    names = {file.name for file in scoring_modules}
    assert {"job.py", "decode.py", "views.py", "score.py", "sinks.py"} <= names
    found = {file.name: LABELS.findall(file.read_text()) for file in scoring_modules}
    assert {name: words for name, words in found.items() if words} == {}


def test_a_label_inside_the_transactions_is_dropped_when_they_are_decoded(
    spark: SparkSession,
) -> None:
    labelled = json.loads(SCHEMA_JSON)
    labelled["fields"].append({"name": "is_fraud", "type": "boolean", "default": False})
    records = spark.createDataFrame(
        [(bytearray(struct.pack(">bI", MAGIC_BYTE, 1)), 0, 0, None)],
        "value binary, partition int, offset long, timestamp timestamp",
    )
    decoded = decode(records, {1: json.dumps(labelled)}, OWN)
    assert decoded.columns == ["position", "kafka_timestamp", *FIELDS]
    validated = validate(decoded, allowed_lateness_s=60)
    assert set(validated.columns) - set(decoded.columns) == {"arrival_ms", "verdict"}
    exploded = explode_views(validated)
    entities = {"view", "entity", "counterparty", "window_end"}
    assert set(exploded.columns) == entities | set(AGGREGATES)
