"""When to restart a connector or task that has failed."""

from __future__ import annotations

FIRST_RETRY_S = 5.0
LONGEST_RETRY_S = 60.0
TRIES_UNTIL_FAILED = 5
"""Restarts in a row after which only a person can help; trying goes on all the same."""
HEALTHY_S = 60.0
"""What runs this long has recovered; less, and a task that fails in a loop would look healthy."""


class RestartPolicy:
    """Counts restarts in a row and spaces them: at once, then after 5, 10, 20 ... 60 s."""

    def __init__(self) -> None:
        self._tries = 0
        self._next_try_s = 0.0
        self._healthy_since_s: float | None = None

    @property
    def tries(self) -> int:
        return self._tries

    @property
    def is_exhausted(self) -> bool:
        return self._tries >= TRIES_UNTIL_FAILED

    def healthy(self, now_s: float) -> None:
        """Note that everything runs."""
        if self._healthy_since_s is None:
            self._healthy_since_s = now_s
        if now_s - self._healthy_since_s >= HEALTHY_S:
            self._tries = 0
            self._next_try_s = 0.0

    def should_restart(self, now_s: float) -> bool:
        """Note that something has failed, and tell whether to restart it now."""
        self._healthy_since_s = None
        if now_s < self._next_try_s:
            return False
        delay_s = min(FIRST_RETRY_S * 2**self._tries, LONGEST_RETRY_S)
        self._tries += 1
        self._next_try_s = now_s + delay_s
        return True
