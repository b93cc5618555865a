"""Which versions a deployment uses, and the commands that change it: ``make models``.

``<checkpoint_dir>/models.json`` belongs to the deployment. Only these commands write it; the job
reads it before each batch. Without the file the version in ``<model_dir>/CURRENT`` is live.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime as dt
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from detection.model import (
    CARD_FILE,
    CURRENT_FILE,
    ModelError,
    current_version,
    load_model,
    read_card,
)
from pipeline.errors import PipelineError
from pipeline.logs import run_service
from pipeline.settings import PROJECT_ROOT, load_settings

VERSIONS_FILE = "models.json"


class VersionsError(PipelineError):
    """A change of versions that cannot be made, or a damaged ``models.json``."""


@dataclass(frozen=True)
class Versions:
    """``live`` raises the alerts, ``previous`` is what a rollback returns to, ``shadow`` only
    records what it would raise. ``changed_at``: ISO-8601, None while nothing was ever changed."""

    live: str
    previous: str | None = None
    shadow: str | None = None
    changed_at: str | None = None

    def promote(self, version: str) -> Versions:
        """Make ``version`` live; a shadow that becomes live is no shadow any more."""
        if version == self.live:
            return self
        shadow = None if self.shadow == version else self.shadow
        return dataclasses.replace(self, live=version, previous=self.live, shadow=shadow)

    def roll_back(self) -> Versions:
        """Make the previous version live, once: a second rollback must not undo the first."""
        if self.previous is None:
            raise VersionsError(
                f"nothing to roll back to: {self.live} has no previous version;"
                " `make promote VERSION=` names one"
            )
        return dataclasses.replace(self.promote(self.previous), previous=None)

    def set_shadow(self, version: str | None) -> Versions:
        """Let ``version`` score beside the live one; None: nobody."""
        if version == self.live:
            raise VersionsError(f"{version} is live; the shadow must be another version")
        return dataclasses.replace(self, shadow=version)


def read_versions(checkpoint_dir: Path, model_dir: Path) -> Versions:
    """Return what the deployment uses.

    Raises ``VersionsError`` if ``models.json`` is damaged, ``ModelError`` if there is neither it
    nor ``CURRENT``.
    """
    path = checkpoint_dir / VERSIONS_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        versions = Versions(**content)
        wanted = (str, str | None, str | None, str | None)
        values = dataclasses.astuple(versions)
        if not all(isinstance(value, kind) for value, kind in zip(values, wanted, strict=True)):
            raise TypeError("a version must be a text")
    except FileNotFoundError:
        return Versions(current_version(model_dir))
    except (OSError, ValueError, TypeError) as error:
        raise VersionsError(
            f"{path}: damaged ({error}); delete it and promote the version that should be live"
        ) from error
    return versions


def write_versions(checkpoint_dir: Path, versions: Versions) -> Path:
    """Replace ``models.json`` in one step that survives a power cut; returns its path."""
    path = checkpoint_dir / VERSIONS_FILE
    partial = checkpoint_dir / f"{VERSIONS_FILE}.partial"
    checkpoint_dir.mkdir(parents=True, exist_ok=True)
    with partial.open("w", encoding="utf-8") as file:
        json.dump(dataclasses.asdict(versions), file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)
    folder = os.open(checkpoint_dir, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return path


def list_versions(model_dir: Path, large_amount: float, versions: Versions) -> str:
    """Return a table of all versions with figures of their cards and their marks."""
    lines = [
        f"{'version':<24} {'alert':>7} {'review':>7} {'trained on':>12}"
        f" {'alert rate':>10} {'review rate':>11}  used as"
    ]
    for card_file in sorted(model_dir.glob(f"*/{CARD_FILE}")):
        version = card_file.parent.name
        marks = ", ".join(_marks(version, versions, model_dir))
        try:
            load_model(model_dir, version, large_amount)
            card = read_card(card_file.parent)
            thresholds, later = card["thresholds"], card["later_slice"]
            lines.append(
                f"{version:<24} {thresholds['alert']:>7.3f} {thresholds['review']:>7.3f}"
                f" {card['data']['train_minutes']:>8,} min"
                f" {later['alert_rate']:>10.2%} {later['review_rate']:>11.2%}  {marks}"
            )
        except (ModelError, KeyError) as error:
            lines.append(f"{version:<24} cannot be used: {error}  {marks}")
    return "\n".join(line.rstrip() for line in lines)


def _marks(version: str, versions: Versions, model_dir: Path) -> list[str]:
    is_default = (model_dir / CURRENT_FILE).exists() and version == current_version(model_dir)
    used = {
        "live": version == versions.live,
        "previous": version == versions.previous,
        "shadow": version == versions.shadow,
        "default": is_default,
    }
    return [mark for mark, is_used in used.items() if is_used]


def main() -> int:
    """Parse the command line and change or list the versions."""
    parser = argparse.ArgumentParser(prog="python -m detection.versions", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    promote = commands.add_parser("promote", help="make a version live")
    promote.add_argument("version")
    commands.add_parser("rollback", help="make the previous version live again")
    shadow = commands.add_parser("shadow", help="let a version score beside the live one")
    which = shadow.add_mutually_exclusive_group(required=True)
    which.add_argument("version", nargs="?")
    which.add_argument("--off", action="store_true", help="no version")
    commands.add_parser("list", help="all versions with the figures of their cards")
    arguments = parser.parse_args()
    scoring = load_settings().scoring
    checkpoint_dir = PROJECT_ROOT / scoring.checkpoint_dir
    model_dir = PROJECT_ROOT / scoring.model_dir
    before = read_versions(checkpoint_dir, model_dir)
    if arguments.command == "list":
        print(list_versions(model_dir, scoring.large_amount, before))
        if before.changed_at is not None:
            print(f"changed at {before.changed_at}")
        return 0
    if arguments.command == "promote":
        after = before.promote(arguments.version)
    elif arguments.command == "rollback":
        after = before.roll_back()
    else:
        after = before.set_shadow(arguments.version)
    # Refused before anything is written. What does not change is not looked at: a damaged shadow
    # must not stand in the way of a rollback.
    if after.live != before.live:
        load_model(model_dir, after.live, scoring.large_amount)
    if after.shadow not in (None, before.shadow):
        load_model(model_dir, after.shadow, scoring.large_amount)
    now = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    path = write_versions(checkpoint_dir, dataclasses.replace(after, changed_at=now))
    print(f"live {after.live}, previous {after.previous or '-'}, shadow {after.shadow or '-'}")
    print(f"written to {path}; the job takes it with its next batch")
    return 0


if __name__ == "__main__":
    sys.exit(run_service(main))
