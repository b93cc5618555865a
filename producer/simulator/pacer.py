"""Real-time pace: when an event of a stream happens on the wall clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

MAX_BEHIND_MS: Final = 1000
"""Delays up to this are caught up with; after a longer one (an outage, a machine too slow, a
suspended laptop) the stream pauses instead: what would have happened meanwhile happens later,
so that no transaction carries a time long past. Lower: hiccups stretch incidents. Higher: floods
of old transactions after an outage."""


class Pacer:
    """Maps the time of a stream to the wall clock and waits for it.

    ``clock`` returns milliseconds UTC; ``wait`` blocks for at most the given seconds and may
    return early; ``is_stopped`` ends every wait.
    """

    def __init__(
        self,
        first_ms: int,
        clock: Callable[[], int],
        wait: Callable[[float], object],
        is_stopped: Callable[[], bool],
        speed: float = 1.0,
    ) -> None:
        """Let the stream's time ``first_ms`` happen now."""
        self._latest_ms = first_ms
        self._moment_ms = float(clock())
        self._clock = clock
        self._wait = wait
        self._is_stopped = is_stopped
        self._speed = speed

    def happen(self, event_ms: int) -> int:
        """Wait until the event happens; return that moment in milliseconds UTC.

        An event older than one before it is not waited for and keeps its distance to that one.
        Returns at once when stopped.
        """
        gap_ms = (event_ms - self._latest_ms) / self._speed
        if gap_ms < 0:
            return round(self._moment_ms + gap_ms)
        self._latest_ms = event_ms
        self._moment_ms += gap_ms
        ahead_ms = self._moment_ms - self._clock()
        is_behind = ahead_ms < -MAX_BEHIND_MS
        has_clock_stepped_back = ahead_ms > gap_ms + MAX_BEHIND_MS
        if is_behind or has_clock_stepped_back:
            self._moment_ms -= ahead_ms
        # Waits end within 1 ms of the moment: Kafka's client takes no shorter timeout.
        while (left_ms := self._moment_ms - self._clock()) >= 1 and not self._is_stopped():
            self._wait(left_ms / 1000)
        return round(self._moment_ms)
