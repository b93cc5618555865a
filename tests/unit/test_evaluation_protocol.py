"""The figures of a small stream that can be followed by hand."""

from __future__ import annotations

import pandas as pd
import pytest

from evaluation.protocol import Stream, find_incidents, judge, make_stream, timed
from evaluation.recorded import differences

MINUTE = 60_000
THRESHOLDS = {"alert": 5.0, "review": 2.0}


def links(*rows: tuple[int, int]) -> pd.DataFrame:
    """Return links of (sender, minute), one transaction each."""
    return pd.DataFrame(
        [(sender, minute * MINUTE, 1) for sender, minute in rows],
        columns=["sender", "window_start", "transaction_count"],
    )


def frauds(*rows: tuple[int, int, str]) -> pd.DataFrame:
    """Return frauds of (sender, time in ms, incident), 100 each."""
    return pd.DataFrame(
        [
            (sender, time - time % MINUTE, time, 100.0, "velocity", incident)
            for sender, time, incident in rows
        ],
        columns=[
            "sender",
            "window_start",
            "transaction_timestamp",
            "transaction_amount",
            "pattern",
            "incident_id",
        ],
    )


def scored(*rows: tuple[int, int, float]) -> pd.DataFrame:
    """Return evaluations of (sender, time of the batch in ms, score), a second each."""
    return timed(
        pd.DataFrame(
            [(time // 1000, sender, time - time % MINUTE, score) for sender, time, score in rows],
            columns=["batch", "sender", "window_start", "score"],
        )
    )


def stream_of_five() -> Stream:
    """Return accounts 1-5 in minutes 0 and 1; account 1 commits a fraud in both."""
    return make_stream(
        links(*((sender, minute) for minute in (0, 1) for sender in range(1, 6))),
        frauds((1, 10_000, "a"), (1, 20_500, "a"), (1, 61_000, "a")),
    )


def test_a_minute_is_a_fraud_if_it_holds_one() -> None:
    minutes = stream_of_five().minutes
    assert minutes.loc[minutes["is_fraud"], "sender"].tolist() == [1, 1]
    assert len(minutes) == 10


def test_figures_of_a_stream() -> None:
    stream = stream_of_five()
    evaluations = scored(
        (1, 10_200, 1.0),
        (1, 20_600, 3.0),  # the second fraud raises it above the review threshold
        (1, 61_200, 6.0),
        *((sender, 30_000, 0.5) for sender in range(2, 6)),
        (2, 65_000, 4.0),  # a false alarm
        *((sender, 65_000, 0.5) for sender in range(3, 6)),
    )
    figures = judge(stream, evaluations, THRESHOLDS)
    review, alert = figures["review"], figures["alert"]
    assert (review["precision"], review["recall"]) == (pytest.approx(2 / 3), 1.0)
    assert (alert["precision"], alert["recall"]) == (1.0, 0.5)
    assert review["alert_rate"] == pytest.approx(0.3)
    assert review["delay_median_s"] == pytest.approx(11.0), "21 s is the end of the batch"
    assert review["frauds_passed"] == 1, "the first; the second raised the alert"
    assert alert["delay_median_s"] == pytest.approx(52.0)
    assert alert["amount_recall"] == pytest.approx(1 / 3)
    assert figures["prevalence"] == pytest.approx(0.2)
    assert figures["average_precision"] == pytest.approx((1 / 1 + 2 / 3) / 2)


def test_an_alert_before_the_fraud_finds_nothing() -> None:
    stream = stream_of_five()
    found = find_incidents(stream, scored((1, 5_000, 9.0)), 2.0)
    assert found["delay_s"].isna().all()


def test_an_incident_at_the_edge_is_not_counted() -> None:
    every = links(*((1, minute) for minute in range(5)))
    cut_in_two = frauds((1, -1_000, "before"), (1, 2_000, "before"), (1, 4 * MINUTE, "end"))
    whole = frauds((1, 2 * MINUTE, "whole"))
    stream = make_stream(every, pd.concat([cut_in_two, whole]))
    # Only what lies within the stream is seen of the first: its beginning is that of the stream.
    assert find_incidents(stream, scored((1, 0, 0.0)), 2.0)["incident_id"].tolist() == [
        "before",
        "whole",
    ]


def alerts(*rows: tuple[int, int, float]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["sender", "batch", "score"]).assign(window_start=0)


def test_differences_name_what_is_not_the_same() -> None:
    stream = alerts((1, 7, 3.0), (2, 7, 3.0), (3, 7, 3.0)).assign(sender_account=["A", "B", "C"])
    same = alerts((1, 7, 3.0 + 1e-9), (2, 8, 3.0), (4, 7, 2.5))
    found = {
        row[0] if isinstance(row[0], str) else "not in the stream"
        for row in differences(stream, same)
    }
    assert found == {"B", "C", "not in the stream"}
    assert differences(stream, alerts((1, 7, 3.0), (2, 7, 3.0), (3, 7, 3.0))) == []
