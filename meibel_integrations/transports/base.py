"""The seam between flows and the network: what a transport offers, and the two drivers that run a flow over one.

A transport opens exchanges; an exchange has a head, is read, and is closed. Another HTTP library is one more file
like ``httpx_sync``. Only the drivers block or await.
"""

from __future__ import annotations

import random
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar

import anyio
import anyio.to_thread

from meibel_integrations.errors import MeibelIntegrationError, NotSentError, TotalTimeoutError
from meibel_integrations.protocol import flows
from meibel_integrations.protocol.requests import Request

__all__ = [
    "AsyncExchange",
    "AsyncTransport",
    "Clock",
    "Exchange",
    "NotSentInTimeError",
    "SystemClock",
    "Transport",
    "adrive",
    "arun",
    "drive",
    "run",
]

T = TypeVar("T")


class Exchange(Protocol):
    """One request and its response. Errors are the package's own ``TransportError``s."""

    head: flows.Head

    def read(self) -> bytes:
        """The next bytes of the body as they arrive, undecoded; ``b""`` at the end."""

    def close(self) -> None:
        """Frees the connection. May be called at any time, and again."""


class Transport(Protocol):
    """Sends requests to one origin with one key."""

    def open(self, request: Request) -> Exchange: ...


class AsyncExchange(Protocol):
    """The async twin of :class:`Exchange`."""

    head: flows.Head

    async def read(self) -> bytes: ...

    async def close(self) -> None: ...


class AsyncTransport(Protocol):
    """The async twin of :class:`Transport`."""

    async def open(self, request: Request) -> AsyncExchange: ...


class Clock(Protocol):
    """Time and chance, so that tests need neither."""

    def now(self) -> datetime: ...

    def monotonic(self) -> float: ...

    def random(self) -> float: ...

    def sleep(self, seconds: float) -> None: ...

    async def asleep(self, seconds: float) -> None: ...


class SystemClock:
    """The real ones."""

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


class NotSentInTimeError(TotalTimeoutError, NotSentError):
    """The operation's deadline passed before its next request was sent."""


class _Deadline:
    """The operation's total limit, looked at before each command that may wait."""

    def __init__(self, clock: Clock, total: float | None) -> None:
        self._clock = clock
        self._total = total
        self._end = None if total is None else clock.monotonic() + total

    def left(self) -> float | None:
        """Seconds that are left, ``None`` without a limit.

        Raises:
            TotalTimeoutError: none are.
        """
        if self._end is None:
            return None
        left = self._end - self._clock.monotonic()
        if left <= 0:
            raise self.passed()
        return left

    def before_send(self) -> None:
        """
        Raises:
            NotSentInTimeError: no time is left to send anything.
        """
        try:
            self.left()
        except TotalTimeoutError as error:
            raise NotSentInTimeError(str(error)) from None

    def passed(self) -> TotalTimeoutError:
        return TotalTimeoutError(f"The operation took longer than its total limit of {self._total:g} s.")


def drive(
    flow: flows.Flow[T], transport: Transport, clock: Clock, *, total: float | None = None
) -> Generator[Any, None, T]:
    """Runs a flow, yielding what it emits. Closing the generator at any point frees the connection."""
    deadline = _Deadline(clock, total)
    exchange: Exchange | None = None
    result: Any = None
    error: MeibelIntegrationError | None = None
    try:
        while True:
            try:
                command = flow.send(result) if error is None else flow.throw(error)
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]
            result = error = None
            kind = type(command)
            try:
                if kind is flows.Emit:
                    yield command.item  # type: ignore[union-attr]
                elif kind is flows.Read:
                    deadline.left()
                    assert exchange is not None
                    result = exchange.read()
                elif kind is flows.Send:
                    if exchange is not None:
                        exchange.close()
                        exchange = None
                    deadline.before_send()
                    exchange = transport.open(command.request)  # type: ignore[union-attr]
                    result = exchange.head
                elif kind is flows.Sleep:
                    clock.sleep(_cut(command.seconds, deadline))  # type: ignore[union-attr]
                elif kind is flows.Finish:
                    if exchange is not None:
                        exchange.close()
                elif kind is flows.Call:
                    result = command.function()  # type: ignore[union-attr]
                else:
                    result = _ask(command, clock)
            except MeibelIntegrationError as raised:
                error = raised
    finally:
        flow.close()
        if exchange is not None:
            exchange.close()


async def adrive(
    flow: flows.Flow[T],
    transport: AsyncTransport,
    clock: Clock,
    *,
    total: float | None = None,
    returned: Callable[[T], object] = id,
) -> AsyncGenerator[Any, None]:
    """The async twin of :func:`drive`; an async generator cannot return, so ``returned`` takes the flow's result."""
    deadline = _Deadline(clock, total)
    exchange: AsyncExchange | None = None
    result: Any = None
    error: MeibelIntegrationError | None = None
    try:
        while True:
            try:
                command = flow.send(result) if error is None else flow.throw(error)
            except StopIteration as stop:
                returned(stop.value)
                return
            result = error = None
            kind = type(command)
            try:
                if kind is flows.Emit:
                    yield command.item  # type: ignore[union-attr]
                elif kind is flows.Read:
                    assert exchange is not None
                    with _limit(deadline):
                        result = await exchange.read()
                elif kind is flows.Send:
                    if exchange is not None:
                        await exchange.close()
                        exchange = None
                    deadline.before_send()
                    with _limit(deadline):
                        exchange = await transport.open(command.request)  # type: ignore[union-attr]
                    result = exchange.head
                elif kind is flows.Sleep:
                    await clock.asleep(_cut(command.seconds, deadline))  # type: ignore[union-attr]
                elif kind is flows.Finish:
                    if exchange is not None:
                        await exchange.close()
                elif kind is flows.Call:
                    result = await anyio.to_thread.run_sync(command.function)  # type: ignore[union-attr]
                else:
                    result = _ask(command, clock)
            except TimeoutError:
                error = deadline.passed()
            except MeibelIntegrationError as raised:
                error = raised
    finally:
        flow.close()
        if exchange is not None:
            await exchange.close()


def run(flow: flows.Flow[T], transport: Transport, clock: Clock, *, total: float | None = None) -> T:
    """Runs a flow to its end and returns its result; what it emits is dropped."""
    events = drive(flow, transport, clock, total=total)
    while True:
        try:
            next(events)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]


async def arun(flow: flows.Flow[T], transport: AsyncTransport, clock: Clock, *, total: float | None = None) -> T:
    """The async twin of :func:`run`."""
    results: list[T] = []
    async for _ in adrive(flow, transport, clock, total=total, returned=results.append):
        continue
    return results[0]


def _limit(deadline: _Deadline) -> Any:
    left = deadline.left()
    return nullcontext() if left is None else anyio.fail_after(left)


def _cut(seconds: float, deadline: _Deadline) -> float:
    left = deadline.left()
    return seconds if left is None else min(seconds, left)


def _ask(command: flows.Command, clock: Clock) -> Any:
    if isinstance(command, flows.Now):
        return clock.now()
    if isinstance(command, flows.Random):
        return clock.random()
    raise TypeError(f"a flow yielded {command!r}, which is not a command")
