"""docker-compose.yml, the Dockerfiles and the code agree; what needs no engine to be seen."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.settings import PROJECT_ROOT, load_settings

TEXT = (PROJECT_ROOT / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OFFICIAL = ("kafka", "schema-registry", "cassandra", "connect")
WITH_ALL_PASSWORDS = ("passwords", "migration")
DOCKERFILES = sorted(PROJECT_ROOT.glob("*/*Dockerfile"))
DEFAULTS = dict(
    line.split("=", 1)
    for line in (PROJECT_ROOT / ".env").read_text().splitlines()
    if line and not line.startswith("#")
)


def test_there_is_nothing_that_only_one_compose_takes() -> None:
    assert set(COMPOSE) == {"services", "networks", "volumes"} | {
        key for key in COMPOSE if key.startswith("x-")
    }


def test_every_variable_has_its_default_in_env() -> None:
    used = set(re.findall(r"\$\{(\w+)\}", TEXT))
    for path in DOCKERFILES:
        used |= set(re.findall(r"^ARG (\w+)$", path.read_text(), re.MULTILINE))
    assert used <= set(DEFAULTS)
    assert set(DEFAULTS) - used == {"COMPOSE_PROJECT_NAME"}


def test_images_have_exact_tags() -> None:
    for name in ("CASSANDRA_IMAGE", "PYTHON_IMAGE", "MAVEN_IMAGE"):
        assert re.search(r":\d+\.\d+", DEFAULTS[name])
    assert re.fullmatch(r"\d+\.\d+\.\d+", DEFAULTS["CP_VERSION"])


@pytest.mark.parametrize("service", set(SERVICES) - set(OFFICIAL) - set(WITH_ALL_PASSWORDS))
def test_a_service_of_ours_is_short(service: str) -> None:
    body = re.search(rf"^  {service}:\n((?:    .*\n)+)", TEXT, re.MULTILINE)
    assert body is not None
    assert len(body.group(1).splitlines()) < 15


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_limited_and_restarted(service: str) -> None:
    settings = SERVICES[service]
    assert {"mem_limit", "cpus", "pids_limit", "logging"} <= set(settings)
    assert settings["cap_drop"] == ["ALL"]
    assert settings["security_opt"] == ["no-new-privileges:true"]
    assert settings["restart"] in ("unless-stopped", "on-failure")
    assert ("healthcheck" in settings) == (settings["restart"] == "unless-stopped")


def test_memory_limits_fit_8_gib() -> None:
    units = {"m": 1, "g": 1024}
    limits = [settings["mem_limit"] for settings in SERVICES.values()]
    assert sum(int(limit[:-1]) * units[limit[-1]] for limit in limits) <= 8 * 1024


def test_only_the_dashboard_has_a_port_on_loopback() -> None:
    ports = {name: settings["ports"] for name, settings in SERVICES.items() if "ports" in settings}
    assert ports == {"dashboard": ["127.0.0.1:${DASHBOARD_PORT}:5000"]}
    assert DEFAULTS["DASHBOARD_PORT"] == "5000"


def test_somebody_waits_for_every_init_step() -> None:
    awaited = {
        name
        for settings in SERVICES.values()
        for name, how in settings.get("depends_on", {}).items()
        if how["condition"] == "service_completed_successfully"
    }
    one_shots = {name for name, settings in SERVICES.items() if settings["restart"] == "on-failure"}
    assert awaited == one_shots


def test_the_settings_of_the_services_exist() -> None:
    for settings in SERVICES.values():
        environment = {
            key: value
            for key, value in settings.get("environment", {}).items()
            if value is not None and not key.endswith("_FILE")
        }
        load_settings(environment=environment)


def test_without_an_engine_the_tests_of_containers_are_skipped_in_one_line() -> None:
    variables = {name: value for name, value in os.environ.items() if name != "CI"}
    ended = subprocess.run(
        ["/bin/bash", "tests/compose/run.sh"],
        env={**variables, "DOCKER_HOST": "unix:///dev/null"},
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    (line,) = ended.stdout.splitlines()
    assert line.startswith("SKIPPED test-compose: no Docker engine answers")


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: str(path.relative_to(PROJECT_ROOT)))
def test_an_image_is_built_to_run_without_rights(path: Path) -> None:
    text = path.read_text()
    users = re.findall(r"^USER (\w+)$", text, re.MULTILINE)
    assert users[-1] in ("app", "appuser", "cassandra")
    assert not re.search(r"^ADD |^# *syntax|PASSWORD=", text, re.MULTILINE)
