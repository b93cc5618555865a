"""What the doctor says of containers, with a ``docker`` that answers as we like."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from launcher import doctor
from launcher.ports import free_ports

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Return a function that puts a command on the otherwise empty PATH: a body for the shell."""
    monkeypatch.setenv("PATH", str(tmp_path))
    (port,) = free_ports(1)
    monkeypatch.setenv("DASHBOARD_PORT", str(port))

    def put(name: str, body: str) -> None:
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)

    return put


def engine(memory_bytes: int = 8 * 2**30) -> str:
    """Return the body of a client with the compose plugin, before an engine that answers."""
    return (
        f'case $1 in info) echo "{memory_bytes} 27.0.1" ;;'
        " compose) echo 2.32.4 ;; *) exit 1 ;; esac"
    )


def report() -> list[str]:
    return [str(check) for check in doctor.containers()]


def test_without_docker_nothing_is_said_of_it(install: Install) -> None:
    assert report() == []


@pytest.mark.parametrize("body", ["exit 1", "echo 0 "])
def test_an_absent_engine_is_named_and_no_failure(install: Install, body: str) -> None:
    install("docker", body)
    (line,) = report()
    assert line.startswith("PASS  docker     no engine answers")


def test_an_engine_is_named_with_its_compose_command(install: Install) -> None:
    install("docker", engine())
    docker, compose, containers, port = report()
    assert docker == "PASS  docker     engine 27.0.1 answers"
    assert compose == "PASS  compose    2.32.4"
    assert containers == "PASS  containers 8.0 GiB in the engine (7.5 needed)"
    assert port.startswith("PASS")
    install("docker-compose", "echo 1.29.2")
    assert "PASS  compose    1.29.2" in report()


def test_what_containers_lack_is_a_failure_with_its_fix(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("docker", engine(memory_bytes=4 * 2**30))
    install("docker-compose", "exit 1")
    (port,) = free_ports(1)
    monkeypatch.setenv("DASHBOARD_PORT", str(port))
    with socket.create_server(("127.0.0.1", port)):
        failures = [line for line in report() if line.startswith("FAIL")]
    assert [line.split()[1] for line in failures] == ["compose", "containers", "port"]
    assert "install docker-compose or the compose plugin" in failures[0]
    assert "4.0 GiB in the engine (7.5 needed); give the engine 8 GiB" in failures[1]
    assert "change DASHBOARD_PORT" in failures[2]


def test_a_wrong_port_is_named(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("docker", engine())
    monkeypatch.setenv("DASHBOARD_PORT", "http")
    assert report()[-1].endswith("DASHBOARD_PORT: 'http' is not allowed; 1 to 65535 is")
