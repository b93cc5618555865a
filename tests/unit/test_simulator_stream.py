"""The simulated world: the same for the same seed, and shaped as the design says."""

from __future__ import annotations

import itertools
import uuid
from collections import Counter, defaultdict
from random import Random
from statistics import mean

import pytest

from pipeline.records import FIELDS, MAX_ID_BYTES, rejection
from pipeline.settings import load_settings
from simulator import patterns
from simulator.stream import (
    HISTORY_GAP_MS,
    HISTORY_MS,
    NEW_PAYEE_SHARE,
    PLANTED_AFTER_MS,
    LabelledTransaction,
    history,
    live,
)
from simulator.world import World, make_world

START_MS = 1_735_689_600_000
ACCOUNTS = 2000
FRAUD_RATE = 0.02  # four times the default: enough incidents of each pattern
COUNT = 60_000
RATE = 20.0


def take(count: int, world: World, **options: bool) -> list[LabelledTransaction]:
    return list(itertools.islice(live(world, START_MS, RATE, FRAUD_RATE, **options), count))


@pytest.fixture(scope="module")
def world() -> World:
    return make_world(7, ACCOUNTS, 30)


@pytest.fixture(scope="module")
def past(world: World) -> list[LabelledTransaction]:
    return list(history(world, START_MS))


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
    # An incident that began in the last minutes may be cut off by the end of the list.
    end_ms = times_ms(rows)[-1] - patterns.TAKEOVER_MS
    return [incident for incident in found.values() if times_ms(incident)[0] < end_ms]


def ratio_to_mean(world: World, row: LabelledTransaction) -> float:
    sender = world.accounts.index(row.transaction["sender_account"])
    return row.transaction["transaction_amount"] / world.mean_amounts[sender].item()


def is_to_new_payee(world: World, row: LabelledTransaction) -> bool:
    sender = world.accounts.index(row.transaction["sender_account"])
    payees = {world.accounts[payee] for payee in world.payees[sender]}
    return row.transaction["receiver_account"] not in payees


def test_the_same_seed_and_start_give_the_same_world_and_transactions(
    world: World, past: list[LabelledTransaction], stream: list[LabelledTransaction]
) -> None:
    again = make_world(7, ACCOUNTS, 30)
    assert again.accounts == world.accounts
    assert list(history(again, START_MS)) == past
    assert take(10_000, again) == stream[:10_000]


def test_another_seed_or_start_gives_other_transactions(
    world: World, stream: list[LabelledTransaction]
) -> None:
    other_world = make_world(8, ACCOUNTS, 30)
    assert not set(other_world.accounts) & set(world.accounts)
    later = list(itertools.islice(live(world, START_MS + 1, RATE, FRAUD_RATE), 1000))
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
    assert 13 < mean(map(len, payees.values())) < 14


def test_the_last_payments_of_the_history_reach_each_usual_payee(
    world: World, past: list[LabelledTransaction]
) -> None:
    paid = defaultdict(list)
    for row in past:
        paid[row.transaction["sender_account"]].append(row.transaction["receiver_account"])
    for sender, account in enumerate(world.accounts):
        count = min(world.payee_counts[sender], len(paid[account]))
        usual = {world.accounts[payee] for payee in world.payees[sender, :count]}
        assert set(paid[account][-count:]) == usual


def test_live_stream_is_in_time_order_at_its_rate(stream: list[LabelledTransaction]) -> None:
    times = times_ms(stream)
    assert times == sorted(times)
    rate_per_s = COUNT / (times[-1] - times[0]) * 1000
    assert RATE < rate_per_s < 1.05 * RATE  # the further payments of events come on top
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


def test_the_fraud_rate_is_the_share_of_fraudulent_transactions(
    stream: list[LabelledTransaction],
) -> None:
    frauds = sum(row.is_fraud for row in stream)
    assert frauds / COUNT == pytest.approx(FRAUD_RATE, rel=0.2)


def test_incidents_draw_evenly_from_the_patterns(stream: list[LabelledTransaction]) -> None:
    by_incident = {row.incident_id: row.pattern for row in stream if row.is_fraud}
    counts = Counter(by_incident.values())
    assert set(counts) == set(patterns.FRAUD_PATTERNS)
    for count in counts.values():
        assert count == pytest.approx(len(by_incident) / len(counts), rel=0.5)


def test_the_mean_size_of_an_incident_is_the_documented_one(world: World) -> None:
    random = Random(1)
    sizes = [
        len(event(world, random, sender))
        for sender in range(1000)
        for event in patterns.FRAUD_PATTERNS.values()
    ]
    assert mean(sizes) == pytest.approx(patterns.PAYMENTS_PER_INCIDENT, rel=0.02)


