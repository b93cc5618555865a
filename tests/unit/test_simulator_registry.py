"""Registering the schema: the id, a refusal made for people, and what is worth another try."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from pipeline.errors import PipelineError
from pipeline.records import SCHEMA_JSON
from simulator.registry import RegistryUnavailableError, register_schema
from simulator.startup import StoppedError, schema_id

Serve = Callable[[int, str], tuple[str, list[tuple[str, bytes]]]]


@contextmanager
def registry(status: int, answer: str) -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    requests: list[tuple[str, bytes]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            requests.append((self.path, body))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(answer.encode())

        def log_message(self, *arguments: object) -> None:
            """Keep the test's output clean."""

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/apis/ccompat/v7", requests
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def serve() -> Iterator[Serve]:
    with ExitStack() as stack:
        yield lambda status, answer: stack.enter_context(registry(status, answer))


def test_the_schema_is_registered_for_the_values_of_the_topic(serve: Serve) -> None:
    url, requests = serve(200, '{"id": 42}')
    assert register_schema(url) == 42
    ((path, body),) = requests
    assert path == "/apis/ccompat/v7/subjects/transactions-value/versions"
    assert json.loads(body) == {"schema": SCHEMA_JSON}


def test_an_incompatible_schema_is_refused_for_good(serve: Serve) -> None:
    url, _ = serve(409, '{"error_code": 409, "message": "incompatible"}')
    with pytest.raises(PipelineError, match=r"refuses schema\.avsc.*incompatible"):
        schema_id(url, threading.Event())


def test_an_unready_registry_is_worth_another_try(serve: Serve) -> None:
    url, _ = serve(503, "")
    with pytest.raises(RegistryUnavailableError, match="503"):
        register_schema(url)


def test_a_stop_ends_the_wait_for_the_registry() -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(StoppedError):
        schema_id("http://127.0.0.1:1", stop)
