"""``python -m registration topics`` and ``python -m registration connector``."""

from __future__ import annotations

import argparse
import sys

from pipeline.logs import run_service
from pipeline.settings import load_settings
from registration.connector import register_connector
from registration.schema import register_schema
from registration.topics import create_topics


def main() -> int:
    parser = argparse.ArgumentParser(prog="registration", description="Init steps; run any again.")
    parser.add_argument(
        "step",
        choices=["topics", "connector"],
        help="topics: Kafka topics and the Avro schema; connector: the Cassandra sink",
    )
    step = parser.parse_args().step
    settings = load_settings()
    if step == "topics":
        create_topics(settings.kafka)
        register_schema(settings.registry.url)
    else:
        register_connector(settings)
    return 0


if __name__ == "__main__":
    sys.exit(run_service(main))
