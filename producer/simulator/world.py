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
PAYEE_SKEW: Final = 0.3
"""The k-th payee of an account is paid in proportion to k ** -PAYEE_SKEW."""


@dataclass(frozen=True)
class World:
    """Accounts by index, with their habits; a function of the seed and the number of accounts."""

    seed: int
    accounts: tuple[str, ...]
    mean_amounts: NDArray[np.float64]
    cumulative_rates: NDArray[np.float64]
    """Running sum of each account's share of all payments; ends at 1."""
    payees: NDArray[np.int64]
    """One row of usual payees per account, the most usual first."""
    cumulative_payees: NDArray[np.float64]
    """Running sum of the share of each column of ``payees``; ends at 1."""

    def sender(self, random: Random) -> int:
        """Return an account, as often as it pays."""
        return int(np.searchsorted(self.cumulative_rates, random.random(), side="right"))

    def usual_payee(self, random: Random, sender: int) -> int:
        """Return one of the usual payees, as often as the account pays it."""
        rank = int(np.searchsorted(self.cumulative_payees, random.random(), side="right"))
        return int(self.payees[sender, rank])

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


def make_world(seed: int, accounts: int) -> World:
    """Build the world of ``seed``; ``accounts`` is at least 20."""
    random = np.random.default_rng([seed, 0])
    rates = random.lognormal(0.0, RATE_SPREAD, accounts)
    payee_count = min(USUAL_PAYEES, accounts // 3)  # leaves room for new ones in a tiny world
    # Never the sender itself; in a small world one account may come up twice in a row.
    offsets = random.integers(1, accounts, (accounts, payee_count))
    return World(
        seed=seed,
        accounts=_account_ids(seed, accounts),
        mean_amounts=MEDIAN_AMOUNT * random.lognormal(0.0, AMOUNT_SPREAD_BETWEEN, accounts),
        cumulative_rates=_cumulative_shares(rates),
        payees=(np.arange(accounts)[:, np.newaxis] + offsets) % accounts,
        cumulative_payees=_cumulative_shares(np.arange(1.0, payee_count + 1) ** -PAYEE_SKEW),
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