def test_about_half_a_percent_of_sender_minutes_hold_a_fraud() -> None:
    """At the defaults of config.yml; detection is measured at this prevalence."""
    config = load_settings(environment={}).simulator
    world = make_world(config.seed, config.accounts, config.history_per_account)
    rows = live(world, START_MS, config.rate_per_s, config.fraud_rate)
    is_fraud: dict[tuple[str, int], bool] = defaultdict(bool)
    for row in itertools.islice(rows, 200_000):
        minute = row.transaction["transaction_timestamp"] // 60_000
        is_fraud[row.transaction["sender_account"], minute] |= row.is_fraud
    assert 0.004 < sum(is_fraud.values()) / len(is_fraud) < 0.0055


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
        assert 5.99 < ratio_to_mean(world, row) < 20.01
        assert is_to_new_payee(world, row)


def test_card_testing_is_tiny_payments_that_mostly_fail_then_a_large_one(
    world: World, stream: list[LabelledTransaction]
) -> None:
    statuses = []
    for incident in incidents(stream, "card_testing"):
        *tests, cash_out = incident
        assert 4 <= len(tests) <= 9
        assert len({row.transaction["sender_account"] for row in incident}) == 1
        assert len({row.transaction["receiver_account"] for row in tests}) == 1
        assert all(0.5 <= row.transaction["transaction_amount"] <= 3 for row in tests)
        statuses += [row.transaction["transaction_status"] for row in tests]
        assert 5.9 < ratio_to_mean(world, cash_out) < 15.1
        assert all(is_to_new_payee(world, row) for row in incident)
        assert times_ms(incident)[-1] - times_ms(incident)[0] < 120_000
    assert statuses.count("failed") / len(statuses) == pytest.approx(0.6, abs=0.1)


def test_takeover_is_3_to_7_raised_amounts_to_new_receivers_in_15_minutes(
    world: World, stream: list[LabelledTransaction]
) -> None:
    for incident in incidents(stream, "takeover"):
        assert 3 <= len(incident) <= 7
        assert len({row.transaction["sender_account"] for row in incident}) == 1
        assert len({row.transaction["receiver_account"] for row in incident}) == len(incident)
        assert all(2.4 < ratio_to_mean(world, row) < 6.1 for row in incident)
        assert all(is_to_new_payee(world, row) for row in incident)
        assert times_ms(incident)[-1] - times_ms(incident)[0] < 15 * 60_000


def test_mule_fan_in_is_6_to_15_senders_to_one_receiver_in_10_minutes(
    world: World, stream: list[LabelledTransaction]
) -> None:
    for incident in incidents(stream, "mule_fan_in"):
        assert 6 <= len(incident) <= 15
        senders = {row.transaction["sender_account"] for row in incident}
        (receiver,) = {row.transaction["receiver_account"] for row in incident}
        assert len(senders) == len(incident)
        assert receiver not in senders
        assert all(1.4 < ratio_to_mean(world, row) < 4.1 for row in incident)
        assert is_to_new_payee(world, incident[0])
        assert times_ms(incident)[-1] - times_ms(incident)[0] < 10 * 60_000


def test_an_incident_is_planted_within_10_seconds(world: World) -> None:
    rows = itertools.islice(live(world, START_MS, 20.0, 0.0, is_planted=True), 1000)
    (planted,) = [row for row in rows if row.is_fraud]
    elapsed_ms = planted.transaction["transaction_timestamp"] - START_MS
    assert elapsed_ms == PLANTED_AFTER_MS < 10_000


@pytest.mark.parametrize("event", [*patterns.FRAUD_PATTERNS.values(), *patterns.HARD_NORMALS])
def test_every_event_works_in_the_smallest_world(event: patterns.Event) -> None:
    world = make_world(1, 20, 30)
    random = Random(1)
    for sender in list(range(20)) * 20:
        payments = event(world, random, sender)
        assert payments[0].offset_ms == 0
        assert payments[0].sender == sender
        assert all(payment.sender != payment.receiver for payment in payments)
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


@pytest.mark.parametrize("pace", [1, 50, 500])
def test_the_share_of_new_payees_does_not_change(pace: int) -> None:
    """From the first hour to the last, at the history's pace and far above it."""
    world = make_world(5, 1000, 30)
    paid = {pair(row) for row in history(world, START_MS)}
    rate_per_s = pace * 30 * 1000 / (HISTORY_MS / 1000)
    new = []
    for row in itertools.islice(live(world, START_MS, rate_per_s, 0.0), 120_000):
        new.append(pair(row) not in paid)
        paid.add(pair(row))
    first, last = mean(new[:20_000]), mean(new[-20_000:])
    assert first == pytest.approx(NEW_PAYEE_SHARE, abs=0.005)
    assert last == pytest.approx(first, abs=0.006)


def test_accounts_without_a_history_have_few_usual_payees() -> None:
    world = make_world(5, 1000, 0)
    assert not list(history(world, START_MS))
    assert set(world.payee_counts) == {3}


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
        per_day[day]["fraud"] += row.is_fraud
    for key, tolerance in (("all", 0.05), ("failed", 0.15), ("amount", 0.15), ("fraud", 0.3)):
        assert per_day[2][key] == pytest.approx(per_day[0][key], rel=tolerance)


def pair(row: LabelledTransaction) -> tuple[str, str]:
    return row.transaction["sender_account"], row.transaction["receiver_account"]
