"""Backup and restore on real files; tests/stack does it with a pipeline that has run."""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from launcher import backups
from launcher.backups import ARCHIVE, MANIFEST, Parts
from pipeline.errors import PipelineError
from pipeline.settings import PROJECT_ROOT

FILES = {
    "data/kafka/transactions-0/0.log": b"records" * 1000,
    "data/cassandra/data/fraud/transactions/nb-1-big-Data.db": b"\0" * 4096,
    "data/registry/apicurio.mv.db": b"ids",
    "checkpoint/models.json": b'{"live": "trained-here"}',
    "checkpoint/run/spark/offsets/7": b"v1",
    "models/CURRENT": b"committed",
    "models/trained-here/model_card.json": b"{}",
    "models/committed/model_card.json": b"{}",
}


def fill(root: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def parts(root: Path) -> Parts:
    return Parts(root / "data", root / "checkpoint", root / "models")


def contents(root: Path) -> dict[str, bytes]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    root = tmp_path / "pipeline"
    fill(root, FILES)
    return root


@pytest.fixture
def backup(pipeline: Path, tmp_path: Path) -> Path:
    backups.write(parts(pipeline), tmp_path / "backup")
    return tmp_path / "backup"


def test_what_is_restored_is_what_was_backed_up(backup: Path, tmp_path: Path) -> None:
    backups.restore(backup, parts(tmp_path / "other"))
    # Which model a fresh checkpoint begins with is a matter of the checkout.
    assert contents(tmp_path / "other") == {
        name: content for name, content in FILES.items() if name != "models/CURRENT"
    }


def test_the_manifest_says_what_is_in_the_archive(backup: Path) -> None:
    manifest = json.loads((backup / MANIFEST).read_text())
    archive = (backup / ARCHIVE).read_bytes()
    assert manifest["archive_sha256"] == hashlib.sha256(archive).hexdigest()
    assert manifest["archive_bytes"] == len(archive)
    assert manifest["files"] == len(FILES)
    assert manifest["bytes"]["data"] == sum(
        len(content) for name, content in FILES.items() if name.startswith("data/")
    )
    schema = (PROJECT_ROOT / "cassandra" / "schema.cql").read_bytes()
    assert manifest["schema_sha256"] == hashlib.sha256(schema).hexdigest()
    assert manifest["version"] == backups.version()
    assert sorted(path.name for path in backup.iterdir()) == [MANIFEST, ARCHIVE]


def test_a_linked_file_is_stored_as_a_file(pipeline: Path, tmp_path: Path) -> None:
    os.link(pipeline / "data/registry/apicurio.mv.db", pipeline / "data/registry/snapshot.db")
    backups.write(parts(pipeline), tmp_path / "backup")
    backups.restore(tmp_path / "backup", parts(tmp_path / "other"))
    assert contents(tmp_path / "other")["data/registry/snapshot.db"] == b"ids"


def test_a_model_that_is_here_is_left_as_it_is(backup: Path, tmp_path: Path) -> None:
    mine = {"models/committed/model_card.json": b"mine", "models/CURRENT": b"mine"}
    fill(tmp_path / "other", mine)
    backups.restore(backup, parts(tmp_path / "other"))
    assert contents(tmp_path / "other").items() >= mine.items()
    assert (tmp_path / "other/models/trained-here/model_card.json").exists()


def test_data_are_never_overwritten(backup: Path, pipeline: Path, tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"data: holds data; `make clean` removes it"):
        backups.restore(backup, parts(pipeline))
    fill(tmp_path / "other", {"checkpoint/run/run.json": b"{}"})
    with pytest.raises(PipelineError, match=r"checkpoint: holds data"):
        backups.restore(backup, parts(tmp_path / "other"))
    assert contents(tmp_path / "other") == {"checkpoint/run/run.json": b"{}"}


def test_an_archive_that_was_changed_is_refused(backup: Path, tmp_path: Path) -> None:
    archive = backup / ARCHIVE
    archive.write_bytes(archive.read_bytes()[:-1] + b"x")
    with pytest.raises(PipelineError, match=r"damaged, its SHA-256 is not that of manifest\.json"):
        backups.restore(backup, parts(tmp_path / "other"))
    assert not (tmp_path / "other").exists()


def test_without_its_manifest_a_backup_is_none(backup: Path, tmp_path: Path) -> None:
    (backup / MANIFEST).unlink()
    with pytest.raises(PipelineError, match=r"no manifest\.json, so no backup"):
        backups.restore(backup, parts(tmp_path / "other"))


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "damaged"), ("[]", "damaged"), ("{}", "damaged"), ('{"format": 2}', "format 2")],
)
def test_a_damaged_manifest_is_named(backup: Path, tmp_path: Path, text: str, message: str) -> None:
    (backup / MANIFEST).write_text(text)
    with pytest.raises(PipelineError, match=rf"manifest\.json: {message}"):
        backups.restore(backup, parts(tmp_path / "other"))


