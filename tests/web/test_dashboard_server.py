"""The real server: gunicorn on a free port, without a database."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dashboard.server import READ_TIMEOUT_S
from pipeline.settings import PROJECT_ROOT, load_settings
from tests.support.bad_requests import RAW

START_TIMEOUT_S = 20.0
THREADS = load_settings(environment={}).dashboard.threads


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(port: int, **overrides: str) -> dict[str, str]:
    folders = [str(PROJECT_ROOT / name) for name in ("flask", "common")]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(folders),
        "FRAUD__DASHBOARD__PORT": str(port),
        "FRAUD__CASSANDRA__PORT": str(free_port()),
        **overrides,
    }


def get(port: int, path: str, timeout: float = 5.0) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    connection.request("GET", path)
    response = connection.getresponse()
    response.body = response.read()  # type: ignore[attr-defined]
    connection.close()
    return response


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    port = free_port()
    log = (tmp_path_factory.mktemp("server") / "log").open("w")
    process = subprocess.Popen(
        [sys.executable, "-m", "dashboard"],
        cwd=PROJECT_ROOT,
        env=environment(port),
        stdout=log,
        stderr=log,
    )
    deadline = time.monotonic() + START_TIMEOUT_S
    pause = threading.Event()
    try:
        while True:
            assert process.poll() is None, Path(log.name).read_text()
            assert time.monotonic() < deadline, Path(log.name).read_text()
            try:
                if get(port, "/livez").status == 200:
                    break
            except OSError:
                pause.wait(0.05)
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        finally:
            process.kill()
            process.wait()
            log.close()


def test_the_server_answers_and_does_not_name_itself(served: int) -> None:
    response = get(served, "/livez")
    assert response.status == 200
    assert response.getheader("Server") is None
    assert response.getheader("Content-Security-Policy")


def test_an_outage_is_503_in_time_and_livez_stays_quick(served: int) -> None:
    started = time.monotonic()
    assert get(served, "/api/overview").status == 503
    assert time.monotonic() - started < 3
    threads = [threading.Thread(target=get, args=(served, "/api/overview")) for _ in range(40)]
    for thread in threads:
        thread.start()
    started = time.monotonic()
    assert get(served, "/livez").status == 200
    assert time.monotonic() - started < 1
    for thread in threads:
        thread.join()
    assert get(served, "/static/dashboard.css").status == 200


@pytest.mark.parametrize(("name", "request_bytes", "status"), RAW, ids=[name for name, *_ in RAW])
def test_a_request_that_is_not_proper_is_refused(
    served: int, name: str, request_bytes: bytes, status: int
) -> None:
    with socket.create_connection(("127.0.0.1", served), timeout=5) as connection:
        connection.sendall(request_bytes)
        response = http.client.HTTPResponse(connection)
        response.begin()
        assert response.status == status
    assert get(served, "/livez").status == 200


def test_clients_that_never_end_their_request_do_not_keep_others_out(served: int) -> None:
    with contextlib.ExitStack() as held:
        for _ in range(THREADS + 4):
            address = ("127.0.0.1", served)
            client = held.enter_context(socket.create_connection(address, timeout=5))
            client.sendall(b"GET /livez HTTP/1.1\r\nX: ")
        assert get(served, "/livez", timeout=2 * READ_TIMEOUT_S + 5).status == 200
        client.settimeout(2 * READ_TIMEOUT_S + 5)
        assert client.recv(1) == b""


def test_the_healthcheck_tells_alive_from_dead(served: int) -> None:
    check = [sys.executable, str(PROJECT_ROOT / "flask" / "healthcheck.py")]
    alive = subprocess.run(check, env=environment(served), capture_output=True, text=True)
    assert (alive.returncode, alive.stderr) == (0, "")
    dead = subprocess.run(check, env=environment(free_port()), capture_output=True, text=True)
    assert dead.returncode == 1
    assert len(dead.stderr.splitlines()) == 1


def test_a_wrong_setting_stops_the_start_with_one_line() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "dashboard"],
        cwd=PROJECT_ROOT,
        env=environment(free_port(), FRAUD__DASHBOARD__THREADS="many"),
        capture_output=True,
        text=True,
        timeout=10,
    )
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
    assert "dashboard.threads" in result.stderr
