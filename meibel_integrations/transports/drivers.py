"""The two drivers that run a flow over a transport, one sync, one async. Only they block or await.

How it works. A driver is a generator: it carries out a flow's commands one after the other and yields what the flow
emits, so that its consumer sets the pace and closing it closes the flow and the connection. A failed command is thrown
into the flow as the package's own error, where retries and recovery are ordinary ``try``/``except``. With
``pause=True`` it yields ``None`` once, when the service has accepted the turn, so that a refusal raises before anything
is read.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import nullcontext
from typing import Any, TypeVar

import anyio
import anyio.to_thread

from meibel_integrations.errors import MeibelIntegrationError, NotSentError, TotalTimeoutError
from meibel_integrations.protocol.commands import (
    Accepted,
    Call,
    Emit,
    Finish,
    Flow,
    Now,
    Random,
    Read,
    Send,
    Sleep,
    Wait,
    WhenLeft,
)
from meibel_integrations.transports.clock import Clock
from meibel_integrations.transports.interface import AsyncExchange, AsyncTransport, Exchange, Transport

__all__ = ["NotSentInTimeError", "adrive", "arun", "drive", "run"]

T = TypeVar("T")


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

    def cut(self, seconds: float) -> float:
        """A wait, made to end with the limit."""
        left = self.left()
        return seconds if left is None else min(seconds, left)

    def guard(self) -> Any:
        """A context in which an async wait ends with the limit."""
        left = self.left()
        return nullcontext() if left is None else anyio.fail_after(left)

    def passed(self) -> TotalTimeoutError:
        return TotalTimeoutError(f"The operation took longer than its total limit of {self._total:g} s.")


def drive(  # noqa: C901 - one branch a command
    flow: Flow[T], transport: Transport, clock: Clock, *, total: float | None = None, pause: bool = False
) -> Generator[Any, None, T]:
    """Runs a flow, yielding what it emits. Closing the generator at any point frees the connection."""
    deadline = _Deadline(clock, total)
    exchange: Exchange | None = None
    when_left: Call | None = None
    result: Any = None
    error: MeibelIntegrationError | None = None
    try:
        while True:
            try:
                command: Any = flow.send(result) if error is None else flow.throw(error)
            except StopIteration as stop:
                when_left = None
                return stop.value  # type: ignore[no-any-return]
            result = error = None
            kind = type(command)
            try:
                if kind is Emit:
                    yield command.item
                elif kind is Read:
                    deadline.left()
                    assert exchange is not None
                    result = exchange.read()
                elif kind is Send:
                    if exchange is not None:
                        exchange.close()
                        exchange = None
                    deadline.before_send()
                    exchange = transport.open(command.request)
                    result = exchange.head
                elif kind is Finish:
                    if exchange is not None:
                        exchange.close()
                elif kind is Accepted:
                    if pause:
                        pause = False
                        yield None
                elif kind is WhenLeft:
                    when_left = command.call
                else:
                    result = _carry_out(command, clock, deadline)
            except MeibelIntegrationError as raised:
                error = raised
    finally:
        flow.close()
        try:
            if exchange is not None:
                exchange.close()
        finally:
            if when_left is not None:
                when_left.function()


async def adrive(  # noqa: C901 - one branch a command
    flow: Flow[T],
    transport: AsyncTransport,
    clock: Clock,
    *,
    total: float | None = None,
    pause: bool = False,
    returned: Callable[[T], object] = id,
) -> AsyncGenerator[Any, None]:
    """The async twin of :func:`drive`; an async generator cannot return, so ``returned`` takes the flow's result."""
    deadline = _Deadline(clock, total)
    exchange: AsyncExchange | None = None
    when_left: Call | None = None
    result: Any = None
    error: MeibelIntegrationError | None = None
    try:
        while True:
            try:
                command: Any = flow.send(result) if error is None else flow.throw(error)
            except StopIteration as stop:
                when_left = None
                returned(stop.value)
                return
            result = error = None
            kind = type(command)
            try:
                if kind is Emit:
                    yield command.item
                elif kind is Read:
                    assert exchange is not None
                    with deadline.guard():
                        result = await exchange.read()
                elif kind is Send:
                    if exchange is not None:
                        await exchange.close()
                        exchange = None
                    deadline.before_send()
                    with deadline.guard():
                        exchange = await transport.open(command.request)
                    result = exchange.head
                elif kind is Finish:
                    if exchange is not None:
                        await exchange.close()
                elif kind is Accepted:
                    if pause:
                        pause = False
                        yield None
                elif kind is WhenLeft:
                    when_left = command.call
                else:
                    result = await _acarry_out(command, clock, deadline)
            except TimeoutError:
                error = deadline.passed()
            except MeibelIntegrationError as raised:
                error = raised
    finally:
        flow.close()
        try:
            if exchange is not None:
                await exchange.close()
        finally:
            if when_left is not None:
                with anyio.CancelScope(shield=True):
                    await _acall(when_left)


def run(flow: Flow[T], transport: Transport, clock: Clock, *, total: float | None = None) -> T:
    """Runs a flow to its end and returns its result; what it emits is dropped."""
    events = drive(flow, transport, clock, total=total)
    while True:
        try:
            next(events)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]


async def arun(flow: Flow[T], transport: AsyncTransport, clock: Clock, *, total: float | None = None) -> T:
    """The async twin of :func:`run`."""
    results: list[T] = []
    async for _ in adrive(flow, transport, clock, total=total, returned=results.append):
        continue
    return results[0]


def _carry_out(command: Any, clock: Clock, deadline: _Deadline) -> Any:
    """The commands that have nothing to do with the exchange."""
    match command:
        case Call():
            return command.function()
        case Sleep():
            return clock.sleep(deadline.cut(command.seconds))
        case Wait():
            return clock.wait(command.wakeup, deadline.cut(command.seconds))
        case _:
            return _ask(command, clock)


async def _acarry_out(command: Any, clock: Clock, deadline: _Deadline) -> Any:
    match command:
        case Call():
            return await _acall(command)
        case Sleep():
            return await clock.asleep(deadline.cut(command.seconds))
        case Wait():
            return await clock.await_(command.wakeup, deadline.cut(command.seconds))
        case _:
            return _ask(command, clock)


async def _acall(call: Call) -> Any:
    if call.asynchronously is not None:
        return await call.asynchronously()
    return await anyio.to_thread.run_sync(call.function)


def _ask(command: Any, clock: Clock) -> Any:
    if isinstance(command, Now):
        return clock.now()
    if isinstance(command, Random):
        return clock.random()
    raise TypeError(f"a flow yielded {command!r}, which is not a command")