def link(name: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = tarfile.SYMTYPE, "/etc"
    return member


@pytest.mark.parametrize(
    "member",
    [
        tarfile.TarInfo("data/../../outside"),
        tarfile.TarInfo("/data/outside"),
        tarfile.TarInfo("elsewhere/file"),
        link("data/link"),
    ],
    ids=lambda member: member.name,
)
def test_a_forged_archive_cannot_write_elsewhere(
    backup: Path, tmp_path: Path, member: tarfile.TarInfo
) -> None:
    with tarfile.open(backup / ARCHIVE, "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("data/kafka/file"), io.BytesIO())
        archive.addfile(member, io.BytesIO())
    manifest = json.loads((backup / MANIFEST).read_text())
    manifest["archive_sha256"] = hashlib.sha256((backup / ARCHIVE).read_bytes()).hexdigest()
    (backup / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(PipelineError, match="nothing that backups hold"):
        backups.restore(backup, parts(tmp_path / "other"))
    assert contents(tmp_path / "other") == {}
    assert not (tmp_path / "outside").exists()


def test_without_data_there_is_nothing_to_back_up(tmp_path: Path) -> None:
    fill(tmp_path / "pipeline", {"models/CURRENT": b"x"})
    with pytest.raises(PipelineError, match="nothing to back up"):
        backups.write(parts(tmp_path / "pipeline"), tmp_path / "backup")
    assert not (tmp_path / "backup").exists()


def test_a_backup_needs_a_folder_of_its_own(pipeline: Path, backup: Path) -> None:
    before = contents(backup)
    with pytest.raises(PipelineError, match="not empty"):
        backups.write(parts(pipeline), backup)
    assert contents(backup) == before
    with pytest.raises(PipelineError, match="which is to be backed up"):
        backups.write(parts(pipeline), pipeline / "data" / "backup")


def test_a_full_disk_leaves_no_half_backup(pipeline: Path, tmp_path: Path) -> None:
    (pipeline / "data" / "noise").write_bytes(os.urandom(200_000))
    code = (
        "import resource, signal, pathlib, test_launcher_backups as t\n"
        "from launcher import backups\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        f"backups.write(t.parts(pathlib.Path({str(pipeline)!r})),"
        f" pathlib.Path({str(tmp_path / 'full')!r}))\n"
    )
    path = os.pathsep.join([*sys.path, str(Path(__file__).parent)])
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "PipelineError" in ended.stderr.splitlines()[-1]
    assert "the backup failed: [Errno 27] File too large" in ended.stderr
    assert list((tmp_path / "full").iterdir()) == []


@pytest.mark.parametrize("command", ["backup", "restore"])
def test_while_the_pipeline_runs_both_are_refused(tmp_path: Path, command: str) -> None:
    with (tmp_path / "launcher.pid").open("w") as lock:
        lock.write("4711")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        ended = subprocess.run(
            [sys.executable, "-m", "launcher", command, str(tmp_path / "backup")],
            env={
                **os.environ,
                "FRAUD__LOCAL__DIR": str(tmp_path),
                "PYTHONPATH": os.pathsep.join(
                    str(PROJECT_ROOT / path) for path in ("common", "local")
                ),
            },
            capture_output=True,
            text=True,
            check=False,
        )
    assert ended.returncode == 1
    assert ended.stderr == "error: already running, pid 4711: make stop\n"
    assert not (tmp_path / "backup").exists()
