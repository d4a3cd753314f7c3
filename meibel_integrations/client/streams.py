"""A streamed turn in the caller's hands: an iterator that can be closed at any time."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from types import TracebackType
from typing import Any, Self

from meibel_integrations.models import ChatEvent, Reply
from meibel_integrations.protocol.flows import ACCEPTED

__all__ = ["AsyncChatStream", "ChatStream"]


class ChatStream:
    """The events of a turn, as they arrive; ends after ``done``.

    Nothing is read ahead. Leaving early - ``close()``, the end of a ``with`` block, or dropping the object - frees the
    connection at once. The turn itself goes on at the service, which offers no way to stop it.

    Attributes:
        reply: the whole reply, once ``done`` was seen.
    """

    def __init__(self, events: Generator[ChatEvent, None, Any]) -> None:
        self._events = events
        self._opened = False
        self.reply: Reply | None = None

    def open(self) -> Self:
        """Waits until the service has accepted the turn, so that a refusal raises here."""
        if not self._opened:
            self._opened = True
            first = next(self._events, ACCEPTED)
            assert first is ACCEPTED
        return self

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> ChatEvent:
        if not self._opened:
            self.open()
        event = next(self._events)
        while event is ACCEPTED:  # again, of a turn that was sent again
            event = next(self._events)
        if event.reply is not None:
            self.reply = event.reply
        return event

    def close(self) -> None:
        """Gives the stream up and frees its connection. May be called again."""
        self._events.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncChatStream:
    """The async twin of :class:`ChatStream`; ``await`` it to wait for the service's acceptance only."""

    def __init__(self, events: AsyncGenerator[ChatEvent, None]) -> None:
        self._events = events
        self._opened = False
        self.reply: Reply | None = None

    async def open(self) -> Self:
        """Waits until the service has accepted the turn, so that a refusal raises here."""
        if not self._opened:
            self._opened = True
            first = await anext(self._events, ACCEPTED)
            assert first is ACCEPTED
        return self

    def __await__(self) -> Generator[Any, None, Self]:
        return self.open().__await__()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ChatEvent:
        if not self._opened:
            await self.open()
        event = await anext(self._events)
        while event is ACCEPTED:  # again, of a turn that was sent again
            event = await anext(self._events)
        if event.reply is not None:
            self.reply = event.reply
        return event

    async def aclose(self) -> None:
        """Gives the stream up and frees its connection. May be called again."""
        await self._events.aclose()

    close = aclose

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()
