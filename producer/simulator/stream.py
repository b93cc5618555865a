"""The transactions of a world in time order: the history, then the endless live stream.

Both are functions of the world's seed and of the start of the live stream: the same two give the
same transactions. Nothing here waits or reads a clock; the publisher paces.
"""

from __future__ import annotations

import hashlib
import heapq
import itertools
import uuid
from collections.abc import Iterator
from random import Random
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.records import Transaction
from simulator.patterns import (
    FAILED_SHARE,
    FRAUD_PATTERNS,
    HARD_NORMALS,
    PAYMENTS_PER_INCIDENT,
    Event,
    Payment,
    highest_amount,
)
from simulator.world import AMOUNT_SPREAD_WITHIN, World

HISTORY_MS: Final = 28 * 86_400_000
HISTORY_GAP_MS: Final = 3_600_000
"""The history ends this long before the live stream, so that all of it counts as late."""
NEW_PAYEE_SHARE: Final = 0.05
"""Of ordinary payments: a new payee alone is no sign of fraud."""
TYPE_SHARES: Final = {
    "transfer": 0.2,
    "payment": 0.25,
    "deposit": 0.05,
    "purchase": 0.45,
    "donation": 0.05,
}
PLANTED_AFTER_MS: Final = 5_000
"""A newcomer sees an alert within seconds of going live."""
BATCH: Final = 4096
"""Ordinary payments drawn at once: 3 ms of work, and numpy's cost per call no longer counts."""


class LabelledTransaction(NamedTuple):
    """A transaction and its label; ``pattern`` and ``incident_id`` are None unless it is fraud."""

    transaction: Transaction
    is_fraud: bool
    pattern: str | None
    incident_id: str | None
    is_history: bool
    """True: from before the live stream; builds profiles only and is never labelled as fraud."""


def history(world: World, start_ms: int) -> Iterator[LabelledTransaction]:
    """Yield the past before a live stream that starts at ``start_ms``: 28 days, nothing unusual.

    The most recent payments of an account go to each of its usual payees once, so that the live
    stream pays somebody new as often in its first hour as after days.
    """
    generator = np.random.default_rng([world.seed, 1, start_ms])
    ids = _transaction_ids(f"{world.seed}/history/{start_ms}")
    senders = generator.permutation(np.repeat(np.arange(len(world.accounts)), world.history_counts))
    receivers = _past_receivers(world, generator, senders)
    first_ms = start_ms - HISTORY_GAP_MS - HISTORY_MS
    times_ms = np.sort(generator.integers(first_ms, first_ms + HISTORY_MS, len(senders)))
    for low in range(0, len(senders), BATCH):
        part = slice(low, low + BATCH)
        payments = _payments(world, generator, senders[part], receivers[part])
        for time_ms, payment in zip(times_ms[part].tolist(), payments, strict=True):
            transaction = _transaction(world, next(ids), time_ms, *payment)
            yield LabelledTransaction(transaction, False, None, None, True)


def live(
    world: World, start_ms: int, rate_per_s: float, fraud_rate: float, *, is_planted: bool = False
) -> Iterator[LabelledTransaction]:
    """Yield the live transactions from ``start_ms`` on, without end.

    Payments arrive at random (Poisson) at ``rate_per_s`` over all accounts; the further payments
    of incidents, bursts and retries come on top (about 1.5 %). ``fraud_rate`` is the share of
    transactions that belong to an incident. ``is_planted`` adds one clear incident after
    ``PLANTED_AFTER_MS``.
    """
    generator = np.random.default_rng([world.seed, 2, start_ms])
    random = Random(f"{world.seed}/{start_ms}")
    ids = _transaction_ids(f"{world.seed}/live/{start_ms}")
    pending = _Pending(f"{world.seed}-{start_ms}")
    if is_planted:
        planted = highest_amount(world, random, world.sender(random))
        pending.add(start_ms + PLANTED_AFTER_MS, planted, "high_amount")

    special: list[tuple[Event, str | None]] = [(event, None) for event in HARD_NORMALS]
    special += [(event, pattern) for pattern, event in FRAUD_PATTERNS.items()]
    # Of `starts` incidents come `starts * PAYMENTS_PER_INCIDENT` of the transactions, which are
    # more than the arrivals by what incidents add to their first payments.
    starts = fraud_rate / (PAYMENTS_PER_INCIDENT - fraud_rate * (PAYMENTS_PER_INCIDENT - 1))
    shares = [*HARD_NORMALS.values(), *[starts / len(FRAUD_PATTERNS)] * len(FRAUD_PATTERNS)]
    thresholds = np.cumsum(shares)

    elapsed_ms = 0.0
    while True:
        arrivals_ms = elapsed_ms + np.cumsum(generator.exponential(1000 / rate_per_s, BATCH))
        elapsed_ms = arrivals_ms[-1].item()
        times_ms = (start_ms + arrivals_ms.astype(np.int64)).tolist()
        kinds = np.searchsorted(thresholds, generator.random(BATCH), side="right").tolist()
        payments = _ordinary_payments(world, generator, BATCH)
        for time_ms, kind, payment in zip(times_ms, kinds, payments, strict=True):
            while pending.queue and pending.queue[0].time_ms <= time_ms:
                due = heapq.heappop(pending.queue)
                transaction = _transaction(world, next(ids), due.time_ms, *due.payment[1:])
                is_fraud = due.pattern is not None
                yield LabelledTransaction(
                    transaction, is_fraud, due.pattern, due.incident_id, False
                )
            if kind < len(special):
                event, pattern = special[kind]
                pending.add(time_ms, event(world, random, payment[0]), pattern)
            else:
                transaction = _transaction(world, next(ids), time_ms, *payment)
                yield LabelledTransaction(transaction, False, None, None, False)


