"""The drill's proxy between real sockets."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import pytest

from drill.network import run_proxies
from drill.proxy import Mode

DELAY_S = 0.3


class Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        while data := self.request.recv(65_536):
            self.request.sendall(data)


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A reset is what the tests are about."""


@dataclass(frozen=True)
class Road:
    """A proxy, and how to set it."""

    port: int
    process: subprocess.Popen[str]

    def set(self, mode: Mode) -> None:
        assert self.process.stdin
        self.process.stdin.write(f"0 {mode.value}\n")
        self.process.stdin.flush()


@contextmanager
def road_to(port: int) -> Iterator[Road]:
    with run_proxies([port], DELAY_S) as (process, ports):
        yield Road(ports[0], process)


@pytest.fixture
def echo() -> Iterator[Road]:
    """A proxy in front of a server that sends back what it gets."""
    with Server(("127.0.0.1", 0), Echo) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with road_to(server.server_address[1]) as road:
            yield road
        server.shutdown()


def connect(road: Road) -> socket.socket:
    return socket.create_connection(("127.0.0.1", road.port), timeout=5)


def refused() -> AbstractContextManager[object]:
    """A new connection is reset, whether before ``connect`` returns or after it."""
    return pytest.raises(ConnectionResetError)


def ask(connection: socket.socket, text: bytes) -> bytes:
    connection.sendall(text)
    answer = b""
    while len(answer) < len(text):
        answer += connection.recv(65_536)
    return answer


def test_what_is_sent_comes_back_whole(echo: Road) -> None:
    large = bytes(range(256)) * 4096
    with connect(echo) as connection:
        threading.Thread(target=connection.sendall, args=(large,), daemon=True).start()
        answer = b""
        while len(answer) < len(large):
            answer += connection.recv(65_536)
    assert answer == large


def test_the_end_of_one_direction_is_passed_on(echo: Road) -> None:
    with connect(echo) as connection:
        connection.sendall(b"last words")
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(100) == b"last words"
        assert connection.recv(100) == b""


def test_dropped_bytes_arrive_after_the_cut(echo: Road) -> None:
    with connect(echo) as connection:
        assert ask(connection, b"before") == b"before"
        echo.set(Mode.DROP)
        connection.sendall(b"during")
        connection.settimeout(DELAY_S)
        with pytest.raises(TimeoutError):
            connection.recv(100)
        connection.settimeout(5)
        echo.set(Mode.PASS)
        assert connection.recv(100) == b"during"


def test_a_connection_made_during_a_cut_is_held(echo: Road) -> None:
    echo.set(Mode.DROP)
    with connect(echo) as connection:
        connection.sendall(b"hello")
        connection.settimeout(DELAY_S)
        with pytest.raises(TimeoutError):
            connection.recv(100)
        connection.settimeout(5)
        echo.set(Mode.PASS)
        assert connection.recv(100) == b"hello"


def test_a_slow_peer_answers_late(echo: Road) -> None:
    with connect(echo) as connection:
        echo.set(Mode.DELAY)
        began = time.monotonic()
        assert ask(connection, b"slowly") == b"slowly"
        assert time.monotonic() - began >= 2 * DELAY_S  # there and back


def test_a_reset_ends_connections_and_refuses_new_ones(echo: Road) -> None:
    with connect(echo) as connection:
        assert ask(connection, b"before") == b"before"
        echo.set(Mode.RESET)
        with pytest.raises(ConnectionResetError):
            connection.recv(100)
    with refused(), connect(echo) as connection:
        connection.recv(100)
    echo.set(Mode.PASS)
    with connect(echo) as connection:
        assert ask(connection, b"after") == b"after"


def test_a_reset_reaches_a_connection_that_is_held(echo: Road) -> None:
    echo.set(Mode.DROP)
    with connect(echo) as connection:
        echo.set(Mode.RESET)
        with pytest.raises(ConnectionResetError):
            connection.recv(100)


def test_a_server_that_is_not_there_resets() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with road_to(port) as road, refused(), connect(road) as connection:
        connection.recv(100)


def test_the_proxies_end_with_their_input(echo: Road) -> None:
    with connect(echo) as connection:
        assert ask(connection, b"before") == b"before"
        assert echo.process.stdin
        echo.process.stdin.close()
        assert echo.process.wait(10) == 0
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(100) == b""
