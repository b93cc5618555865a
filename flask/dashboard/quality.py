"""Detection quality as the API and the pages show it: every figure with the count behind it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any, Final

from dashboard.repository import Row
from dashboard.system import component_json, count
from dashboard.times import HOUR, MINUTE, iso
from pipeline.names import QUALITY

PERIODS: Final = {"hour": HOUR, "day": 24 * HOUR}

STANDS_STILL_AFTER: Final = 6 * MINUTE
"""While everything runs, the figures end 2 to 3 minutes ago. At twice that, labels or scoring stand
still."""


def quality_json(
    now: dt.datetime,
    rows: Mapping[str, Row | None],
    service: Row | None,
    is_current: bool,
    stale_after_s: float,
) -> dict[str, Any]:
    """Return the answer of ``/api/quality``.

    ``rows`` are the newest of ``detection_quality`` by period, ``service`` is the heartbeat of the
    quality service; ``is_current`` False: Cassandra does not answer now and they are older ones.
    ``state`` is ``live``, ``stale`` (the service is silent, or its figures end long ago),
    ``disconnected``, ``waiting`` (there are labels, and nothing is judged yet) or ``no labels``.
    """
    details = (service["details"] if service else None) or {}
    ends = [row["period_end"] for row in rows.values() if row is not None]
    component = component_json(QUALITY, service, now, stale_after_s)["state"]
    if not is_current:
        state, message = "disconnected", "Cassandra does not answer; these figures are old"
    elif not ends and count(details, "labels"):
        state, message = "waiting", "Labels come in; nothing is judged yet"
    elif not ends:
        state, message = "no labels", "No labels: the quality of the detection is not known"
    elif component not in ("running", "degraded"):
        state, message = "stale", f"The quality service is {component}; these figures are old"
    elif now - max(ends) > STANDS_STILL_AFTER:
        state, message = "stale", "Labels or scoring stand still; these figures are old"
    else:
        state, message = "live", "Every closed minute with its labels is judged"
    return {
        "ok": True,
        "generated_at": iso(now),
        "state": state,
        "message": message,
        "labels": {
            name: count(details, name) for name in ("frauds", "pending", "unresolved", "malformed")
        },
        "periods": {
            period: None if (row := rows[period]) is None else _period_json(row, length)
            for period, length in PERIODS.items()
        },
    }


def _period_json(row: Row, length: dt.timedelta) -> dict[str, Any]:
    incidents, recalls = row["pattern_incidents"] or {}, row["pattern_incident_recall"] or {}
    return {
        "start": iso(row["period_end"] - length),
        "end": iso(row["period_end"]),
        "computed_at": iso(row["computed_at"]),
        "fraud_minutes": row["fraud_minutes"],
        "incidents": row["incidents"],
        "review": _level_json(row, "review"),
        "alert": _level_json(row, "alert"),
        "average_precision": row["average_precision"],
        "delay": {
            "incidents": row["found_incidents"],
            "median_s": row["delay_median_s"],
            "p95_s": row["delay_p95_s"],
        },
        "by_pattern": {
            name: {"incidents": incidents[name], "incident_recall": recalls.get(name)}
            for name in sorted(incidents)
        },
    }


def _level_json(row: Row, level: str) -> dict[str, Any]:
    names = ("alerts", "precision", "recall", "incident_recall")
    return {name: row[f"{level}_{name}"] for name in names}
