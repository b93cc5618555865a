"""What labels and alerts say of the detection; pure functions over settled minutes.

The unit is the sender-minute: an account and a minute of event time. It is a fraud when it holds
a fraudulent transaction, and found when it has an alert. The review level counts every alert, the
alert level those that are not of severity low.
"""

from __future__ import annotations

import datetime as dt
import itertools
import math
import statistics
from array import array
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

REVIEW_ONLY = "low"
"""The severity of what reaches the review threshold and not the alert threshold."""


class Alert(NamedTuple):
    """An alert on a sender-minute; ``scored_at`` is when it was last evaluated."""

    score: float
    severity: str
    scored_at: dt.datetime


class Label(NamedTuple):
    """The earliest fraud of a sender-minute; None where the label does not say."""

    pattern: str | None
    incident_id: str | None
    first_fraud_at: dt.datetime


Judged = tuple[Label, Alert | None]
"""A fraudulent sender-minute with its alert; None: missed."""


@dataclass(frozen=True)
class Minute:
    """The sender-minutes of one minute that are frauds, have an alert, or both.

    Of false alarms only the numbers are kept: there are as many as a stream has alerts.
    """

    frauds: Sequence[Judged]
    false_scores: array[float]
    false_alerts: int


@dataclass(frozen=True)
class Level:
    """Figures of one level; each is None when the number that it is a share of is 0.

    ``precision`` is a share of ``alerts``, ``recall`` of the fraudulent sender-minutes,
    ``incident_recall`` of the incidents.
    """

    alerts: int
    precision: float | None
    recall: float | None
    incident_recall: float | None


@dataclass(frozen=True)
class Figures:
    """Detection quality of a period; a figure is None when the number behind it is 0.

    An incident is found when one of its sender-minutes has an alert of the level; by pattern and
    for the delay that is the review level. ``delay_*_s`` runs from the event time of an incident's
    first fraud to the scoring of its first alert, over the ``found_incidents``. An alert's row
    keeps its last evaluation, so that the delay is an upper bound. ``average_precision`` is a lower
    bound: scores below the review threshold are not stored, so that a missed fraud counts as never
    found.
    """

    fraud_minutes: int
    incidents: int
    review: Level
    alert: Level
    average_precision: float | None
    found_incidents: int
    delay_median_s: float | None
    delay_p95_s: float | None
    pattern_incidents: Mapping[str, int]
    pattern_incident_recall: Mapping[str, float]


def judge(alerts: Mapping[str, Alert], labels: Mapping[str, Label]) -> Minute:
    """Compare the alerts and the labels of one minute, both by sender."""
    false_alarms = [alert for sender, alert in alerts.items() if sender not in labels]
    return Minute(
        frauds=[(label, alerts.get(sender)) for sender, label in labels.items()],
        false_scores=array("d", (alert.score for alert in false_alarms)),
        false_alerts=sum(map(_is_alert, false_alarms)),
    )


def measure(minutes: Iterable[Minute]) -> Figures:
    """Return the figures of a period.

    An incident is judged by those of its sender-minutes that lie in the period; labels without
    an ``incident_id`` count as sender-minutes only.
    """
    frauds: list[Judged] = []
    false_scores = array("d")
    false_alerts = 0
    for minute in minutes:
        frauds += minute.frauds
        false_scores += minute.false_scores
        false_alerts += minute.false_alerts
    by_incident: dict[str, list[Judged]] = defaultdict(list)
    for label, alert in frauds:
        if label.incident_id is not None:
            by_incident[label.incident_id].append((label, alert))
    incidents = list(by_incident.values())
    delays = [delay for incident in incidents if (delay := _delay_s(incident)) is not None]
    is_found_by_pattern: dict[str, list[bool]] = defaultdict(list)
    for incident in incidents:
        pattern = min(incident, key=lambda judged: judged[0].first_fraud_at)[0].pattern
        if pattern is not None:
            is_found_by_pattern[pattern].append(_is_found(incident, _is_review))
    patterns = dict(sorted(is_found_by_pattern.items()))
    return Figures(
        fraud_minutes=len(frauds),
        incidents=len(incidents),
        review=_level(frauds, incidents, len(false_scores), _is_review),
        alert=_level(frauds, incidents, false_alerts, _is_alert),
        average_precision=average_precision(
            [alert.score for _, alert in frauds if alert is not None], false_scores, len(frauds)
        ),
        found_incidents=len(delays),
        delay_median_s=statistics.median(delays) if delays else None,
        delay_p95_s=percentile(delays, 0.95),
        pattern_incidents={name: len(found) for name, found in patterns.items()},
        pattern_incident_recall={name: sum(found) / len(found) for name, found in patterns.items()},
    )


def average_precision(
    found: Sequence[float], false: Sequence[float], positives: int
) -> float | None:
    """Return the sum over the ranked scores of (step in recall) x precision.

    ``found`` are the scores of the positives that have one; the others of the ``positives`` are
    never found. Equal scores are one step, as in scikit-learn's ``average_precision_score``. None
    without positives.
    """
    if not positives:
        return None
    ascending = sorted(false)
    total, hits = 0.0, 0
    for score, ties in itertools.groupby(sorted(found, reverse=True)):
        step = len(list(ties))
        hits += step
        seen = hits + len(ascending) - bisect_left(ascending, score)
        total += step / positives * hits / seen
    return total


def percentile(values: Sequence[float], share: float) -> float | None:
    """Return the smallest value that at least ``share`` of the values do not exceed."""
    if not values:
        return None
    return sorted(values)[math.ceil(share * len(values)) - 1]


def _level(
    frauds: Sequence[Judged],
    incidents: Sequence[Sequence[Judged]],
    false_alarms: int,
    counts: Callable[[Alert | None], bool],
) -> Level:
    """Return the figures of the level whose alerts ``counts`` admits."""
    hits = sum(counts(alert) for _, alert in frauds)
    found = sum(_is_found(incident, counts) for incident in incidents)
    alerts = hits + false_alarms
    return Level(
        alerts=alerts,
        precision=hits / alerts if alerts else None,
        recall=hits / len(frauds) if frauds else None,
        incident_recall=found / len(incidents) if incidents else None,
    )


def _is_review(alert: Alert | None) -> bool:
    return alert is not None


def _is_alert(alert: Alert | None) -> bool:
    return alert is not None and alert.severity != REVIEW_ONLY


def _is_found(incident: Iterable[Judged], counts: Callable[[Alert | None], bool]) -> bool:
    return any(counts(alert) for _, alert in incident)


def _delay_s(incident: Sequence[Judged]) -> float | None:
    """Return the delay of an incident's first alert, or None if it has none."""
    scored = [alert.scored_at for _, alert in incident if alert is not None]
    if not scored:
        return None
    return (min(scored) - min(label.first_fraud_at for label, _ in incident)).total_seconds()
