"""What is seen from outside during a drill: the dashboard as a browser has it, and the tables."""

from __future__ import annotations

import datetime as dt
import threading
import time
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final

import requests

from pipeline.database import OUTAGES, cluster
from pipeline.names import KEYSPACE
from pipeline.settings import Settings

SAMPLE_S: Final = 1.0
ANSWER_TIMEOUT_S: Final = 5.0
"""The dashboard answers within 2 s whatever happens to the others; this long, and it hangs."""
BEHIND_S: Final = 10.0
"""A component that lags this far behind is in trouble, whatever it says."""
ALERT_WINDOWS: Final = dt.timedelta(minutes=15)
"""How far back the minutes lie whose alerts are looked at: more than any outage of the drill."""
NO_ANSWER: Final = "no answer"
LIVE: Final = "live"


@dataclass(frozen=True)
class Sample:
    """What the dashboard said at a moment.

    ``state``: of the overview; the HTTP status when it was an error, or ``NO_ANSWER``.
    ``troubles``: each component that does not run as it should, with its state. ``seconds``: of
    the slowest answer.
    """

    at: float
    state: str
    troubles: frozenset[str]
    seconds: float

    @property
    def is_sound(self) -> bool:
        return self.state == LIVE and not self.troubles


class Watch:
    """Asks the dashboard every ``SAMPLE_S``; a context manager, with a thread of its own."""

    def __init__(self, settings: Settings) -> None:
        self._url = f"http://127.0.0.1:{settings.dashboard.port}"
        self._samples: list[Sample] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def since(self, moment: float) -> list[Sample]:
        """Return the samples that were taken at ``moment`` or later."""
        samples = self._samples[:]
        return [sample for sample in samples if sample.at >= moment]

    def is_sound(self, since: float) -> bool:
        """Tell whether everything runs, by the newest sample, which is newer than ``since``."""
        return any(sample.is_sound for sample in self.since(since)[-1:])

    def _run(self) -> None:
        while not self._stop.wait(SAMPLE_S):
            self._samples.append(self._look())

    def _look(self) -> Sample:
        at = time.time()
        try:
            answers = [self._get(path) for path in ("/livez", "/api/overview", "/api/system")]
        except requests.RequestException:
            return Sample(at, NO_ANSWER, frozenset(), time.time() - at)
        live, overview, system = answers
        state = overview.json()["state"] if overview.ok else str(overview.status_code)
        return Sample(
            at,
            state if live.ok else str(live.status_code),
            frozenset(_troubles(system.json()["components"]) if system.ok else ()),
            max(answer.elapsed.total_seconds() for answer in answers),
        )

    def _get(self, path: str) -> requests.Response:
        return requests.get(f"{self._url}{path}", timeout=ANSWER_TIMEOUT_S)


class Tables:
    """The pipeline's tables, read past every proxy; call ``close`` at the end."""

    def __init__(self, settings: Settings) -> None:
        self._cluster = cluster(settings.cassandra, request_timeout_s=2.0)
        self._session = self._cluster.connect(KEYSPACE)
        self._alerts = self._session.prepare(
            "SELECT scored_at FROM fraud_alerts WHERE hour = ? AND window_start >= ?"
        )

    def close(self) -> None:
        """Close the connections."""
        self._cluster.shutdown()

    def has_alert_since(self, moment: float) -> bool:
        """Tell whether an alert can be read that was scored after ``moment``."""
        scored_after = dt.datetime.fromtimestamp(moment, dt.UTC)
        oldest = dt.datetime.now(dt.UTC) - ALERT_WINDOWS
        hours = {hour_of(oldest), hour_of(oldest + ALERT_WINDOWS)}
        try:
            rows = [
                row for hour in hours for row in self._session.execute(self._alerts, (hour, oldest))
            ]
        except OUTAGES:
            return False
        return any(row.scored_at.replace(tzinfo=dt.UTC) > scored_after for row in rows)

    def batch_starts(self) -> list[float]:
        """Return when each recorded batch began, in order."""
        rows = self._session.execute("SELECT started_at FROM batches")
        return sorted(row.started_at.replace(tzinfo=dt.UTC).timestamp() for row in rows)


def hour_of(moment: dt.datetime) -> dt.datetime:
    return moment.replace(minute=0, second=0, microsecond=0)


def calm(
    samples: Iterable[Sample], batch_starts: Sequence[float], stale_after_s: float
) -> list[Sample]:
    """Return the samples that say ``live`` although nothing was scored for ``stale_after_s``.

    ``batch_starts`` in order; a batch takes effect later than it begins, which errs on the
    strict side.
    """
    found = []
    for sample in samples:
        newest = bisect_right(batch_starts, sample.at)
        is_dead = not newest or sample.at - batch_starts[newest - 1] > stale_after_s
        if is_dead and sample.state == LIVE:
            found.append(sample)
    return found


def sequence(samples: Iterable[Sample]) -> list[str]:
    """Return the states of the overview as they followed each other."""
    states: list[str] = []
    for sample in samples:
        if states[-1:] != [sample.state]:
            states.append(sample.state)
    return states


def _troubles(components: Iterable[dict[str, Any]]) -> Iterable[str]:
    for component in components:
        if component["state"] != "running":
            yield f"{component['name']} {component['state']}"
        elif (component["lag"]["seconds"] or 0.0) > BEHIND_S:
            yield f"{component['name']} behind"
