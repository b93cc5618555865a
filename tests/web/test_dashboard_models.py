"""The live model against its shadow: which minutes are compared, and what is counted."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from flask.testing import FlaskClient

from dashboard.compare import summary
from dashboard.comparison import MAX_HOURS
from dashboard.times import HOUR, MINUTE, floor_minute
from tests.web.memory import (
    NOW,
    InMemoryRepository,
    alert_row,
    batch_row,
    detection_row,
    label_row,
    shadow_alert_row,
)

FIRST = floor_minute(NOW) - 30 * MINUTE
"""The first minute that lies wholly after the beginning of the shadow."""
END = floor_minute(NOW) - MINUTE
"""60 s of allowed lateness before the newest arrival, which is 2 s old."""


def start_shadow(repository: InMemoryRepository, **details: str) -> None:
    details = {"run_id": "run-1", "model_version": "m1", "shadow_version": "m2", **details}
    repository.status_rows = [detection_row(details=details)]
    since = FIRST - dt.timedelta(seconds=40)
    repository.batch_rows = [batch_row(shadow_version="m2", versions_since=since)]


@pytest.fixture
def shadowed(repository: InMemoryRepository) -> InMemoryRepository:
    """A shadow that agrees on one minute, would lose one and gain two."""
    start_shadow(repository)
    at = [FIRST + n * MINUTE for n in range(5)]
    repository.alert_rows = [
        alert_row(at[0], "A", severity="high"),
        alert_row(at[1], "A", severity="low"),
    ]
    repository.shadow_alert_rows = [
        shadow_alert_row(at[0], "A", severity="medium"),
        shadow_alert_row(at[2], "B", severity="high"),
        shadow_alert_row(at[3], "C", severity="low"),
    ]
    repository.label_rows = [
        label_row(at[0], "A", pattern="velocity"),
        label_row(at[2], "B", pattern="mule_fan_in"),
        label_row(at[4], "D", pattern="mule_fan_in"),
    ]
    return repository


def counts(live: int, shadow: int, common: int, gained: int, lost: int) -> dict[str, int]:
    return {"live": live, "shadow": shadow, "common": common, "gained": gained, "lost": lost}


def test_alerts_are_compared_by_severity_and_pattern(
    client: FlaskClient, shadowed: InMemoryRepository
) -> None:
    body = client.get("/api/models").get_json()
    assert (body["ok"], body["live"], body["shadow"], body["hours"]) == (True, "m1", "m2", 1)
    assert body["compared"] == {
        "since": "2026-03-14T14:39:00.000Z",
        "until": "2026-03-14T15:08:00.000Z",
    }
    assert body["levels"] == [
        {"level": "low", **counts(2, 3, 1, 2, 1)},
        {"level": "medium", **counts(1, 2, 1, 1, 0)},
        {"level": "high", **counts(1, 1, 0, 1, 1)},
    ]
    assert body["patterns"] == [
        {"pattern": "mule_fan_in", "minutes": 2, **counts(0, 1, 0, 1, 0)},
        {"pattern": "velocity", "minutes": 1, **counts(1, 1, 1, 0, 0)},
        {"pattern": None, "minutes": None, **counts(1, 1, 0, 1, 1)},
    ]


def low(client: FlaskClient, query: str = "") -> dict[str, Any]:
    levels = client.get(f"/api/models{query}").get_json()["levels"]
    return dict(levels[0]) if levels else {}


@pytest.mark.parametrize(
    ("minute", "is_compared"),
    [(FIRST - MINUTE, False), (FIRST, True), (END - MINUTE, True), (END, False)],
)
def test_only_whole_minutes_that_both_have_scored_are_compared(
    client: FlaskClient, repository: InMemoryRepository, minute: dt.datetime, is_compared: bool
) -> None:
    start_shadow(repository)
    repository.alert_rows = [alert_row(minute)]
    repository.shadow_alert_rows = [shadow_alert_row(minute)]
    assert low(client)["common"] == is_compared


def test_a_minute_needs_the_tolerance_for_clocks_after_the_shadow_began(
    client: FlaskClient, repository: InMemoryRepository
) -> None:
    start_shadow(repository)
    repository.alert_rows = [alert_row(FIRST)]
    for seconds, expected in ((10, 1), (9, 0)):  # as hours too: each range is cached by itself
        since = FIRST - dt.timedelta(seconds=seconds)
        repository.batch_rows = [batch_row(shadow_version="m2", versions_since=since)]
        assert low(client, f"?hours={seconds}")["lost"] == expected


def test_the_range_is_that_of_the_request(
    client: FlaskClient, repository: InMemoryRepository
) -> None:
    start_shadow(repository)
    since = NOW - 10 * HOUR
    repository.batch_rows = [batch_row(shadow_version="m2", versions_since=since)]
    repository.alert_rows = [alert_row(FIRST - n * HOUR) for n in range(4)]
    assert [low(client, f"?hours={hours}")["live"] for hours in (1, 2, 3)] == [1, 2, 3]
    assert client.get("/api/models?hours=1000").get_json()["hours"] == MAX_HOURS
    assert client.get("/api/models?hours=x").status_code == 400


def test_alerts_of_other_versions_are_left_out(
    client: FlaskClient, repository: InMemoryRepository
) -> None:
    start_shadow(repository)
    repository.alert_rows = [alert_row(FIRST, model_version="m0")]
    repository.shadow_alert_rows = [shadow_alert_row(FIRST, model_version="m3")]
    assert low(client) == {"level": "low", **counts(0, 0, 0, 0, 0)}


def test_where_there_are_too_many_rows_the_newest_minutes_are_compared(
    client: FlaskClient, repository: InMemoryRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dashboard.comparison.MAX_ROWS", 4)
    start_shadow(repository)
    minutes = [END - n * MINUTE for n in range(1, 7)]
    repository.alert_rows = [alert_row(minute) for minute in minutes]
    repository.shadow_alert_rows = [shadow_alert_row(minutes[4])]
    body = client.get("/api/models").get_json()
    assert body["compared"]["since"] == "2026-03-14T15:05:00.000Z"
    assert body["levels"][0] == {"level": "low", **counts(3, 0, 0, 0, 3)}


def test_without_labels_nothing_is_said_of_patterns(
    client: FlaskClient, shadowed: InMemoryRepository
) -> None:
    shadowed.label_rows = []
    assert client.get("/api/models").get_json()["patterns"] == []
    assert "No label is known" in client.get("/models").text


def test_the_page_shows_the_comparison_without_javascript(
    client: FlaskClient, shadowed: InMemoryRepository
) -> None:
    text = client.get("/models").text
    assert "Low or above" in text
    assert 'Mule fan in <span class="unit">(2)</span>' in text
    assert "No fraud known" in text
    assert '<a href="/models" aria-current="page">' in text


def test_without_a_shadow_the_page_says_how_to_start_one(
    client: FlaskClient, repository: InMemoryRepository
) -> None:
    text = client.get("/models").text
    assert "No second model scores" in text
    assert "make shadow VERSION=" in text


def test_a_shadow_that_has_just_begun_has_no_minute_yet(
    client: FlaskClient, repository: InMemoryRepository
) -> None:
    start_shadow(repository)
    repository.batch_rows = [batch_row(shadow_version="m2", versions_since=END)]
    body = client.get("/api/models").get_json()
    assert body["compared"] is None
    assert body["message"] == "No whole minute has been scored by both models yet."


def test_what_went_wrong_is_shown(client: FlaskClient, repository: InMemoryRepository) -> None:
    start_shadow(repository, models_error="m9: no such version; m1 stays live", shadow_failures="3")
    repository.batch_rows = [batch_row(shadow_version=None)]
    text = client.get("/models").text
    assert "m9: no such version; m1 stays live" in text
    assert 'it failed</dt><dd class="warn">3</dd>' in text
    assert "No whole minute" in text


def test_the_command_prints_the_same_figures(
    client: FlaskClient, shadowed: InMemoryRepository
) -> None:
    lines = summary(client.get("/api/models").get_json()).splitlines()
    assert lines[0] == "live m1, shadow m2"
    found = {line[:22].strip(): line[22:].split() for line in lines if line[22:].split()}
    assert found["low or above"] == ["2", "3", "1", "2", "1"]
    assert found["mule fan in (2)"] == ["0", "1", "0", "1", "0"]
    assert found["no fraud known"] == ["1", "1", "0", "1", "1"]
