"""What labels and alerts say of the detection; pure functions over settled minutes.

The unit is the sender-minute: an account and a minute of event time. It is a fraud when it holds
a fraudulent transaction, and found when it has an alert. The review level counts every alert, the
alert level those that are not of severity low.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

REVIEW_ONLY: Final = "low"
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


FRAUDS: Final = np.dtype(
    [
        ("incident", np.uint64),
        ("pattern", object),
        ("first_fraud_ms", np.int64),
        ("score", np.float64),
        ("is_alert", np.bool_),
        ("scored_ms", np.int64),
    ]
)
"""A fraudulent sender-minute with its alert: 41 bytes, where objects take some 430, and a stream of
1,000 transactions a second has hundreds of thousands a day. ``incident`` is a digest of the
incident's id, 0 where there is none; ``score`` is NaN where the fraud was missed."""


@dataclass(frozen=True)
class Minute:
    """The sender-minutes of one minute that are frauds, have an alert, or both.

    Of false alarms only the numbers are kept: there are as many as a stream has alerts.
    """

    frauds: NDArray[np.void]
    false_scores: NDArray[np.float64]
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
        frauds=np.array(
            [_fraud(label, alerts.get(sender)) for sender, label in labels.items()], FRAUDS
        ),
        false_scores=np.array([alert.score for alert in false_alarms], np.float64),
        false_alerts=sum(alert.severity != REVIEW_ONLY for alert in false_alarms),
    )


def measure(minutes: Sequence[Minute]) -> Figures:
    """Return the figures of a period of at least one minute.

    An incident is judged by those of its sender-minutes that lie in the period; labels without
    an ``incident_id`` count as sender-minutes only.
    """
    frauds = np.concatenate([minute.frauds for minute in minutes])
    false_scores = np.concatenate([minute.false_scores for minute in minutes])
    is_found = ~np.isnan(frauds["score"])
    incidents = _incidents(frauds)
    delays_s = incidents.delay_ms[incidents.is_found] / 1000
    is_found_by_pattern: dict[str, list[bool]] = defaultdict(list)
    for pattern, found in zip(incidents.pattern, incidents.is_found, strict=True):
        if pattern is not None:
            is_found_by_pattern[pattern].append(found)
    patterns = dict(sorted(is_found_by_pattern.items()))
    return Figures(
        fraud_minutes=len(frauds),
        incidents=len(incidents.is_found),
        review=_level(is_found, incidents.is_found, len(false_scores)),
        alert=_level(
            frauds["is_alert"], incidents.is_alert, sum(minute.false_alerts for minute in minutes)
        ),
        average_precision=average_precision(frauds["score"][is_found], false_scores, len(frauds)),
        found_incidents=len(delays_s),
        delay_median_s=float(np.median(delays_s)) if len(delays_s) else None,
        # The smallest delay that at least 95 % do not exceed: one that occurred.
        delay_p95_s=(
            float(np.percentile(delays_s, 95, method="inverted_cdf")) if len(delays_s) else None
        ),
        pattern_incidents={name: len(found) for name, found in patterns.items()},
        pattern_incident_recall={name: float(np.mean(found)) for name, found in patterns.items()},
    )


def average_precision(found: ArrayLike, false: ArrayLike, positives: int) -> float | None:
    """Return the sum over the ranked scores of (step in recall) x precision.

    ``found`` are the scores of the positives that have one; the others of the ``positives`` are
    never found. Equal scores are one step, as in scikit-learn's ``average_precision_score``. None
    without positives.
    """
    if not positives:
        return None
    scores, ties = np.unique(np.asarray(found, np.float64), return_counts=True)
    hits = np.cumsum(ties[::-1])[::-1]  # with this score or a higher one
    ascending = np.sort(np.asarray(false, np.float64))
    seen = hits + len(ascending) - np.searchsorted(ascending, scores)
    return float(np.sum(ties / positives * hits / seen))


class _Incidents(NamedTuple):
    """Columns, an incident each."""

    pattern: NDArray[np.object_]
    is_found: NDArray[np.bool_]
    is_alert: NDArray[np.bool_]
    delay_ms: NDArray[np.int64]
    """From the first fraud to the first alert; without a meaning where there is none."""


def _incidents(frauds: NDArray[np.void]) -> _Incidents:
    known = frauds[frauds["incident"] != 0]
    known = known[np.lexsort((known["first_fraud_ms"], known["incident"]))]
    first = np.flatnonzero(np.diff(known["incident"], prepend=np.uint64(0)))
    is_found = ~np.isnan(known["score"])
    scored_ms = np.where(is_found, known["scored_ms"], np.iinfo(np.int64).max)
    return _Incidents(
        pattern=known["pattern"][first],
        is_found=np.logical_or.reduceat(is_found, first),
        is_alert=np.logical_or.reduceat(known["is_alert"], first),
        delay_ms=np.minimum.reduceat(scored_ms, first) - known["first_fraud_ms"][first],
    )


def _fraud(label: Label, alert: Alert | None) -> tuple[Any, ...]:
    """Return a row of ``FRAUDS``."""
    pattern = None if label.pattern is None else sys.intern(label.pattern)
    place = (_digest(label.incident_id), pattern, _milliseconds(label.first_fraud_at))
    if alert is None:
        return (*place, np.nan, False, 0)
    return (*place, alert.score, alert.severity != REVIEW_ONLY, _milliseconds(alert.scored_at))


def _digest(incident_id: str | None) -> int:
    """Two of a million incidents share a digest in one of thirty million periods."""
    if incident_id is None:
        return 0
    return int.from_bytes(hashlib.blake2b(incident_id.encode(), digest_size=8).digest()) or 1


def _milliseconds(moment: dt.datetime) -> int:
    return round(moment.timestamp() * 1000)


def _level(
    is_found: NDArray[np.bool_], is_incident_found: NDArray[np.bool_], false_alarms: int
) -> Level:
    """Return the figures of the level by which these frauds and incidents are found."""
    hits = int(is_found.sum())
    alerts = hits + false_alarms
    return Level(
        alerts=alerts,
        precision=hits / alerts if alerts else None,
        recall=hits / len(is_found) if len(is_found) else None,
        incident_recall=float(is_incident_found.mean()) if len(is_incident_found) else None,
    )
