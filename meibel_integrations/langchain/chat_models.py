"""Meibel agents as LangChain chat models."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from langchain_core.utils import secret_from_env
from pydantic import Field, PrivateAttr, SecretStr, model_validator

from meibel_integrations.client import AsyncMeibelClient, MeibelClient
from meibel_integrations.client.arguments import session_options
from meibel_integrations.client.pair import ClientPair
from meibel_integrations.langchain.base import HostedChatModel
from meibel_integrations.langchain.messages import register
from meibel_integrations.models import CreateSessionRequest
from meibel_integrations.protocol.agents import AgentRef

__all__ = ["ChatMeibel"]


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

    _pair: ClientPair[MeibelClient, AsyncMeibelClient] | None = PrivateAttr(default=None)

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

    def __getstate__(self) -> dict[Any, Any]:
        """Neither the key nor a connection is ever pickled; the key comes from the environment again."""
        state = super().__getstate__()
        state["__dict__"] = {**state["__dict__"], **dict.fromkeys(("meibel_api_key", "client", "async_client"))}
        state["__pydantic_private__"] = {**(state["__pydantic_private__"] or {}), "_pair": None}
        return state

    def close(self) -> None:
        """Gives up this model's connections. A later call opens new ones. Clients that were passed in stay open."""
        self._connect().close()

    async def aclose(self) -> None:
        """The async twin of :meth:`close`; it closes both kinds of connections."""
        await self._connect().aclose()

    def _agent(self) -> AgentRef:
        return AgentRef(self.agent_id, self.agent_name)

    def _session_options(self) -> CreateSessionRequest | None:
        return session_options(self.session_options or None)

    def _client(self) -> MeibelClient:
        return self._connect().client

    def _async_client(self) -> AsyncMeibelClient:
        return self._connect().async_client

    def _connect(self) -> ClientPair[MeibelClient, AsyncMeibelClient]:
        if self._pair is None:
            self._pair = ClientPair(
                MeibelClient,
                AsyncMeibelClient,
                client=self.client,
                async_client=self.async_client,
                api_key=self.meibel_api_key,
                base_url=self.base_url,
                timeout=self.timeout,
                max_retries=self.max_retries,
                allow_insecure_http=self.allow_insecure_http,
            )
        return self._pair


register(ChatMeibel.provider)
