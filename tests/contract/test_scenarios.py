"""What docs/scenarios.md says was tried is there: tests, drills, 24 rows."""

from __future__ import annotations

import re

import pytest

from drill.faults import ALL
from pipeline.settings import PROJECT_ROOT

TEXT = (PROJECT_ROOT / "docs/scenarios.md").read_text()
TESTS = re.findall(r"`((?:tests|connectors)/[\w/.]+?\.(?:py|java))(?:::(\w+))?`", TEXT)
FAULTS = {str(fault) for fault in ALL}


def test_there_is_a_row_for_each_scenario() -> None:
    assert re.findall(r"^\| (\d+) \|", TEXT, re.MULTILINE) == [str(n) for n in range(1, 25)]


@pytest.mark.parametrize(("path", "name"), TESTS)
def test_a_test_that_is_named_exists(path: str, name: str) -> None:
    assert f"def {name}(" in (PROJECT_ROOT / path).read_text() if name else True
    assert (PROJECT_ROOT / path).is_file()


def test_a_drill_that_is_named_exists() -> None:
    named = {match for match in re.findall(r"`([a-z]+:[a-z-]+)`", TEXT)}
    assert named
    assert named <= FAULTS
