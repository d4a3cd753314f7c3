"""Hosted agents as LlamaIndex retrievers: the sources of an answer, for query engines that bring a model of their own.

Each retrieval is a whole turn of the agent in a session of its own, and costs as much.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle

from meibel_integrations.client.closing import AsyncClosing, Closing
from meibel_integrations.errors import ConfigurationError
from meibel_integrations.llamaindex.agent import LlamaCloudEngineKeywords, MeibelEngineKeywords
from meibel_integrations.llamaindex.chat_engine import HostedChatEngine, LlamaCloudChatEngine, MeibelChatEngine

__all__ = ["HostedRetriever", "LlamaCloudChatRetriever", "MeibelRetriever"]


class HostedRetriever(BaseRetriever, Closing, AsyncClosing):
    """A retriever whose nodes are the sources of an answer.

    Args:
        engine: what asks the agent.
        k: how many nodes at most; ``None`` for all.
    """

    def __init__(self, engine: HostedChatEngine, k: int | None = None) -> None:
        if k is not None and k < 1:
            raise ConfigurationError(f"k must be a number of nodes from 1 up, not {k!r}.")
        super().__init__(callback_manager=engine.callback_manager)
        self._engine = engine
        self._k = k

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return self._engine.beside(None).chat(query_bundle.query_str).source_nodes[: self._k]

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        response = await self._engine.beside(None).achat(query_bundle.query_str)
        return response.source_nodes[: self._k]

    def close(self) -> None:
        """Gives up the connections. A later call opens new ones."""
        self._engine.close()

    async def aclose(self) -> None:
        """The async twin of :meth:`close`; it closes both kinds of connections."""
        await self._engine.aclose()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._engine!r})"


class MeibelRetriever(HostedRetriever):
    """The sources that a Meibel agent cites.

    Args:
        agent_id, agent_name: the agent, by id, or by name for its newest published version.
        k: how many nodes at most; ``None`` for all.
        settings: as in :class:`~meibel_integrations.llamaindex.MeibelChatEngine`.
    """

    def __init__(
        self,
        agent_id: str | None = None,
        agent_name: str | None = None,
        *,
        k: int | None = None,
        **settings: Unpack[MeibelEngineKeywords],
    ) -> None:
        super().__init__(MeibelChatEngine(agent_id, agent_name, **settings), k)


class LlamaCloudChatRetriever(HostedRetriever):
    """What LlamaCloud's Index v2 chat agent retrieved for an answer.

    Args:
        index_ids: the indexes to answer from, at most 10.
        k: how many nodes at most; ``None`` for all.
        settings: as in :class:`~meibel_integrations.llamaindex.LlamaCloudChatEngine`.
    """

    def __init__(
        self,
        index_ids: Sequence[str] | None = None,
        *,
        k: int | None = None,
        **settings: Unpack[LlamaCloudEngineKeywords],
    ) -> None:
        super().__init__(LlamaCloudChatEngine(index_ids, **settings), k)
