"""What the README and the Makefile name exists, and every setting is documented."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from typing import Any

from pipeline.settings import PROJECT_ROOT, load_settings

README = (PROJECT_ROOT / "README.md").read_text()
MAKEFILE = (PROJECT_ROOT / "Makefile").read_text()


def test_every_make_target_of_the_readme_exists() -> None:
    named = set(re.findall(r"make ([a-z][a-z-]+)", README))
    targets = set(re.findall(r"^([a-z][a-z-]+)(?: [a-z -]+)?:", MAKEFILE, re.MULTILINE))
    assert named
    assert named <= targets


def dotted_keys(section: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in section.items():
        if isinstance(value, dict):
            yield from dotted_keys(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def test_every_setting_is_in_the_readme() -> None:
    keys = set(dotted_keys(dataclasses.asdict(load_settings(environment={}))))
    table = README.partition("## Configuration")[2].partition("\n## ")[0]
    documented = set(re.findall(r"^\| `([a-z_]+(?:\.[a-z_]+)+)`", table, re.MULTILINE))
    assert documented == keys


def test_every_file_that_the_readme_links_exists() -> None:
    links = re.findall(r"\]\(((?!http)[^)#]+)", README)
    missing = [link for link in links if not (PROJECT_ROOT / link).exists()]
    assert links
    assert missing == []
