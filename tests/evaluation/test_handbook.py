"""The handbook's own figures come out of this harness (needs HANDBOOK_DATA)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.evaluation.datasets import read_handbook
from tests.evaluation.handbook import reproduce

DATA = os.environ.get("HANDBOOK_DATA")


@pytest.mark.skipif(DATA is None, reason="HANDBOOK_DATA does not name the handbook's data")
def test_the_harness_reproduces_the_random_forest_of_chapter_3_4() -> None:
    assert reproduce(read_handbook(Path(str(DATA))))["average precision"] > 0
