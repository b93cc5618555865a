"""``python -m drill.supervise kafka=PORT SERVICE=PORT...``: `make run` with proxies on the roads.

Kafka advertises the port of its proxy, so that its clients come that way once they have asked it;
a service finds Cassandra at the port that is given for it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from drill.network import KAFKA
from launcher.__main__ import run
from launcher.layout import Layout
from launcher.service import Service
from pipeline.logs import run_service
from pipeline.settings import load_settings


def reroute(service: Service, ports: Mapping[str, int]) -> Service:
    """Return the service with the proxies' ports in place of the servers'."""
    kafka = f"127.0.0.1:{ports[KAFKA]}"
    if service.name == KAFKA:
        option = f"advertised.listeners=PLAINTEXT://{kafka}"
        return replace(service, command=[*service.command, "--override", option])
    if service.name not in ports:
        return service
    roads = {
        "FRAUD__KAFKA__BOOTSTRAP_SERVERS": kafka,
        "FRAUD__CASSANDRA__PORT": str(ports[service.name]),
    }
    return replace(service, environment={**service.environment, **roads})


def main(arguments: list[str]) -> int:
    pairs = (argument.split("=") for argument in arguments)
    ports = {name: int(port) for name, port in pairs}
    settings = load_settings()
    layout = Layout(Path(settings.local.dir))
    return run(settings, layout, [], lambda service: reroute(service, ports))


if __name__ == "__main__":
    sys.exit(run_service(lambda: main(sys.argv[1:])))
