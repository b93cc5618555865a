"""Healthcheck of the dashboard's container.

Contract: exit status 0 when ``GET /livez`` answers 200 within ``TIMEOUT_S``, else 1 with one line
on standard error. It asks the process only: an outage of Cassandra must not end the page that
reports it. Host and port are ``dashboard.host`` and ``dashboard.port`` of config.yml, or their
environment variables ``FRAUD__DASHBOARD__HOST`` and ``FRAUD__DASHBOARD__PORT``.
"""

from __future__ import annotations

import http.client
import sys

from pipeline.errors import ConfigError
from pipeline.settings import load_settings

TIMEOUT_S = 2.0
"""/livez answers in milliseconds; two seconds without an answer is a process that hangs."""

ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  what a wildcard is reached by


def main() -> int:
    """Probe once and return the exit status."""
    try:
        dashboard = load_settings().dashboard
        host = ANY_ADDRESS.get(dashboard.host, dashboard.host)
        connection = http.client.HTTPConnection(host, dashboard.port, timeout=TIMEOUT_S)
        try:
            connection.request("GET", "/livez", headers={"Host": f"localhost:{dashboard.port}"})
            status = connection.getresponse().status
        finally:
            connection.close()
    except (ConfigError, OSError, http.client.HTTPException) as error:
        print(f"healthcheck: {error}", file=sys.stderr)
        return 1
    if status != http.client.OK:
        print(f"healthcheck: GET /livez answered {status}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
