from __future__ import annotations

import datetime as dt
from collections import Counter
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from dashboard.alerts import WAVES
from dashboard.times import HOUR, MINUTE
from tests.support.bad_requests import QUERIES
from tests.web.memory import (
    NOW,
    THIS_MINUTE,
    InMemoryRepository,
    alert_row,
    detection_row,
    metrics_row,
    status_row,
)

ALERT_FIELDS = {
    "id", "window_start", "window_end", "sender_account", "score", "threshold", "severity",
    "reason", "features", "contributions", "usual", "actual", "counterfactuals", "limits",
    "no_alert_if", "model_version", "provisional", "review", "transaction_id", "event_time",
    "scored_at",
}  # fmt: skip


def test_overview_sums_the_minutes_of_its_range(client: FlaskClient) -> None:
    body = client.get("/api/overview?minutes=5").get_json()
    assert body["ok"] is True
    assert body["state"] == "live"
    assert body["generated_at"] == "2026-03-14T15:09:26.535Z"
    assert body["data_as_of"] == "2026-03-14T15:09:24.535Z"
    assert body["transactions"] == 6000
    assert body["alerts"] == 30
    assert body["alert_rate"] == pytest.approx(0.005)
    assert body["amount"] == pytest.approx(300_000)
    assert body["flagged_amount"] == pytest.approx(4500)
    assert body["failed"] == 200
    assert body["transactions_per_second"] == pytest.approx(6000 / 264.535)
    assert body["latency_ms"] == {"p50": 400.0, "p95": 900.0, "p99": 1200.0}
    assert body["lag"] == {"messages": 0, "seconds": 0.5}


def test_a_minute_without_a_row_is_a_gap_and_not_a_zero(client: FlaskClient) -> None:
    series = client.get("/api/overview?minutes=15").get_json()["series"]
    assert len(series) == 15
    assert [entry["transactions"] for entry in series] == [None] * 5 + [1200] * 10
    assert series[0]["rejected"] is None
    assert series[-1] == {
        "minute": "2026-03-14T15:09:00.000Z",
        "transactions": 1200,
        "alerts": 6,
        "amount": 60_000.0,
        "flagged_amount": 900.0,
        "failed": 40,
        "late": 0,
        "rejected": 0,
        "latency_p95_ms": 900.0,
    }


@pytest.mark.parametrize(("asked", "given"), [("0", 1), ("-5", 1), ("1e9", 1440), ("", 15)])
def test_minutes_are_clamped(client: FlaskClient, asked: str, given: int) -> None:
    assert len(client.get(f"/api/overview?minutes={asked}").get_json()["series"]) == given


@pytest.mark.parametrize(
    ("detection", "state"),
    [
        ({}, "live"),
        ({"lag_seconds": 20.0}, "delayed"),
        ({"details": {"watermark": (NOW - 2 * MINUTE - 15 * MINUTE / 60).isoformat()}}, "delayed"),
        ({"details": {"watermark": (NOW - 3 * MINUTE).isoformat()}}, "stale"),
        ({"heartbeat": NOW - dt.timedelta(seconds=31)}, "stale"),
        # A job that starts does not know yet how far the one before it came.
        ({"state": "starting", "details": {}}, "delayed"),
        ({"state": "failed"}, "stale"),
        ({"state": "stopped"}, "stale"),
    ],
)
def test_the_state_follows_heartbeat_and_age_of_data(
    client: FlaskClient, repository: InMemoryRepository, detection: dict[str, object], state: str
) -> None:
    repository.status_rows = [detection_row(**detection)]
    assert client.get("/api/overview").get_json()["state"] == state


def test_zero_alerts_is_only_said_while_the_job_is_alive(
    client: FlaskClient, repository: InMemoryRepository
) -> None:
    repository.metrics_rows = []
    assert client.get("/api/overview").get_json()["alerts"] == 0
    repository.status_rows = []
    body = client.get("/api/overview").get_json()
    assert body["state"] == "stale"
    assert body["alerts"] is None
    repository.alert_rows = []
    assert "this is not an all-clear" in client.get("/").text


