"""What holds for every response: error shape, headers, hosts, pages without surprises."""

from __future__ import annotations

import hashlib
import html
import re
from pathlib import Path
from urllib.parse import quote

import pytest
from flask import Flask
from flask.testing import FlaskClient

import dashboard
from dashboard import create_app
from dashboard.formats import DASH
from dashboard.guards import HEADERS
from pipeline.settings import load_settings
from tests.support.bad_requests import HOSTILE_NAMES, HOSTS, PATHS
from tests.web.memory import NOW, THIS_MINUTE, InMemoryRepository, alert_row, metrics_row

PACKAGE = Path(dashboard.__file__).parent
VENDOR = PACKAGE / "static" / "vendor" / "uplot-1.6.32"


def test_the_factory_builds_independent_apps_without_connecting() -> None:
    settings = load_settings(environment={})
    assert create_app(settings) is not create_app(settings)


@pytest.mark.parametrize(
    "path", ["/", "/alerts", "/quality", "/models", "/system", "/accounts/ACC-1"]
)
def test_pages_answer(client: FlaskClient, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 200
    assert response.mimetype == "text/html"
    assert "<title>" in response.text


def test_the_overview_shows_figures_and_alerts_without_javascript(client: FlaskClient) -> None:
    text = client.get("/").text
    assert "12,000 transactions" in text
    assert "3 new receivers in a minute, usually 1" in text
    assert "720.50" in text
    assert "<noscript>" in text


def test_the_alert_page_explains_the_alert(
    client: FlaskClient, repository: InMemoryRepository
) -> None:
    (alert,) = client.get("/api/alerts").get_json()["alerts"]
    text = client.get(f"/alerts/{alert['id']}").text
    assert explanation_rows(text) == [
        ["Receivers in the minute", "3", "1", "64 %", DASH],
        ["Largest amount in the minute", "720.50", "40.25", "36 %", "182.39"],
    ]
    assert "No alert with amounts of at most 182.39 in the minute (here 720.50)." in text
    assert "offset 4711" in text
    assert "provisional" in text
    assert "not stored yet, or expired" in text
    raw = {"transaction_id": alert["transaction_id"], "kafka_partition": 1, "kafka_offset": 4711}
    repository.transaction_rows = [raw]
    assert "stored (partition 1" in client.get(f"/alerts/{alert['id']}").text


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        (999_999.4, "999,999"),
        (1_234_567.0, "1.23 M"),
        (45_600_000_000.0, "45.6 B"),
        (1e12, "1.00 T"),
        (123_456e9, "123 T"),
    ],
)
def test_a_flagged_amount_of_any_size_fits_its_tile(
    client: FlaskClient, repository: InMemoryRepository, amount: float, shown: str
) -> None:
    repository.metrics_rows = [metrics_row(THIS_MINUTE, flagged_amount=amount)]
    assert f'data-part="value">{shown}</span>' in client.get("/").text


def explanation_rows(text: str) -> list[list[str]]:
    """Return the cells of the table that explains the score, as text."""
    (table,) = re.findall(r'<table class="explanation">(.*?)</table>', text, re.DOTALL)
    body = table.partition("</thead>")[2]
    rows = re.findall(r"<tr>(.*?)</tr>", body, re.DOTALL)
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in rows]
    return [[re.sub(r"<[^>]+>", "", cell).strip() for cell in row] for row in cells]


def test_an_alert_that_nothing_alone_would_have_prevented_says_so(
    client: FlaskClient, repository: InMemoryRepository
) -> None:
    repository.alert_rows = [alert_row(counterfactuals={}, limits={}, no_alert_if=[])]
    (alert,) = client.get("/api/alerts").get_json()["alerts"]
    assert alert["counterfactuals"] == {"amount_surprise": None, "receiver_spread": None}
    text = client.get(f"/alerts/{alert['id']}").text
    assert "No single one of them at a lower value would have prevented the alert" in text


def test_an_alert_survives_missing_values(
    client: FlaskClient, repository: InMemoryRepository
) -> None:
    row = dict.fromkeys(alert_row())
    keep = ("hour", "window_start", "window_end", "sender_account", "alert_id", "severity")
    repository.alert_rows = [row | {name: alert_row()[name] for name in keep}]
    (alert,) = client.get("/api/alerts").get_json()["alerts"]
    assert client.get(f"/alerts/{alert['id']}").status_code == 200
    assert client.get("/").status_code == 200


def test_an_empty_pipeline_says_what_to_do(
    client: FlaskClient, repository: InMemoryRepository
) -> None:
    repository.status_rows, repository.metrics_rows, repository.alert_rows = [], [], []
    text = client.get("/").text
    assert "No transactions yet" in text
    assert "make status" in text


def test_a_stale_pipeline_dims_its_figures(
    client: FlaskClient, repository: InMemoryRepository
) -> None:
    repository.status_rows = []
    text = client.get("/").text
    assert 'class="state-stale"' in text
    assert "The detection job has not reported yet" in text


def test_an_unknown_account_is_a_page(client: FlaskClient) -> None:
    assert "No data on this account" in client.get("/accounts/nobody").text