class _Due(NamedTuple):
    """A payment of an event, ordered by time and then by the order in which it was added."""

    time_ms: int
    number: int
    payment: Payment
    pattern: str | None
    incident_id: str | None


class _Pending:
    """The payments of events that have begun, as a heap by time."""

    def __init__(self, incident_prefix: str) -> None:
        self.queue: list[_Due] = []
        self._incident_prefix = incident_prefix
        self._incidents = 0
        self._numbers = itertools.count()

    def add(self, start_ms: int, payments: list[Payment], pattern: str | None) -> None:
        """Queue the payments of an event; it is an incident if ``pattern`` is not None."""
        incident_id = None
        if pattern is not None:
            self._incidents += 1
            incident_id = f"{self._incident_prefix}-{self._incidents}"
        for payment in payments:
            time_ms = start_ms + payment.offset_ms
            due = _Due(time_ms, next(self._numbers), payment, pattern, incident_id)
            heapq.heappush(self.queue, due)


def _ordinary_payments(
    world: World, generator: np.random.Generator, count: int
) -> Iterator[tuple[int, int, float, str, str]]:
    """Yield (sender, receiver, amount, type, status) of ``count`` ordinary payments."""
    senders = np.searchsorted(world.cumulative_rates, generator.random(count), side="right")
    return _payments(world, generator, senders, _receivers(world, generator, senders))


def _receivers(
    world: World, generator: np.random.Generator, senders: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Draw a payee for each payment: a usual one, or with ``NEW_PAYEE_SHARE`` any account."""
    accounts, count = len(world.accounts), len(senders)
    ranks = world.payee_ranks(senders, generator.random(count))
    others = (senders + generator.integers(1, accounts, count)) % accounts
    is_new = generator.random(count) < NEW_PAYEE_SHARE
    return np.where(is_new, others, world.payees[senders, ranks])


def _past_receivers(
    world: World, generator: np.random.Generator, senders: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Draw a payee for each payment in time order; the last of an account reach all usual ones."""
    by_sender = np.argsort(senders, kind="stable")
    last = np.cumsum(world.history_counts)[senders[by_sender]] - 1
    later = np.empty(len(senders), np.int64)  # how many payments of its account follow each
    later[by_sender] = last - np.arange(len(senders))
    ranks = np.minimum(later, world.payees.shape[1] - 1)
    is_last_to_payee = later < world.payee_counts[senders]
    drawn = _receivers(world, generator, senders)
    return np.where(is_last_to_payee, world.payees[senders, ranks], drawn)


def _payments(
    world: World,
    generator: np.random.Generator,
    senders: NDArray[np.int64],
    receivers: NDArray[np.int64],
) -> Iterator[tuple[int, int, float, str, str]]:
    """Yield (sender, receiver, amount, type, status), with ordinary amounts."""
    count = len(senders)
    spread = AMOUNT_SPREAD_WITHIN
    amounts = world.mean_amounts[senders] * generator.lognormal(-(spread**2) / 2, spread, count)
    types = generator.choice(list(TYPE_SHARES), count, p=list(TYPE_SHARES.values()))
    statuses = np.where(generator.random(count) < FAILED_SHARE, "failed", "completed")
    return zip(
        senders.tolist(),
        receivers.tolist(),
        amounts.tolist(),
        types.tolist(),
        statuses.tolist(),
        strict=True,
    )


def _transaction(
    world: World,
    transaction_id: str,
    time_ms: int,
    sender: int,
    receiver: int,
    amount: float,
    transaction_type: str,
    transaction_status: str,
) -> Transaction:
    return {
        "transaction_id": transaction_id,
        "transaction_timestamp": time_ms,
        "transaction_amount": max(0.01, round(amount, 2)),
        "sender_account": world.accounts[sender],
        "receiver_account": world.accounts[receiver],
        "transaction_type": transaction_type,
        "transaction_status": transaction_status,
    }


def _transaction_ids(stream: str) -> Iterator[str]:
    """Yield the version 5 UUIDs of 0, 1, 2 ... in the namespace of the stream's name.

    The same as ``uuid.uuid5(namespace, str(number))``, three times as fast: at 100,000
    transactions a second the difference is a third of the time of one core.
    """
    namespace = hashlib.sha1(uuid.uuid5(uuid.NAMESPACE_OID, stream).bytes, usedforsecurity=False)
    for number in itertools.count():
        digest = namespace.copy()
        digest.update(b"%d" % number)
        text = digest.hexdigest()
        variant = "89ab"[int(text[16], 16) & 3]
        yield f"{text[:8]}-{text[8:12]}-5{text[13:16]}-{variant}{text[17:20]}-{text[20:32]}"
