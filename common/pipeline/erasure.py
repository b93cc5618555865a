"""How an erased account is remembered: by a hash of its name, in the table ``erasures``."""

from __future__ import annotations

import hashlib


def account_hash(account: str) -> str:
    """Return the SHA-256 of an account's UTF-8, in hexadecimal digits."""
    return hashlib.sha256(account.encode()).hexdigest()
