"""Makes the passwords of the Cassandra roles: ``python cassandra/passwords.py``.

Each role has a folder of its own under ``/run/passwords`` (in compose a volume each, so that a
service sees its own password only). A password that exists is never changed.
"""

from __future__ import annotations

import logging
import os
import secrets
import sys
from pathlib import Path

from pipeline.logs import run_service

FOLDER = Path("/run/passwords")
FILE = "password"
PASSWORD_BYTES = 32

logger = logging.getLogger("passwords")


def make_password(folder: Path) -> bool:
    """Write a random password to ``folder`` unless it holds one; tell whether it was written.

    The file appears whole or not at all, and only its owner can read it.
    """
    path = folder / FILE
    if path.exists():
        return False
    draft = folder / f".{FILE}"
    draft.unlink(missing_ok=True)
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode=0o400)
    with open(handle, "w", encoding="ascii") as file:
        file.write(secrets.token_urlsafe(PASSWORD_BYTES))
        file.flush()
        os.fsync(handle)
    draft.rename(path)
    return True


def main() -> int:
    """Make what is missing in every folder of a role."""
    for folder in sorted(FOLDER.iterdir()):
        if make_password(folder):
            logger.info("made a password for the role %s", folder.name)
    return 0


if __name__ == "__main__":
    sys.exit(run_service(main))
