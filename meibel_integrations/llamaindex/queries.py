"""A query engine over a chat engine: what ``as_query_engine`` makes, and what the query engines are made of."""

from __future__ import annotations

from typing import Any, Protocol, Self

from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.base.response.schema import (
    RESPONSE_TYPE,
    AsyncStreamingResponse,
    Response,
    StreamingResponse,
)
from llama_index.core.callbacks import CallbackManager
from llama_index.core.prompts.mixin import PromptMixinType
from llama_index.core.schema import QueryBundle

from meibel_integrations.client.closing import AsyncClosing, Closing
from meibel_integrations.llamaindex.responses import HostedChatResponse, HostedStreamingResponse

__all__ = ["Asks", "HostedQueryEngine"]


class Asks(Protocol):
    """A chat engine, as far as queries need it."""

    callback_manager: CallbackManager

    def beside(self, session_id: str | None) -> Self: ...

    def chat(self, message: str) -> HostedChatResponse: ...

    async def achat(self, message: str) -> HostedChatResponse: ...

    def stream_chat(self, message: str) -> HostedStreamingResponse: ...

    async def astream_chat(self, message: str) -> HostedStreamingResponse: ...

    def close(self) -> None: ...

    async def aclose(self) -> None: ...


class HostedQueryEngine(BaseQueryEngine, Closing, AsyncClosing):
    """A query engine whose every answer is one turn: of a session of its own, or of an engine's (:meth:`over`).

    Args:
        engine: what asks the agent.
        stays: whether every query is a message in the engine's session.
        streaming: whether :meth:`query` returns once the query is accepted, with the answer as a generator.
    """

    def __init__(self, engine: Asks, *, stays: bool = False, streaming: bool = False) -> None:
        super().__init__(engine.callback_manager)
        self._engine = engine
        self._stays = stays
        self._streaming = streaming

    @classmethod
    def over(cls, engine: Asks) -> HostedQueryEngine:
        """One that stays in an engine's session."""
        return HostedQueryEngine(engine, stays=True)

    @classmethod
    def from_defaults(cls, *args: Any, **settings: Any) -> Self:
        """The constructor, under the name that LlamaIndex's engines have for it."""
        return cls(*args, **settings)

    def _asked(self) -> Asks:
        return self._engine if self._stays else self._engine.beside(None)

    def _query(self, query_bundle: QueryBundle) -> RESPONSE_TYPE:
        if self._streaming:
            stream = self._asked().stream_chat(query_bundle.query_str)
            return StreamingResponse(stream.response_gen, stream.source_nodes, stream.metadata)
        response = self._asked().chat(query_bundle.query_str)
        return Response(response.response, response.source_nodes, response.metadata)

    async def _aquery(self, query_bundle: QueryBundle) -> RESPONSE_TYPE:
        if self._streaming:
            stream = await self._asked().astream_chat(query_bundle.query_str)
            return AsyncStreamingResponse(stream.async_response_gen(), stream.source_nodes, stream.metadata)
        response = await self._asked().achat(query_bundle.query_str)
        return Response(response.response, response.source_nodes, response.metadata)

    def _get_prompt_modules(self) -> PromptMixinType:
        return {}

    def close(self) -> None:
        """Gives up the connections. A later call opens new ones."""
        self._engine.close()

    async def aclose(self) -> None:
        """The async twin of :meth:`close`; it closes both kinds of connections."""
        await self._engine.aclose()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._engine!r})"
