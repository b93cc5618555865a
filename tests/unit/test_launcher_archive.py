"""Which class archives are kept, on those that a real Java leaves."""

from __future__ import annotations

import subprocess
from pathlib import Path

from launcher import archive
from launcher.java import find_java
from launcher.layout import Layout


def test_an_archive_is_kept_if_its_server_could_finish_it(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "pipeline")
    layout.create()
    whole = layout.temporary / "whole.jsa"
    subprocess.run(
        [find_java(), f"-XX:ArchiveClassesAtExit={whole}", "-version"],
        check=True,
        capture_output=True,
    )
    made = whole.read_bytes()
    # As a Java leaves it that is killed while it writes.
    (layout.temporary / "cut.jsa").write_bytes(bytes(4096) + made[4096 : len(made) // 2])
    (layout.temporary / "begun.jsa").touch()
    kept = tmp_path / "classes"
    archive.keep(layout, kept)
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == {"whole.jsa": made}
