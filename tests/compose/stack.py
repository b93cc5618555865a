"""The stack of docker-compose.yml on an engine, as the tests see it."""

from __future__ import annotations

import json
import os
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from cassandra import ProtocolVersion
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
from cassandra.policies import RoundRobinPolicy

from pipeline.settings import PROJECT_ROOT
from tests.support.wait import wait_until

PROJECT = os.environ.get("COMPOSE_PROJECT_NAME", "fraud-detection-test")
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(
    (PROJECT_ROOT / "docker-compose.yml").read_text()
)["services"]
SERVERS = ("kafka", "schema-registry", "cassandra", "connect")
"""Other people's software; every other service is ours."""
OURS = tuple(name for name in SERVICES if name not in SERVERS)
ONE_SHOTS = tuple(name for name in OURS if SERVICES[name]["restart"] == "on-failure")
WORKERS = tuple(name for name in OURS if name not in ONE_SHOTS)
CONNECTORS_IMAGE = f"fraud-detection/connectors:{os.environ.get('TAG', 'latest')}"
LIVE_TIMEOUT_S = 360
"""Four minutes on two cores; more where others need them too."""
RECOUNT = Path(__file__).with_name("recount.py")


def run(*command: str, stdin: str | None = None, timeout_s: float = 900) -> str:
    """Run a command; an exit status other than 0 is a failure that shows what it said."""
    done = subprocess.run(
        command,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        cwd=PROJECT_ROOT,
    )
    assert done.returncode == 0, f"{command}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout


def docker(*arguments: str, stdin: str | None = None) -> str:
    """Run the client; returns what it prints."""
    return run("docker", *arguments, stdin=stdin).strip()


@dataclass
class Stack:
    """``compose``: the command, either of docker-compose 1.29 or of the v2 plugin."""

    compose: tuple[str, ...]
    port: int
    timings: dict[str, str] = field(default_factory=dict)

    def up(self, *arguments: str) -> None:
        """Start everything, or what the arguments say; returns when compose does."""
        run(*self.compose, "up", "-d", *arguments)

    def down(self, *arguments: str) -> None:
        """Remove the containers; the volumes stay unless ``-v`` is given."""
        run(*self.compose, "down", *arguments)

    def containers(self, service: str | None = None) -> list[str]:
        """Return the ids of all containers, or of those of one service."""
        filters = ["--filter", f"label=com.docker.compose.project={PROJECT}"]
        if service:
            filters += ["--filter", f"label=com.docker.compose.service={service}"]
        return docker("ps", "-aq", *filters).split()

    def inspect(self, service: str) -> dict[str, Any]:
        """Return what the engine says of a service's container."""
        (container,) = self.containers(service)
        found: list[dict[str, Any]] = json.loads(docker("inspect", container))
        return found[0]

    def is_healthy(self, service: str) -> bool:
        """Tell whether the container runs and its healthcheck passes."""
        state = self.inspect(service)["State"]
        return bool(state["Running"]) and state["Health"]["Status"] == "healthy"

    def address(self, service: str) -> str:
        """Return the address on the inner network, which only this machine reaches."""
        networks = self.inspect(service)["NetworkSettings"]["Networks"]
        return str(networks[f"{PROJECT}_back"]["IPAddress"])

    def api(self, path: str) -> dict[str, Any]:
        """Return the dashboard's answer; ``{}`` while there is none."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as got:
                answer: dict[str, Any] = json.load(got)
                return answer
        except (OSError, urllib.error.HTTPError):
            return {}

    def is_live(self) -> bool:
        """Tell whether the dashboard shows all components at work and transactions scored."""
        components = self.api("/api/system").get("components", [])
        return (
            self.api("/api/overview").get("state") == "live"
            and bool(components)
            and all(component["state"] == "running" for component in components)
        )

    def wait_live(self) -> None:
        """Wait until everything works; a failure tells what does not."""
        try:
            wait_until(self.is_live, LIVE_TIMEOUT_S, "the dashboard says live", every_s=1.0)
        except AssertionError as error:
            components = json.dumps(self.api("/api/system").get("components"), indent=1)
            said = (run(*self.compose, command) for command in ("ps", "logs"))
            raise AssertionError("\n".join([str(error), components, *said])) from None

    def alerts(self) -> list[dict[str, Any]]:
        """Return the newest alerts."""
        found: list[dict[str, Any]] = self.api("/api/alerts?limit=50").get("alerts", [])
        return found

    def has_true_alert(self) -> bool:
        """Tell whether one of the newest alerts accuses a transaction that is labelled as fraud."""
        accused = {alert["transaction_id"] for alert in self.alerts()}
        return bool(accused) and not accused.isdisjoint(self.recount()["frauds"])

    def wait_true_alert(self) -> None:
        """Wait for the first true alert: the simulator plants an incident when it goes live."""
        wait_until(self.has_true_alert, LIVE_TIMEOUT_S, "there is a true alert", every_s=1.0)

    def scored(self) -> int:
        """Return how many transactions were scored since the first start; 0 while unknown."""
        return int(self.api("/api/system").get("accounting", {}).get("scored") or 0)

    def password(self, role: str) -> str:
        """Return the password of a Cassandra role from its volume."""
        volume = f"{PROJECT}_password-{role}:/run/password:ro"
        return docker(
            "run", "--rm", "--network", "none", "--volume", volume,
            CONNECTORS_IMAGE, "cat", "/run/password/password",
        )  # fmt: skip

    @contextmanager
    def session(self, role: str, password: str | None = None) -> Iterator[Any]:
        """Log in to Cassandra as a role."""
        login = PlainTextAuthProvider(role, password or self.password(role))
        profile = ExecutionProfile(RoundRobinPolicy(), request_timeout=60)
        handle = Cluster(
            [self.address("cassandra")],
            auth_provider=login,
            execution_profiles={EXEC_PROFILE_DEFAULT: profile},
            protocol_version=ProtocolVersion.V5,
            connect_timeout=20,
        )
        try:
            yield handle.connect("fraud")
        finally:
            handle.shutdown()

    def kill_main_process(self, service: str) -> None:
        """SIGKILL by process id: after ``docker kill`` the engine would not start it again."""
        before = self.inspect(service)["State"]
        docker(
            "run", "--rm", "--pid", "host", "--user", "0", "--network", "none", CONNECTORS_IMAGE,
            "python", "-c", f"import os; os.kill({before['Pid']}, 9)",
        )  # fmt: skip
        wait_until(
            lambda: self.inspect(service)["State"]["StartedAt"] != before["StartedAt"],
            90,
            f"{service} is started again",
        )

    def verify(self) -> None:
        """Run the proof as the documents say; fails on any difference."""
        proof = ("python", "-m", "verification", "--out", "/var/lib/checkpoint/verify")
        run(*self.compose, "run", "--rm", "--no-deps", "-T", "spark", *proof)

    def recount(self) -> dict[str, Any]:
        """Count the topics with a program of its own inside the network (see recount.py)."""
        printed = docker(
            "run", "--rm", "--interactive", "--network", f"{PROJECT}_back",
            "--env", "FRAUD__KAFKA__BOOTSTRAP_SERVERS=kafka:9092",
            CONNECTORS_IMAGE, "python", "-", stdin=RECOUNT.read_text(),
        )  # fmt: skip
        counted: dict[str, Any] = json.loads(printed)
        return counted
