"""The simulated world: the same for the same seed, and shaped as the design says."""

from __future__ import annotations

import itertools
import uuid
from collections import Counter, defaultdict
from random import Random
from statistics import mean

import pytest

from pipeline.records import FIELDS, MAX_ID_BYTES, rejection
from simulator import patterns
from simulator.stream import (
    HISTORY_GAP_MS,
    HISTORY_MS,
    PLANTED_AFTER_MS,
    LabelledTransaction,
    history,
    live,
)
from simulator.world import World, make_world

START_MS = 1_735_689_600_000
ACCOUNTS = 2000
FRAUD_RATE = 0.003
COUNT = 60_000


def take(count: int, world: World, **options: bool) -> list[LabelledTransaction]:
    return list(itertools.islice(live(world, START_MS, 200.0, FRAUD_RATE, **options), count))


@pytest.fixture(scope="module")
def world() -> World:
    return make_world(7, ACCOUNTS)


@pytest.fixture(scope="module")
def past(world: World) -> list[LabelledTransaction]:
    return list(history(world, START_MS, 30))


@pytest.fixture(scope="module")
def stream(world: World) -> list[LabelledTransaction]:
    return take(COUNT, world)


def times_ms(rows: list[LabelledTransaction]) -> list[int]:
    return [row.transaction["transaction_timestamp"] for row in rows]


def incidents(rows: list[LabelledTransaction], pattern: str) -> list[list[LabelledTransaction]]:
    found = defaultdict(list)
    for row in rows:
        if row.pattern == pattern:
            found[row.incident_id].append(row)
    # An incident that began in the last minute may be cut off by the end of the list.
    end_ms = times_ms(rows)[-1] - 60_000
    return [incident for incident in found.values() if times_ms(incident)[0] < end_ms]


def test_the_same_seed_and_start_give_the_same_world_and_transactions(
    world: World, past: list[LabelledTransaction], stream: list[LabelledTransaction]
) -> None:
    again = make_world(7, ACCOUNTS)
    assert again.accounts == world.accounts
    assert list(history(again, START_MS, 30)) == past
    assert take(10_000, again) == stream[:10_000]


def test_another_seed_or_start_gives_other_transactions(
    world: World, stream: list[LabelledTransaction]
) -> None:
    other_world = make_world(8, ACCOUNTS)
    assert not set(other_world.accounts) & set(world.accounts)
    later = list(itertools.islice(live(world, START_MS + 1, 200.0, FRAUD_RATE), 1000))
    ids = {row.transaction["transaction_id"] for row in stream}
    assert not ids & {row.transaction["transaction_id"] for row in later}
    accounts = [row.transaction["sender_account"] for row in stream[:1000]]
    assert accounts != [row.transaction["sender_account"] for row in later]


def test_accounts_are_distinct_and_short_enough(world: World) -> None:
    assert len(set(world.accounts)) == ACCOUNTS
    assert all(len(account.encode()) <= MAX_ID_BYTES for account in world.accounts)


def test_every_transaction_is_valid_and_holds_no_label(
    past: list[LabelledTransaction], stream: list[LabelledTransaction]
) -> None:
    for row in past + stream:
        assert tuple(row.transaction) == FIELDS
        arrival_ms = START_MS if row.is_history else row.transaction["transaction_timestamp"]
        assert rejection(row.transaction, arrival_ms) is None


def test_ids_are_distinct_version_5_uuids(
    past: list[LabelledTransaction], stream: list[LabelledTransaction]
) -> None:
    ids = [row.transaction["transaction_id"] for row in past + stream]
    assert len(set(ids)) == len(ids)
    namespace = uuid.uuid5(uuid.NAMESPACE_OID, f"7/live/{START_MS}")
    expected = [str(uuid.uuid5(namespace, str(number))) for number in range(1000)]
    assert [row.transaction["transaction_id"] for row in stream[:1000]] == expected


def test_history_is_28_days_in_time_order_and_late(past: list[LabelledTransaction]) -> None:
    times = times_ms(past)
    assert times == sorted(times)
    assert times[0] >= START_MS - HISTORY_GAP_MS - HISTORY_MS
    assert times[-1] < START_MS - HISTORY_GAP_MS
    assert all(row.is_history and not row.is_fraud for row in past)


def test_history_has_about_30_payments_to_13_payees_per_account(
    past: list[LabelledTransaction],
) -> None:
    assert len(past) == 30 * ACCOUNTS
    payees = defaultdict(set)
    for row in past:
        payees[row.transaction["sender_account"]].add(row.transaction["receiver_account"])
    assert 11 < mean(map(len, payees.values())) < 14


def test_live_stream_is_in_time_order_at_its_rate(stream: list[LabelledTransaction]) -> None:
    times = times_ms(stream)
    assert times == sorted(times)
    rate_per_s = COUNT / (times[-1] - times[0]) * 1000
    assert 195 < rate_per_s < 215  # the payments of events come on top of 200
    assert not any(row.is_history for row in stream)


