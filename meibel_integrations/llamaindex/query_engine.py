"""Hosted agents as LlamaIndex query engines: for routers, sub-questions, evaluators and query engine tools."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

from meibel_integrations.llamaindex.agent import LlamaCloudEngineKeywords, MeibelEngineKeywords
from meibel_integrations.llamaindex.chat_engine import LlamaCloudChatEngine, MeibelChatEngine
from meibel_integrations.llamaindex.queries import HostedQueryEngine

__all__ = ["LlamaCloudChatQueryEngine", "MeibelQueryEngine"]


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
