"""Promote, roll back and shadow: what the commands write, and what they refuse."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from detection.model import CARD_FILE, CURRENT_FILE, ModelError
from detection.serving import ModelSource, ScoredBy
from detection.versions import VERSIONS_FILE, Versions, VersionsError, main, read_versions
from tests.support.models import DEFAULT, add_version, copy_models, damage

Run = Callable[..., tuple[str, str | None, str | None]]


@pytest.fixture
def model_dir(tmp_path: Path) -> Path:
    folder = copy_models(tmp_path)
    add_version(folder, "second", 0.9)
    add_version(folder, "third", 0.8)
    return folder


@pytest.fixture
def checkpoint_dir(tmp_path: Path, model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a deployment that the commands work on."""
    folder = tmp_path / "checkpoint"
    monkeypatch.setenv("FRAUD__SCORING__MODEL_DIR", str(model_dir))
    monkeypatch.setenv("FRAUD__SCORING__CHECKPOINT_DIR", str(folder))
    return folder


@pytest.fixture
def run(checkpoint_dir: Path, model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command; returns (live, previous, shadow) after it."""

    def command(*arguments: str) -> tuple[str, str | None, str | None]:
        monkeypatch.setattr("sys.argv", ["versions", *arguments])
        assert main() == 0
        after = read_versions(checkpoint_dir, model_dir)
        return after.live, after.previous, after.shadow

    return command


def test_without_a_file_the_default_is_live(checkpoint_dir: Path, model_dir: Path) -> None:
    assert read_versions(checkpoint_dir, model_dir) == Versions(DEFAULT)


def test_promote_and_rollback_lead_there_and_back_once(run: Run, model_dir: Path) -> None:
    assert run("promote", "second") == ("second", DEFAULT, None)
    (model_dir / CURRENT_FILE).write_text("third\n")  # the deployment has its own version now
    assert run("promote", "third") == ("third", "second", None)
    assert run("rollback") == ("second", None, None)
    with pytest.raises(VersionsError, match="nothing to roll back to"):
        run("rollback")


def test_promoting_the_live_version_keeps_the_way_back(run: Run) -> None:
    run("promote", "second")
    assert run("promote", "second") == ("second", DEFAULT, None)


def test_promoting_the_default_pins_it(run: Run, checkpoint_dir: Path, model_dir: Path) -> None:
    run("promote", DEFAULT)
    (model_dir / CURRENT_FILE).write_text("third\n")
    assert read_versions(checkpoint_dir, model_dir).live == DEFAULT


def test_a_shadow_stays_until_it_is_taken_off_or_promoted(run: Run) -> None:
    assert run("shadow", "second") == (DEFAULT, None, "second")
    assert run("promote", "third") == ("third", DEFAULT, "second")
    assert run("promote", "second") == ("second", "third", None)
    run("shadow", "third")
    assert run("rollback") == ("third", None, None)
    run("shadow", "second")
    assert run("shadow", "--off") == ("third", None, None)


@pytest.mark.parametrize("command", ["promote", "shadow"])
@pytest.mark.parametrize(
    ("version", "words"),
    [
        ("none", "no such version"),
        ("../models/second", "is not a version"),
        ("second", "files differ from the hashes"),
        ("third", "trained on other features"),
    ],
)
def test_a_version_that_cannot_be_used_is_refused_before_anything_is_written(
    run: Run, checkpoint_dir: Path, model_dir: Path, command: str, version: str, words: str
) -> None:
    damage(model_dir, "second")
    card = model_dir / "third" / CARD_FILE
    card.write_text(card.read_text().replace("receiver_inflow", "receiver_outflow"))
    with pytest.raises(ModelError, match=words) as refusal:
        run(command, version)
    assert len(str(refusal.value).splitlines()) == 1
    assert not checkpoint_dir.exists()


def test_the_live_version_cannot_shadow_itself(run: Run) -> None:
    with pytest.raises(VersionsError, match="is live; the shadow must be another"):
        run("shadow", DEFAULT)


def test_a_damaged_shadow_does_not_stand_in_the_way_of_a_rollback(
    run: Run, model_dir: Path
) -> None:
    run("promote", "second")
    run("shadow", "third")
    damage(model_dir, "third")
    assert run("rollback") == (DEFAULT, None, "third")


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"live": 1}', '{"live": "a", "other": "b"}', '{"previous": "a"}']
)
def test_a_damaged_file_is_named_with_the_way_out(
    checkpoint_dir: Path, model_dir: Path, content: str
) -> None:
    checkpoint_dir.mkdir()
    (checkpoint_dir / VERSIONS_FILE).write_text(content)
    with pytest.raises(VersionsError, match=r"models\.json: damaged .* delete it"):
        read_versions(checkpoint_dir, model_dir)


def test_the_list_shows_figures_marks_and_what_cannot_be_used(
    run: Run, model_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("promote", "second")
    run("shadow", "third")
    damage(model_dir, "third")
    capsys.readouterr()
    run("list")
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    thresholds = json.loads((model_dir / "second" / CARD_FILE).read_text())["thresholds"]
    assert f"{thresholds['alert']:.3f}" in lines["second"]
    assert lines["second"].endswith("  live")
    assert lines[DEFAULT].endswith("  previous, default")
    assert "files differ" in lines["third"]
    assert lines["third"].endswith("  shadow")


def test_the_job_follows_the_file(run: Run, checkpoint_dir: Path, model_dir: Path) -> None:
    source = ModelSource(model_dir, checkpoint_dir, large_amount=0)
    assert source.current().live.version == DEFAULT
    run("promote", "second")
    run("shadow", "third")
    models = source.current()
    assert models.shadow is not None
    assert (models.live.version, models.shadow.version) == ("second", "third")
    assert models.live.alert_threshold == pytest.approx(0.9 / 0.8 * models.shadow.alert_threshold)
    assert source.error is None


def test_what_cannot_be_loaded_leaves_the_live_version_and_says_so(
    run: Run, checkpoint_dir: Path, model_dir: Path
) -> None:
    source = ModelSource(model_dir, checkpoint_dir, large_amount=0)
    run("promote", "second")
    run("shadow", "third")
    damage(model_dir, "second")
    damage(model_dir, "third")
    models = source.current()
    assert (models.live.version, models.shadow) == (DEFAULT, None)
    assert source.error is not None
    assert "second: files differ" in source.error
    assert f"{DEFAULT} stays live; no shadow: " in source.error
    (checkpoint_dir / VERSIONS_FILE).write_text("{")
    assert source.current().live.version == DEFAULT
    assert "damaged" in source.error
    (checkpoint_dir / VERSIONS_FILE).unlink()
    source.current()
    assert source.error is None


def test_a_start_without_a_live_version_is_refused(
    run: Run, checkpoint_dir: Path, model_dir: Path
) -> None:
    run("promote", "second")
    damage(model_dir, "second")
    with pytest.raises(ModelError, match="second: files differ"):
        ModelSource(model_dir, checkpoint_dir, large_amount=0)


def test_a_repeated_batch_gets_the_versions_of_its_record(
    checkpoint_dir: Path, model_dir: Path
) -> None:
    source = ModelSource(model_dir, checkpoint_dir, large_amount=0)
    models = source.recorded(ScoredBy("second", "third", None))
    assert models.shadow is not None
    assert (models.live.version, models.shadow.version) == ("second", "third")
    assert source.current().live.version == DEFAULT
