"""The one place where a turn's stream is read: by whatever shows it, piece by piece, and by nobody twice.

All generators of a response read through the same :class:`TurnReader`, so a second one goes on where the first stopped.
The reader knows whether somebody is inside of the stream. If nobody is, the session's next turn may cut it.
"""

from __future__ import annotations

import asyncio
import weakref
from threading import Lock

from meibel_integrations.client import AsyncChatStream, ChatStream
from meibel_integrations.conversation.run import ConversationRun
from meibel_integrations.llamaindex.run import EngineRun
from meibel_integrations.models import ChatEvent

__all__ = ["TurnReader"]


class TurnReader:
    """Reads a turn's events one at a time.

    Attributes:
        run: the turn.
        steps: counts how often a reader stepped in or out.
    """

    def __init__(self, run: EngineRun, stream: ChatStream | AsyncChatStream) -> None:
        self.run = run
        self.steps = 0
        self.asynchronous = isinstance(stream, AsyncChatStream)
        self._stream: ChatStream | AsyncChatStream | None = stream
        self._loop = asyncio.get_running_loop() if self.asynchronous else None
        self._inside = Lock()
        # Spans are closed even if the response is dropped unread.
        weakref.finalize(self, run.abandon).atexit = False

    @property
    def conversation(self) -> ConversationRun:
        return self.run.conversation

    def read(self) -> ChatEvent | None:
        """The next event; ``None`` behind the last.

        Raises:
            StreamInterrupted: the answer was left, or cut by its session's next turn.
            RuntimeError: the answer comes from ``astream_chat``, or is being read elsewhere at this moment.
        """
        if self.run.ended:
            self._over()
            return None
        stream = self._stream
        if not isinstance(stream, ChatStream):
            raise RuntimeError("This answer comes from astream_chat: read it with 'async for … async_response_gen()'.")
        self._step_in()
        try:
            return self.run.advance(stream)
        finally:
            self._step_out()

    async def aread(self) -> ChatEvent | None:
        """The async twin of :meth:`read`."""
        if self.run.ended:
            self._over()
            return None
        stream = self._stream
        if not isinstance(stream, AsyncChatStream):
            raise RuntimeError("This answer comes from stream_chat: read it with 'for … response_gen'.")
        self._step_in()
        try:
            return await self.run.aadvance(stream)
        finally:
            self._step_out()

    def close(self) -> None:
        """Gives the rest of the answer up and frees the connection. May be called again."""
        if isinstance(self._stream, ChatStream):
            self._stream.close()
            self.run.abandon()
        elif not self.run.ended:
            raise RuntimeError("This answer comes from astream_chat: close it with 'await response.aclose()'.")

    async def aclose(self) -> None:
        """The async twin of :meth:`close`."""
        if isinstance(self._stream, AsyncChatStream):
            await self._stream.aclose()
            self.run.abandon()
        else:
            self.close()

    # For the session's next turn

    def cut(self) -> bool:
        """Ends the stream, unless somebody is inside of it; returns whether it has ended."""
        if not self._inside.acquire(blocking=False):
            return False
        try:
            stream, self._stream = self._stream, None
            if isinstance(stream, ChatStream):
                stream.close()
            # An async stream cannot be awaited here: its event loop closes what is dropped.
            self.run.cut()
        finally:
            self._inside.release()
        return True

    async def acut(self) -> bool:
        if self._loop is not asyncio.get_running_loop():
            return self.cut()
        if not self._inside.acquire(blocking=False):
            return False
        try:
            stream, self._stream = self._stream, None
            if isinstance(stream, AsyncChatStream):
                await stream.aclose()
            self.run.cut()
        finally:
            self._inside.release()
        return True

    def _step_in(self) -> None:
        if not self._inside.acquire(blocking=False):
            raise RuntimeError("This answer is being read elsewhere at this moment.")
        self.steps += 1

    def _step_out(self) -> None:
        self.steps += 1
        self._inside.release()

    def _over(self) -> None:
        run = self.run
        if run.error is not None:
            raise run.error.with_traceback(None)
        if run.done is None:
            raise run.interrupted("it was closed, or its reader was cancelled")
