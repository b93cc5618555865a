"""Logging of every service: JSON lines on standard error, no payloads, no secrets."""

from __future__ import annotations

import datetime as dt
import json
import logging
import sys
from collections.abc import Callable

from pipeline.errors import ConfigError, PipelineError


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        moment = dt.datetime.fromtimestamp(record.created, dt.UTC)
        line = {
            "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)  # escapes line breaks, so a value cannot forge a log line


def configure_logging() -> None:
    """Send the root logger to standard error as JSON lines; call it once, first thing in main."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("cassandra").setLevel(logging.CRITICAL)  # a traceback for each retry
    logging.getLogger("py4j").setLevel(logging.WARNING)


def run_service(main: Callable[[], int]) -> int:
    """Run a service's ``main`` and turn errors made for people into one line.

    Returns the exit status: that of ``main``, 2 for a wrong setting, 1 for another
    ``PipelineError``. Any other exception is a bug or an outage and keeps its traceback.
    """
    configure_logging()
    try:
        return main()
    except ConfigError as error:
        print(f"config: {error}", file=sys.stderr)
        return 2
    except PipelineError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
