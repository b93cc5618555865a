"""The folders flask/ and cassandra/ must never shadow the libraries of those names."""

from __future__ import annotations

from pathlib import Path

import cassandra
import flask

from pipeline.settings import PROJECT_ROOT

TOP_LEVEL = {
    "cassandra",
    "common",
    "connectors",
    "docs",
    "flask",
    "local",
    "producer",
    "spark",
    "tests",
}


def test_the_libraries_win() -> None:
    for library in (flask, cassandra):
        assert library.__file__ is not None
        assert "site-packages" in Path(library.__file__).parts


def test_the_folders_are_no_packages() -> None:
    for folder in ("flask", "cassandra"):
        assert not (PROJECT_ROOT / folder / "__init__.py").exists()
        assert not (PROJECT_ROOT / folder / f"{folder}.py").exists()


def test_there_are_no_other_top_level_folders() -> None:
    folders = {path.name for path in PROJECT_ROOT.iterdir() if path.is_dir()}
    assert {name for name in folders if not name.startswith((".", "__"))} <= TOP_LEVEL
