"""What an erasure knows without a server; tests/stack erases in a real Cassandra."""

from __future__ import annotations

import datetime as dt
import hashlib
import subprocess
import sys

import pytest

import erase
from pipeline.erasure import account_hash
from pipeline.errors import PipelineError
from pipeline.settings import PROJECT_ROOT, load_settings
from tests.support.cql import table_columns

ACCOUNT_COLUMNS = {"sender_account", "receiver_account"}


def test_every_table_that_names_an_account_is_erased_from() -> None:
    with_accounts = {
        table for table, columns in table_columns().items() if ACCOUNT_COLUMNS & set(columns)
    }
    assert set(erase.TABLES) == with_accounts


def test_the_days_reach_from_tomorrow_to_the_longest_time_to_live() -> None:
    today = dt.date(2026, 3, 1)
    found = erase.days(today)
    assert found[0] == dt.date(2026, 3, 2)
    assert found[-1] == today - dt.timedelta(days=3650 + 40)
    assert len(set(found)) == len(found)


def test_an_erasure_keeps_no_name() -> None:
    assert account_hash("DE42") == hashlib.sha256(b"DE42").hexdigest()


def test_the_last_line_says_what_stays() -> None:
    kafka = load_settings(environment={"FRAUD__KAFKA__TRANSACTIONS_RETENTION_DAYS": "3"}).kafka
    *lines, last = erase.report(erase.Eraser(None, "a"), kafka).splitlines()
    assert [line.split()[0] for line in lines[:-1]] == list(erase.TABLES)
    assert last.startswith("Not removed: records in Kafka (transactions 3 days, dead letters 30,")


@pytest.mark.parametrize("account", ["", "x" * 65, "é" * 33])
def test_what_can_be_no_account_is_refused(account: str) -> None:
    with pytest.raises(PipelineError, match="1 to 64 bytes"):
        erase.erase(load_settings(environment={}), account)


def test_without_an_account_the_command_says_so() -> None:
    command = [sys.executable, "cassandra/erase.py"]
    ended = subprocess.run(
        command,
        cwd=PROJECT_ROOT,
        env={"PYTHONPATH": "common"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    assert "the following arguments are required: account" in ended.stderr
