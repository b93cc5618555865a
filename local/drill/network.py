"""The roads between the services of a drill's pipeline, and the proxies on them."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from drill import proxy
from drill.proxy import Mode
from pipeline.settings import Settings

SLOW_S: Final = 3.0
"""Each way, of a slow peer: above the 2 s that the dashboard waits for a read, below the time-outs
of those that write."""

KAFKA: Final = "kafka"
CASSANDRA_CLIENTS: Final[Mapping[str, str]] = {
    "connector": "connect",  # which hands Connect its settings
    "detection": "detection",
    "dashboard": "dashboard",
    "quality": "quality",
    "watcher": "watcher",
    "simulator": "simulator",
}
"""Services that are told where Cassandra is, and the component that then goes there."""


@dataclass(frozen=True)
class Network:
    """One proxy in front of Kafka, which all clients share as it is what Kafka advertises, and
    one in front of Cassandra for each of its clients.

    ``ports``: of the proxies, by ``KAFKA`` or the service of ``CASSANDRA_CLIENTS``.
    """

    ports: Mapping[str, int]
    _process: subprocess.Popen[str]

    def set(self, component: str, mode: Mode) -> None:
        """Set the roads to a server, or those of a client to Cassandra."""
        numbers = [number for number, road in enumerate(self.ports) if component in _ends(road)]
        assert self._process.stdin is not None  # noqa: S101 - for the type checker
        for number in numbers:
            self._process.stdin.write(f"{number} {mode.value}\n")
        self._process.stdin.flush()


@contextlib.contextmanager
def proxied(settings: Settings) -> Iterator[Network]:
    """Run the proxies in front of the servers of ``settings``, as a process of their own."""
    kafka_port = int(settings.kafka.bootstrap_servers.rpartition(":")[2])
    targets = {KAFKA: kafka_port} | dict.fromkeys(CASSANDRA_CLIENTS, settings.cassandra.port)
    with run_proxies(list(targets.values()), SLOW_S) as (process, ports):
        yield Network(dict(zip(targets, ports, strict=True)), process)


@contextlib.contextmanager
def run_proxies(
    target_ports: Sequence[int], delay_s: float
) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """Start the proxies; yield their process and ports. They end with us, whatever happens."""
    command = [sys.executable, proxy.__file__, "--delay-s", str(delay_s)]
    process = subprocess.Popen(
        [*command, *map(str, target_ports)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for us: the pipeline stops through its proxies
    )
    with process:  # closes its input, which ends it, and waits
        assert process.stdout is not None  # noqa: S101 - for the type checker
        yield process, [int(port) for port in process.stdout.readline().split()]


def _ends(road: str) -> Collection[str]:
    return (KAFKA,) if road == KAFKA else ("cassandra", CASSANDRA_CLIENTS[road])
