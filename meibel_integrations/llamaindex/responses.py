"""LlamaIndex's chat responses with what a hosted agent says besides its text.

The streaming response is pulled: the thread or task that reads it reads the network, piece by piece. There is no
writer thread, no queue and no polling, so nothing is lost before an error, and leaving early frees the connection.
In return nothing arrives while nobody reads: do not wait for ``is_done`` without reading.
"""

from __future__ import annotations

import weakref
from collections.abc import AsyncGenerator, Generator
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.chat_engine.types import AgentChatResponse, StreamingAgentChatResponse

from meibel_integrations.client import AsyncChatStream, ChatStream
from meibel_integrations.client.closing import AsyncClosing, Closing
from meibel_integrations.llamaindex.run import EngineRun
from meibel_integrations.models import Citation

__all__ = ["HostedChatResponse", "HostedStreamingResponse"]


@dataclass
class HostedChatResponse(AgentChatResponse):
    """A whole answer.

    Attributes:
        response: the text.
        source_nodes: a node for each source.
        sources: the agent's tool calls, if they were asked for.
        metadata: ``session_id``, ``signal_id``, ``token_usage``, ``agent_id``, ``agent_name``, ``continuity`` and
            ``continuity_reason``, ``recovered``, ``citations`` and ``sources`` as plain dicts,
            ``follow_up_questions``, and more.
        citations: the places in the text that sources support; ``source`` indexes ``metadata["sources"]`` and is the
            node's ``metadata["citation_index"]``.
        message: the answer as a chat message, with a ``CitationBlock`` for each citation.
    """

    citations: list[Citation] = field(default_factory=list)
    message: ChatMessage | None = None

    @classmethod
    def of(cls, run: EngineRun) -> Self:
        return cls(
            response=run.text,
            sources=run.tools,
            source_nodes=run.nodes,
            metadata=run.metadata,
            citations=run.citations,
            message=run.message,
        )


@dataclass(repr=False)
class HostedStreamingResponse(StreamingAgentChatResponse, Closing, AsyncClosing):
    """An answer as it arrives; the attributes are those of :class:`HostedChatResponse`.

    Read it once with ``response_gen``, ``async_response_gen()`` or the ``print_response_stream`` methods; reading it
    again gives the whole text at once. ``source_nodes``, ``metadata`` and the other lists are filled in place when the
    answer is complete; ``metadata["session_id"]`` is there from the start. Also a context manager.
    """

    metadata: dict[str, Any] = field(default_factory=dict)
    citations: list[Citation] = field(default_factory=list)
    message: ChatMessage | None = None

    @classmethod
    def of(cls, run: EngineRun, stream: ChatStream | AsyncChatStream) -> Self:
        response = cls(metadata=run.metadata)
        # Not fields: tools that trace responses write out every field.
        response._run = run
        response._stream = stream
        # Spans are closed even if the response is dropped unread.
        weakref.finalize(response, run.abandon).atexit = False
        return response

    def __post_init__(self) -> None:
        super().__post_init__()
        self._run: EngineRun | None = None
        self._stream: ChatStream | AsyncChatStream | None = None

    @property
    def response_gen(self) -> Generator[str, None, None]:
        """The answer's pieces as they arrive. Leaving the loop early frees the connection."""
        return self._pieces()

    def _pieces(self) -> Generator[str, None, None]:
        if self._run is None or self._run.ended:
            yield self._replay()
            return
        stream = self._stream
        if not isinstance(stream, ChatStream):
            raise RuntimeError("This answer comes from astream_chat: read it with 'async for … async_response_gen()'.")
        shown = False
        try:
            while (piece := self._advance(stream)) is not None:
                shown = True
                yield piece
            if not shown:
                yield self.response
        finally:
            self.close()

    def async_response_gen(self) -> AsyncGenerator[str, None]:
        """The async twin of :attr:`response_gen`."""
        return _AsyncPieces(self)

    def close(self) -> None:
        """Gives the rest of the answer up and frees the connection. May be called again."""
        if isinstance(self._stream, AsyncChatStream):
            if self._run is not None and not self._run.ended:
                raise RuntimeError("This answer comes from astream_chat: close it with 'await response.aclose()'.")
        elif self._stream is not None:
            self._stream.close()
            self._leave()

    async def aclose(self) -> None:
        """The async twin of :meth:`close`."""
        if isinstance(self._stream, AsyncChatStream):
            await self._stream.aclose()
            self._leave()
        else:
            self.close()

    def __str__(self) -> str:
        """The whole answer, which is read to its end first if it comes from ``stream_chat``; else what has arrived."""
        if isinstance(self._stream, ChatStream):
            while self._advance(self._stream) is not None:
                continue
        if self._run is not None and not self._run.ended:
            return "".join(self._run.pieces)
        return self.response

    def __repr__(self) -> str:
        state = "done" if self.is_done else "open"
        return f"{type(self).__name__}({state}, session_id={self.metadata.get('session_id')!r})"

    def _advance(self, stream: ChatStream) -> str | None:
        assert self._run is not None
        try:
            return self._run.advance(stream)
        finally:
            self._fill(self._run)

    async def _aadvance(self, stream: AsyncChatStream) -> str | None:
        assert self._run is not None
        try:
            return await self._run.aadvance(stream)
        finally:
            self._fill(self._run)

    def _leave(self) -> None:
        assert self._run is not None
        self._run.abandon()
        self._fill(self._run)

    def _drop(self) -> None:
        """Gives an async stream up where nothing can be awaited: the event loop closes what is dropped."""
        self._leave()
        self._stream = None

    def _replay(self) -> str:
        if self.exception is not None:
            raise self.exception
        return self.response

    def _fill(self, run: EngineRun) -> None:
        """Shows what the run has become; lists in place, as callers may hold them."""
        if self.is_done or not run.ended:
            return
        self.response = run.text
        self.unformatted_response = "".join(run.pieces)
        self.source_nodes[:] = run.nodes
        self.sources[:] = run.tools
        self.citations[:] = run.citations
        self.message = run.message
        self.exception = run.error
        self.is_done = True


class _AsyncPieces(AsyncGenerator[str, None]):
    """What ``async_response_gen`` returns.

    No async generator on purpose: the event loop closes those at its end all at once, and the stream's, which this one
    would be closing itself, with them. Nor does leaving an ``async for`` close one before the loop's next rounds.
    """

    def __init__(self, response: HostedStreamingResponse) -> None:
        self._response = response
        self._shown = False
        self._state: Literal["new", "reading", "over"] = "new"

    async def asend(self, value: None) -> str:
        response, run = self._response, self._response._run
        if self._state == "over":
            raise StopAsyncIteration
        if self._state == "new" and (run is None or run.ended):
            self._state = "over"
            return response._replay()
        stream = response._stream
        if isinstance(stream, ChatStream):
            raise RuntimeError("This answer comes from stream_chat: read it with 'for … response_gen'.")
        self._state = "reading"
        try:
            piece = None if stream is None else await response._aadvance(stream)
        except BaseException:
            self._state = "over"
            raise
        if piece is None:
            self._state = "over"
            if self._shown:
                raise StopAsyncIteration
            return response.response
        self._shown = True
        return piece

    async def athrow(self, typ: Any, val: Any = None, tb: Any = None) -> str:
        await self.aclose()
        return await super().athrow(typ, val, tb)

    async def aclose(self) -> None:
        if self._state == "reading":
            await self._response.aclose()
        self._state = "over"

    def __del__(self) -> None:
        if self._state == "reading":
            self._response._drop()
