"""Every dependency is pinned, and Python's are pinned by hash."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from pipeline.settings import PROJECT_ROOT

REQUIREMENTS = sorted(PROJECT_ROOT.glob("*/requirements.txt"))


@pytest.mark.parametrize("path", REQUIREMENTS, ids=lambda path: path.parent.name)
def test_every_python_package_has_a_version_and_hashes(path: Path) -> None:
    entries = path.read_text().replace("\\\n", " ").splitlines()
    packages = [entry for entry in entries if entry.strip() and not entry.startswith("#")]
    assert packages
    for package in packages:
        assert re.match(r"[a-zA-Z0-9_.-]+(\[[a-z]+\])?==\S+ ", package), package[:60]
        assert "--hash=sha256:" in package


def test_services_agree_on_versions() -> None:
    versions: dict[str, set[str]] = {}
    for path in REQUIREMENTS:
        for name, version in re.findall(r"^([\w.-]+)==(\S+)", path.read_text(), re.MULTILINE):
            versions.setdefault(name, set()).add(version)
    assert {name: found for name, found in versions.items() if len(found) > 1} == {}


def test_no_tracked_file_names_a_package_index() -> None:
    command = ["git", "grep", "-nIE", "index-" + "url|find-" + "links"]
    found = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, check=False)
    lines = [line for line in found.stdout.splitlines() if "update-pins" not in line]
    assert lines == []
