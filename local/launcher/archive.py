"""Class-data sharing: a server's first clean stop leaves an archive of its loaded classes, and
later starts map it instead of reading and checking the jars again. It halves the time to start.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from launcher.layout import LIB, Layout

FOLDER = LIB.parent / "classes"


def jvm_options(name: str, layout: Layout, java: Path, folder: Path = FOLDER) -> list[str]:
    """Return the options that use the archive of server ``name``, or make it at exit.

    An archive fits one Java and one set of jars; both are in its file name.
    """
    stamp = LIB / ".stamp"
    made_from = f"{java.resolve()} {stamp.read_text() if stamp.exists() else ''}"
    file = f"{name}-{hashlib.sha256(made_from.encode()).hexdigest()[:12]}.jsa"
    if (archive := folder / file).exists():
        use = f"-XX:SharedArchiveFile={archive}"
    else:
        use = f"-XX:ArchiveClassesAtExit={layout.temporary / file}"
    # Classes that cannot be archived are named one by one otherwise.
    return [use, "-Xlog:cds=off", "-Xlog:cds+dynamic=off"]


def keep(layout: Layout, folder: Path = FOLDER) -> None:
    """Take over the archives that the servers left at exit, for all pipelines of the checkout.

    One that is not whole, as its server was killed meanwhile, is left to the next clean stop.
    """
    for made in layout.temporary.glob("*.jsa"):
        if not _is_whole(made):
            continue
        folder.mkdir(exist_ok=True)
        part = folder / f"{made.name}.{layout.root.name}"
        shutil.move(made, part)  # perhaps from another disk
        part.replace(folder / made.name)  # at once: another pipeline may be starting


def _is_whole(archive: Path) -> bool:
    """Java leaves room for the header and writes it last."""
    with archive.open("rb") as file:
        return any(file.read(4))
