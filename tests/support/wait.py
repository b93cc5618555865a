"""Waiting for a condition, the only way in which a test may wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")


def wait_until(
    probe: Callable[[], Value], timeout_s: float, what: str, every_s: float = 0.25
) -> Value:
    """Call ``probe`` until its result is true and return that; fail after ``timeout_s``."""
    deadline = time.monotonic() + timeout_s
    while True:
        result = probe()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"after {timeout_s:.0f} s: {what} (last: {result!r})")
        threading.Event().wait(every_s)
