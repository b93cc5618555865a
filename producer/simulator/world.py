"""The accounts of the simulated world: who they are and how they usually pay."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from random import Random
from typing import Final

import numpy as np
from faker import Faker
from numpy.typing import NDArray

MEDIAN_AMOUNT: Final = 60.0
AMOUNT_SPREAD_BETWEEN: Final = 0.8
"""Standard deviation of ln(mean amount) from account to account."""
AMOUNT_SPREAD_WITHIN: Final = 0.6
"""Standard deviation of ln(amount) inside an account: 95 % lie within a factor of about 3."""
RATE_SPREAD: Final = 0.5
"""Standard deviation of ln(rate): the busiest 2 % pay about 8 x as often as the quietest 2 %."""
USUAL_PAYEES: Final = 13
"""Of an account; one that paid less often in its history has as many as it paid."""
MIN_USUAL_PAYEES: Final = 3
PAYEE_SKEW: Final = 0.3
"""The k-th payee of an account is paid in proportion to k ** -PAYEE_SKEW."""


@dataclass(frozen=True)
class World:
    """Accounts by index, with their habits; a function of the arguments of ``make_world``."""

    seed: int
    accounts: tuple[str, ...]
    mean_amounts: NDArray[np.float64]
    cumulative_rates: NDArray[np.float64]
    """Running sum of each account's share of all payments; ends at 1."""
    history_counts: NDArray[np.int64]
    """How many payments each account made before the live stream."""
    payees: NDArray[np.int64]
    """One row of payees per account, the most usual first."""
    payee_counts: NDArray[np.int64]
    """How many of the first ``payees`` are usual payees of the account."""
    cumulative_payees: NDArray[np.float64]
    """Running sum of the weight of each column of ``payees``."""

    def sender(self, random: Random) -> int:
        """Return an account, as often as it pays."""
        return int(np.searchsorted(self.cumulative_rates, random.random(), side="right"))

    def usual_payee(self, random: Random, sender: int) -> int:
        """Return one of the usual payees, as often as the account pays it."""
        return int(self.payees[sender, self.payee_ranks(sender, random.random())])

    def payee_ranks(
        self, senders: int | NDArray[np.int64], draws: float | NDArray[np.float64]
    ) -> NDArray[np.int64]:
        """Turn uniform ``draws`` in [0, 1) into columns of ``payees``, as often as each is paid."""
        totals = self.cumulative_payees[self.payee_counts[senders] - 1]
        ranks: NDArray[np.int64] = np.searchsorted(self.cumulative_payees, draws * totals)
        return ranks

    def new_payee(self, random: Random, sender: int, besides: Collection[int] = ()) -> int:
        """Return an account that is no usual payee, not the sender and not one of ``besides``."""
        count = len(self.accounts)
        usual = set(self.payees[sender].tolist())
        while True:
            payee = (sender + random.randrange(1, count)) % count
            if payee not in usual and payee not in besides:
                return payee

    def usual_amount(self, random: Random, sender: int) -> float:
        """Return the amount of an ordinary payment."""
        spread = random.gauss(-(AMOUNT_SPREAD_WITHIN**2) / 2, AMOUNT_SPREAD_WITHIN)
        return float(self.mean_amounts[sender] * np.exp(spread))


def make_world(seed: int, accounts: int, history_per_account: int) -> World:
    """Build the world of ``seed``.

    ``accounts`` is at least 20; ``history_per_account`` is the mean number of payments before
    the live stream. Accounts make them in proportion to their rates.
    """
    random = np.random.default_rng([seed, 0])
    rates = _cumulative_shares(random.lognormal(0.0, RATE_SPREAD, accounts))
    payee_count = min(USUAL_PAYEES, accounts // 3)  # leaves room for new ones in a tiny world
    # Never the sender itself; in a small world one account may come up twice in a row.
    offsets = random.integers(1, accounts, (accounts, payee_count))
    made = np.rint(rates * accounts * history_per_account).astype(np.int64)
    history_counts = np.diff(made, prepend=0)
    return World(
        seed=seed,
        accounts=_account_ids(seed, accounts),
        mean_amounts=MEDIAN_AMOUNT * random.lognormal(0.0, AMOUNT_SPREAD_BETWEEN, accounts),
        cumulative_rates=rates,
        history_counts=history_counts,
        payees=(np.arange(accounts)[:, np.newaxis] + offsets) % accounts,
        payee_counts=np.clip(history_counts, MIN_USUAL_PAYEES, payee_count),
        cumulative_payees=np.cumsum(np.arange(1.0, payee_count + 1) ** -PAYEE_SKEW),
    )


def _account_ids(seed: int, count: int) -> tuple[str, ...]:
    faker = Faker("en_GB")
    faker.seed_instance(seed)
    ids: dict[str, None] = {}  # a set that keeps the order
    while len(ids) < count:
        ids[faker.iban()] = None
    return tuple(ids)


def _cumulative_shares(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    cumulative: NDArray[np.float64] = np.cumsum(weights)
    cumulative /= cumulative[-1]
    cumulative[-1] = 1.0  # against rounding: a draw lies in [0, 1)
    return cumulative
