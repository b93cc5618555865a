from __future__ import annotations

import datetime as dt

import pytest
from flask import Flask
from flask.testing import FlaskClient

from dashboard import create_app
from dashboard.times import MINUTE, floor_minute
from pipeline.settings import load_settings
from tests.web.memory import NOW, InMemoryRepository, alert_row, detection_row, metrics_row


class Clock:
    """A clock that stands until ``advance`` is called."""

    def __init__(self) -> None:
        self.moment = NOW

    def __call__(self) -> dt.datetime:
        return self.moment

    def advance(self, seconds: float) -> None:
        self.moment += dt.timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def repository() -> InMemoryRepository:
    """A pipeline that has been live for ten minutes, with one alert."""
    memory = InMemoryRepository()
    memory.status_rows = [detection_row()]
    memory.metrics_rows = [metrics_row(floor_minute(NOW) - n * MINUTE) for n in range(10)]
    memory.alert_rows = [alert_row()]
    return memory


@pytest.fixture
def app(repository: InMemoryRepository, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Flask:
    monkeypatch.setattr("dashboard.service.LIVE_TTL_S", 0.0)  # each request reads anew
    return create_app(load_settings(environment={}), repository, clock)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()
