"""The proof on paper: a table for a person, ``verify.json`` for a program."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from verification.findings import Proof

RESULT: Final = "verify.json"
LABELS: Final = {
    "kafka_records": "records in the topic",
    "raw": "stored",
    "dead_letters": "kept as dead letters",
    "scored": "scored",
    "late": "late",
    "rejected": "rejected",
    "duplicates": "duplicates, dropped",
    "late_duplicates": "late duplicates, counted again",
    "repeated_dead_letters": "dead letters written again",
    "pending_storage": "not yet stored",
    "pending_scoring": "not yet scored",
    "alerts": "alerts",
    "metrics": "minutes of metrics",
}


def write_result(proof: Proof, folder: Path) -> Path:
    """Write ``verify.json`` and return its path; ``differences`` names the first of each kind."""
    result = {
        "ok": proof.ok,
        **proof.counts,
        "rejected_by_reason": proof.rejected,
        "difference_count": sum(proof.findings.counts.values()),
        "differences": [vars(difference) for difference in proof.findings.named],
        "notes": proof.notes,
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / RESULT
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return path


def summary(proof: Proof) -> str:
    """Return the lines for a person: counts, notes, then the verdict or what is wrong."""
    lines = [
        f"{label:<32}{proof.counts[name]:>12,}"
        for name, label in LABELS.items()
        if name in proof.counts
    ]
    lines += [f"  {reason:<30}{count:>12,}" for reason, count in sorted(proof.rejected.items())]
    lines += [f"note: {note}" for note in proof.notes]
    if proof.ok:
        lines.append("every record is accounted for, every result was recomputed: no difference")
    for (check, kind), count in sorted(proof.findings.counts.items()):
        lines.append(f"DIFFERENCE {check}: {count:,} {kind}")
        lines += [
            f"  {difference.key} {difference.detail}".rstrip()
            for difference in proof.findings.named
            if (difference.check, difference.kind) == (check, kind)
        ]
    return "\n".join(lines)
