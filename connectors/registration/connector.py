"""The Connect sink: its configuration from ``cassandra-sink.json``, and its start.

Why some of its settings are as they are, as JSON has no comments:

``consumer.override.session.timeout.ms``: after a killed worker its partitions wait this long. With
Kafka's default of 45 s, writing resumed 48 s after a kill; less than 10 s would take a pause of the
garbage collector for a death.
``consumer.override.max.poll.records``: ``put`` waits for all writes of a poll, so few records a
poll leave Cassandra idle in between; 500 to 5000 made little difference.
``value.converter.http.*``, ``errors.retry.*``: an outage of the registry is retried for ever, each
try ends after 5 s.
"""

from __future__ import annotations

import json
import logging
import os
import string
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import requests

from pipeline import names, records
from pipeline.errors import PipelineError
from pipeline.settings import Settings
from registration.topics import DEAD_LETTER_MAX_BYTES
from registration.waiting import REQUEST_TIMEOUT_S, wait_until

TEMPLATE: Final = Path(__file__).resolve().parents[1] / "cassandra-sink.json"
PASSWORD_FILE_VARIABLE: Final = "FRAUD__CASSANDRA__PASSWORD_FILE"  # noqa: S105 - a name
RUNNING_TIMEOUT_S = 60.0
"""Tasks start in about a second; a restarted worker first waits for its group (some 10 s)."""
PUT_TIMEOUT_S = 30.0
"""Of one request that changes the connector: Connect answers after it has rebalanced."""

logger = logging.getLogger(__name__)


class _Template(string.Template):
    """``${section.key}``; a dot belongs to the name."""

    braceidpattern = r"[a-z_]+\.[a-z_]+"


def render(settings: Settings, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the connector's configuration with every placeholder filled in.

    A password that this process reads from a file is passed on as that file's path, which the
    Connect worker must see too: the secret itself then never enters Connect's configuration.

    Raises ``PipelineError`` for a placeholder that does not exist.
    """
    password_file = environment.get(PASSWORD_FILE_VARIABLE, "")
    values: dict[str, Any] = {
        "names.dead_letter_topic": names.DEAD_LETTER_TOPIC,
        "topics.dead_letter_max_bytes": DEAD_LETTER_MAX_BYTES,
        "names.keyspace": names.KEYSPACE,
        "connect.tasks": settings.connect.tasks,
        "registry.url": settings.registry.url,
        "kafka.replication_factor": settings.kafka.replication_factor,
        "cassandra.contact_points": settings.cassandra.contact_points,
        "cassandra.port": settings.cassandra.port,
        "cassandra.datacenter": settings.cassandra.datacenter,
        "cassandra.username": settings.cassandra.username,
        "cassandra.password": "" if password_file else str(settings.cassandra.password),
        "cassandra.password_file": password_file,
        **{f"source.{key}": value for key, value in vars(settings.source).items()},
        "source.mapping": ", ".join(
            f"{field}={path}" for field, path in vars(settings.source.mapping).items()
        ),
        "rules.transaction_types": ",".join(records.TRANSACTION_TYPES),
        "rules.transaction_statuses": ",".join(records.TRANSACTION_STATUSES),
        "rules.max_id_bytes": records.MAX_ID_BYTES,
        "rules.max_amount": records.MAX_AMOUNT,
        "rules.future_tolerance_ms": records.FUTURE_TOLERANCE_MS,
        "rules.max_age_ms": records.MAX_AGE_MS,
    }
    template = json.loads(TEMPLATE.read_text(encoding="utf-8"))["config"]
    try:
        return {key: _Template(text).substitute(values) for key, text in template.items()}
    except (KeyError, ValueError) as error:
        raise PipelineError(f"{TEMPLATE.name}: unknown placeholder ({error})") from error


def register_connector(settings: Settings) -> None:
    """Wait for Connect, hand it the connector and wait until its tasks run.

    Raises ``PipelineError`` if Connect does not come, refuses the configuration, or a task fails;
    the line holds the root cause of the task's trace.
    """
    url = f"{settings.connect.url}/connectors/{names.SINK_CONNECTOR}"
    config = render(settings)
    wait_until(lambda: _put(url, config))
    # An unchanged configuration restarts nothing, not even what failed earlier.
    _request("POST", f"{url}/restart?includeTasks=true&onlyFailed=true")
    wait_until(lambda: _not_running(url), RUNNING_TIMEOUT_S)
    logger.info("connector %s is running", names.SINK_CONNECTOR)


def _put(url: str, config: Mapping[str, str]) -> str | None:
    answer = _request("PUT", f"{url}/config", config)
    if isinstance(answer, str):
        return answer
    if answer.status_code == requests.codes.bad_request:
        raise PipelineError(f"Connect refuses the connector: {_message(answer)}")
    # Others pass: 404 and 503 while the worker starts, 409 while it rebalances.
    return None if answer.ok else f"Connect says {_message(answer)}"


def _not_running(url: str) -> str | None:
    answer = _request("GET", f"{url}/status")
    if isinstance(answer, str):
        return answer
    return problem(answer.json()) if answer.ok else f"Connect says {_message(answer)}"


def problem(status: Mapping[str, Any]) -> str | None:
    """Return what keeps a connector from running, given Connect's status of it, or None."""
    if not status["tasks"]:
        return f"connector {status['name']} has no task yet"
    parts = [("connector", status["connector"])]
    parts += [(f"task {task['id']}", task) for task in status["tasks"]]
    for name, part in parts:
        if part["state"] != "RUNNING":
            cause = root_cause(part.get("trace") or "")
            return f"{name} of {status['name']} is {part['state']}: {cause}".rstrip(": ")
    return None


def root_cause(trace: str) -> str:
    """Return the line of a Java stack trace that says most: the innermost cause."""
    lines = trace.splitlines()
    causes = [line for line in lines if line.startswith("Caused by: ")]
    return causes[-1].removeprefix("Caused by: ") if causes else "".join(lines[:1])


def _request(
    method: str, url: str, body: Mapping[str, str] | None = None
) -> requests.Response | str:
    """Return the answer, or what is wrong if there is none."""
    timeout_s = REQUEST_TIMEOUT_S if method == "GET" else PUT_TIMEOUT_S
    try:
        return requests.request(method, url, json=body, timeout=timeout_s)
    except requests.RequestException as error:
        return f"Connect does not answer at {url} ({type(error).__name__})"


def _message(answer: requests.Response) -> str:
    try:
        text = str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):
        text = answer.text
    return f"HTTP {answer.status_code}: {' '.join(text.split())[:500]}"
