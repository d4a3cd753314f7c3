"""Hosted agents as LangChain chat models, one class a service."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from langchain_core.utils import secret_from_env
from pydantic import Field, SecretStr, model_validator

from meibel_integrations.client import AsyncLlamaCloudChatClient, AsyncMeibelClient, LlamaCloudChatClient, MeibelClient
from meibel_integrations.client.arguments import session_options
from meibel_integrations.langchain.base import HostedChatModel
from meibel_integrations.langchain.messages import register
from meibel_integrations.models import CreateSessionRequest
from meibel_integrations.protocol.agents import AgentRef, SharedAccess
from meibel_integrations.protocol.dialects.llamacloud import MAX_PROMPT_CHARS, checked_indexes

__all__ = ["ChatLlamaCloud", "ChatMeibel"]


class ChatMeibel(HostedChatModel):
    """A Meibel agent as a chat model.

    Each call is one turn of a session at the service. The messages decide which: behind an answer of this agent the
    session goes on and only what is new is sent; otherwise a new session is opened and seeded with what came before.

    Example:
        ::

            model = ChatMeibel(agent_id="agent_123")
            answer = model.invoke("What are the key findings in the Q4 report?")
            print(answer.text, answer.content_blocks[0].get("annotations"))

    ``answer.response_metadata`` names the ``session_id``, the ``sources`` and ``citations`` (plain dicts), and by
    ``continuity`` how the session was found.

    Raises:
        ValidationError: neither an agent nor a session is named, there is no key, or a setting is unknown.
    """

    provider: ClassVar[str] = "meibel"
    client_type: ClassVar[Any] = MeibelClient
    async_client_type: ClassVar[Any] = AsyncMeibelClient
    key_field: ClassVar[str] = "meibel_api_key"

    agent_id: str | None = None
    agent_name: str | None = None
    """The agent's newest published version, instead of ``agent_id``."""
    meibel_api_key: SecretStr | None = Field(
        default_factory=secret_from_env("MEIBEL_API_KEY", default=None), alias="api_key", exclude=True, repr=False
    )
    session_options: dict[str, Any] = Field(default_factory=dict)
    """Fields of ``CreateSessionRequest`` for sessions that this model opens."""
    client: MeibelClient | None = Field(default=None, exclude=True, repr=False)
    """Your own client instead of a key and an address; its async twin is made with the same settings."""
    async_client: AsyncMeibelClient | None = Field(default=None, exclude=True, repr=False)

    @property
    def _llm_type(self) -> str:
        return "meibel-chat"

    @property
    def lc_secrets(self) -> dict[str, str]:
        return {"meibel_api_key": "MEIBEL_API_KEY"}

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.agent_id is not None and self.agent_name is not None:
            raise ValueError("Name the agent by agent_id or by agent_name, not by both.")
        if self.agent_id is None and self.agent_name is None and self.session_id is None:
            raise ValueError("Name the agent: ChatMeibel(agent_id=…) or ChatMeibel(agent_name=…).")
        session_options(self.session_options)
        self._connect()  # a missing key or a bad address shows at once; nothing is sent
        return self

    def _agent(self) -> AgentRef:
        return AgentRef(self.agent_id, self.agent_name)

    def _session_options(self) -> CreateSessionRequest | None:
        return session_options(self.session_options or None)


class ChatLlamaCloud(HostedChatModel):
    """LlamaCloud's Index v2 chat agent over some indexes, as a chat model.

    The same as :class:`ChatMeibel` in every respect that the service allows: it has no signals, no citations (sources
    are what the agent retrieved, marked ``origin="retrieved"``), and takes prompts of at most 1,000 characters.

    Example:
        ::

            model = ChatLlamaCloud(index_ids=["index-1"])
            print(model.invoke("What are the key findings in the Q3 report?").text)

    Raises:
        ValidationError: neither indexes nor a session are named, there is no key, or a setting is unknown.
    """

    provider: ClassVar[str] = "llamacloud"
    client_type: ClassVar[Any] = LlamaCloudChatClient
    async_client_type: ClassVar[Any] = AsyncLlamaCloudChatClient
    key_field: ClassVar[str] = "llama_cloud_api_key"

    index_ids: list[str] = Field(default_factory=list)
    """The indexes to answer from, at most 10."""
    bound: bool = True
    """Whether sessions that this model opens are bound to these indexes, or take them with each message."""
    require_all_indexes: bool = False
    """Whether an index that cannot be queried is an error; otherwise it is a warning."""
    shared_access: SharedAccess | None = None
    """What the share link of sessions that this model opens grants."""
    organization_id: str | None = None
    project_id: str | None = None
    max_prompt_chars: int | None = MAX_PROMPT_CHARS
    """The longest text that is sent; a longer one raises ``PromptTooLongError`` before any request."""
    llama_cloud_api_key: SecretStr | None = Field(
        default_factory=secret_from_env("LLAMA_CLOUD_API_KEY", default=None), alias="api_key", exclude=True, repr=False
    )
    client: LlamaCloudChatClient | None = Field(default=None, exclude=True, repr=False)
    """Your own client instead of a key and an address; its async twin is made with the same settings."""
    async_client: AsyncLlamaCloudChatClient | None = Field(default=None, exclude=True, repr=False)

    @property
    def _llm_type(self) -> str:
        return "llamacloud-chat"

    @property
    def lc_secrets(self) -> dict[str, str]:
        return {"llama_cloud_api_key": "LLAMA_CLOUD_API_KEY"}

    @model_validator(mode="after")
    def _check_indexes(self) -> Self:
        if not self.index_ids and self.session_id is None:
            raise ValueError("Name the indexes: ChatLlamaCloud(index_ids=[…]).")
        checked_indexes(self.index_ids)
        self._connect()  # a missing key or a bad address shows at once; nothing is sent
        return self

    def _agent(self) -> AgentRef:
        return AgentRef(
            index_ids=tuple(self.index_ids) or None,
            bound=self.bound,
            require_all_indexes=self.require_all_indexes,
            shared_access=self.shared_access,
        )

    def _service_settings(self) -> dict[str, Any]:
        return {
            "organization_id": self.organization_id,
            "project_id": self.project_id,
            "max_prompt_chars": self.max_prompt_chars,
        }


register(ChatMeibel.provider)
register(ChatLlamaCloud.provider)
