"""Time and chance, given to the drivers so that tests need neither."""

from __future__ import annotations

import random
import time
from datetime import UTC, datetime
from typing import Protocol

import anyio

from meibel_integrations.protocol.commands import Wakeup

__all__ = ["Clock", "SystemClock"]


class Clock(Protocol):
    """What a driver asks of time."""

    def now(self) -> datetime: ...

    def monotonic(self) -> float: ...

    def random(self) -> float: ...

    def sleep(self, seconds: float) -> None: ...

    async def asleep(self, seconds: float) -> None: ...

    def wait(self, wakeup: Wakeup, seconds: float) -> None: ...

    async def await_(self, wakeup: Wakeup, seconds: float) -> None: ...


class SystemClock:
    """The machine's time, and a random number generator that nothing depends on."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def random(self) -> float:
        return random.random()  # noqa: S311 - spreads retries, guards nothing

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    async def asleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)

    def wait(self, wakeup: Wakeup, seconds: float) -> None:
        wakeup.wait(seconds)

    async def await_(self, wakeup: Wakeup, seconds: float) -> None:
        await wakeup.await_(seconds)
