"""LlamaIndex's chat responses with what a hosted agent says besides its text.

The streaming response is pulled: the thread or task that reads it reads the network, piece by piece. There is no
writer thread, no queue and no polling, so nothing is lost before an error, and leaving early frees the connection.
In return nothing arrives while nobody reads: do not wait for ``is_done`` without reading.
"""

from __future__ import annotations

import weakref
from collections.abc import AsyncGenerator, Generator
from dataclasses import dataclass, field
from typing import Any, Self

from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.chat_engine.types import AgentChatResponse, StreamingAgentChatResponse

from meibel_integrations.client import AsyncChatStream, ChatStream
from meibel_integrations.client.closing import AsyncClosing, Closing
from meibel_integrations.errors import StreamInterrupted
from meibel_integrations.llamaindex.reader import TurnReader
from meibel_integrations.llamaindex.run import EngineRun
from meibel_integrations.models import ChatEvent, Citation

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

    Read it with ``response_gen``, ``async_response_gen()`` or the ``print_response_stream`` methods, or event by event
    with :meth:`events` and :meth:`aevents`. Who stops reads on later where it stopped, until the response is closed or
    dropped, or the session's next turn begins: then reading on raises ``StreamInterrupted``. Reading a whole answer
    again gives its text at once.

    ``source_nodes``, ``sources``, ``metadata`` and ``citations`` are filled in place as they arrive and complete at
    the end; ``metadata["session_id"]`` is there from the start. Also a context manager.
    """

    metadata: dict[str, Any] = field(default_factory=dict)
    citations: list[Citation] = field(default_factory=list)
    message: ChatMessage | None = None

    @classmethod
    def of(cls, run: EngineRun, stream: ChatStream | AsyncChatStream) -> Self:
        response = cls(sources=run.tools, source_nodes=run.nodes, metadata=run.metadata, citations=run.citations)
        # Not fields: tools that trace responses write out every field.
        response._run = run
        response._reader = TurnReader(run, stream)
        filled = weakref.WeakMethod(response._fill)
        run.when_ended = lambda: (fill := filled()) and fill()
        return response

    def __post_init__(self) -> None:
        super().__post_init__()
        self._run: EngineRun
        self._reader: TurnReader

    @property
    def reader(self) -> TurnReader:
        """What reads the answer, for the engine that handed it out."""
        return self._reader

    @property
    def response_gen(self) -> Generator[str, None, None]:
        """The answer's pieces as they arrive."""
        return self._pieces()

    def _pieces(self) -> Generator[str, None, None]:
        run, read = self._run, self._reader.read
        if run.ended:
            read()
            yield self.response
            return
        while (event := read()) is not None:
            if event.type == "content":
                yield event.delta
        if not run.pieces:
            yield self.response

    async def async_response_gen(self) -> AsyncGenerator[str, None]:
        """The async twin of :attr:`response_gen`."""
        run, read = self._run, self._reader.aread
        if run.ended:
            await read()
            yield self.response
            return
        while (event := await read()) is not None:
            if event.type == "content":
                yield event.delta
        if not run.pieces:
            yield self.response

    def events(self) -> Generator[ChatEvent, None, None]:
        """All that the service tells, as it arrives: text, status, thinking, tool calls and results, citations, and at
        last a ``done`` event with the whole reply. An answer that was read before gives that event alone."""
        if self._run.done is not None:
            yield self._run.done
            return
        while (event := self._reader.read()) is not None:
            yield event

    async def aevents(self) -> AsyncGenerator[ChatEvent, None]:
        """The async twin of :meth:`events`."""
        if self._run.done is not None:
            yield self._run.done
            return
        while (event := await self._reader.aread()) is not None:
            yield event

    def drain(self) -> Self:
        """Reads the answer to its end."""
        while self._reader.read() is not None:
            continue
        return self

    async def adrain(self) -> Self:
        """The async twin of :meth:`drain`."""
        while await self._reader.aread() is not None:
            continue
        return self

    def close(self) -> None:
        """Gives the rest of the answer up and frees the connection. May be called again."""
        self._reader.close()

    async def aclose(self) -> None:
        """The async twin of :meth:`close`."""
        await self._reader.aclose()

    def __str__(self) -> str:
        """The whole answer, which is read to its end first if it comes from ``stream_chat``; else what has arrived.

        Raises:
            StreamInterrupted: the session's next turn began before the answer was read.
        """
        if not self._run.ended and not self._reader.asynchronous:
            self.drain()
        if not self._run.ended:
            return "".join(self._run.pieces)
        if isinstance(self.exception, StreamInterrupted):
            raise self.exception
        return self.response

    def __repr__(self) -> str:
        state = "done" if self.is_done else "open"
        return f"{type(self).__name__}({state}, session_id={self.metadata.get('session_id')!r})"

    def _fill(self) -> None:
        """Shows what the run has become; the lists are the run's own."""
        run = self._run
        self.response = run.text
        self.unformatted_response = "".join(run.pieces)
        self.message = run.message
        self.exception = run.error
        self.is_done = True
