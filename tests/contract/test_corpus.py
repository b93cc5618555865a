"""The bad inputs: how many there are, and that the sink's tests get the same records."""

from __future__ import annotations

from pipeline.settings import PROJECT_ROOT
from tests.support import vectors
from tests.support.bad_requests import HOSTS, PATHS, QUERIES, RAW
from tests.support.bad_settings import FILES, VALUES, VARIABLES
from tests.support.bookings import BOOKINGS
from tests.support.corpus import CORPUS, VALID

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


def test_at_least_200_bad_inputs_are_refused() -> None:
    records = [case for case in (*CORPUS, *BOOKINGS) if case.verdict != VALID]
    requests = [*QUERIES, *PATHS, *HOSTS, *RAW]
    settings = [*VARIABLES, *FILES, *VALUES]
    assert len(records) >= 120
    assert len(requests) + len(settings) >= 80
    assert len(records) + len(requests) + len(settings) >= 200