def test_about_4_percent_of_payments_fail(
    past: list[LabelledTransaction], stream: list[LabelledTransaction]
) -> None:
    for rows in (past, stream):
        failed = sum(row.transaction["transaction_status"] == "failed" for row in rows)
        assert 0.035 < failed / len(rows) < 0.05


def test_amounts_lie_around_the_mean_of_their_account(
    world: World, past: list[LabelledTransaction]
) -> None:
    means = dict(zip(world.accounts, world.mean_amounts.tolist(), strict=True))
    ratios = [
        row.transaction["transaction_amount"] / means[row.transaction["sender_account"]]
        for row in past
    ]
    assert mean(ratios) == pytest.approx(1.0, abs=0.02)
    assert sum(ratio > 5 for ratio in ratios) / len(ratios) < 0.005


def test_labels_are_consistent(stream: list[LabelledTransaction]) -> None:
    for row in stream:
        assert row.is_fraud == (row.pattern in patterns.FRAUD_PATTERNS)
        assert row.is_fraud == (row.incident_id is not None)


def test_the_fraud_rate_is_the_share_of_incidents_evenly_over_the_patterns(
    stream: list[LabelledTransaction],
) -> None:
    by_incident = {row.incident_id: row.pattern for row in stream if row.is_fraud}
    assert 0.7 < len(by_incident) / (FRAUD_RATE * COUNT) < 1.3
    counts = Counter(by_incident.values())
    assert set(counts) == set(patterns.FRAUD_PATTERNS)
    assert min(counts.values()) > 0.25 * len(by_incident)


def test_no_fraud_rate_means_no_fraud(world: World) -> None:
    rows = itertools.islice(live(world, START_MS, 200.0, 0.0), 20_000)
    assert not any(row.is_fraud for row in rows)


def test_velocity_is_4_to_10_payments_to_new_receivers_within_a_minute(
    world: World, stream: list[LabelledTransaction]
) -> None:
    for incident in incidents(stream, "velocity"):
        assert 4 <= len(incident) <= 10
        assert times_ms(incident)[-1] - times_ms(incident)[0] < 60_000
        assert len({row.transaction["sender_account"] for row in incident}) == 1
        receivers = {row.transaction["receiver_account"] for row in incident}
        assert len(receivers) == len(incident)
        sender = world.accounts.index(incident[0].transaction["sender_account"])
        assert not receivers & {world.accounts[payee] for payee in world.payees[sender]}


def test_high_amount_is_6_to_20_times_the_mean_to_a_new_receiver(
    world: World, stream: list[LabelledTransaction]
) -> None:
    for (row,) in incidents(stream, "high_amount"):
        sender = world.accounts.index(row.transaction["sender_account"])
        ratio = row.transaction["transaction_amount"] / world.mean_amounts[sender]
        assert 5.99 < ratio < 20.01
        payees = {world.accounts[payee] for payee in world.payees[sender]}
        assert row.transaction["receiver_account"] not in payees


def test_an_incident_is_planted_within_10_seconds(world: World) -> None:
    rows = itertools.islice(live(world, START_MS, 20.0, 0.0, is_planted=True), 1000)
    (planted,) = [row for row in rows if row.is_fraud]
    elapsed_ms = planted.transaction["transaction_timestamp"] - START_MS
    assert elapsed_ms == PLANTED_AFTER_MS < 10_000


@pytest.mark.parametrize("event", [*patterns.FRAUD_PATTERNS.values(), *patterns.HARD_NORMALS])
def test_every_event_works_in_the_smallest_world(event: patterns.Event) -> None:
    world = make_world(1, 20)
    random = Random(1)
    for sender in list(range(20)) * 20:
        payments = event(world, random, sender)
        assert payments[0].offset_ms == 0
        assert all(payment.sender == sender != payment.receiver for payment in payments)
        assert all(payment.amount > 0 for payment in payments)


def test_a_burst_goes_to_usual_payees_within_a_minute(world: World) -> None:
    for sender in range(100):
        payments = patterns.burst(world, Random(sender), sender)
        assert len(payments) >= 3
        assert payments[-1].offset_ms < 60_000
        assert {payment.receiver for payment in payments} <= set(world.payees[sender].tolist())


def test_a_retry_fails_until_it_completes(world: World) -> None:
    for sender in range(100):
        payments = patterns.retry(world, Random(sender), sender)
        assert len({(payment.receiver, payment.amount) for payment in payments}) == 1
        *earlier, last = [payment.transaction_status for payment in payments]
        assert set(earlier) == {"failed"}
        assert last == "completed"


def test_the_stream_does_not_change_over_days(world: World) -> None:
    """Three days at 0.4 payments per second: the shares of the first and last day agree."""
    per_day = defaultdict(Counter)
    for row in live(world, START_MS, 0.4, FRAUD_RATE):
        day = (row.transaction["transaction_timestamp"] - START_MS) // 86_400_000
        if day == 3:
            break
        per_day[day]["all"] += 1
        per_day[day]["failed"] += row.transaction["transaction_status"] == "failed"
        per_day[day]["amount"] += row.transaction["transaction_amount"]
    for key in ("all", "failed", "amount"):
        assert per_day[2][key] == pytest.approx(per_day[0][key], rel=0.15)
