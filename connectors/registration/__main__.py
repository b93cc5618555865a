"""``python -m registration topics`` and ``python -m registration connector``."""

from __future__ import annotations

import argparse
import sys

from pipeline.logs import run_service
from pipeline.settings import load_settings
from pipeline.source import is_own
from registration.connector import register_connector
from registration.schema import register_schema, wait_for_source
from registration.topics import create_topics


def main() -> int:
    parser = argparse.ArgumentParser(prog="registration", description="Init steps; run any again.")
    parser.add_argument(
        "step",
        choices=["topics", "connector"],
        help="topics: Kafka topics and the Avro schema, a source's that is not ours is waited for;"
        " connector: the Cassandra sink",
    )
    step = parser.parse_args().step
    settings = load_settings()
    if step == "topics":
        create_topics(settings)
        if is_own(settings.source):
            register_schema(settings.registry.url)
        else:
            wait_for_source(settings.registry.url, settings.source)
    else:
        register_connector(settings)
    return 0


if __name__ == "__main__":
    sys.exit(run_service(main))
