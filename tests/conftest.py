"""Fixtures of several folders: one Spark session for all tests that need one."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from pyspark.sql import SparkSession

from detection.session import spark_session


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    session = spark_session("tests", driver_memory="1g", shuffle_partitions=1)
    yield session
    session.stop()
    logging.getLogger("py4j").setLevel(logging.CRITICAL)
