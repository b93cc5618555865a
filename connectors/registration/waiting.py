"""Waiting for a server that may start later than we do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from pipeline.errors import PipelineError

START_TIMEOUT_S = 180.0
"""Servers that start from empty folders on a busy two-core machine took up to 60 s."""
POLL_S = 1.0
REQUEST_TIMEOUT_S = 5.0
"""Of one request: without it a half-open connection would hang the step for minutes."""


def wait_until(check: Callable[[], str | None], timeout_s: float = START_TIMEOUT_S) -> None:
    """Call ``check`` until it returns None; what it returns instead says what is missing.

    Raises ``PipelineError`` with the last answer after ``timeout_s``.
    """
    deadline = time.monotonic() + timeout_s
    pause = threading.Event()
    while (missing := check()) is not None:
        if time.monotonic() >= deadline:
            raise PipelineError(f"gave up after {timeout_s:.0f} s: {missing}")
        pause.wait(POLL_S)
