"""What interrupts the ordinary payments: fraud patterns, and normal events that look like fraud.

Each is a function (world, random, sender) that returns the payments of one occurrence. To add a
pattern, write its function, name it in ``FRAUD_PATTERNS`` and renew ``PAYMENTS_PER_INCIDENT``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Final, NamedTuple

from simulator.world import World

FAILED_SHARE: Final = 0.04
ONE_OFF_NEW_PAYEE_SHARE: Final = 0.3
WITHIN_A_MINUTE_MS: Final = 50_000
"""Events of one minute are spread over this time."""
CARD_TEST_FAILED_SHARE: Final = 0.6
CARD_TEST_AMOUNTS: Final = (0.5, 3.0)
""""Tiny", whatever the account usually pays: just enough to see whether the card works."""
CASH_OUT_MS: Final = (10_000, 60_000)
"""How long after its last test payment a card is used for real."""
TAKEOVER_MS: Final = 15 * 60_000
MULE_MS: Final = 10 * 60_000


class Payment(NamedTuple):
    """One payment of an event; accounts by index, ``offset_ms`` after the event's start."""

    offset_ms: int
    sender: int
    receiver: int
    amount: float
    transaction_type: str
    transaction_status: str


Event = Callable[[World, Random, int], list[Payment]]


def velocity(world: World, random: Random, sender: int) -> list[Payment]:
    """4-10 payments of usual amounts to new receivers within a minute."""
    receivers: list[int] = []
    for _ in range(random.randint(4, 10)):
        receivers.append(world.new_payee(random, sender, besides=receivers))
    return [
        Payment(offset_ms, sender, receiver, world.usual_amount(random, sender), "transfer", status)
        for offset_ms, receiver, status in zip(
            _offsets_ms(random, len(receivers)),
            receivers,
            (_status(random) for _ in receivers),
            strict=True,
        )
    ]


def high_amount(world: World, random: Random, sender: int) -> list[Payment]:
    """One payment of 6-20 x the account's mean to a new receiver."""
    return [_high_payment(world, random, sender, factor=random.uniform(6, 20))]


def card_testing(world: World, random: Random, sender: int) -> list[Payment]:
    """4-9 tiny payments at one new shop within a minute, 60 % failed, then one of 6-15 x."""
    shop = world.new_payee(random, sender)
    tests = [
        Payment(
            offset_ms,
            sender,
            shop,
            random.uniform(*CARD_TEST_AMOUNTS),
            "purchase",
            "failed" if random.random() < CARD_TEST_FAILED_SHARE else "completed",
        )
        for offset_ms in _offsets_ms(random, random.randint(4, 9))
    ]
    receiver = world.new_payee(random, sender, besides=[shop])
    amount = random.uniform(6, 15) * world.mean_amounts[sender].item()
    offset_ms = tests[-1].offset_ms + random.randint(*CASH_OUT_MS)
    return [*tests, Payment(offset_ms, sender, receiver, amount, "purchase", _status(random))]


def takeover(world: World, random: Random, sender: int) -> list[Payment]:
    """3-7 payments of 2.5-6 x the account's mean to new receivers in 15 minutes."""
    receivers: list[int] = []
    payments = []
    for offset_ms in _offsets_ms(random, random.randint(3, 7), TAKEOVER_MS):
        receivers.append(world.new_payee(random, sender, besides=receivers))
        amount = random.uniform(2.5, 6) * world.mean_amounts[sender].item()
        status = _status(random)
        payments.append(Payment(offset_ms, sender, receivers[-1], amount, "transfer", status))
    return payments


def mule_fan_in(world: World, random: Random, sender: int) -> list[Payment]:
    """6-15 senders, of whom ``sender`` is the first, pay one receiver in 10 minutes.

    Each pays once, 1.5-4 x its own mean. The receiver is new to the first; to another it may be
    a usual payee by chance.
    """
    receiver = world.new_payee(random, sender)
    senders = [sender]
    count = random.randint(6, 15)
    while len(senders) < count:
        victim = world.sender(random)
        if victim != receiver and victim not in senders:
            senders.append(victim)
    return [
        Payment(
            offset_ms,
            victim,
            receiver,
            random.uniform(1.5, 4) * world.mean_amounts[victim].item(),
            "transfer",
            _status(random),
        )
        for offset_ms, victim in zip(_offsets_ms(random, count, MULE_MS), senders, strict=True)
    ]


def highest_amount(world: World, random: Random, sender: int) -> list[Payment]:
    """Return the clearest ``high_amount``: what every start plants, so that it must be found."""
    return [_high_payment(world, random, sender, factor=20)]


def one_off(world: World, random: Random, sender: int) -> list[Payment]:
    """One legitimate payment of 5-12 x the account's mean, sometimes to a new payee."""
    is_new = random.random() < ONE_OFF_NEW_PAYEE_SHARE
    receiver = (world.new_payee if is_new else world.usual_payee)(random, sender)
    amount = random.uniform(5, 12) * world.mean_amounts[sender].item()
    return [Payment(0, sender, receiver, amount, "purchase", _status(random))]


def burst(world: World, random: Random, sender: int) -> list[Payment]:
    """3-6 legitimate payments to usual payees within a minute, such as the bills of a month."""
    return [
        Payment(
            offset_ms,
            sender,
            world.usual_payee(random, sender),
            world.usual_amount(random, sender),
            "payment",
            _status(random),
        )
        for offset_ms in _offsets_ms(random, random.randint(3, 6))
    ]


def retry(world: World, random: Random, sender: int) -> list[Payment]:
    """A failed payment, repeated to the same payee within a minute until it completes."""
    receiver = world.usual_payee(random, sender)
    amount = world.usual_amount(random, sender)
    offsets_ms = _offsets_ms(random, random.randint(2, 4))
    return [
        Payment(
            offset_ms,
            sender,
            receiver,
            amount,
            "payment",
            "completed" if offset_ms == offsets_ms[-1] else "failed",
        )
        for offset_ms in offsets_ms
    ]


FRAUD_PATTERNS: Final[Mapping[str, Event]] = {
    "velocity": velocity,
    "high_amount": high_amount,
    "card_testing": card_testing,
    "takeover": takeover,
    "mule_fan_in": mule_fan_in,
}
"""Name of the pattern in the labels to its function; incidents draw evenly from them."""

PAYMENTS_PER_INCIDENT: Final = 6.2
"""Mean over ``FRAUD_PATTERNS``: turns the share of fraudulent payments into one of incidents."""

HARD_NORMALS: Final[Mapping[Event, float]] = {one_off: 0.004, burst: 0.0015, retry: 0.0015}
"""Each normal event that looks like fraud, and the share of transactions that start one."""


def _high_payment(world: World, random: Random, sender: int, factor: float) -> Payment:
    receiver = world.new_payee(random, sender)
    amount = factor * world.mean_amounts[sender].item()
    return Payment(0, sender, receiver, amount, "transfer", _status(random))


def _offsets_ms(random: Random, count: int, within_ms: int = WITHIN_A_MINUTE_MS) -> list[int]:
    """Return distinct ascending times, the first 0, all below ``within_ms``."""
    return [0, *sorted(random.sample(range(1, within_ms), count - 1))]


def _status(random: Random) -> str:
    return "failed" if random.random() < FAILED_SHARE else "completed"
