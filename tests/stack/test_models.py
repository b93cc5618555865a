"""Shadow, compare, promote and roll back while the simulator streams: the query never stops."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import pytest

from pipeline.names import DETECTION
from tests.support.models import DEFAULT, add_version, copy_models, damage
from tests.support.pipeline import LocalPipeline, environment, running_pipeline
from tests.support.wait import wait_until

SECOND = "second"
LATENESS_S = 5
"""Short, so that minutes are complete, and can be compared, soon after their end."""
SCORED = 400
"""Transactions that each constellation of models scores at least."""


@dataclass(frozen=True)
class Streamed:
    """What was seen while the models changed."""

    pipeline: LocalPipeline
    run_ids: set[str]
    pids: set[int]
    comparison: dict[str, Any]
    printed_status: int
    refused_status: int


@pytest.fixture(scope="module")
def streamed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Streamed]:
    folder = tmp_path_factory.mktemp("models")
    model_dir = copy_models(folder)
    add_version(model_dir, SECOND, 0.8, known_receiver_weight=0.1)
    damage(model_dir, add_version(model_dir, "damaged", 1.0))
    variables = environment(folder) | {
        "FRAUD__SCORING__MODEL_DIR": str(model_dir),
        "FRAUD__SCORING__CHECKPOINT_DIR": str(folder / "checkpoint"),
        "FRAUD__SCORING__ALLOWED_LATENESS_S": str(LATENESS_S),
        "FRAUD__SIMULATOR__ACCOUNTS": "500",
        "FRAUD__SIMULATOR__FRAUD_RATE": "0.1",
        "FRAUD__SIMULATOR__RATE_PER_S": "30",
    }
    without = ["connect", "connector", "watcher"]
    with running_pipeline(folder, variables, without=without) as pipeline:
        run_ids, pids = set(), set()

        def use(*command: str) -> int:
            run_ids.add(pipeline.details(DETECTION)["run_id"])
            pids.add(pipeline.pid_of("detection"))
            return pipeline.python("-m", "detection.versions", *command).wait(60)

        wait_scored(pipeline, DEFAULT, None)
        assert use("shadow", SECOND) == 0
        wait_scored(pipeline, DEFAULT, SECOND)
        comparison = wait_until(
            lambda: (found := pipeline.api("/api/models"))["compared"] and found,
            240,
            "a whole minute has been scored by both",
            every_s=2,
        )
        printed = pipeline.python("-m", "dashboard.compare", "--hours", "1").wait(60)
        refused = use("promote", "damaged")
        assert use("promote", SECOND) == 0
        wait_scored(pipeline, SECOND, None)
        assert use("rollback") == 0
        wait_scored(pipeline, DEFAULT, None)
        use("list")
        yield Streamed(pipeline, run_ids, pids, comparison, printed, refused)


def wait_scored(pipeline: LocalPipeline, live: str, shadow: str | None) -> None:
    """Wait until the job uses these versions and has scored ``SCORED`` transactions since."""

    def details() -> dict[str, str]:
        found = pipeline.details(DETECTION)
        used = (found.get("model_version"), found.get("shadow_version"))
        return found if used == (live, shadow) and int(found.get("scored", 0)) else {}

    before = int(wait_until(details, 120, f"live {live}, shadow {shadow}")["scored"])
    wait_until(
        lambda: int(details().get("scored", 0)) - before >= SCORED, 120, f"{live} has scored"
    )


@pytest.fixture(scope="module")
def batches(streamed: Streamed) -> dict[int, Any]:
    rows = streamed.pipeline.rows("SELECT * FROM batches")
    return {row.batch_id: row for row in sorted(rows, key=lambda row: row.batch_id)}


def test_the_query_is_never_restarted(streamed: Streamed, batches: dict[int, Any]) -> None:
    assert len(streamed.run_ids) == len(streamed.pids) == 1
    assert {row.run_id for row in batches.values()} == streamed.run_ids


def test_no_batch_and_no_offset_is_missing(batches: dict[int, Any]) -> None:
    assert list(batches) == list(range(min(batches), max(batches) + 1))
    next_offset: dict[int, int] = defaultdict(int)
    for batch in batches.values():
        for partition, first in batch.first_offsets.items():
            assert first == next_offset[partition]
            next_offset[partition] = batch.last_offsets[partition] + 1


def test_each_change_takes_effect_once_between_two_batches(batches: dict[int, Any]) -> None:
    used = [(row.model_version, row.shadow_version, row.versions_since) for row in batches.values()]
    sequences = [key for key, _ in groupby(used)]
    assert [versions[:2] for versions in sequences] == [
        (DEFAULT, None),
        (DEFAULT, SECOND),
        (SECOND, None),
        (DEFAULT, None),
    ]
    starts = {row.started_at for row in batches.values()}
    assert all(since in starts for _, _, since in sequences)


@pytest.mark.parametrize("table", ["fraud_alerts", "fraud_alerts_by_account"])
def test_every_alert_bears_the_version_of_its_batch(
    streamed: Streamed, batches: dict[int, Any], table: str
) -> None:
    alerts = streamed.pipeline.rows(f"SELECT batch_id, model_version FROM {table}")
    assert {alert.model_version for alert in alerts} == {DEFAULT, SECOND}
    for alert in alerts:
        if alert.batch_id in batches:  # the newest may have come after the batches were read
            assert alert.model_version == batches[alert.batch_id].model_version


def test_shadow_alerts_are_those_of_batches_with_that_shadow(
    streamed: Streamed, batches: dict[int, Any]
) -> None:
    alerts = streamed.pipeline.rows("SELECT batch_id, model_version FROM shadow_alerts")
    assert alerts
    assert {batches[alert.batch_id].shadow_version for alert in alerts} == {SECOND}
    assert {alert.model_version for alert in alerts} == {SECOND}


def test_the_comparison_agrees_with_a_recount(streamed: Streamed, batches: dict[int, Any]) -> None:
    compared = streamed.comparison["compared"]
    since, until = (naive(compared[name]) for name in ("since", "until"))
    both = [row for row in batches.values() if row.shadow_version == SECOND]
    assert both[0].started_at + dt.timedelta(seconds=10) <= since < until
    assert until <= both[-1].started_at - dt.timedelta(seconds=LATENESS_S)

    def minutes(table: str, version: str, severities: tuple[str, ...]) -> set[Any]:
        return {
            (row.window_start, row.sender_account)
            for row in streamed.pipeline.rows(f"SELECT * FROM {table}")
            if since <= row.window_start < until
            and row.model_version == version
            and row.severity in severities
        }

    levels = {"low": ("low", "medium", "high"), "medium": ("medium", "high"), "high": ("high",)}
    for entry in streamed.comparison["levels"]:
        live = minutes("fraud_alerts", DEFAULT, levels[entry["level"]])
        shadow = minutes("shadow_alerts", SECOND, levels[entry["level"]])
        assert {name: count for name, count in entry.items() if name != "level"} == {
            "live": len(live),
            "shadow": len(shadow),
            "common": len(live & shadow),
            "gained": len(shadow - live),
            "lost": len(live - shadow),
        }
    low = streamed.comparison["levels"][0]
    assert low["common"] > 0
    assert low["gained"] + low["lost"] > 0


def test_the_commands_answer_by_their_exit_status(streamed: Streamed) -> None:
    assert streamed.printed_status == 0
    assert streamed.refused_status == 1


def naive(text: str) -> dt.datetime:
    """Return a moment as the driver does: UTC without saying so."""
    return dt.datetime.fromisoformat(text).replace(tzinfo=None)
