"""Hosted agents as LlamaIndex query engines: for routers, sub-questions, evaluators and query engine tools."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self, Unpack

from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.base.response.schema import (
    RESPONSE_TYPE,
    AsyncStreamingResponse,
    Response,
    StreamingResponse,
)
from llama_index.core.prompts.mixin import PromptMixinType
from llama_index.core.schema import QueryBundle

from meibel_integrations.client.closing import AsyncClosing, Closing
from meibel_integrations.llamaindex.agent import LlamaCloudEngineKeywords, MeibelEngineKeywords
from meibel_integrations.llamaindex.chat_engine import HostedChatEngine, LlamaCloudChatEngine, MeibelChatEngine

__all__ = ["HostedQueryEngine", "LlamaCloudChatQueryEngine", "MeibelQueryEngine"]


class HostedQueryEngine(BaseQueryEngine, Closing, AsyncClosing):
    """A query engine whose every answer is one turn: of a session of its own, or of an engine's (:meth:`over`).

    Args:
        engine: what asks the agent.
        stays: whether every query is a message in the engine's session.
        streaming: whether :meth:`query` returns once the query is accepted, with the answer as a generator.
    """

    def __init__(self, engine: HostedChatEngine, *, stays: bool = False, streaming: bool = False) -> None:
        super().__init__(engine.callback_manager)
        self._engine = engine
        self._stays = stays
        self._streaming = streaming

    @classmethod
    def over(cls, engine: HostedChatEngine) -> HostedQueryEngine:
        """One that stays in an engine's session."""
        return HostedQueryEngine(engine, stays=True)

    @classmethod
    def from_defaults(cls, *args: Any, **settings: Any) -> Self:
        """The constructor, under the name that LlamaIndex's engines have for it."""
        return cls(*args, **settings)

    def _asked(self) -> HostedChatEngine:
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


class MeibelQueryEngine(HostedQueryEngine):
    """A Meibel agent as a query engine: every query is a session of its own.

    Args:
        agent_id, agent_name: the agent, by id, or by name for its newest published version.
        streaming: whether a query returns once it is accepted, with the answer as a generator.
        settings: as in :class:`~meibel_integrations.llamaindex.MeibelChatEngine`.
    """

    def __init__(
        self,
        agent_id: str | None = None,
        agent_name: str | None = None,
        *,
        streaming: bool = False,
        **settings: Unpack[MeibelEngineKeywords],
    ) -> None:
        super().__init__(MeibelChatEngine(agent_id, agent_name, **settings), streaming=streaming)


class LlamaCloudChatQueryEngine(HostedQueryEngine):
    """LlamaCloud's Index v2 chat agent as a query engine: every query is a session of its own.

    Args:
        index_ids: the indexes to answer from, at most 10.
        streaming: whether a query returns once it is accepted, with the answer as a generator.
        settings: as in :class:`~meibel_integrations.llamaindex.LlamaCloudChatEngine`.
    """

    def __init__(
        self,
        index_ids: Sequence[str] | None = None,
        *,
        streaming: bool = False,
        **settings: Unpack[LlamaCloudEngineKeywords],
    ) -> None:
        super().__init__(LlamaCloudChatEngine(index_ids, **settings), streaming=streaming)
