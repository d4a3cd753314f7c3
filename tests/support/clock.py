"""Time that passes only when somebody sleeps, or a little with each look at it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from meibel_integrations.protocol.commands import Wakeup

__all__ = ["FakeClock"]


class FakeClock:
    """Attributes:
    slept: the waits so far, in seconds.
    """

    def __init__(self, tick: float = 0.0) -> None:
        self.slept: list[float] = []
        self._time = 0.0
        self._tick = tick

    def now(self) -> datetime:
        return datetime(2026, 11, 22, 10, tzinfo=UTC) + timedelta(seconds=self._time)

    def monotonic(self) -> float:
        self._time += self._tick
        return self._time

    def random(self) -> float:
        return 0.0

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self._time += seconds

    async def asleep(self, seconds: float) -> None:
        self.sleep(seconds)
        await asyncio.sleep(0)

    def wait(self, wakeup: Wakeup, seconds: float) -> None:
        if not wakeup.wait(0.05):  # whoever wakes up others here does so at once
            self.sleep(seconds)

    async def await_(self, wakeup: Wakeup, seconds: float) -> None:
        if not await wakeup.await_(0.05):
            self.sleep(seconds)
