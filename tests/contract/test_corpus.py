"""The corpus of records in the sink's tests is the one that Python and Spark get."""

from __future__ import annotations

from pipeline.settings import PROJECT_ROOT
from tests.support import vectors
from tests.support.corpus import CORPUS

JAVA = PROJECT_ROOT / "connectors" / "sink" / "src" / "test" / "java"


def test_the_sink_is_tested_with_the_same_records() -> None:
    found = vectors.FILE.read_text("ascii").splitlines()
    assert found == vectors.lines(), "run `PYTHONPATH=common:. python -m tests.support.vectors`"
    assert len(found) > len(CORPUS) - 10


def test_the_sink_judges_them_at_the_same_arrival() -> None:
    (test,) = JAVA.rglob("CorpusTest.java")
    code = test.read_text("utf-8")
    assert f"SCHEMA_ID = {vectors.SCHEMA_ID};" in code
    assert f"ARRIVAL_MS = {vectors.ARRIVAL_MS:_}L;" in code


def test_names_are_unique() -> None:
    assert len({case.name for case in CORPUS}) == len(CORPUS)
