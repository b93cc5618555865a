"""Brings Cassandra's roles, tables and permissions to their state: ``python cassandra/roles.py``.

For a Cassandra with logins. The role that it runs as (``cassandra.username``) becomes the only
superuser, the default role ``cassandra`` is disabled, and each service gets a role that can do what
the service does and nothing else. Safe to run again and at any time: a permission that is not
listed here is taken away, a password that has changed is set.
"""

from __future__ import annotations

import dataclasses
import logging
import secrets
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from cassandra.cluster import NoHostAvailable

import migrate
from pipeline.database import cluster
from pipeline.errors import PipelineError
from pipeline.logs import run_service
from pipeline.names import KEYSPACE
from pipeline.settings import CassandraConfig, Secret, load_settings

PASSWORDS = Path("/run/passwords")
"""Holds a folder for each service's role with its file ``password`` (see passwords.py)."""

DEFAULT_ROLE: Final = "cassandra"
"""The superuser of an empty Cassandra; its password is its name, and known to everybody."""

READ_ALL: Final = ("SELECT", f"KEYSPACE {KEYSPACE}")


def _select(*tables: str) -> list[tuple[str, str]]:
    return [("SELECT", f"TABLE {KEYSPACE}.{table}") for table in tables]


def _modify(*tables: str) -> list[tuple[str, str]]:
    return [("MODIFY", f"TABLE {KEYSPACE}.{table}") for table in tables]


_SCORED: Final = (
    "fraud_alerts",
    "fraud_alerts_by_account",
    "shadow_alerts",
    "metrics",
    "batches",
    "pipeline_status",
)
"""The tables of the detection job."""

_RAW: Final = ("transactions", "transactions_by_account", "transactions_by_receiver")

PERMISSIONS: Final[Mapping[str, list[tuple[str, str]]]] = {
    "connect": _modify(*_RAW),
    # By table: the job must not be able to read the labels, nor what was made of them. The proof
    # runs as the same role.
    "spark": [*_select(*_RAW, *_SCORED, "erasures"), *_modify(*_SCORED)],
    "quality": [
        *_select("transactions", "fraud_alerts", "fraud_labels", "pipeline_status"),
        *_modify("fraud_labels", "detection_quality", "pipeline_status"),
    ],
    "dashboard": [READ_ALL],
    "producer": _modify("pipeline_status"),
    "watcher": _modify("pipeline_status"),
}
"""{role of a service: what it may do}, each as (permission, resource)."""

logger = logging.getLogger("roles")


def role_statements(role: str, password: str) -> list[str]:
    """Return what makes a role that can log in with ``password``, whether or not it exists."""
    return [
        f"CREATE ROLE IF NOT EXISTS {role}",
        f"ALTER ROLE {role} WITH LOGIN = true AND SUPERUSER = false AND PASSWORD = '{password}'",
    ]


def permission_changes(role: str, granted: Iterable[tuple[str, str]]) -> list[str]:
    """Return what turns the permissions that a role has now into those of ``PERMISSIONS``."""
    wanted, present = set(PERMISSIONS[role]), set(granted)
    revoked = [f"REVOKE {what} ON {where} FROM {role}" for what, where in present - wanted]
    added = [f"GRANT {what} ON {where} TO {role}" for what, where in wanted - present]
    return sorted(revoked) + sorted(added)


def granted_permissions(session: Any, role: str) -> list[tuple[str, str]]:
    """Return what a role may do now, in the form of ``PERMISSIONS``."""
    rows = session.execute(f"LIST ALL PERMISSIONS OF {role}")
    return [(row.permission, _resource(row.resource)) for row in rows]


def _resource(shown: str) -> str:
    """Turn ``<table fraud.metrics>``, as LIST shows it, into ``TABLE fraud.metrics``."""
    kind, _, name = shown.strip("<>").partition(" ")
    return f"{kind.upper()} {name}"


def become_superuser(config: CassandraConfig) -> None:
    """Wait until the role of ``config`` can log in; in an empty Cassandra, make it superuser.

    Raises ``PipelineError`` if neither it nor the default role can within ``migrate.WAIT_S``.
    """
    default = dataclasses.replace(config, username=DEFAULT_ROLE, password=Secret(DEFAULT_ROLE))
    deadline = time.monotonic() + migrate.WAIT_S
    pause = threading.Event()
    while not _can_log_in(config):
        if _can_log_in(default):
            _make_superuser(default, config)
            return
        if time.monotonic() > deadline:
            raise PipelineError(
                f"Cassandra at {config.contact_points}:{config.port} does not answer, or lets in"
                f" neither {config.username} nor {DEFAULT_ROLE}: is the password"
                " (cassandra.password) the one that its data was made with?"
            )
        pause.wait(migrate.RETRY_S)


def _can_log_in(config: CassandraConfig) -> bool:
    handle = cluster(config, request_timeout_s=migrate.REQUEST_TIMEOUT_S)
    try:
        handle.connect()
    except NoHostAvailable:
        return False
    finally:
        handle.shutdown()
    return True


def _make_superuser(default: CassandraConfig, config: CassandraConfig) -> None:
    handle, session = migrate.connect(default)
    try:
        session.execute(f"CREATE ROLE IF NOT EXISTS {config.username}")
        session.execute(
            f"ALTER ROLE {config.username} WITH LOGIN = true AND SUPERUSER = true"
            f" AND PASSWORD = '{config.password}'"
        )
        logger.info("role %s is the superuser now", config.username)
    finally:
        handle.shutdown()


def disable_default_role(session: Any) -> None:
    """Take login and rights from the role whose password everybody knows."""
    session.execute(
        f"ALTER ROLE {DEFAULT_ROLE} WITH LOGIN = false AND SUPERUSER = false"
        f" AND PASSWORD = '{secrets.token_urlsafe()}'"
    )


def bring_up_to_date(session: Any, passwords: Mapping[str, str]) -> None:
    """Make every role of ``PERMISSIONS`` with its password, and set what it may do."""
    for role in PERMISSIONS:
        for statement in role_statements(role, passwords[role]):
            session.execute(statement)
        changes = permission_changes(role, granted_permissions(session, role))
        for change in changes:
            logger.info("%s", change)
            session.execute(change)


def main() -> int:
    """Bring logins, tables and permissions up to date."""
    config = load_settings().cassandra
    passwords = {
        role: (PASSWORDS / role / "password").read_text(encoding="ascii") for role in PERMISSIONS
    }
    become_superuser(config)
    migrate.main()
    handle, session = migrate.connect(config)
    try:
        disable_default_role(session)
        bring_up_to_date(session, passwords)
    finally:
        handle.shutdown()
    logger.info("roles are up to date: %s", ", ".join(PERMISSIONS))
    return 0


if __name__ == "__main__":
    sys.exit(run_service(main))
