"""docs/guarantees.md and docs/operations.md name settings, commands and volumes that exist."""

from __future__ import annotations

import re
import subprocess

import pytest
import yaml

from pipeline.settings import PROJECT_ROOT

DOCS = PROJECT_ROOT / "docs"
GUARANTEES = (DOCS / "guarantees.md").read_text()
OPERATIONS = (DOCS / "operations.md").read_text()
MAKEFILE = (PROJECT_ROOT / "Makefile").read_text()
TABLE = GUARANTEES.partition("## Settings behind this")[2]
SETTINGS = re.findall(r"^\| [^|]+ \| `([^|]+)` \| ([^|]+) \|$", TABLE, re.MULTILINE)
BASH = re.findall(r"^```bash\n(.*?)^```", OPERATIONS, re.MULTILINE | re.DOTALL)


def links(text: str) -> list[str]:
    return re.findall(r"\]\(((?!http)[^)]+)\)", text)


def test_the_table_of_settings_is_read() -> None:
    assert len(SETTINGS) == TABLE.count("\n| ") - 1


@pytest.mark.parametrize(("setting", "where"), SETTINGS, ids=[found[0] for found in SETTINGS])
def test_a_durability_setting_is_in_the_files_named_beside_it(setting: str, where: str) -> None:
    files = links(where)
    assert files
    for file in files:
        assert setting in (DOCS / file).read_text(), file


def test_nothing_makes_kafka_sync_its_log() -> None:
    """If something did, the text on power cuts would be wrong."""
    for name in (
        "local/templates/server.properties",
        "docker-compose.yml",
        "connectors/registration/topics.py",
    ):
        assert not re.search(r"flush[._]", (PROJECT_ROOT / name).read_text(), re.IGNORECASE)


@pytest.mark.parametrize("text", [GUARANTEES, OPERATIONS], ids=["guarantees", "operations"])
def test_every_link_leads_somewhere(text: str) -> None:
    for link in links(text):
        file, _, section = link.partition("#")
        target = text if not file else (DOCS / file).read_text()
        headings = re.findall(r"^#+ (.+)$", target, re.MULTILINE) if section else []
        anchors = [re.sub(r"[^a-z0-9 -]", "", line.lower()).replace(" ", "-") for line in headings]
        assert not section or section in anchors, link


def test_every_make_target_of_the_runbook_exists() -> None:
    named = set(re.findall(r"make ([a-z][a-z-]+)", OPERATIONS))
    assert named <= set(re.findall(r"^([a-z][a-z-]+)(?: [a-z -]+)?:", MAKEFILE, re.MULTILINE))


@pytest.mark.parametrize("script", BASH)
def test_the_commands_for_containers_copy_every_volume(script: str) -> None:
    subprocess.run(["/bin/bash", "-n"], input=script, text=True, check=True)
    compose = yaml.safe_load((PROJECT_ROOT / "docker-compose.yml").read_text())
    (loop,) = re.findall(r"^for volume in (.+); do$", script, re.MULTILINE)
    expanded = subprocess.run(
        ["/bin/bash", "-c", f"echo {loop}"], capture_output=True, text=True, check=True
    ).stdout
    assert set(expanded.split()) == set(compose["volumes"])
    env = (PROJECT_ROOT / ".env").read_text()
    (project,) = re.findall(r"^COMPOSE_PROJECT_NAME=(.+)$", env, re.MULTILINE)
    (image,) = re.findall(r"^PYTHON_IMAGE=(.+)$", env, re.MULTILINE)
    assert f'-v "{project}_$volume:' in script
    assert image in script


def test_both_ways_are_among_them() -> None:
    assert len(BASH) == 2


def test_the_service_that_erases_has_the_files_and_the_superusers_password() -> None:
    command = r"docker-compose run --rm --no-deps (\w+) python (cassandra/\w+\.py)"
    (found,) = re.findall(command, OPERATIONS)
    service, script = found
    assert (PROJECT_ROOT / script).exists()
    compose = yaml.safe_load((PROJECT_ROOT / "docker-compose.yml").read_text())
    assert compose["services"][service]["environment"]["FRAUD__CASSANDRA__USERNAME"] == "migration"
    assert (
        "COPY cassandra cassandra"
        in (PROJECT_ROOT / compose["services"][service]["build"]["dockerfile"]).read_text()
    )
