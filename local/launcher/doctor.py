"""Checks of this machine before the pipeline starts: what is wrong, and how to mend it."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from launcher.engine import find_engine, has_client
from launcher.java import find_java
from launcher.layout import LIB
from launcher.processes import PROC
from launcher.services import Endpoint, endpoints
from pipeline.errors import PipelineError
from pipeline.settings import PROJECT_ROOT, Settings, load_settings

MEMORY_GIB = 6.0
"""Resident under load: servers 2.7 GiB, Spark 2 GiB, the Python processes 0.5 GiB."""

DISK_GIB = 10.0
"""Downloads take 1.5 GiB; the rest is for data and logs."""

CONTAINERS_GIB = 7.5
"""All memory limits of docker-compose.yml: 8 GiB, of which a machine of 8 GiB shows a bit less."""

_LISTEN = "0A"


@dataclass(frozen=True)
class Check:
    """One line of the report."""

    name: str
    is_ok: bool
    text: str

    def __str__(self) -> str:
        return f"{'PASS' if self.is_ok else 'FAIL'}  {self.name:<10} {self.text}"


def doctor() -> int:
    """Print the report; 0 when everything passes, else 1."""
    checks = [_python(), _java(), _maven(), _memory(), _downloads()]
    try:
        settings = load_settings()
        found = endpoints(settings)
        checks.append(Check("config", True, "config.yml and FRAUD__ variables are valid"))
    except PipelineError as error:
        checks.append(Check("config", False, str(error)))
    else:
        checks.append(_disk((PROJECT_ROOT / settings.local.dir).resolve()))
        checks += [_port(endpoint) for endpoint in found]
    checks += containers()
    for check in checks:
        print(check)
    return 0 if all(check.is_ok for check in checks) else 1


def require_downloads() -> None:
    """Raise ``PipelineError`` when setup has not put the jars there."""
    if not (check := _downloads()).is_ok:
        raise PipelineError(str(check))


def require_free_ports(settings: Settings, without: Collection[str]) -> None:
    """Raise ``PipelineError`` with the doctor's lines when a port that we need is taken."""
    checks = [
        _port(endpoint)
        for endpoint in endpoints(settings, without)
        if endpoint.service not in without
    ]
    if failed := [str(check) for check in checks if not check.is_ok]:
        raise PipelineError("a port is taken\n" + "\n".join(failed))


def containers() -> list[Check]:
    """Check what `docker-compose up` needs, where there is a ``docker``; `make run` needs none."""
    if not has_client():
        return []
    engine = find_engine()
    if engine is None:
        text = "no engine answers (docker info says why); only docker-compose up needs one"
        return [Check("docker", True, text)]
    missing = "not found: install docker-compose or the compose plugin"
    gib = engine.memory_gib
    advice = "" if gib >= CONTAINERS_GIB else "; give the engine 8 GiB, or use make run"
    return [
        Check("docker", True, f"engine {engine.version} answers"),
        Check("compose", engine.compose is not None, engine.compose or missing),
        Check(
            "containers",
            gib >= CONTAINERS_GIB,
            f"{gib:.1f} GiB in the engine ({CONTAINERS_GIB:g} needed){advice}",
        ),
        _published_port(),
    ]


def _python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    return Check(
        "python", sys.version_info >= (3, 11), f"{version} at {sys.executable} (3.11 or newer)"
    )


def _java() -> Check:
    try:
        java = find_java()
    except PipelineError as error:
        return Check("java", False, str(error))
    if not (java.parent / "javac").exists():
        return Check("java", False, f"{java} has no javac: apt-get install openjdk-17-jdk-headless")
    return Check("java", True, str(java))


def _maven() -> Check:
    maven = shutil.which("mvn")
    return Check("maven", maven is not None, maven or "not found: apt-get install maven")


def _memory() -> Check:
    kib = {
        key: int(value.split()[0])
        for key, _, value in (
            line.partition(":") for line in (PROC / "meminfo").read_text().splitlines()
        )
    }
    available = kib["MemAvailable"] / 2**20
    advice = "" if available >= MEMORY_GIB else "; close other programs, or local.fast_start=true"
    return Check(
        "memory",
        available >= MEMORY_GIB,
        f"{available:.1f} GiB available ({MEMORY_GIB:g} needed){advice}",
    )


def _disk(folder: Path) -> Check:
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free / 2**30
    advice = "" if free >= DISK_GIB else "; make room, or move local.dir"
    return Check(
        "disk", free >= DISK_GIB, f"{free:.0f} GiB free at {existing} ({DISK_GIB:g} needed){advice}"
    )


def _downloads() -> Check:
    names = ("kafka", "registry", "cassandra", "spark", "plugins")
    missing = [name for name in names if not any((LIB / name).glob("**/*.jar"))]
    text = f"missing: {', '.join(missing)}; run make setup" if missing else str(LIB)
    return Check("downloads", not missing, text)


def _published_port() -> Check:
    lines = (PROJECT_ROOT / ".env").read_text(encoding="utf-8").splitlines()
    defaults = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    value = os.environ.get("DASHBOARD_PORT") or defaults["DASHBOARD_PORT"]
    if not value.isdecimal() or not 0 < int(value) < 2**16:
        return Check("port", False, f"DASHBOARD_PORT: {value!r} is not allowed; 1 to 65535 is")
    return _port(Endpoint("docker-compose", "DASHBOARD_PORT", "127.0.0.1", int(value)))


def _port(endpoint: Endpoint) -> Check:
    name = f"port {endpoint.port}"
    if is_free(endpoint.host, endpoint.port):
        return Check(name, True, f"free for {endpoint.service} ({endpoint.setting})")
    holder = port_holder(endpoint.port)
    by = f"held by {holder}" if holder else "taken"
    fix = f"end it, or change {endpoint.setting}"
    return Check(name, False, f"{by}; {endpoint.service} needs it: {fix}")


def is_free(host: str, port: int) -> bool:
    """Say whether a server could listen there now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: a port of connections that have just closed counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def port_holder(port: int) -> str | None:
    """Return "pid N (command)" of the process that listens on a port, None if we may not see it."""
    inodes = {
        inode
        for table in ("tcp", "tcp6")
        for inode in listening_inodes((PROC / "net" / table).read_text(), port)
    }
    sockets = {f"socket:[{inode}]" for inode in inodes}
    for process in PROC.iterdir():
        if process.name.isdecimal() and sockets & set(_open_files(process)):
            command = (process / "comm").read_text().strip()
            return f"pid {process.name} ({command})"
    return None


def listening_inodes(table: str, port: int) -> list[str]:
    """Return the socket inodes that listen on ``port``, of a /proc/net/tcp table."""
    rows = (line.split() for line in table.splitlines()[1:])
    return [
        row[9] for row in rows if row[3] == _LISTEN and int(row[1].rpartition(":")[2], 16) == port
    ]


def _open_files(process: Path) -> Iterator[str]:
    try:
        links = list((process / "fd").iterdir())
    except OSError:
        return
    for link in links:
        try:
            yield os.readlink(link)
        except OSError:
            continue
