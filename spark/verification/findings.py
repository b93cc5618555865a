"""What the checks count and find, and how rows are compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

Kind = Literal["missing", "extra", "different"]
"""Missing: it should be there and is not. Extra: nothing accounts for it."""

SUM_TOLERANCE: Final = 1e-9
"""Relative; sums of doubles depend on the order of their terms."""

NAMED: Final = 10
"""Differences of a kind that a check names; it counts all of them."""


@dataclass(frozen=True)
class Difference:
    """One thing that does not hold: in which table or topic, and the key to look for."""

    check: str
    kind: Kind
    key: str
    detail: str = ""


@dataclass
class Findings:
    """All that the checks found; ``named`` holds the first of each check and kind."""

    named: list[Difference] = field(default_factory=list)
    counts: Counter[tuple[str, Kind]] = field(default_factory=Counter)

    def add(self, difference: Difference) -> None:
        """Count a difference, and name it if it is among the first."""
        where = (difference.check, difference.kind)
        if sum((named.check, named.kind) == where for named in self.named) < NAMED:
            self.named.append(difference)
        self.counts[where] += 1


@dataclass
class Proof:
    """Counts, by the names of ``verify.json``, and what does not hold; ``ok`` when all does."""

    counts: dict[str, int] = field(default_factory=dict)
    rejected: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    findings: Findings = field(default_factory=Findings)

    @property
    def ok(self) -> bool:
        return not self.findings.counts


def compare_rows(
    check: str, expected: DataFrame, actual: DataFrame, key: Sequence[str], findings: Findings
) -> None:
    """Add a difference for each key whose row is missing, extra or different.

    Both have the same columns, ``key`` among them; ``expected`` also ``is_required``: where it is
    false the row may be there or not. Of a key that is expected with several rows any one will
    do: they come from records with one transaction id, and the last written stays.
    """
    columns = sorted(actual.columns)
    wanted = (
        expected.select(*key, "is_required", F.xxhash64(*columns).alias("hash"))
        .groupBy(*key)
        .agg(F.collect_set("hash").alias("expected"), F.max("is_required").alias("is_required"))
    )
    found = actual.select(*key, F.xxhash64(*columns).alias("actual"))
    is_same = F.coalesce(F.array_contains("expected", F.col("actual")), F.lit(False))
    is_absent = F.col("actual").isNull()
    kind = F.when(is_absent, "missing").otherwise(
        F.when(F.col("expected").isNull(), "extra").otherwise("different")
    )
    wrong = (
        wanted.join(found, list(key), "full_outer")
        .where(~is_same & ~(is_absent & ~F.col("is_required")))
        .select(*(F.col(name).cast("string") for name in key), kind.alias("kind"))
        .cache()
    )
    try:
        for row in wrong.groupBy("kind").count().collect():
            examples = wrong.where(F.col("kind") == row.kind).orderBy(*key).limit(NAMED).collect()
            for example in examples:
                named = " ".join(f"{name}={example[name]}" for name in key)
                findings.add(Difference(check, row.kind, named))
            findings.counts[check, row.kind] = row["count"]
    finally:
        wrong.unpersist()


def is_close(left: Any, right: Any, relative: float) -> bool:
    """Tell whether two values are the same, numbers within ``relative``; looks into containers."""
    if isinstance(left, float) or isinstance(right, float):
        if left is None or right is None:
            return left is right
        return bool(abs(left - right) <= relative * max(1.0, abs(left), abs(right)))
    if hasattr(left, "items") and hasattr(right, "items"):
        return set(left) == set(right) and all(
            is_close(value, right[name], relative) for name, value in left.items()
        )
    return bool(left == right)
