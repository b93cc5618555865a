"""The heartbeat of a process: its own row of the table ``pipeline_status``."""

from __future__ import annotations

import datetime as dt
import logging
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pipeline.database import cluster
from pipeline.names import KEYSPACE
from pipeline.settings import CassandraConfig

HEARTBEAT_FILE = "HEARTBEAT_FILE"
"""Environment variable that names a file to touch with every beat, for a container's healthcheck:
unlike the row in Cassandra its age tells whether this process lives, also during an outage."""

HEARTBEAT_S = 2.0
"""Readers call a component stale after ``dashboard.stale_after_s``: many missed beats, not one."""

State = Literal["starting", "running", "degraded", "failed", "stopped"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Status:
    """What a component says of itself; None where it does not know or it does not apply."""

    state: State
    rate: float | None = None
    lag_messages: int | None = None
    lag_seconds: float | None = None
    error: str | None = None
    details: Mapping[str, str] = field(default_factory=dict)


def _touch() -> None:
    if path := os.environ.get(HEARTBEAT_FILE):
        Path(path).touch()


class Heartbeat:
    """Writes the statuses of one or more components every ``HEARTBEAT_S`` seconds.

    ``snapshot`` is called on the heartbeat's own thread and returns {component: Status}. An
    outage of Cassandra never reaches the caller: the heartbeat logs it once, goes on trying, and
    the row's age shows the gap.
    """

    def __init__(
        self, config: CassandraConfig, snapshot: Callable[[], Mapping[str, Status]]
    ) -> None:
        self._config = config
        self._snapshot = snapshot
        self._stop = threading.Event()
        self._since: dict[str, tuple[State, dt.datetime]] = {}
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Begin to beat; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """Write the last status and end the thread; waits a few seconds at most."""
        self._stop.set()
        self._thread.join(timeout=5.0)

    def _run(self) -> None:
        reachable = True
        while True:
            _touch()
            handle = cluster(self._config, request_timeout_s=5.0)
            try:
                session = handle.connect(KEYSPACE)
                reachable = True
                self._beat_until_stopped(session)
                return
            except Exception as error:  # outage: reported by age, retried below
                if reachable:
                    logger.warning("heartbeat: Cassandra does not take it (%s)", error)
                reachable = False
            finally:
                handle.shutdown()
            if self._stop.wait(HEARTBEAT_S):
                return

    def _beat_until_stopped(self, session: Any) -> None:
        insert = session.prepare(
            "INSERT INTO pipeline_status (component, state, since, heartbeat, rate,"
            " lag_messages, lag_seconds, error, details) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
        )
        while True:
            is_last = self._stop.wait(HEARTBEAT_S if self._since else 0)
            now = dt.datetime.now(dt.UTC)
            _touch()
            for component, status in self._snapshot().items():
                state, since = self._since.get(component, (None, now))
                if state != status.state:
                    since = now
                    self._since[component] = (status.state, now)
                session.execute(
                    insert,
                    (
                        component,
                        status.state,
                        since,
                        now,
                        status.rate,
                        status.lag_messages,
                        status.lag_seconds,
                        status.error,
                        dict(status.details),
                    ),
                )
            if is_last:
                return
