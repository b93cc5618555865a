"""What pages and API ask for: cached reads, put together by the pure modules."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dashboard.alerts import AlertPage, AlertQuery, find_alerts
from dashboard.cache import Cache
from dashboard.comparison import MAX_HOURS, find_comparison
from dashboard.freshness import Freshness, assess, newest, reported_watermark
from dashboard.overview import overview_json
from dashboard.quality import PERIODS, quality_json
from dashboard.repository import Repository, Row, Unavailable
from dashboard.system import DAY, accounting_json, components_json, rejected_json
from dashboard.times import HOUR, MINUTE, floor_hour, iso
from pipeline.names import DETECTION, QUALITY
from pipeline.settings import Settings

LIVE_TTL_S = 1.0
"""What changes with every micro-batch is read once a second, however many browsers ask."""
CLOSED_HOUR_TTL_S = 60.0
"""Past hours of ``metrics`` change only while the job catches up after an outage."""
METRICS_HOURS = 26
"""A day of ``metrics`` touches 25 hours; one more while the hour turns."""
COMPARISON_TTL_S = 10.0
"""A comparison grows by a minute a minute, and reads thousands of rows."""
ALERT_QUERIES = 64
EVERY = "every component"
"""The only key of the cache of statuses: they are read together."""
ACCOUNT_DAYS = 8
"""Raw transactions live for seven days, which touch eight days of UTC."""
ACCOUNT_ROWS = 50


class Service:
    """The reads behind every route; each raises ``Unavailable`` when there is no answer at all."""

    def __init__(
        self, repository: Repository, settings: Settings, now: Callable[[], dt.datetime]
    ) -> None:
        self._repository = repository
        self._settings = settings
        self._stale_after_s = settings.dashboard.stale_after_s
        self.now = now
        self._started_at = now()
        self._cassandra = _own_status("cassandra", "starting", self._started_at, None)
        self._statuses: Cache[str, Sequence[Row]] = Cache(
            self._load_statuses, lambda _: LIVE_TTL_S, capacity=1
        )
        self._metrics: Cache[dt.datetime, Sequence[Row]] = Cache(
            repository.metrics, self._metrics_ttl_s, METRICS_HOURS
        )
        self._alerts: Cache[AlertQuery, AlertPage] = Cache(
            self._load_alerts, lambda _: LIVE_TTL_S, ALERT_QUERIES
        )
        self._comparisons: Cache[int, dict[str, Any]] = Cache(
            self._load_comparisons, lambda _: COMPARISON_TTL_S, MAX_HOURS
        )
        self._quality: Cache[str, Row | None] = Cache(
            repository.quality, lambda _: LIVE_TTL_S, len(PERIODS)
        )

    def overview(self, minutes: int) -> dict[str, Any]:
        """Return the answer of ``/api/overview``."""
        now = self.now()
        freshness, rows, detection = self._assess(now, now - minutes * MINUTE)
        return overview_json(now, minutes, rows, detection, freshness)

    def freshness(self) -> Freshness:
        now = self.now()
        return self._assess(now, now - HOUR)[0]

    def alerts(self, query: AlertQuery) -> AlertPage:
        return self._alerts.get([query]).values[query]

    def watermark(self) -> dt.datetime:
        """Return the detection job's watermark, or the earliest that it can have."""
        delay = 2 * MINUTE
        try:
            rows = self._statuses.get([EVERY]).values[EVERY]
            return reported_watermark(_of(rows, DETECTION)) or self.now() - delay
        except Unavailable:
            return self.now() - delay

    def alert(self, window_start: dt.datetime, sender_account: str) -> Row | None:
        return self._repository.alert(window_start, sender_account)

    def raw_transaction(self, transaction_id: str | None) -> Row | None:
        return self._repository.transaction(transaction_id) if transaction_id else None

    def account_transactions(self, account: str) -> Sequence[Row]:
        """Return the newest transactions sent or received in the last days, newest first."""
        today = self.now().date()
        days = [today - dt.timedelta(days=n) for n in range(ACCOUNT_DAYS)]
        rows = self._repository.account_transactions(account, days, ACCOUNT_ROWS)
        newest_first = sorted(rows, key=lambda row: row["transaction_timestamp"], reverse=True)
        return newest_first[:ACCOUNT_ROWS]

    def models(self, hours: int) -> dict[str, Any]:
        """Return the answer of ``/api/models``."""
        return self._comparisons.get([hours]).values[hours]

    def system(self) -> dict[str, Any]:
        """Return the answer of ``/api/system``."""
        rows = self._statuses.get([EVERY]).values[EVERY]
        now = self.now()
        own = [self._cassandra, _own_status("dashboard", "running", self._started_at, now)]
        accounting = accounting_json(rows)
        return {
            "ok": True,
            "generated_at": iso(now),
            "components": components_json(rows, own, now, self._stale_after_s),
            "accounting": accounting,
            "rejected": rejected_json(self._last_day(now), accounting["rejected"], now),
        }

    def quality(self) -> dict[str, Any]:
        """Return the answer of ``/api/quality``."""
        statuses = self._statuses.get([EVERY])
        figures = self._quality.get(list(PERIODS))
        return quality_json(
            self.now(),
            figures.values,
            _of(statuses.values[EVERY], QUALITY),
            statuses.is_current and figures.is_current,
            self._stale_after_s,
        )

    def _assess(
        self, now: dt.datetime, since: dt.datetime
    ) -> tuple[Freshness, list[Row], Row | None]:
        statuses = self._statuses.get([EVERY])
        detection = _of(statuses.values[EVERY], DETECTION)
        rows, are_current = self._metrics_since(now, since)
        is_current = statuses.is_current and are_current
        freshness = assess(now, detection, newest(rows), is_current, self._stale_after_s)
        return freshness, rows, detection

    def _metrics_since(self, now: dt.datetime, since: dt.datetime) -> tuple[list[Row], bool]:
        """Return the rows of each hour from ``since`` on, and whether they are current."""
        newest_hour = floor_hour(now)
        count = (newest_hour - floor_hour(since)) // HOUR + 1
        metrics = self._metrics.get([newest_hour - n * HOUR for n in range(count)])
        return [row for hour in metrics.values.values() for row in hour], metrics.is_current

    def _last_day(self, now: dt.datetime) -> list[Row]:
        """Return the rows of a day; none in an outage, in which the system page has more to say."""
        try:
            return self._metrics_since(now, now - DAY)[0]
        except Unavailable:
            return []

    def _load_statuses(self, keys: Sequence[str]) -> Mapping[str, Sequence[Row]]:
        """Read the statuses; whether that works is also the state of Cassandra as seen here."""
        state, error = "running", None
        try:
            return {key: self._repository.statuses() for key in keys}
        except Unavailable as outage:
            state, error = "failed", str(outage)
            raise
        finally:
            before = self._cassandra
            since = before["since"] if before["state"] == state else self.now()
            self._cassandra = _own_status("cassandra", state, since, self.now(), error)

    def _load_alerts(self, queries: Sequence[AlertQuery]) -> Mapping[AlertQuery, AlertPage]:
        now = self.now()
        oldest = now - dt.timedelta(days=self._settings.cassandra.alert_ttl_days)
        return {query: find_alerts(self._repository, query, now, oldest) for query in queries}

    def _load_comparisons(self, hours: Sequence[int]) -> Mapping[int, dict[str, Any]]:
        detection = _of(self._statuses.get([EVERY]).values[EVERY], DETECTION)
        lateness = dt.timedelta(seconds=self._settings.scoring.allowed_lateness_s)
        return {
            count: find_comparison(self._repository, detection, count, self.now(), lateness)
            for count in hours
        }

    def _metrics_ttl_s(self, hour: dt.datetime) -> float:
        return LIVE_TTL_S if hour + HOUR + 5 * MINUTE > self.now() else CLOSED_HOUR_TTL_S


def _of(statuses: Sequence[Row], component: str) -> Row | None:
    return next((row for row in statuses if row["component"] == component), None)


def _own_status(
    component: str,
    state: str,
    since: dt.datetime,
    heartbeat: dt.datetime | None,
    error: str | None = None,
) -> Row:
    """Return what this process knows of itself or of its reads, as a row of ``pipeline_status``."""
    return {
        "component": component,
        "state": state,
        "since": since,
        "heartbeat": heartbeat,
        "rate": None,
        "lag_messages": None,
        "lag_seconds": None,
        "error": error,
        "details": {},
    }
