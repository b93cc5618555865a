"""A pipeline of a test's own: the real servers of ``make run`` on free ports."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from launcher.ports import free_ports
from pipeline.database import cluster
from pipeline.names import DETECTION, KEYSPACE
from pipeline.settings import PROJECT_ROOT, Settings, load_settings
from tests.support.wait import wait_until

START_TIMEOUT_S = 240
STOP_TIMEOUT_S = 90


def environment(folder: Path) -> dict[str, str]:
    """Return the settings of a pipeline in ``folder`` on free ports, as variables."""
    kafka, controller, registry, connect, cassandra, storage, dashboard = free_ports(7)
    return {
        "FRAUD__LOCAL__DIR": str(folder),
        "FRAUD__LOCAL__FAST_START": "true",
        "FRAUD__LOCAL__KAFKA_CONTROLLER_PORT": str(controller),
        "FRAUD__LOCAL__CASSANDRA_STORAGE_PORT": str(storage),
        "FRAUD__KAFKA__BOOTSTRAP_SERVERS": f"127.0.0.1:{kafka}",
        "FRAUD__REGISTRY__URL": f"http://127.0.0.1:{registry}/apis/ccompat/v7",
        "FRAUD__CONNECT__URL": f"http://127.0.0.1:{connect}",
        "FRAUD__CASSANDRA__PORT": str(cassandra),
        "FRAUD__DASHBOARD__PORT": str(dashboard),
        "FRAUD__SCORING__DRIVER_MEMORY": "1g",
    }


class LocalPipeline:
    """A running pipeline and the ways to look at it."""

    def __init__(self, folder: Path, variables: dict[str, str]) -> None:
        self.folder = folder
        self.variables = variables
        self.settings: Settings = load_settings(environment=variables)
        self._cluster = cluster(self.settings.cassandra, request_timeout_s=30)
        self._session: Any = None

    @property
    def servers(self) -> str:
        """Kafka's bootstrap servers."""
        return self.settings.kafka.bootstrap_servers

    def rows(self, query: str, *values: Any) -> list[Any]:
        """Return the rows of a query on Cassandra."""
        if self._session is None:
            self._session = self._cluster.connect(KEYSPACE)
        return list(self._session.execute(query, values or None))

    def api(self, path: str) -> Any:
        """Return the JSON of the dashboard's API."""
        url = f"http://127.0.0.1:{self.settings.dashboard.port}{path}"
        with urllib.request.urlopen(url, timeout=10) as response:
            return json.load(response)

    def details(self, component: str) -> dict[str, str]:
        """Return the details of a component's heartbeat."""
        rows = self.rows("SELECT details FROM pipeline_status WHERE component = %s", component)
        return dict(rows[0].details) if rows else {}

    def python(self, *arguments: str, **variables: str) -> subprocess.Popen[bytes]:
        """Start one of the services' commands with the settings of this pipeline."""
        environment = {**self._env(), **variables}
        return subprocess.Popen([sys.executable, *arguments], env=environment, cwd=PROJECT_ROOT)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one of the services' commands to its end, and return what it printed."""
        return subprocess.run(
            [sys.executable, *arguments],
            env=self._env(),
            cwd=PROJECT_ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def pid_of(self, service: str) -> int:
        """Return the process id of a service of the launcher."""
        for entry in self.states():
            if entry["name"] == service:
                return int(entry["pid"])
        raise AssertionError(f"{service} has no process: {self.states()}")

    def states(self) -> list[dict[str, Any]]:
        """Return what the launcher says of its services."""
        states: list[dict[str, Any]] = json.loads((self.folder / "state.json").read_text())
        return states

    def wait_drained(self, published: int, timeout_s: float) -> None:
        """Wait until the sink and the detection job have read ``published`` records."""
        wait_until(
            lambda: int(self.details(DETECTION).get("read_offsets", 0)) >= published,
            timeout_s,
            f"detection has read {published} records ({self.details(DETECTION)})",
        )
        wait_until(
            lambda: int(self.details("connect").get("stored_offsets", 0)) >= published,
            timeout_s,
            f"the sink has stored {published} records ({self.details('connect')})",
        )

    def close(self) -> None:
        """Close the connections."""
        self._cluster.shutdown()

    def _env(self) -> dict[str, str]:
        paths = ("common", "connectors", "flask", "producer", "spark", "local")
        python_path = os.pathsep.join(str(PROJECT_ROOT / path) for path in paths)
        return {**os.environ, **self.variables, "PYTHONPATH": python_path}


@contextmanager
def running_pipeline(
    folder: Path, variables: dict[str, str], without: Sequence[str] = ()
) -> Iterator[LocalPipeline]:
    """Start a pipeline, yield it when it is ready, stop it; nothing of it is left running."""
    pipeline = LocalPipeline(folder, variables)
    command = ("-m", "launcher", "run", "--without", ",".join(without))
    output = folder / "launcher.log"
    with output.open("w") as log:
        launcher = subprocess.Popen(
            [sys.executable, *command],
            env=pipeline._env(),
            cwd=PROJECT_ROOT,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_until(
            lambda: launcher.poll() is not None or "ready after" in output.read_text(),
            START_TIMEOUT_S,
            "the pipeline is ready",
        )
        assert launcher.poll() is None, output.read_text()
        yield pipeline
    finally:
        pipeline.close()
        launcher.send_signal(signal.SIGINT)
        try:
            launcher.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            subprocess.run(
                [sys.executable, "-m", "launcher", "stop"], env=pipeline._env(), check=True
            )
            raise
