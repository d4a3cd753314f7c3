"""The chat models of the hosted services."""

from __future__ import annotations

from typing import Any, ClassVar

from langchain_core.utils import secret_from_env
from pydantic import Field, SecretStr

from meibel_integrations.client import AsyncLlamaCloudChatClient, AsyncMeibelClient, LlamaCloudChatClient, MeibelClient
from meibel_integrations.client.options import LlamaCloudAgentOptions, MeibelAgentOptions
from meibel_integrations.langchain.blocks import register
from meibel_integrations.langchain.hosted import HostedChatModel
from meibel_integrations.models import Session

__all__ = ["ChatLlamaCloud", "ChatMeibel"]


class ChatMeibel(MeibelAgentOptions, HostedChatModel):
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
        ConfigurationError: neither an agent nor a session is named, there is no key, or a setting is unknown or wrong.
    """

    provider: ClassVar[str] = "meibel"
    client_type: ClassVar[Any] = MeibelClient
    async_client_type: ClassVar[Any] = AsyncMeibelClient
    key_field: ClassVar[str] = "meibel_api_key"

    meibel_api_key: SecretStr | str | None = Field(
        default_factory=secret_from_env("MEIBEL_API_KEY", default=None), alias="api_key", exclude=True, repr=False
    )
    """The key; from ``MEIBEL_API_KEY`` if not given."""
    client: MeibelClient | None = Field(default=None, exclude=True, repr=False)
    """Your own client instead of a key and an address; its async twin is made with the same settings."""
    async_client: AsyncMeibelClient | None = Field(default=None, exclude=True, repr=False)
    """Your own async client, likewise."""

    @property
    def _llm_type(self) -> str:
        return "meibel-chat"

    @property
    def lc_secrets(self) -> dict[str, str]:
        return {"meibel_api_key": "MEIBEL_API_KEY"}


class ChatLlamaCloud(LlamaCloudAgentOptions, HostedChatModel):
    """LlamaCloud's Index v2 chat agent over some indexes, as a chat model.

    The same as :class:`ChatMeibel` in every respect that the service allows: it has no signals, no citations (sources
    are what the agent retrieved, marked ``origin="retrieved"``), and takes prompts of at most 1,000 characters.

    Example:
        ::

            model = ChatLlamaCloud(index_ids=["index-1"])
            print(model.invoke("What are the key findings in the Q3 report?").text)

    Raises:
        ConfigurationError: neither indexes nor a session are named, there is no key, or a setting is unknown or wrong.
    """

    provider: ClassVar[str] = "llamacloud"
    client_type: ClassVar[Any] = LlamaCloudChatClient
    async_client_type: ClassVar[Any] = AsyncLlamaCloudChatClient
    key_field: ClassVar[str] = "llama_cloud_api_key"

    llama_cloud_api_key: SecretStr | str | None = Field(
        default_factory=secret_from_env(["LLAMA_CLOUD_API_KEY", "LLAMA_PARSE_API_KEY"], default=None),
        alias="api_key",
        exclude=True,
        repr=False,
    )
    """The key; from ``LLAMA_CLOUD_API_KEY``, else from ``LLAMA_PARSE_API_KEY``, if not given."""
    client: LlamaCloudChatClient | None = Field(default=None, exclude=True, repr=False)
    """Your own client instead of a key and an address; its async twin is made with the same settings."""
    async_client: AsyncLlamaCloudChatClient | None = Field(default=None, exclude=True, repr=False)
    """Your own async client, likewise."""

    def get_summary(self, session_id: str) -> Session:
        """A session without its events: its title, its indexes, and ``job_metadata`` of its last turn."""
        return self._connect().client.get_summary(session_id)  # type: ignore[no-any-return]

    async def aget_summary(self, session_id: str) -> Session:
        """The async twin of :meth:`get_summary`."""
        return await self._connect().async_client.get_summary(session_id)  # type: ignore[no-any-return]

    @property
    def _llm_type(self) -> str:
        return "llamacloud-chat"

    @property
    def lc_secrets(self) -> dict[str, str]:
        return {"llama_cloud_api_key": "LLAMA_CLOUD_API_KEY"}


register(ChatMeibel.provider)
register(ChatLlamaCloud.provider)
