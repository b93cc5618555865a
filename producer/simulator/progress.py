"""What the producer's heartbeat tells."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Literal

from pipeline.heartbeat import State, Status
from pipeline.names import PRODUCER
from simulator.publisher import Publisher

Phase = Literal["waiting", "history", "live", "stopped", "failed"]


class Progress:
    """The phase and the counts of this run; the service sets the fields, the heartbeat reads."""

    def __init__(self) -> None:
        self.phase: Phase = "waiting"
        self.publisher: Publisher | None = None
        self._seen_at = time.monotonic()
        self._seen_acked = 0
        self._seen_failed = 0

    def snapshot(self) -> Mapping[str, Status]:
        """Return the status, with the rate since the last call; for one thread only.

        Degraded: since the last call a record failed, or none of those under way was acknowledged.
        """
        if self.publisher is None:
            waiting: State = "starting" if self.phase == "waiting" else _ended(self.phase)
            return {PRODUCER: Status(waiting, details={"phase": self.phase})}
        transactions, labels = self.publisher.transactions, self.publisher.labels
        now, acked = time.monotonic(), transactions.acked
        failed = transactions.failed + labels.failed
        is_stuck = acked == self._seen_acked and transactions.under_way > 0
        is_degraded = is_stuck or failed > self._seen_failed
        rate = (acked - self._seen_acked) / max(now - self._seen_at, 1e-3)
        self._seen_at, self._seen_acked, self._seen_failed = now, acked, failed
        state: State = "degraded" if is_degraded else "running"
        if self.phase in ("stopped", "failed"):
            state = _ended(self.phase)
        details = {
            "phase": self.phase,
            "published": str(transactions.published),
            "acked": str(acked),
            "failed": str(transactions.failed),
            "labels_failed": str(labels.failed),
        }
        error = None if state == "running" else self.publisher.last_error
        return {PRODUCER: Status(state, rate=rate, error=error, details=details)}


def _ended(phase: Phase) -> State:
    return "failed" if phase == "failed" else "stopped"
