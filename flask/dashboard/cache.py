"""A small cache in front of the repository: many browsers, one read."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from dashboard.repository import Unavailable

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(frozen=True)
class Answer(Generic[K, V]):
    """Values by key; ``is_current`` False: the last read failed and these are older ones."""

    values: Mapping[K, V]
    is_current: bool


class Cache(Generic[K, V]):
    """Keeps what ``load`` returned for ``ttl_s(key)`` seconds, and beyond it while ``load`` fails.

    One thread loads at a time; the others get the older values, or wait if there are none.
    ``get`` raises ``Unavailable`` when a value was never read and cannot be read now.
    """

    def __init__(
        self,
        load: Callable[[Sequence[K]], Mapping[K, V]],
        ttl_s: Callable[[K], float],
        capacity: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._load = load
        self._ttl_s = ttl_s
        self._capacity = capacity
        self._clock = clock
        self._entries: OrderedDict[K, tuple[float, V]] = OrderedDict()
        self._entries_lock = threading.Lock()
        self._load_lock = threading.Lock()
        self._is_failing = False

    def get(self, keys: Sequence[K]) -> Answer[K, V]:
        expired, missing = self._wanted(keys)
        if missing:
            with self._load_lock:
                expired, missing = self._wanted(keys)  # another thread may have read them
                self._refresh(expired + missing)
        elif expired and self._load_lock.acquire(blocking=False):
            try:
                self._refresh(expired)
            finally:
                self._load_lock.release()
        with self._entries_lock:
            try:
                values = {key: self._entries[key][1] for key in keys}
            except KeyError:
                raise Unavailable("too many different requests at once") from None
        return Answer(values, is_current=not self._is_failing)

    def _wanted(self, keys: Sequence[K]) -> tuple[list[K], list[K]]:
        """Return the keys whose values are too old, and those without a value."""
        now = self._clock()
        with self._entries_lock:
            known = [key for key in keys if key in self._entries]
            expired = [key for key in known if self._entries[key][0] <= now]
            return expired, [key for key in keys if key not in self._entries]

    def _refresh(self, keys: Sequence[K]) -> None:
        if not keys:
            return
        try:
            loaded = self._load(keys)
        except Unavailable:
            self._is_failing = True
            with self._entries_lock:
                if all(key in self._entries for key in keys):
                    return
            raise
        self._is_failing = False
        now = self._clock()
        with self._entries_lock:
            for key, value in loaded.items():
                self._entries[key] = (now + self._ttl_s(key), value)
                self._entries.move_to_end(key)
            while len(self._entries) > self._capacity:
                self._entries.popitem(last=False)
