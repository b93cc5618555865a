"""Deletes what Cassandra holds of one account: ``python cassandra/erase.py ACCOUNT``.

Safe to run again, also after it was interrupted: a row that leads to others goes last. Deleted are
the transactions that the account sent or received, from all three tables, and its alerts and
labels; in alerts of others the receiver is emptied. ``erasures`` keeps a hash and the moment, so
that what is missing since can be told from what was lost.
"""

# ruff: noqa: S608 - names of tables and columns are ours, values are bound

from __future__ import annotations

import argparse
import datetime as dt
import sys
from collections.abc import Iterator, Sequence
from typing import Any, Final

from cassandra import InvalidRequest
from cassandra.concurrent import execute_concurrent_with_args

import migrate
from pipeline.database import OUTAGES
from pipeline.erasure import account_hash
from pipeline.errors import PipelineError
from pipeline.logs import run_service
from pipeline.names import KEYSPACE
from pipeline.records import MAX_AGE_MS, MAX_ID_BYTES
from pipeline.settings import KafkaConfig, Settings, load_settings

WAIT_S = 10.0
"""A person waits for the answer, and Cassandra is expected to run."""
CONCURRENCY = 32

DAYS_BACK = 3650 + MAX_AGE_MS // 86_400_000
"""The longest time to live that the settings allow, whatever it is today, and the age that a
transaction may have had when it arrived. Each day is one read of a partition, mostly empty."""

BY_ACCOUNT: Final = {
    "sender_account": "transactions_by_account",
    "receiver_account": "transactions_by_receiver",
}
HOURLY: Final = {
    "fraud_alerts": ("hour", "window_start", "sender_account"),
    "shadow_alerts": ("hour", "window_start", "sender_account", "model_version"),
    "fraud_labels": ("hour", "window_start", "sender_account"),
}
"""{table: its key}, kept by hour and not by account: the few rows of an hour are looked through."""
TABLES: Final = ("transactions", *BY_ACCOUNT.values(), *HOURLY, "fraud_alerts_by_account")


Row = tuple[Any, ...]
"""Values of a key or of a row."""


def days(today: dt.date) -> list[dt.date]:
    """Return every day of which a transaction can still be stored."""
    # Tomorrow: what arrives around midnight may lie some seconds ahead.
    return [today + dt.timedelta(days=1 - back) for back in range(DAYS_BACK + 2)]


