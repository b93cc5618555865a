"""``python -m watcher``: polls until SIGTERM or SIGINT."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Mapping

from pipeline import names
from pipeline.heartbeat import Heartbeat, Status
from pipeline.logs import run_service
from pipeline.settings import load_settings
from watcher.servers import Connect, Kafka, Registry

POLL_S = 2.0
"""As often as the heartbeat writes."""


def main() -> int:
    settings = load_settings()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    source = settings.source.topic
    kafka = Kafka(settings.kafka.bootstrap_servers, source)
    registry = Registry(settings.registry.url, names.value_subject(source))
    connect = Connect(settings.connect.url)
    statuses: dict[str, Status] = {}

    def snapshot() -> Mapping[str, Status]:
        own = Status("stopped" if stop.is_set() else "running")
        return {**statuses, names.WATCHER: own}

    heartbeat = Heartbeat(settings.cassandra, snapshot)
    heartbeat.start()
    while not stop.is_set():
        # One after the other on this thread, each bounded: the heartbeat only copies the results.
        now_s = time.monotonic()
        statuses[names.KAFKA] = kafka.poll(now_s)
        statuses[names.REGISTRY] = registry.poll()
        statuses[names.CONNECT] = connect.poll(now_s, kafka)
        stop.wait(POLL_S)
    heartbeat.stop()
    return 0


if __name__ == "__main__":
    sys.exit(run_service(main))
