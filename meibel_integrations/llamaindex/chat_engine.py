"""Hosted agents as LlamaIndex chat engines, one class a service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

from meibel_integrations.client import AsyncLlamaCloudChatClient, AsyncMeibelClient, LlamaCloudChatClient, MeibelClient
from meibel_integrations.client.arguments import session_options as checked_options
from meibel_integrations.errors import ConfigurationError
from meibel_integrations.llamaindex.base import HostedChatEngine
from meibel_integrations.models import CreateSessionRequest
from meibel_integrations.protocol.agents import AgentRef, SharedAccess
from meibel_integrations.protocol.dialects.llamacloud import MAX_PROMPT_CHARS, checked_indexes

__all__ = ["LlamaCloudChatEngine", "MeibelChatEngine"]


class MeibelChatEngine(HostedChatEngine):
    """A Meibel agent as a chat engine. One engine is one conversation, held in one session at the service.

    Example:
        ::

            engine = MeibelChatEngine.from_defaults(agent_id="agent_123")
            for piece in engine.stream_chat("What are the key findings in the Q4 report?").response_gen:
                print(piece, end="")
            print(engine.chat("And in Q3?").source_nodes)

    Args:
        agent_id, agent_name: the agent, by id, or by name for its newest published version. An engine that has only a
            ``session_id`` goes on in that session and can open no other.
        session_options: fields of ``CreateSessionRequest`` for sessions that this engine opens.
        settings: those of :class:`~meibel_integrations.llamaindex.base.HostedChatEngine`: ``session_id``, ``api_key``
            (or ``MEIBEL_API_KEY``), ``base_url`` (or ``MEIBEL_BASE_URL``), ``timeout``, ``include_thinking``…

    Raises:
        ConfigurationError: neither an agent nor a session is named, there is no key, or a setting is unknown.
    """

    client_type: ClassVar[Any] = MeibelClient
    async_client_type: ClassVar[Any] = AsyncMeibelClient

    def __init__(
        self,
        agent_id: str | None = None,
        agent_name: str | None = None,
        *,
        session_id: str | None = None,
        session_options: CreateSessionRequest | Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        if agent_id is not None and agent_name is not None:
            raise ConfigurationError("Name the agent by agent_id or by agent_name, not by both.")
        options = checked_options(session_options or None)
        super().__init__(AgentRef(agent_id, agent_name), options, session_id=session_id, **settings)
        if agent_id is None and agent_name is None and session_id is None:
            raise ConfigurationError(
                "Name the agent, or the session to go on in: MeibelChatEngine.from_defaults(agent_id=… | agent_name=…)."
            )

    @classmethod
    def from_defaults(
        cls,
        agent_id: str | None = None,
        agent_name: str | None = None,
        *,
        session_id: str | None = None,
        session_options: CreateSessionRequest | Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> Self:
        """The constructor, under the name that LlamaIndex's engines have for it."""
        return cls(agent_id, agent_name, session_id=session_id, session_options=session_options, **settings)


class LlamaCloudChatEngine(HostedChatEngine):
    """LlamaCloud's Index v2 chat agent over some indexes, as a chat engine. One engine is one conversation.

    The same as :class:`MeibelChatEngine` in every respect that the service allows: source nodes are what the agent
    retrieved (``metadata["origin"] == "retrieved"``), and a message has at most 1,000 characters.

    Args:
        index_ids: the indexes to answer from, at most 10. An engine that has only a ``session_id`` goes on in that
            session, with the indexes that it is bound to, and can open no other.
        bound: whether sessions that this engine opens are bound to these indexes, or take them with each message.
        require_all_indexes: whether an index that cannot be queried is an error; otherwise it is a warning.
        shared_access: what the share link of sessions that this engine opens grants.
        organization_id, project_id: sent with every call.
        max_prompt_chars: the longest text that is sent; a longer one raises ``PromptTooLongError`` before any request.
        settings: those of :class:`~meibel_integrations.llamaindex.base.HostedChatEngine`: ``session_id``, ``api_key``
            (or ``LLAMA_CLOUD_API_KEY``), ``base_url`` (or ``LLAMA_CLOUD_BASE_URL``), ``timeout``…

    Raises:
        ConfigurationError: neither indexes nor a session are named, there is no key, or a setting is unknown.
        InvalidInputError: more than 10 indexes.
    """

    client_type: ClassVar[Any] = LlamaCloudChatClient
    async_client_type: ClassVar[Any] = AsyncLlamaCloudChatClient

    def __init__(
        self,
        index_ids: Sequence[str] | None = None,
        *,
        session_id: str | None = None,
        bound: bool = True,
        require_all_indexes: bool = False,
        shared_access: SharedAccess | None = None,
        organization_id: str | None = None,
        project_id: str | None = None,
        max_prompt_chars: int | None = MAX_PROMPT_CHARS,
        **settings: Any,
    ) -> None:
        if not index_ids and session_id is None:
            raise ConfigurationError("Name the indexes: LlamaCloudChatEngine.from_defaults(index_ids=[…]).")
        agent = AgentRef(
            index_ids=tuple(checked_indexes(index_ids)) if index_ids else None,
            bound=bound,
            require_all_indexes=require_all_indexes,
            shared_access=shared_access,
        )
        given = settings.get("client") is not None or settings.get("async_client") is not None
        service = {
            "organization_id": organization_id,
            "project_id": project_id,
            "max_prompt_chars": max_prompt_chars,
        }
        super().__init__(agent, None, None if given else service, session_id=session_id, **settings)

    @classmethod
    def from_defaults(cls, index_ids: Sequence[str] | None = None, **settings: Any) -> Self:
        """The constructor, under the name that LlamaIndex's engines have for it."""
        return cls(index_ids, **settings)
