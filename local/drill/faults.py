"""The faults of a drill, and how each is inflicted."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from drill.network import Network
from drill.proxy import Mode
from launcher.own import Pipeline
from launcher.processes import session_members
from pipeline.errors import PipelineError

FREEZE_S: Final = 30.0
NETWORK_S: Final = 20.0

KILL, KILL_CHILD, FREEZE = "kill", "kill-child", "freeze"
MODES: Final[Mapping[str, Mode]] = {"cut": Mode.DROP, "reset": Mode.RESET, "slow": Mode.DELAY}
"""Of the network, by the name of the fault."""

KINDS: Final[Mapping[str, Sequence[str]]] = {
    "simulator": (KILL, FREEZE),
    "kafka": (KILL, FREEZE, "cut", "reset", "slow"),
    "registry": (KILL, FREEZE),
    "connect": (KILL, FREEZE, "cut", "slow"),
    "cassandra": (KILL, FREEZE, "cut", "reset", "slow"),
    "detection": (KILL, KILL_CHILD, FREEZE, "cut", "slow"),
    "quality": (KILL,),
    "watcher": (KILL,),
    "dashboard": (KILL, KILL_CHILD, FREEZE, "cut", "slow"),
}
"""By component. A client's network is its road to Cassandra, a server's that to all its clients;
``kill-child``: Spark's JVM without the Python that drives it, gunicorn's worker without its master.
"""


@dataclass(frozen=True)
class Fault:
    """What is done to which service of the launcher."""

    component: str
    kind: str

    def __str__(self) -> str:
        return f"{self.component}:{self.kind}"


ALL: Final = tuple(Fault(component, kind) for component, kinds in KINDS.items() for kind in kinds)
SHORT: Final = (Fault("detection", KILL), Fault("kafka", FREEZE))
"""What the tests of the containers, which kill each, do not show: the time to the next alert, and
what a server does that neither answers nor ends."""


def parse(text: str) -> tuple[Fault, ...]:
    """Parse ``component`` (all its faults) and ``component:kind``, comma separated."""
    faults: tuple[Fault, ...] = ()
    for item in text.split(","):
        chosen = tuple(fault for fault in ALL if item in (fault.component, str(fault)))
        if not chosen:
            known = ", ".join(map(str, ALL))
            raise PipelineError(f"FAULTS={item}: no such fault; known are {known}")
        faults += chosen
    return faults


def inflict(fault: Fault, pipeline: Pipeline, network: Network) -> None:
    """Inflict a fault; returns when it is over, which is at once for a kill."""
    pid = pipeline.pid_of(fault.component)
    if fault.kind == KILL:
        os.kill(pid, signal.SIGKILL)
    elif fault.kind == KILL_CHILD:
        children = [member for member in session_members(pid) if member != pid]
        _signal(children or [pid], signal.SIGKILL)
    elif fault.kind == FREEZE:
        _freeze(pid)
    else:
        _disturb(fault, network)


def stop_for_good(pipeline: Pipeline, service: str) -> None:
    """Freeze a service until the pipeline is stopped: ended, it would be started again."""
    _signal(session_members(pipeline.pid_of(service)), signal.SIGSTOP)


def _freeze(pid: int) -> None:
    """Stop a service with all its processes for ``FREEZE_S``."""
    try:
        _signal(session_members(pid), signal.SIGSTOP)
        threading.Event().wait(FREEZE_S)
    finally:
        _signal(session_members(pid), signal.SIGCONT)


def _disturb(fault: Fault, network: Network) -> None:
    try:
        network.set(fault.component, MODES[fault.kind])
        threading.Event().wait(NETWORK_S)
    finally:
        network.set(fault.component, Mode.PASS)


def _signal(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
