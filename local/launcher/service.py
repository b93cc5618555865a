"""What the supervisor has to know of a service, and the order that follows from it."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol
from urllib.parse import urlsplit

from pipeline.errors import PipelineError

PROBE_TIMEOUT_S = 0.5
"""A probe runs in the supervisor's loop: a server that hangs must not hold up the others."""


class Probe(Protocol):
    """Says whether a service that runs is ready to be used; cheap, and never raises."""

    def is_ready(self) -> bool: ...


@dataclass(frozen=True)
class TcpProbe:
    """Ready when the port takes a connection."""

    host: str
    port: int

    def is_ready(self) -> bool:
        try:
            with socket.create_connection((self.host, self.port), timeout=PROBE_TIMEOUT_S):
                return True
        except OSError:
            return False


@dataclass(frozen=True)
class HttpProbe:
    """Ready when a GET answers with a status below 400."""

    url: str

    def is_ready(self) -> bool:
        parts = urlsplit(self.url)
        connection = http.client.HTTPConnection(parts.netloc, timeout=PROBE_TIMEOUT_S)
        try:
            connection.request("GET", parts.path or "/")
            return connection.getresponse().status < 400
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


@dataclass(frozen=True)
class Service:
    """One process of the pipeline.

    A long-running service is ready when its probe says so (without one: as soon as it runs) and
    is started again whenever it ends. A one-shot is ready once it has ended with status 0.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    depends_on: frozenset[str] = frozenset()
    probe: Probe | None = None
    is_one_shot: bool = False
    # The slowest needs 25 s on a busy machine; longer means that it hangs.
    ready_timeout_s: float = 180.0
    # A clean stop flushes logs and spares the recovery, and may leave a class archive: 2 to 8 s.
    stop_grace_s: float = 30.0


def select(services: Sequence[Service], without: Collection[str]) -> list[Service]:
    """Return the services but those of ``without``, which nobody then waits for."""
    names = {service.name for service in services}
    for name in without:
        if name not in names:
            raise PipelineError(f"--without: {name!r} is no service; known are {_listed(names)}")
    kept = names - set(without)
    return [
        replace(service, depends_on=service.depends_on & kept)
        for service in services
        if service.name in kept
    ]


def start_order(services: Sequence[Service]) -> list[list[Service]]:
    """Return the services in waves; each depends on earlier waves only.

    Raises ``PipelineError`` when a dependency is unknown or they form a circle.
    """
    names = {service.name for service in services}
    for service in services:
        if unknown := service.depends_on - names:
            raise PipelineError(f"{service.name} depends on unknown {_listed(unknown)}")
    waves: list[list[Service]] = []
    placed: set[str] = set()
    remaining = list(services)
    while remaining:
        wave = [service for service in remaining if service.depends_on <= placed]
        if not wave:
            circle = _listed(service.name for service in remaining)
            raise PipelineError(f"services depend on each other in a circle: {circle}")
        waves.append(wave)
        placed |= {service.name for service in wave}
        remaining = [service for service in remaining if service.name not in placed]
    return waves


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
