"""Which Java runs the servers."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import PipelineError

JAVA_VERSION = 17
"""The newest that Cassandra 5.0 and Spark 3.5 both support; the servers run on nothing older."""


def release_version(text: str) -> int | None:
    """Return the feature version of a JDK's ``release`` file, None when it does not say."""
    match = re.search(r'^JAVA_VERSION="(?:1\.)?(\d+)', text, re.MULTILINE)
    return int(match.group(1)) if match else None


def find_java() -> Path:
    """Return the ``java`` to use: JAVA_HOME, that on the PATH, else an installed one."""
    seen = []
    for java in _candidates():
        try:
            release = (java.parent.parent / "release").read_text(encoding="utf-8")
        except OSError:
            continue
        version = release_version(release)
        if version == JAVA_VERSION:
            return java
        seen.append(f"{java} is {version}")
    found = "; ".join(seen) or "none found"
    raise PipelineError(
        f"Java {JAVA_VERSION} is needed ({found}): apt-get install openjdk-17-jdk-headless,"
        " or set JAVA_HOME"
    )


def _candidates() -> Iterator[Path]:
    if home := os.environ.get("JAVA_HOME"):
        yield Path(home) / "bin" / "java"
    if on_path := shutil.which("java"):
        yield Path(on_path).resolve()
    for home_folder in sorted(Path("/usr/lib/jvm").glob("*")):
        if (home_folder / "bin" / "java").exists():
            yield home_folder / "bin" / "java"
