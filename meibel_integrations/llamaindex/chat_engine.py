"""Meibel agents as LlamaIndex chat engines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from meibel_integrations.client import AsyncMeibelClient, MeibelClient
from meibel_integrations.client.arguments import session_options as checked_options
from meibel_integrations.errors import ConfigurationError
from meibel_integrations.llamaindex.base import HostedChatEngine
from meibel_integrations.models import CreateSessionRequest
from meibel_integrations.protocol.agents import AgentRef

__all__ = ["MeibelChatEngine"]


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
