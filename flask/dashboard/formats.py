"""How values are written on the pages; None is always a dash. ``static/dashboard.js`` repeats
``number``, ``compact``, ``abbreviated``, ``percent`` and ``duration_ms`` for what it updates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

DASH: Final = "–"  # noqa: RUF001  an en dash is meant

MEASURES: Final = {
    "receiver_spread": "Receivers in the minute",
    "receiver_spread_recent": "Receivers in ten minutes",
    "amount_surprise": "Largest amount in the minute",
    "amount_surprise_recent": "Typical amount in ten minutes",
    "failed_count": "Failed payments in the minute",
    "receiver_inflow": "Accounts paying the receiver in ten minutes",
    "max_amount": "Largest amount, against all accounts",
    "large_amounts": "Large amounts within a day",
}
"""What each feature is made of: its actual, usual and limiting values are of this."""
AMOUNTS: Final = frozenset({"amount_surprise", "amount_surprise_recent", "max_amount"})


def is_known(value: Any) -> bool:
    return value is not None and math.isfinite(value)


def number(value: float | None, digits: int = 0) -> str:
    return f"{value:,.{digits}f}" if value is not None and math.isfinite(value) else DASH


def compact(value: float | None) -> str:
    """Few digits for small numbers, none for large ones: 0.42, 7.3, 1,204."""
    if not is_known(value) or value is None:
        return DASH
    digits = 0 if abs(value) >= 100 or value == int(value) else 1 if abs(value) >= 10 else 2
    return number(value, digits)


def abbreviated(value: float | None) -> str:
    """Three digits and a unit from a million on, so that any amount fits a tile: 1.23 T."""
    if value is not None and math.isfinite(value):
        for unit, size in (("T", 1e12), ("B", 1e9), ("M", 1e6)):
            if abs(value) >= size:
                scaled = value / size
                digits = 0 if abs(scaled) >= 100 else 1 if abs(scaled) >= 10 else 2
                return f"{number(scaled, digits)} {unit}"
    return number(value)


def percent(share: float | None, digits: int = 1) -> str:
    return f"{number(share * 100, digits)} %" if share is not None else DASH


def duration_ms(milliseconds: float | None) -> str:
    if milliseconds is None:
        return DASH
    if milliseconds >= 10_000:
        return f"{number(milliseconds / 1000, 1)} s"
    return f"{number(milliseconds)} ms"


def age(seconds: float | None) -> str:
    """Return an age in words of the largest unit: 4 s, 12 min, 3 h, 5 d."""
    if seconds is None:
        return DASH
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"


def measure(feature: str) -> str:
    return MEASURES.get(feature, feature.replace("_", " ").capitalize())


def measured(feature: str, value: float | None, digits: int = 0) -> str:
    """Write a value of the feature's measure. An amount has two digits; a number of accounts or
    payments has ``digits``, unless it is whole."""
    if feature in AMOUNTS:
        return number(value, 2)
    return number(value, 0 if value is not None and value % 1 == 0 else digits)


def level(severity: str) -> str:
    """Name a severity together with the higher ones."""
    return severity if severity == "high" else f"{severity} or above"


def pattern(name: str) -> str:
    return name.replace("_", " ")


SPARK_WIDTH: Final = 120
SPARK_HEIGHT: Final = 28


def spark_path(values: Sequence[float | None]) -> str:
    """Return the path of a sparkline in a box of SPARK_WIDTH x SPARK_HEIGHT; None is a gap."""
    peak = max((value for value in values if value is not None), default=0) or 1
    step = SPARK_WIDTH / max(1, len(values) - 1)
    commands, pen = [], "M"
    for index, value in enumerate(values):
        if value is None:
            pen = "M"
            continue
        y = SPARK_HEIGHT - 2 - (SPARK_HEIGHT - 4) * value / peak
        commands.append(f"{pen}{index * step:.1f} {y:.1f}")
        pen = "L"
    return "".join(commands)
