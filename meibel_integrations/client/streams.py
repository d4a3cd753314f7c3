"""A streamed turn in the caller's hands: an iterator that can be closed at any time."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from typing import Any, Self

from meibel_integrations.client.closing import AsyncClosing, Closing
from meibel_integrations.models import ChatEvent, DoneEvent, Reply

__all__ = ["AsyncChatStream", "ChatStream"]


class ChatStream(Closing):
    """The events of a turn, as they arrive; ends after ``done``.

    Nothing is read ahead. Leaving early - ``close()``, the end of a ``with`` block, or dropping the object - frees the
    connection at once. The turn itself goes on at the service, which offers no way to stop it.

    Attributes:
        reply: the whole reply, once ``done`` was seen.
    """

    def __init__(self, events: Generator[ChatEvent | None, None, Any]) -> None:
        """``events`` pauses once with ``None``, when the service has accepted the turn."""
        self._events = events
        self._opened = False
        self.reply: Reply | None = None

    def open(self) -> Self:
        """Waits until the service has accepted the turn, so that a refusal raises here."""
        if not self._opened:
            self._opened = True
            next(self._events)
        return self

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> ChatEvent:
        if not self._opened:
            self.open()
        event = next(self._events)
        assert event is not None
        if isinstance(event, DoneEvent):
            self.reply = event.reply
        return event

    def close(self) -> None:
        """Gives the stream up and frees its connection. May be called again."""
        self._events.close()


class AsyncChatStream(AsyncClosing):
    """The async twin of :class:`ChatStream`; ``await`` it to wait for the service's acceptance only."""

    def __init__(self, events: AsyncGenerator[ChatEvent | None, None]) -> None:
        """``events`` pauses once with ``None``, when the service has accepted the turn."""
        self._events = events
        self._opened = False
        self.reply: Reply | None = None

    async def open(self) -> Self:
        """Waits until the service has accepted the turn, so that a refusal raises here."""
        if not self._opened:
            self._opened = True
            await anext(self._events)
        return self

    def __await__(self) -> Generator[Any, None, Self]:
        return self.open().__await__()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ChatEvent:
        if not self._opened:
            await self.open()
        event = await anext(self._events)
        assert event is not None
        if isinstance(event, DoneEvent):
            self.reply = event.reply
        return event

    async def aclose(self) -> None:
        """Gives the stream up and frees its connection. May be called again."""
        await self._events.aclose()

    close = aclose