def test_an_outage_shows_the_last_answer_as_disconnected(
    client: FlaskClient, repository: InMemoryRepository
) -> None:
    before = client.get("/api/overview").get_json()
    client.get("/api/alerts")
    repository.fail()
    after = client.get("/api/overview").get_json()
    assert after["state"] == "disconnected"
    assert after["transactions"] == before["transactions"]
    assert len(client.get("/api/alerts").get_json()["alerts"]) == 1
    components = client.get("/api/system").get_json()["components"]
    cassandra = next(item for item in components if item["name"] == "cassandra")
    assert cassandra["state"] == "failed"
    assert "NoHostAvailable" in cassandra["error"]
    repository.outage = None
    assert client.get("/api/overview").get_json()["state"] == "live"


def test_without_any_answer_the_api_says_503(
    client: FlaskClient, repository: InMemoryRepository
) -> None:
    repository.fail()
    for path in (
        "/api/overview", "/api/alerts", "/api/system", "/api/quality", "/readyz", "/", "/system",
        "/quality",
    ):  # fmt: skip
        response = client.get(path)
        assert response.status_code == 503
        assert response.headers["Retry-After"] == "2"
    assert client.get("/livez").status_code == 200


def test_many_clients_cost_one_read(
    repository: InMemoryRepository, app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dashboard.service.LIVE_TTL_S", 60.0)
    client = app.test_client()
    for _ in range(20):
        client.get("/api/overview")
        client.get("/api/alerts")
        client.get("/api/system")
    # The system page looks a day back, the overview some minutes.
    assert Counter(repository.reads) == {"alerts": len(WAVES), "metrics": 2, "statuses": 1}


def test_alert_json_has_the_fields_of_the_contract(client: FlaskClient) -> None:
    (alert,) = client.get("/api/alerts").get_json()["alerts"]
    assert set(alert) == ALERT_FIELDS | {"transaction_amount"}
    assert alert["window_start"] == "2026-03-14T15:09:00.000Z"
    assert alert["review"] is None
    assert alert["counterfactuals"] == {"amount_surprise": 0.75, "receiver_spread": None}
    assert alert["limits"] == {"amount_surprise": 182.39, "receiver_spread": None}


def test_an_alert_stored_without_counterfactuals_claims_none(
    client: FlaskClient, repository: InMemoryRepository
) -> None:
    columns = ("actual", "counterfactuals", "limits", "no_alert_if")
    repository.alert_rows = [alert_row(**dict.fromkeys(columns))]
    (alert,) = client.get("/api/alerts").get_json()["alerts"]
    assert [alert[column] for column in columns] == [{}, {}, {}, []]


def test_an_alert_is_provisional_until_the_watermark_has_passed_its_minute(
    client: FlaskClient, repository: InMemoryRepository
) -> None:
    watermark = NOW - 2 * MINUTE
    details = {"watermark": watermark.isoformat()}
    repository.status_rows = [detection_row(details=details)]
    closed = watermark - 2 * MINUTE
    repository.alert_rows = [
        alert_row(sender="open", window_end=closed + dt.timedelta(milliseconds=1)),
        alert_row(sender="closed", window_end=closed),
    ]
    alerts = client.get("/api/alerts").get_json()["alerts"]
    assert {a["sender_account"]: a["provisional"] for a in alerts} == {
        "open": True,
        "closed": False,
    }


def test_filters_choose_alerts(client: FlaskClient, repository: InMemoryRepository) -> None:
    repository.alert_rows = [
        alert_row(sender="a", severity="high", score=9.0),
        alert_row(sender="b", severity="medium", score=3.0),
        alert_row(sender="c", severity="low", score=1.1),
        alert_row(THIS_MINUTE - 2 * HOUR, sender="c", severity="low", score=1.2),
    ]

    def senders(query: str) -> list[str]:
        alerts = client.get(f"/api/alerts?{query}").get_json()["alerts"]
        return [alert["sender_account"] for alert in alerts]

    assert senders("") == ["a", "b", "c", "c"]
    assert senders("severity=high,low&min_score=1.15") == ["a", "c"]
    assert senders("account=c") == ["c", "c"]
    assert senders("account=c&min_score=1.15") == ["c"]
    assert senders("since=2026-03-14T15:00:00Z") == ["a", "b", "c"]


@pytest.mark.parametrize("filters", ["", "&min_score=0.1", "&account=S3"])
def test_cursors_lead_through_every_alert_once(
    client: FlaskClient, repository: InMemoryRepository, filters: str
) -> None:
    starts = [THIS_MINUTE - n * 7 * HOUR for n in range(12)]
    repository.alert_rows = [
        alert_row(start, sender=f"S{number}") for start in starts for number in range(5)
    ]
    seen: list[str] = []
    cursor, requests = "", 0
    while cursor is not None:
        body = client.get(f"/api/alerts?limit=3&cursor={cursor}{filters}").get_json()
        seen += [alert["id"] for alert in body["alerts"]]
        cursor, requests = body["next_cursor"], requests + 1
        assert len(body["alerts"]) <= 3
    assert len(seen) == len(set(seen)) == (12 if "account" in filters else 60)
    assert requests < 450  # at most a day a request, back to where alerts expire


def test_a_request_walks_back_one_day_at_most(
    client: FlaskClient, repository: InMemoryRepository
) -> None:
    repository.alert_rows = [alert_row(THIS_MINUTE - 30 * HOUR)]
    first = client.get("/api/alerts").get_json()
    assert first["alerts"] == []
    second = client.get(f"/api/alerts?cursor={first['next_cursor']}").get_json()
    assert len(second["alerts"]) == 1


@pytest.mark.parametrize(
    ("asked", "given"),
    [("1e9", 200), ("inf", 200), ("9" * 2000, 200), ("0", 1), ("-1", 1), ("-inf", 1), ("7", 7)],
)
def test_the_limit_is_clamped(
    client: FlaskClient, repository: InMemoryRepository, asked: str, given: int
) -> None:
    repository.alert_rows = [alert_row(sender=f"{n:03}") for n in range(300)]
    assert len(client.get(f"/api/alerts?limit={asked}").get_json()["alerts"]) == given


@pytest.mark.parametrize(("query", "expected"), QUERIES, ids=lambda text: text[:40])
@pytest.mark.parametrize("path", ["/api/alerts", "/alerts"])
def test_wrong_parameters_are_refused(
    client: FlaskClient, path: str, query: str, expected: str
) -> None:
    response = client.get(f"{path}?{query}")
    assert response.status_code == 400
    if path == "/api/alerts":
        body = response.get_json()
        assert (body["ok"], body["status"]) == (False, 400)
        assert body["error"].startswith(expected)


@pytest.mark.parametrize(
    "path",
    [
        "/api/overview?minutes=nan", "/api/overview?minutes=1'", "/?minutes=%00",
        "/api/models?hours=x", "/models?hours=1%0a%00",
    ],
)  # fmt: skip
def test_a_range_that_is_no_number_is_refused(client: FlaskClient, path: str) -> None:
    assert client.get(path).status_code == 400


def test_accounting_adds_up(client: FlaskClient, repository: InMemoryRepository) -> None:
    details = {
        "read_offsets": "1000",
        "scored": "900",
        "late": "50",
        "duplicates": "20",
        "rejected.undecodable": "25",
        "rejected.future": "5",
    }
    kafka = {"published": "1000", "end_offset.transactions.dlq": "30"}

    def accounting() -> dict[str, object]:
        repository.status_rows = [
            status_row("kafka", details=kafka),
            status_row("connect", details={"stored_offsets": stored}),
            detection_row(details=details),
        ]
        answer: dict[str, object] = client.get("/api/system").get_json()["accounting"]
        return answer

    stored = "1000"
    assert accounting() == {
        "published": 1000,
        "raw": 950,
        "duplicates": 20,
        "scored": 900,
        "late": 50,
        "dead_letters": 30,
        "rejected": {"future": 5, "undecodable": 25},
        "pending": 0,
        "sink_pending": 0,
        "difference": 0,
        "status": "reconciled",
    }
    details["scored"] = "899"
    assert accounting()["difference"] == 1
    assert accounting()["status"] == "difference"
    details["read_offsets"] = "999"
    assert accounting()["pending"] == 1
    assert accounting()["status"] == "in flight"
    details["read_offsets"], details["read"] = "1000", "900"
    kafka["published"] = "1001"
    assert (accounting()["published"], accounting()["pending"]) == (901, 1)
    assert accounting()["raw"] == 850
    stored = "10"
    assert accounting()["raw"] == 0
    details["late"] = "not a number"
    assert accounting()["status"] == "unknown"


def test_accounting_waits_for_a_job_that_starts(
    client: FlaskClient, repository: InMemoryRepository
) -> None:
    repository.status_rows = [status_row("detection", state="starting")]
    assert client.get("/api/system").get_json()["accounting"]["status"] == "starting"
    assert "The detection job is starting" in client.get("/system").text
    repository.status_rows = [status_row("detection")]
    assert client.get("/api/system").get_json()["accounting"]["status"] == "unknown"


def test_rejected_records_are_counted_over_the_last_hour_and_day(
    client: FlaskClient, repository: InMemoryRepository
) -> None:
    def minutes_ago(minutes: int, **values: int) -> dict[str, Any]:
        return metrics_row(THIS_MINUTE - minutes * MINUTE, **values)

    repository.metrics_rows = [
        minutes_ago(0, rejected_future=1, rejected_undecodable=2),
        minutes_ago(59, rejected_future=10),
        minutes_ago(60, rejected_future=100, rejected_too_old=5),
        minutes_ago(1439, rejected_future=1000),
        minutes_ago(1440, rejected_future=10_000, rejected_same_account=7),
    ]
    totals = {"rejected.future": "11111", "rejected.undecodable": "2", "rejected.too_old": "6"}
    repository.status_rows = [detection_row(details=totals)]
    rejected = [
        {"reason": "undecodable", "last_hour": 2, "last_day": 2, "total": 2},
        {"reason": "future", "last_hour": 11, "last_day": 1111, "total": 11111},
        {"reason": "too_old", "last_hour": 0, "last_day": 5, "total": 6},
    ]
    assert client.get("/api/system").get_json()["rejected"] == rejected
    text = client.get("/system").text
    assert "1,111</td><td" in text
    assert "<code>make dlq</code>" in text


def test_rejected_records_of_an_unknown_time_are_no_zeros(
    client: FlaskClient, repository: InMemoryRepository
) -> None:
    repository.metrics_rows = []
    repository.status_rows = [detection_row(details={"rejected.future": "3", "scored": "1"})]
    assert client.get("/api/system").get_json()["rejected"] == [
        {"reason": "future", "last_hour": None, "last_day": None, "total": 3}
    ]
    repository.metrics_rows = [metrics_row(THIS_MINUTE, rejected_future=3)]
    repository.status_rows = []
    assert client.get("/api/system").get_json()["rejected"] == [
        {"reason": "future", "last_hour": 3, "last_day": 3, "total": None}
    ]
    repository.metrics_rows = []
    assert client.get("/api/system").get_json()["rejected"] == []
    assert "make dlq" not in client.get("/system").text


def test_components_are_missing_stale_or_what_they_say(
    client: FlaskClient, repository: InMemoryRepository
) -> None:
    repository.status_rows = [
        status_row("producer", state="degraded", error="queue full"),
        status_row("kafka", heartbeat=NOW - HOUR),
        detection_row(),
    ]
    components = client.get("/api/system").get_json()["components"]
    assert {item["name"]: item["state"] for item in components} == {
        "producer": "degraded",
        "kafka": "stale",
        "registry": "missing",
        "connect": "missing",
        "detection": "running",
        "quality": "missing",
        "watcher": "missing",
        "cassandra": "running",
        "dashboard": "running",
    }
    assert components[0] == {
        "name": "producer",
        "state": "degraded",
        "since": "2026-03-14T14:09:26.535Z",
        "heartbeat_age_s": 1.0,
        "rate": 20.0,
        "lag": {"messages": 0, "seconds": 0.5},
        "error": "queue full",
    }


def test_readiness_needs_fresh_data(client: FlaskClient, repository: InMemoryRepository) -> None:
    assert client.get("/readyz").get_json()["state"] == "live"
    repository.status_rows = []
    assert client.get("/readyz").status_code == 503


def test_latency_is_that_of_the_newest_minute_that_has_one(
    client: FlaskClient, repository: InMemoryRepository
) -> None:
    silent = {"latency_p50_ms": None, "latency_p95_ms": None, "latency_p99_ms": None}
    repository.metrics_rows = [
        metrics_row(THIS_MINUTE, **silent),
        metrics_row(THIS_MINUTE - MINUTE, latency_p50_ms=77.0),
    ]
    assert client.get("/api/overview").get_json()["latency_ms"]["p50"] == 77.0
