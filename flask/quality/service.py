"""From labels to figures: finds the frauds, judges the settled minutes, writes the quality."""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from pipeline.database import OUTAGES
from pipeline.heartbeat import Heartbeat, State, Status
from pipeline.names import QUALITY
from pipeline.settings import Settings
from quality.figures import Alert, Figures, Label, Minute, judge, measure
from quality.labels import FraudLabel, LabelReader
from quality.store import HOUR, MINUTE, Fraud, Store, Transaction

PERIODS: Final = {"hour": HOUR, "day": 24 * HOUR}
LONGEST: Final = max(PERIODS.values())
SETTLING: Final = 2 * MINUTE
"""A minute is judged when the newest label came this long after its end: labels may be published
so much later than their transactions. Shorter: frauds would be missing whose labels are under
way, and their alerts would count as false. Longer: the figures lag behind for nothing."""
RETRY_S: Final = 2.0
"""Between two looks for a transaction: the sink stores most within a second."""
PATIENCE_S: Final = 600.0
"""A transaction that is not stored this long after the first look was most likely rejected.
Shorter: a restart of Kafka Connect would cost labels. Longer: such a label holds up the figures
as long."""
MAX_PENDING: Final = 50_000
"""Labels that wait for their transactions: about 25 MB. Beyond it no further ones are read."""
LOOK_UPS: Final = 500
"""Transactions that one round looks for: a backlog must not hold up the figures."""
READ_S: Final = 1.0
JUDGE_S: Final = 10.0
"""Between two looks whether there is more to judge; a minute has six."""

logger = logging.getLogger(__name__)


class Tables(Protocol):
    """What is needed of a ``Store``."""

    def transactions(self, transaction_ids: Sequence[str]) -> dict[str, Transaction]: ...
    def write_labels(self, frauds: Sequence[Fraud]) -> None: ...
    def alerts(
        self, first: dt.datetime, end: dt.datetime
    ) -> dict[dt.datetime, dict[str, Alert]]: ...
    def labels(
        self, first: dt.datetime, end: dt.datetime
    ) -> dict[dt.datetime, dict[str, Label]]: ...
    def watermark(self) -> dt.datetime | None: ...
    def write_quality(
        self, period: str, period_end: dt.datetime, computed_at: dt.datetime, figures: Figures
    ) -> None: ...


@dataclass
class _Pending:
    """A label whose transaction is not found yet; times of the monotonic clock."""

    label: FraudLabel
    look_at: float = 0.0
    missed_at: float | None = None


