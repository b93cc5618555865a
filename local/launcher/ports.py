"""Ports for a pipeline beside others."""

from __future__ import annotations

import os
import socket
from typing import Final

FIRST_PORT: Final = 26_000
"""Below the range of outgoing connections, where a port that is free now is taken at any time."""


def free_ports(count: int) -> list[int]:
    """Return ports of 127.0.0.1 that nobody listens on now.

    Two processes that ask at the same time look in different places.
    """
    ports: list[int] = []
    candidate = FIRST_PORT + os.getpid() % 500 * 10
    while len(ports) < count:
        candidate += 1
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", candidate)) != 0:
                ports.append(candidate)
    return ports
