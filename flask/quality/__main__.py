"""``python -m quality``: judges the detection until SIGTERM or SIGINT."""

from __future__ import annotations

import signal
import sys
import threading

from pipeline.logs import run_service
from pipeline.settings import load_settings
from quality.service import Service


def main() -> int:
    settings = load_settings()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    Service(settings, stop).run()
    return 0


if __name__ == "__main__":
    sys.exit(run_service(main))