class Eraser:
    """The erasure of one account. ``deleted``: rows by table, so far; ``emptied``: alerts of
    others that named it as their receiver."""

    def __init__(self, session: Any, account: str) -> None:
        self._session = session
        self._account = account
        self._prepared: dict[str, Any] = {}
        self.deleted = dict.fromkeys(TABLES, 0)
        self.emptied = 0

    def run(self, now: dt.datetime) -> None:
        """Record the erasure, then delete. Raises the driver's exceptions; run it again then."""
        self._execute(
            f"INSERT INTO {KEYSPACE}.erasures (account_hash, erased_at) VALUES (?, ?)",
            [(account_hash(self._account), now)],
        )
        self._erase_transactions("sender_account", "receiver_account", now.date())
        self._erase_transactions("receiver_account", "sender_account", now.date())
        self._empty_receivers()
        for table, key in HOURLY.items():
            rows = [tuple(row) for row in self._of_all_hours(table, key, "sender_account")]
            self._delete(table, key, rows)
        key = ("sender_account", "window_start")
        for _, rows in self._select(key, "fraud_alerts_by_account", key[:1], [(self._account,)]):
            self._delete("fraud_alerts_by_account", key, [tuple(row) for row in rows])

    def _erase_transactions(self, own: str, other: str, today: dt.date) -> None:
        """Delete the transactions in which the account is ``own`` from all three tables.

        Row by row: with a whole partition would go what arrives meanwhile, and nobody would find
        its other rows any more.
        """
        key = ("day", "transaction_timestamp", "transaction_id")
        partitions = [(self._account, day) for day in days(today)]
        columns = (own, other, *key)
        for _, rows in self._select(columns, BY_ACCOUNT[own], (own, "day"), partitions):
            self._erase_by_id([row.transaction_id for row in rows])
            for account in (other, own):  # the rows that lead here last
                of_account = [(getattr(row, account), *tuple(row)[2:]) for row in rows]
                self._delete(BY_ACCOUNT[account], (account, *key), of_account)

    def _erase_by_id(self, transaction_ids: Sequence[str]) -> None:
        """Delete rows of ``transactions``, but not one in which others have used the same id."""
        key = ("transaction_id",)
        columns = ("sender_account", "receiver_account")
        found = self._select(columns, "transactions", key, [(name,) for name in transaction_ids])
        ours = [name for name, rows in found if self._account in rows[0]]
        self._delete("transactions", key, ours)

    def _empty_receivers(self) -> None:
        """Take the account out of the alerts of those who paid it; the alerts are not its own."""
        key = HOURLY["fraud_alerts"]
        rows = [tuple(row) for row in self._of_all_hours("fraud_alerts", key, "receiver_account")]
        for table in ("fraud_alerts_by_account", "fraud_alerts"):  # the one that leads here last
            by_account = table == "fraud_alerts_by_account"
            self._execute(
                f"DELETE receiver_account FROM {KEYSPACE}.{table}"
                f" WHERE {_where(key[1:] if by_account else key)}",
                [row[1:] if by_account else row for row in rows],
            )
        self.emptied = len(rows)

    def _of_all_hours(self, table: str, columns: Sequence[str], account: str) -> Iterator[Any]:
        """Yield the rows whose column ``account`` is the account.

        Hour by hour: a filter over a whole table at once runs into Cassandra's timeout.
        """
        (hours,) = self._execute(f"SELECT DISTINCT hour FROM {KEYSPACE}.{table}", [()])
        values = [(row.hour, self._account) for row in hours]
        key = ("hour", account)
        for _, rows in self._select(columns, table, key, values, "ALLOW FILTERING"):
            yield from rows

    def _select(
        self,
        columns: Sequence[str],
        table: str,
        key: Sequence[str],
        values: Sequence[Row],
        options: str = "",
    ) -> Iterator[tuple[Row, list[Any]]]:
        """Yield (values, rows) of each query that finds rows."""
        query = f"SELECT {', '.join(columns)} FROM {KEYSPACE}.{table} WHERE {_where(key)} {options}"
        for of, answer in zip(values, self._execute(query, values), strict=True):
            if rows := list(answer):
                yield of, rows

    def _delete(self, table: str, key: Sequence[str], values: Sequence[Row]) -> None:
        self._execute(f"DELETE FROM {KEYSPACE}.{table} WHERE {_where(key)}", values)
        self.deleted[table] += len(values)

    def _execute(self, query: str, values: Sequence[Row]) -> list[Any]:
        """Run a statement with each of ``values`` and return the answers in their order."""
        if query not in self._prepared:
            self._prepared[query] = self._session.prepare(query)
        results = execute_concurrent_with_args(
            self._session, self._prepared[query], values, concurrency=CONCURRENCY
        )
        return [result.result_or_exc for result in results]


def _where(key: Sequence[str]) -> str:
    return " AND ".join(f"{column} = ?" for column in key)


def report(eraser: Eraser, kafka: KafkaConfig) -> str:
    """Return what was deleted, a line for each table, and in the last one what was not."""
    lines = [f"{table:<26} {count:>9} rows deleted" for table, count in eraser.deleted.items()]
    lines.append(f"{'alerts of other accounts':<26} {eraser.emptied:>9} receivers emptied")
    lines.append(
        f"Not removed: records in Kafka (transactions {kafka.transactions_retention_days} days,"
        f" dead letters {kafka.dead_letter_retention_days}, fraud.alerts 7), hashes of the account"
        " in the checkpoint (28 days), backups and exported files; see docs/operations.md"
    )
    return "\n".join(lines)


def erase(settings: Settings, account: str) -> None:
    """Erase an account and print the report; ``PipelineError`` if Cassandra does not take it."""
    if not 0 < len(account.encode()) <= MAX_ID_BYTES:
        raise PipelineError(f"an account has 1 to {MAX_ID_BYTES} bytes of UTF-8")
    handle, session = migrate.connect(settings.cassandra, WAIT_S)
    try:
        eraser = Eraser(session, account)
        eraser.run(dt.datetime.now(dt.UTC))
    except InvalidRequest as error:
        raise PipelineError(f"{error}: the tables are older; start this version once") from error
    except OUTAGES as error:
        raise PipelineError(f"interrupted, run it again: {error}") from error
    finally:
        handle.shutdown()
    print(report(eraser, settings.kafka))


def main() -> int:
    parser = argparse.ArgumentParser(prog="erase.py", description=__doc__)
    parser.add_argument("account", help="as it stands in the transactions")
    erase(load_settings(), parser.parse_args().account)
    return 0


if __name__ == "__main__":
    sys.exit(run_service(main))
