"""Roles of Cassandra and their passwords: what is decided without a server."""

from __future__ import annotations

import stat
from pathlib import Path

import passwords
import roles
from tests.support.cql import table_columns


def test_permissions_name_tables_that_exist() -> None:
    tables = {
        where.removeprefix("TABLE fraud.")
        for permissions in roles.PERMISSIONS.values()
        for what, where in permissions
        if what == "MODIFY"
    }
    by_hand = {"erasures"}  # erase.py runs as the superuser: it is a person's command
    assert tables == set(table_columns()) - by_hand


def test_the_detection_job_can_read_no_label() -> None:
    resources = {where for _, where in roles.PERMISSIONS["spark"]}
    assert all(where.startswith("TABLE ") for where in resources)  # none of them all at once
    assert not resources & {"TABLE fraud.fraud_labels", "TABLE fraud.detection_quality"}


def test_a_missing_permission_is_granted_and_another_revoked() -> None:
    granted = [("SELECT", "KEYSPACE fraud"), ("MODIFY", "TABLE fraud.pipeline_status")]
    assert roles.permission_changes("dashboard", granted) == [
        "REVOKE MODIFY ON TABLE fraud.pipeline_status FROM dashboard"
    ]
    assert roles.permission_changes("watcher", []) == [
        "GRANT MODIFY ON TABLE fraud.pipeline_status TO watcher"
    ]


def test_a_role_that_is_right_is_left_alone() -> None:
    for role, permissions in roles.PERMISSIONS.items():
        assert roles.permission_changes(role, permissions) == []


def test_a_password_is_made_once_and_is_private(tmp_path: Path) -> None:
    assert passwords.make_password(tmp_path)
    path = tmp_path / passwords.FILE
    made = path.read_text()
    assert len(made) >= 40
    assert stat.S_IMODE(path.stat().st_mode) == 0o400
    assert not passwords.make_password(tmp_path)
    assert path.read_text() == made
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupted_start_leaves_no_half_password(tmp_path: Path) -> None:
    (tmp_path / f".{passwords.FILE}").write_text("half")
    assert passwords.make_password(tmp_path)
    assert (tmp_path / passwords.FILE).read_text() != "half"
