"""Backups of a stopped pipeline: ``make backup OUT=folder`` and ``make restore FROM=folder``.

What a pipeline keeps refers to each other: the job's checkpoint and the sink's group to offsets in
Kafka's log, the records there to schema ids of the registry, Cassandra's ``batches`` to offsets and
model versions. Copies of different moments do not fit, so all is copied at once, and stopped.

A backup is a folder with one archive and, written last, its manifest: without it, it is none.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pipeline.errors import PipelineError
from pipeline.settings import PROJECT_ROOT

ARCHIVE = "pipeline.tar.gz"
PARTIAL = "restore.partial"
"""Folder beside the data in which a restore unpacks."""
MANIFEST = "manifest.json"
FORMAT = 1
"""Of the folder; a later version of this module that lays it out otherwise counts on."""

COMPRESSION = 1
"""Of gzip: most of it is preallocated files of zeros or already compressed."""

SCHEMA = PROJECT_ROOT / "cassandra" / "schema.cql"
_MB = 1_000_000


@dataclass(frozen=True)
class Parts:
    """The folders of a backup. ``data`` holds those of Kafka, the registry and Cassandra;
    ``models`` the versions that the others refer to."""

    data: Path
    checkpoint: Path
    models: Path


NAMES = tuple(field.name for field in dataclasses.fields(Parts))
"""Top folders of the archive."""


@dataclass(frozen=True)
class Manifest:
    """What is in a backup. ``bytes``: before packing, by folder; ``version``: of the checkout."""

    format: int
    created_at: str
    version: str
    schema_sha256: str
    files: int
    bytes: dict[str, int]
    archive_bytes: int
    archive_sha256: str

    @property
    def unpacked_mb(self) -> float:
        return sum(self.bytes.values()) / _MB

    @property
    def archive_mb(self) -> float:
        return self.archive_bytes / _MB


def write(parts: Parts, out: Path) -> Manifest:
    """Copy the parts to the folder ``out``; the caller sees to it that nothing runs.

    Raises ``PipelineError`` when there is nothing to copy, ``out`` holds something, or it cannot
    be written, for instance because the disk is full; then nothing is left there.
    """
    if not _holds_something(parts.data):
        raise PipelineError(f"nothing to back up: {parts.data} is empty")
    folders = {name: getattr(parts, name) for name in NAMES if getattr(parts, name).is_dir()}
    for folder in folders.values():
        if out.resolve().is_relative_to(folder.resolve()):
            raise PipelineError(f"{out}: lies in {folder}, which is to be backed up")
    if _holds_something(out):
        raise PipelineError(f"{out}: not empty; a backup needs a folder of its own")
    sizes = {name: [file.stat().st_size for file in _files(path)] for name, path in folders.items()}
    with _explained(f"{out}: the backup failed"):
        out.mkdir(parents=True, exist_ok=True)
        archive = out / ARCHIVE
        try:
            _pack(folders, archive)
            manifest = Manifest(
                format=FORMAT,
                created_at=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
                version=version(),
                schema_sha256=_sha256(SCHEMA),
                files=sum(map(len, sizes.values())),
                bytes={name: sum(found) for name, found in sizes.items()},
                archive_bytes=archive.stat().st_size,
                archive_sha256=_sha256(archive),
            )
            _write_durably(out / MANIFEST, json.dumps(dataclasses.asdict(manifest), indent=2))
        except BaseException:
            archive.unlink(missing_ok=True)
            raise
    return manifest


def restore(source: Path, parts: Parts) -> Manifest:
    """Bring ``data`` and ``checkpoint`` to the state of a backup, and add the models it needs.

    A model version that the checkout has is left as it is. Raises ``PipelineError``, with nothing
    changed, when there are data already, or the backup is damaged or none.
    """
    manifest = _read_manifest(source)
    for folder in (parts.data, parts.checkpoint):
        if _holds_something(folder):
            raise PipelineError(f"{folder}: holds data; `make clean` removes it")
    archive = source / ARCHIVE
    with _explained(f"{archive}: cannot be restored"):
        if _sha256(archive) != manifest.archive_sha256:
            raise PipelineError(f"{archive}: damaged, its SHA-256 is not that of {MANIFEST}")
        # Beside the data, so that a rename puts them in place: whole, or not at all.
        unpacked = parts.data.with_name(PARTIAL)
        shutil.rmtree(unpacked, ignore_errors=True)
        try:
            _unpack(archive, unpacked)
            _add_missing(unpacked / "models", parts.models)
            _put_in_place(unpacked / "checkpoint", parts.checkpoint)
            _put_in_place(unpacked / "data", parts.data)
        finally:
            shutil.rmtree(unpacked, ignore_errors=True)
    return manifest


def version() -> str:
    """Return the commit of this checkout, with ``-dirty`` when it was changed."""
    command = ["git", "-C", str(PROJECT_ROOT), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"  # no git, or no repository


def _pack(folders: dict[str, Path], archive: Path) -> None:
    with (
        archive.open("xb") as file,
        # A link is stored as the file that it leads to: a backup has only files and folders.
        tarfile.open(
            fileobj=file, mode="w:gz", compresslevel=COMPRESSION, dereference=True
        ) as packed,
    ):
        for name, folder in folders.items():
            packed.add(folder, arcname=name)
    with archive.open("rb") as written:
        os.fsync(written.fileno())


def _unpack(archive: Path, folder: Path) -> None:
    with tarfile.open(archive, mode="r:gz") as packed:
        members = packed.getmembers()
        for member in members:
            path = PurePosixPath(member.name)
            is_inside = path.parts[:1] and path.parts[0] in NAMES and ".." not in path.parts
            if not is_inside or not (member.isfile() or member.isdir()):
                raise PipelineError(f"{archive}: {member.name!r} is nothing that backups hold")
        # Python 3.11 has it from 3.11.4 on; the check above allows less.
        packed.extraction_filter = getattr(
            tarfile, "data_filter", tarfile.TarFile.extraction_filter
        )
        packed.extractall(folder, members)  # noqa: S202 - checked above


def _put_in_place(unpacked: Path, folder: Path) -> None:
    if not unpacked.is_dir():
        return
    if folder.is_dir():
        folder.rmdir()
    folder.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(unpacked, folder)  # perhaps to another disk


def _add_missing(unpacked: Path, models: Path) -> None:
    for version_folder in unpacked.iterdir() if unpacked.is_dir() else ():
        if version_folder.is_dir() and not (models / version_folder.name).exists():
            models.mkdir(parents=True, exist_ok=True)
            shutil.move(version_folder, models / version_folder.name)


def _read_manifest(source: Path) -> Manifest:
    path = source / MANIFEST
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        found = content["format"]
        if found != FORMAT:
            raise PipelineError(f"{path}: format {found!r} is not known; here it is {FORMAT}")
        return Manifest(**content)
    except FileNotFoundError as error:
        raise PipelineError(f"{source}: no {MANIFEST}, so no backup, or not a whole one") from error
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise PipelineError(f"{path}: damaged ({error})") from error


def _write_durably(path: Path, text: str) -> None:
    partial = path.with_suffix(".partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def _holds_something(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Turn errors of the disk and of the archive into one line."""
    try:
        yield
    except (OSError, tarfile.TarError, EOFError) as error:
        raise PipelineError(f"{what}: {error}") from error