class Resolver:
    """Finds sender and minute of each labelled fraud and stores its label.

    A transaction may be stored later than its label is read: it is looked for again, for
    ``PATIENCE_S``, and then counts as ``unresolved``.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.resolved = 0
        self.unresolved = 0
        self._clock = clock
        self._pending: dict[str, _Pending] = {}

    @property
    def pending(self) -> int:
        """The number of labels that wait for their transactions."""
        return len(self._pending)

    def add(self, labels: Iterable[FraudLabel]) -> None:
        """Take labels in the order of their topic."""
        for label in labels:
            self._pending.setdefault(label.transaction_id, _Pending(label))

    def resolve(self, tables: Tables) -> set[dt.datetime]:
        """Look for what is due, store what was found; return the minutes that got a label."""
        now = self._clock()
        is_due = (item for item in self._pending.values() if item.look_at <= now)
        due = list(itertools.islice(is_due, LOOK_UPS))
        if not due:
            return set()
        found = tables.transactions([item.label.transaction_id for item in due])
        tables.write_labels(
            [
                Fraud(found[label.transaction_id], label.pattern, label.incident_id)
                for label in (item.label for item in due)
                if label.transaction_id in found
            ]
        )
        for item in due:
            transaction_id = item.label.transaction_id
            if transaction_id in found:
                self.resolved += 1
                del self._pending[transaction_id]
            elif item.missed_at is None or now - item.missed_at < PATIENCE_S:
                item.missed_at = now if item.missed_at is None else item.missed_at
                item.look_at = now + RETRY_S
            else:
                self.unresolved += 1
                del self._pending[transaction_id]
                logger.warning(
                    "the labelled transaction %s is not stored after %.0f s; its label is left out",
                    transaction_id,
                    PATIENCE_S,
                )
        return {transaction.window_start for transaction in found.values()}

    def unfinished(self) -> Mapping[int, int]:
        """Return {partition: offset of the first label that waits}."""
        first: dict[int, int] = {}
        for item in self._pending.values():
            partition, offset = item.label.partition, item.label.offset
            first[partition] = min(offset, first.get(partition, offset))
        return first

    def labelled_until(self, read_until: dt.datetime | None) -> dt.datetime | None:
        """Return the Kafka time up to which every label is stored; ``read_until`` is that of the
        newest label that was read."""
        waiting = (item.label.labelled_at for item in self._pending.values())
        return min(waiting, default=read_until)


class Judge:
    """Keeps every settled minute of the last day judged, and writes the figures of each period.

    A minute is settled when the detection job has closed it (its watermark) and ``SETTLING`` has
    passed on the labels. Both clocks are those of the records: an outage of the job, the sink or
    the source of labels delays the figures and does not distort them.
    """

    def __init__(self, now: Callable[[], dt.datetime]) -> None:
        self.judged_until: dt.datetime | None = None
        self._now = now
        self._minutes: dict[dt.datetime, Minute] = {}
        self._is_outdated = False

    def forget(self, minutes: Iterable[dt.datetime]) -> None:
        """Judge these minutes anew: they got a label."""
        for minute in minutes:
            if self._minutes.pop(minute, None) is not None:
                self._is_outdated = True

    def update(self, tables: Tables, labelled_until: dt.datetime | None) -> None:
        """Write the figures if there is a new minute or a new label; without labels, nothing."""
        watermark = tables.watermark()
        if watermark is None or labelled_until is None:
            return
        end = min(watermark, labelled_until - SETTLING).replace(second=0, microsecond=0)
        if end == self.judged_until and not self._is_outdated:
            return
        self._load(tables, end)
        for period, length in PERIODS.items():
            figures = measure([self._minutes[minute] for minute in _minutes(end - length, end)])
            tables.write_quality(period, end, self._now(), figures)
        self.judged_until, self._is_outdated = end, False

    def _load(self, tables: Tables, end: dt.datetime) -> None:
        """Keep exactly the minutes of the longest period before ``end``; read what is missing."""
        wanted = _minutes(end - LONGEST, end)
        missing: dict[dt.datetime, list[dt.datetime]] = defaultdict(list)
        for minute in wanted:
            if minute not in self._minutes:
                missing[minute.replace(minute=0)].append(minute)
        for minutes in missing.values():
            first, after = minutes[0], minutes[-1] + MINUTE
            alerts, labels = tables.alerts(first, after), tables.labels(first, after)
            for minute in minutes:
                self._minutes[minute] = judge(alerts.get(minute, {}), labels.get(minute, {}))
        self._minutes = {minute: self._minutes[minute] for minute in wanted}


class Service:
    """One process: reads labels, resolves them, judges; until it is told to stop."""

    def __init__(self, settings: Settings, stop: threading.Event) -> None:
        self._config = settings.cassandra
        self._stop = stop
        self._reader = LabelReader(settings.kafka.bootstrap_servers)
        self._resolver = Resolver()
        self._judge = Judge(lambda: dt.datetime.now(dt.UTC))
        self._problem: str | None = None

    def run(self) -> None:
        """Run until the stop; an outage of Cassandra is waited out."""
        heartbeat = Heartbeat(self._config, self._snapshot)
        heartbeat.start()
        try:
            while not self._stop.is_set():
                try:
                    with contextlib.closing(Store(self._config)) as store:
                        self._work(store)
                except OUTAGES as error:
                    self._report(f"Cassandra: {error}")
                    self._stop.wait(RETRY_S)
        finally:
            heartbeat.stop()
            self._reader.close()

    def _work(self, store: Store) -> None:
        judge_at = time.monotonic()
        while not self._stop.is_set():
            if self._resolver.pending < MAX_PENDING:
                self._resolver.add(self._reader.read(READ_S))
            else:
                self._stop.wait(READ_S)
            self._judge.forget(self._resolver.resolve(store))
            self._reader.commit(self._resolver.unfinished())
            if time.monotonic() >= judge_at:
                judge_at = time.monotonic() + JUDGE_S
                labelled_until = self._resolver.labelled_until(self._reader.read_until)
                self._judge.update(store, labelled_until)
            self._problem = None

    def _report(self, problem: str) -> None:
        if problem != self._problem:
            logger.warning("%s", problem)
        self._problem = problem

    def _snapshot(self) -> Mapping[str, Status]:
        reader, resolver = self._reader, self._resolver
        judged_until = self._judge.judged_until
        counts = {
            "labels": reader.labels,
            "malformed": reader.malformed,
            "frauds": resolver.resolved,
            "pending": resolver.pending,
            "unresolved": resolver.unresolved,
        }
        details = {name: str(count) for name, count in counts.items()}
        if judged_until is not None:
            details["judged_until"] = judged_until.isoformat()
        state: State = "running" if self._problem is None else "degraded"
        return {
            QUALITY: Status(
                state="stopped" if self._stop.is_set() else state,
                lag_messages=reader.lag_messages(),
                error=self._problem,
                details=details,
            )
        }


def _minutes(first: dt.datetime, end: dt.datetime) -> list[dt.datetime]:
    return [first + n * MINUTE for n in range((end - first) // MINUTE)]
