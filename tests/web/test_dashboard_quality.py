"""Detection quality on the dashboard: figures with their counts, and when they say nothing."""

from __future__ import annotations

import datetime as dt
import re

import pytest
from flask.testing import FlaskClient

from dashboard.times import HOUR, MINUTE
from pipeline.names import QUALITY
from tests.web.memory import NOW, THIS_MINUTE, InMemoryRepository, quality_row, status_row

LABELS = {"labels": "9000", "frauds": "41", "pending": "1", "unresolved": "2", "malformed": "0"}


@pytest.fixture
def judged(repository: InMemoryRepository) -> InMemoryRepository:
    """A repository with figures of the hour and of the day, and a service that lives."""
    repository.status_rows = [*repository.status_rows, status_row(QUALITY, details=LABELS)]
    repository.quality_rows = [quality_row(), quality_row(period="day", fraud_minutes=900)]
    return repository


def cells(text: str) -> list[str]:
    """Return the texts of the page's table cells."""
    found = re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", text, re.DOTALL)
    return [" ".join(re.sub(r"<[^>]+>", "", cell).split()) for cell in found]


@pytest.mark.usefixtures("judged")
def test_the_api_gives_every_figure_with_its_count(client: FlaskClient) -> None:
    body = client.get("/api/quality").get_json()
    assert (body["ok"], body["state"]) == (True, "live")
    assert body["labels"] == {"frauds": 41, "pending": 1, "unresolved": 2, "malformed": 0}
    assert body["periods"]["day"]["fraud_minutes"] == 900
    assert body["periods"]["hour"] == {
        "start": "2026-03-14T14:07:00.000Z",
        "end": "2026-03-14T15:07:00.000Z",
        "computed_at": "2026-03-14T15:09:06.535Z",
        "fraud_minutes": 40,
        "incidents": 16,
        "review": {"alerts": 80, "precision": 0.375, "recall": 0.75, "incident_recall": 0.875},
        "alert": {"alerts": 35, "precision": 0.6, "recall": 0.525, "incident_recall": 0.8125},
        "average_precision": 0.4321,
        "delay": {"incidents": 14, "median_s": 7.25, "p95_s": 61.5},
        "by_pattern": {
            "card_testing": {"incidents": 1, "incident_recall": 1.0},
            "velocity": {"incidents": 15, "incident_recall": 0.8667},
        },
    }


@pytest.mark.usefixtures("judged")
def test_the_page_shows_each_value_beside_what_it_is_counted_over(client: FlaskClient) -> None:
    shown = cells(client.get("/quality").text)
    for row in (
        ["Precision, alert level", "60.0 %", "of 35 alerts"],
        ["Recall, review level", "75.0 %", "of 40 fraudulent minutes"],
        ["Incidents found, review level", "87.5 %", "of 16 incidents"],
        ["Average precision, at least", "0.432", "of 40 fraudulent minutes"],
        ["Time to detect, median", "7.25 s", "of 14 found incidents"],
        ["velocity", "86.7 %", "of 15 incidents"],
        ["card testing", "100.0 %", "of 1 incident"],
    ):
        assert row[0] in shown
        place = shown.index(row[0])
        assert shown[place : place + 3] == row


def test_without_labels_the_page_says_so_and_shows_no_figure(
    client: FlaskClient, repository: InMemoryRepository
) -> None:
    repository.status_rows = [
        *repository.status_rows,
        status_row(QUALITY, details={**LABELS, "labels": "0"}),
    ]
    body = client.get("/api/quality").get_json()
    assert body["state"] == "no labels"
    assert body["periods"] == {"hour": None, "day": None}
    text = client.get("/quality").text
    assert "No labels: the quality of the detection is not known" in text
    assert "%" not in text.partition("<main")[2]


def test_before_the_first_minute_is_judged_the_page_waits(
    client: FlaskClient, judged: InMemoryRepository
) -> None:
    judged.quality_rows = []
    assert client.get("/api/quality").get_json()["state"] == "waiting"
    assert "nothing is judged yet" in client.get("/quality").text


def test_nothing_to_count_is_a_dash_and_no_zero(
    client: FlaskClient, judged: InMemoryRepository
) -> None:
    empty = dict.fromkeys(quality_row(), None)
    keep = {name: quality_row()[name] for name in ("period", "period_end", "computed_at")}
    counts = {name: 0 for name in empty if name.endswith(("alerts", "incidents", "_minutes"))}
    maps = {"pattern_incidents": None}  # Cassandra gives back an empty map as null
    judged.quality_rows = [empty | counts | maps | keep]
    shown = cells(client.get("/quality").text)
    place = shown.index("Precision, alert level")
    assert shown[place + 1 : place + 3] == ["–", "of 0 alerts"]  # noqa: RUF001  an en dash is meant
    assert "0.0 %" not in shown


@pytest.mark.parametrize(
    ("service", "period_end"),
    [
        (None, THIS_MINUTE - 2 * MINUTE),
        (status_row(QUALITY, heartbeat=NOW - dt.timedelta(seconds=31)), THIS_MINUTE - 2 * MINUTE),
        (status_row(QUALITY, state="stopped"), THIS_MINUTE - 2 * MINUTE),
        (status_row(QUALITY), THIS_MINUTE - HOUR),
    ],
)
def test_old_figures_are_called_stale(
    client: FlaskClient,
    judged: InMemoryRepository,
    service: dict[str, object] | None,
    period_end: dt.datetime,
) -> None:
    judged.status_rows = [] if service is None else [service]
    judged.quality_rows = [quality_row(period_end=period_end)]
    body = client.get("/api/quality").get_json()
    assert body["state"] == "stale"
    assert "old" in body["message"]
    assert body["periods"]["hour"]["fraud_minutes"] == 40
    text = client.get("/quality").text
    assert "pill-stale" in text
    assert body["message"] in text


def test_an_outage_keeps_the_figures_as_disconnected(
    client: FlaskClient, judged: InMemoryRepository
) -> None:
    client.get("/api/quality")
    judged.fail()
    body = client.get("/api/quality").get_json()
    assert body["state"] == "disconnected"
    assert body["periods"]["hour"]["fraud_minutes"] == 40