@pytest.mark.parametrize("account", HOSTILE_NAMES)
def test_hostile_ids_are_escaped(
    client: FlaskClient, repository: InMemoryRepository, account: str
) -> None:
    repository.alert_rows = [alert_row(sender=account, reason=account, receiver_account=account)]
    (alert,) = client.get("/api/alerts").get_json()["alerts"]
    for path in ("/", "/alerts", f"/alerts/{alert['id']}", f"/accounts/{quote(account, safe='')}"):
        response = client.get(path)
        assert response.status_code == 200
        if any(letter in account for letter in "<>'\""):
            assert account not in response.text
    link = re.search(r'href="(/accounts/[^"]+)"', client.get("/alerts").text)
    assert link is not None
    assert "No data" not in client.get(html.unescape(link.group(1))).text


@pytest.mark.parametrize("path", PATHS, ids=lambda text: text[:40])
def test_addresses_of_nothing_are_not_found(client: FlaskClient, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 404
    assert "<script>alert" not in response.text
    if path.startswith("/api/"):
        body = response.get_json()
        assert (body["ok"], body["status"]) == (False, 404)
        assert body["request_id"] == response.headers["X-Request-ID"]


@pytest.mark.parametrize("status", [400, 404, 405, 413, 500, 503])
@pytest.mark.parametrize("is_api", [True, False])
def test_every_error_has_one_shape(
    app: Flask, repository: InMemoryRepository, status: int, is_api: bool
) -> None:
    """JSON ``{"ok": false, "error", "status", "request_id"}``; a page names the same id."""
    client = app.test_client()
    prefix = "/api" if is_api else ""
    path = f"{prefix}/alerts"
    if status == 400:
        response = client.get(f"{path}?limit=x")
    elif status == 404:
        response = client.get(f"{prefix}/nothing")
    elif status == 405:
        response = client.post(path)
        assert response.headers["Allow"] == "GET, HEAD"
    elif status == 413:
        response = client.get(path, data=b"x" * 20_000)
    else:
        repository.outage = RuntimeError("secret detail")
        if status == 503:
            repository.fail()
        response = client.get(path)
    assert response.status_code == status
    request_id = response.headers["X-Request-ID"]
    assert re.fullmatch(r"[0-9a-f]{16}", request_id)
    assert "secret detail" not in response.text
    assert "Traceback" not in response.text
    if is_api:
        body = response.get_json()
        assert set(body) == {"ok", "error", "status", "request_id"}
        assert body["ok"] is False
        assert body["status"] == status
        assert body["request_id"] == request_id
    else:
        assert request_id in response.text


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
@pytest.mark.parametrize("path", ["/", "/api/overview", "/livez", "/static/dashboard.css", "/x"])
def test_only_get_and_head_are_served(client: FlaskClient, method: str, path: str) -> None:
    assert client.open(path, method=method).status_code == 405


@pytest.mark.parametrize(
    "path", ["/", "/api/overview", "/api/none", "/none", "/livez", "/static/dashboard.css"]
)
def test_every_response_has_the_security_headers(client: FlaskClient, path: str) -> None:
    with client.get(path) as response:
        headers = response.headers
    assert {name: headers.get(name) for name in HEADERS} == HEADERS
    assert "X-Request-ID" in headers
    assert "unsafe" not in headers["Content-Security-Policy"]
    if not path.startswith("/static"):
        assert headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:5000", 200), ("127.0.0.1:5000", 200), ("[::1]:5000", 200), ("LOCALHOST", 200),
        *((host, 400) for host in HOSTS),
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/", "/api/overview"])
def test_foreign_hosts_are_refused(client: FlaskClient, host: str, status: int, path: str) -> None:
    assert client.get(path, headers={"Host": host}).status_code == status


def test_too_many_waiting_requests_get_503_while_livez_answers(
    repository: InMemoryRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    class NoSlot:
        def __init__(self, value: int) -> None: ...

        def acquire(self, blocking: bool) -> bool:
            return False

    monkeypatch.setattr("threading.BoundedSemaphore", NoSlot)
    client = create_app(load_settings(environment={}), repository, lambda: NOW).test_client()
    assert client.get("/api/overview").status_code == 503
    assert client.get("/livez").status_code == 200


def test_nothing_is_loaded_from_elsewhere() -> None:
    allowed = {"http://www.w3.org/2000/svg"}
    for path in [*PACKAGE.rglob("templates/*"), *PACKAGE.rglob("static/**/*")]:
        if path.is_file() and path.name != "LICENSE":
            text = path.read_text(encoding="utf-8")
            if path.parent == VENDOR:
                text = re.sub(r"^/\*!.*?\*/", "", text)  # the notice names the project's home
            found = set(re.findall(r"https?://[^\s\"')]+", text))
            assert found <= allowed, path


def test_templates_have_no_inline_script_or_style() -> None:
    for path in PACKAGE.rglob("templates/*.html"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"\sstyle=|\son\w+=|<style|<script>|\|\s*safe", text), path


def test_vendored_files_are_the_published_ones() -> None:
    for line in (VENDOR / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split()
        assert hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() == digest
