"""The polled servers: each poll asks one of them and returns its status, whatever happens."""

from __future__ import annotations

import logging

import requests
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from pipeline import names
from pipeline.heartbeat import State, Status
from registration.connector import root_cause
from watcher.offsets import OTHER_TOPICS, REQUEST_TIMEOUT_S, History, Offsets, read_offsets
from watcher.restarts import RestartPolicy

logger = logging.getLogger(__name__)


class Kafka:
    """The broker; ``offsets`` holds the last reading, None while there is none.

    ``source`` is the topic of the transactions.
    """

    def __init__(self, bootstrap_servers: str, source: str) -> None:
        self._bootstrap_servers = bootstrap_servers
        self.source = source
        self._admin = self._connect()
        self.published = History()
        self.offsets: Offsets | None = None

    def _connect(self) -> AdminClient:
        # Its own log would repeat what the status says; the back-off is short, as its default of
        # 10 s would report a broker that is back as failed.
        return AdminClient(
            {
                "bootstrap.servers": self._bootstrap_servers,
                "log_level": 0,
                "reconnect.backoff.max.ms": 2000,
            }
        )

    def poll(self, now_s: float) -> Status:
        try:
            self.offsets = read_offsets(self._admin, self.source)
        except (KafkaException, TimeoutError) as error:
            self.offsets = None
            # A client of before the broker's restart was seen to time out for ever.
            self._admin = self._connect()
            return Status("failed", error=f"Kafka does not answer: {error}")
        start, end = self.offsets.start, self.offsets.end
        details = {f"end_offset.{topic}": str(offset) for topic, offset in end.items()}
        details |= {f"start_offset.{topic}": str(offset) for topic, offset in start.items()}
        missing = [topic for topic in (self.source, *OTHER_TOPICS) if topic not in end]
        if missing:
            error_text = f"topics are missing: {', '.join(missing)}"
            return Status("degraded", error=error_text, details=details)
        self.published.add(now_s, end[self.source])
        details["published"] = str(end[self.source])
        details["dead_letters"] = str(end[names.DEAD_LETTER_TOPIC])
        return Status("running", rate=self.published.rate(), details=details)


class Registry:
    """The schema registry, which must know ``subject``: that of the transactions."""

    def __init__(self, url: str, subject: str) -> None:
        self._url = url
        self._subject = subject

    def poll(self) -> Status:
        try:
            answer = requests.get(f"{self._url}/subjects", timeout=REQUEST_TIMEOUT_S)
            answer.raise_for_status()
            subjects = answer.json()
        except requests.RequestException as error:
            return Status("failed", error=f"the registry does not answer: {error}")
        if self._subject not in subjects:
            return Status("degraded", error=f"subject {self._subject} is missing")
        return Status("running")


class Connect:
    """The sink connector: its state, its progress, and restarts of what has failed."""

    def __init__(self, url: str) -> None:
        self._url = f"{url}/connectors/{names.SINK_CONNECTOR}"
        self._stored = History()
        self._restarts = RestartPolicy()

    def poll(self, now_s: float, kafka: Kafka) -> Status:
        """Return the status; ``kafka`` was polled just before and knows the progress."""
        rate, lag, lag_s, details = self._progress(now_s, kafka)
        state, error = self._state(now_s)
        return Status(state, rate, lag, lag_s, error, details)

    def _progress(
        self, now_s: float, kafka: Kafka
    ) -> tuple[float | None, int | None, float | None, dict[str, str]]:
        offsets = kafka.offsets
        if offsets is None or kafka.source not in offsets.end:
            return None, None, None, {}
        self._stored.add(now_s, offsets.stored)
        lag = max(0, offsets.end[kafka.source] - offsets.stored)
        lag_s = kafka.published.seconds_behind(offsets.stored) if lag else 0.0
        return self._stored.rate(), lag, lag_s, {"stored_offsets": str(offsets.stored)}

    def _state(self, now_s: float) -> tuple[State, str | None]:
        try:
            answer = requests.get(f"{self._url}/status", timeout=REQUEST_TIMEOUT_S)
            if answer.status_code == requests.codes.not_found:
                return "degraded", f"connector {names.SINK_CONNECTOR} is not registered"
            answer.raise_for_status()
            status = answer.json()
        except requests.RequestException as error:
            return "failed", f"Connect does not answer: {error}"
        parts = [status["connector"], *status["tasks"]]
        states = {part["state"] for part in parts}
        if states == {"RUNNING"} and status["tasks"]:
            self._restarts.healthy(now_s)
            return "running", None
        if "FAILED" not in states:
            return "degraded", f"connector and tasks are {', '.join(sorted(states))}"
        trace = next(part.get("trace") or "" for part in parts if part["state"] == "FAILED")
        if self._restarts.should_restart(now_s):
            self._restart()
        error_text = f"restart {self._restarts.tries}: {root_cause(trace)}"
        return ("failed" if self._restarts.is_exhausted else "degraded"), error_text

    def _restart(self) -> None:
        logger.warning("%s has failed; restart %d", names.SINK_CONNECTOR, self._restarts.tries)
        try:
            requests.post(
                f"{self._url}/restart?includeTasks=true&onlyFailed=true", timeout=REQUEST_TIMEOUT_S
            ).raise_for_status()
        except requests.RequestException as error:
            logger.warning("Connect did not take the restart: %s", error)
