"""The ledger of one process, in memory."""

from __future__ import annotations

import asyncio
import dataclasses
from collections import OrderedDict
from collections.abc import Callable
from threading import Event, RLock
from typing import TypeVar

from meibel_integrations.ledgers.interface import UNKNOWN, Change, SessionState

__all__ = ["PROCESS_LEDGER", "MemoryLedger"]

T = TypeVar("T")


class MemoryLedger:
    """Remembers the sessions that were used last.

    Args:
        max_sessions: how many; the least recently used ones are forgotten, which costs one read of their history.
    """

    lease: float | None = None

    def __init__(self, max_sessions: int = 10_000) -> None:
        self._max = max_sessions
        # The garbage collector may close a dropped stream, and so change a state, while this thread changes one.
        self._lock = RLock()
        self._states: OrderedDict[str, SessionState] = OrderedDict()
        self._words: OrderedDict[str, str] = OrderedDict()
        self._sleepers: dict[str, set[Callable[[], object]]] = {}

    def update(self, key: str, change: Change[T]) -> T:
        with self._lock:
            while True:
                before = self._states.get(key, UNKNOWN)
                after, result = change(before)
                if self._states.get(key, UNKNOWN) is before:
                    break
            if after is before:
                return result
            self._states[key] = dataclasses.replace(after, version=before.version + 1)
            self._states.move_to_end(key)
            while len(self._states) > self._max:
                self._states.popitem(last=False)
            sleepers = self._sleepers.pop(key, ())
        for wake in sleepers:
            wake()
        return result

    async def aupdate(self, key: str, change: Change[T]) -> T:
        return self.update(key, change)

    def watch(self, key: str, version: int) -> _Watch:
        return _Watch(self, key, version)

    def recall(self, key: str) -> str | None:
        with self._lock:
            return self._words.get(key)

    async def arecall(self, key: str) -> str | None:
        return self.recall(key)

    def remember(self, key: str, word: str) -> None:
        with self._lock:
            self._words[key] = word
            while len(self._words) > self._max:
                self._words.popitem(last=False)

    async def aremember(self, key: str, word: str) -> None:
        self.remember(key, word)

    def clear(self) -> None:
        """Forgets everything, as a new process would."""
        with self._lock:
            self._states.clear()
            self._words.clear()

    def _subscribe(self, key: str, version: int, wake: Callable[[], object]) -> bool:
        """Returns whether there is still something to wait for."""
        with self._lock:
            if self._states.get(key, UNKNOWN).version != version:
                return False
            self._sleepers.setdefault(key, set()).add(wake)
            return True

    def _unsubscribe(self, key: str, wake: Callable[[], object]) -> None:
        with self._lock:
            sleepers = self._sleepers.get(key)
            if sleepers is not None:
                sleepers.discard(wake)
                if not sleepers:
                    del self._sleepers[key]


class _Watch:
    """Waits for one session's next change."""

    def __init__(self, ledger: MemoryLedger, key: str, version: int) -> None:
        self._ledger, self._key, self._version = ledger, key, version

    def wait(self, seconds: float) -> bool:
        changed = Event()
        if not self._ledger._subscribe(self._key, self._version, changed.set):
            return True
        try:
            return changed.wait(seconds)
        finally:
            self._ledger._unsubscribe(self._key, changed.set)

    async def await_(self, seconds: float) -> bool:
        loop, changed = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(changed.set)

        if not self._ledger._subscribe(self._key, self._version, wake):
            return True
        try:
            async with asyncio.timeout(seconds):
                return await changed.wait()
        except TimeoutError:
            return False
        finally:
            self._ledger._unsubscribe(self._key, wake)


PROCESS_LEDGER = MemoryLedger()
"""What all clients, models and engines of this process share unless they are given another one."""
