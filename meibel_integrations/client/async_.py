"""The async Meibel client. Every method runs a flow; what it does is written there."""

from __future__ import annotations

import builtins
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack

from pydantic import SecretStr

from meibel_integrations.client.arguments import File
from meibel_integrations.client.calls import LlamaCloudCalls, MeibelCalls
from meibel_integrations.client.settings import ClientBase, ClientSettings
from meibel_integrations.client.streams import AsyncChatStream
from meibel_integrations.errors import ConfigurationError
from meibel_integrations.models import Message, Reply, Session
from meibel_integrations.protocol import flows
from meibel_integrations.protocol.agents import SharedAccess
from meibel_integrations.protocol.dialects.llamacloud import MAX_PROMPT_CHARS, LlamaCloudDialect
from meibel_integrations.protocol.dialects.meibel import MeibelDialect
from meibel_integrations.transports.base import AsyncTransport, adrive, arun
from meibel_integrations.transports.httpx_async import AsyncHttpxTransport
from meibel_integrations.transports.pools import AsyncPool, shared_async_pool

if TYPE_CHECKING:
    import httpx

__all__ = ["AsyncHostedClient", "AsyncLlamaCloudChatClient", "AsyncMeibelClient"]

T = TypeVar("T")


class AsyncHostedClient(ClientBase):
    """What the async clients of all services have in common; the twin of ``HostedClient``, with the same arguments.

    Nothing is bound to an event loop before a request is made on it, so one client serves several ``asyncio.run``
    calls. Also an async context manager. ``http_client`` is your own ``httpx.AsyncClient``.
    """

    def __init__(
        self,
        api_key: str | SecretStr | None = None,
        base_url: str | None = None,
        *,
        http_client: httpx.AsyncClient | None = None,
        **settings: Unpack[ClientSettings],
    ) -> None:
        super().__init__(api_key, base_url, **settings)
        self._transport: AsyncTransport | None = (
            shared_async_pool(self.config, self._key_header(), self)
            if http_client is None
            else AsyncHttpxTransport(self.config, self._key_header(), http_client)
        )

    async def run_flow(self, flow: flows.Flow[T]) -> T:
        """Runs a flow to its result."""
        return await arun(flow, self._open_transport(), self._clock, total=self.config.timeouts.total)

    def iterate_flow(self, flow: flows.Flow[Any]) -> AsyncGenerator[Any, None]:
        """Runs a flow and yields what it emits."""
        return adrive(flow, self._open_transport(), self._clock, total=self.config.timeouts.total)

    def stream_flow(self, flow: flows.Flow[Any]) -> AsyncChatStream:
        """Runs a flow that streams a turn; ``await`` the stream to wait for the service's acceptance."""
        return AsyncChatStream(self.iterate_flow(flow))

    async def aclose(self) -> None:
        """Gives up the running loop's connections that no other client uses. May be called again."""
        transport, self._transport = self._transport, None
        if isinstance(transport, AsyncPool):
            await transport.leave(self)

    close = aclose

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def _open_transport(self) -> AsyncTransport:
        if self._transport is None:
            raise ConfigurationError("This client is closed. Make a new one, or close it later.")
        return self._transport


class AsyncMeibelClient(AsyncHostedClient):
    """Sessions and chat of Meibel agents; the key is ``MEIBEL_API_KEY`` and the address ``MEIBEL_BASE_URL`` if they are
    not given. Settings: those of :class:`AsyncHostedClient`."""

    dialect = MeibelDialect()

    def _ready(self) -> None:
        calls = MeibelCalls(self.dialect, self.policy, self.partials, self.recovery)
        self.agents = AsyncAgents(self, calls)
        self.sessions = AsyncSessions(self, calls)


class AsyncAgents:
    """``client.agents``"""

    def __init__(self, client: AsyncMeibelClient, calls: MeibelCalls) -> None:
        self._client = client
        self._calls = calls

    async def create_session(
        self, agent_id: str | None = None, body: Any = None, *, agent_name: str | None = None
    ) -> Session:
        """See :meth:`meibel_integrations.client.sync.Agents.create_session`."""
        return await self._client.run_flow(self._calls.create_session(agent_id, agent_name, body))

    def list_sessions(
        self,
        agent_id: str,
        *,
        page_size: int = 50,
        sort_by: str | None = None,
        sort_order: str | None = None,
        status: str | None = None,
    ) -> AsyncIterator[Session]:
        """See :meth:`meibel_integrations.client.sync.Agents.list_sessions`; iterate with ``async for``."""
        filters = {"sort_by": sort_by, "sort_order": sort_order, "status": status}
        return self._client.iterate_flow(self._calls.list_sessions(agent_id, page_size, **filters))


class AsyncSessions:
    """``client.sessions``"""

    def __init__(self, client: AsyncMeibelClient, calls: MeibelCalls) -> None:
        self._client = client
        self._calls = calls

    async def send_chat_message(
        self, session_id: str, body: Any = None, *, user_message: str | None = None, **options: Any
    ) -> Reply:
        """See :meth:`meibel_integrations.client.sync.Sessions.send_chat_message`."""
        return await self._client.run_flow(self._calls.send(session_id, body, user_message, options))

    def send_chat_message_stream(
        self,
        session_id: str,
        body: Any = None,
        *,
        user_message: str | None = None,
        files: Sequence[File] | None = None,
        **options: Any,
    ) -> AsyncChatStream:
        """See :meth:`meibel_integrations.client.sync.Sessions.send_chat_message_stream`.

        Use it with ``async for``, with or without an ``await`` before; nothing is sent until then.
        """
        return self._client.stream_flow(self._calls.stream(session_id, body, user_message, files, options))

    async def get_session_messages(self, session_id: str, *, include_tools: bool = False) -> list[Message]:
        """See :meth:`meibel_integrations.client.sync.Sessions.get_session_messages`."""
        return await self._client.run_flow(self._calls.messages(session_id, include_tools))

    async def get_session(self, session_id: str) -> Session:
        """See :meth:`meibel_integrations.client.sync.Sessions.get_session`."""
        return await self._client.run_flow(self._calls.session(session_id))


class AsyncLlamaCloudChatClient(AsyncHostedClient):
    """LlamaCloud's Index v2 chat: an agent over one or more indexes, with sessions.

    The key is ``LLAMA_CLOUD_API_KEY`` and the address ``LLAMA_CLOUD_BASE_URL`` if they are not given. Settings: those
    of :class:`AsyncHostedClient`, and:

    Args:
        organization_id, project_id: sent with every call.
        max_prompt_chars: the longest prompt, 1,000 characters unless set; a longer one is refused before it is sent.
    """

    dialect: LlamaCloudDialect = LlamaCloudDialect()

    def __init__(
        self,
        api_key: str | SecretStr | None = None,
        base_url: str | None = None,
        *,
        organization_id: str | None = None,
        project_id: str | None = None,
        max_prompt_chars: int | None = MAX_PROMPT_CHARS,
        http_client: httpx.AsyncClient | None = None,
        **settings: Unpack[ClientSettings],
    ) -> None:
        self.dialect = self.dialect_for(
            organization_id=organization_id, project_id=project_id, max_prompt_chars=max_prompt_chars
        )
        super().__init__(api_key, base_url, http_client=http_client, **settings)

    @classmethod
    def dialect_for(cls, **settings: Any) -> LlamaCloudDialect:
        return LlamaCloudDialect(**settings)

    def _ready(self) -> None:
        self._calls = LlamaCloudCalls(self.dialect, self.policy, self.partials, self.recovery)

    async def create(
        self, index_ids: Sequence[str] | None = None, *, shared_access: SharedAccess | None = None
    ) -> Session:
        """Opens a session that is bound to these indexes (at most 10), or an unbound one."""
        return await self.run_flow(self._calls.create(index_ids, shared_access))

    def list(self, *, page_size: int = 50) -> AsyncIterator[Session]:
        """Iterates over all sessions of the key, fetching pages of ``page_size`` as they are needed."""
        return self.iterate_flow(self._calls.list(page_size))

    async def retrieve(self, session_id: str) -> Session:
        """The session with its ``events``."""
        return await self.run_flow(self._calls.retrieve(session_id))

    async def get_summary(self, session_id: str) -> Session:
        """The session without its events."""
        return await self.run_flow(self._calls.get_summary(session_id))

    async def get_messages(self, session_id: str) -> builtins.list[Message]:
        """The session's messages in order, read from its events."""
        return await self.run_flow(self._calls.messages(session_id))

    async def delete(self, session_id: str) -> None:
        """Deletes the session for good."""
        await self.run_flow(self._calls.delete(session_id))

    def stream(
        self,
        session_id: str,
        *,
        prompt: str,
        index_ids: Sequence[str] = (),
        require_all_indexes: bool = False,
    ) -> AsyncChatStream:
        """Sends a prompt and streams the answer, with the same events as Meibel's clients.

        ``index_ids`` are the indexes of this message; for a bound session they may be left out.

        Raises:
            PromptTooLongError: the prompt is longer than ``max_prompt_chars``; nothing was sent.
        """
        return self.stream_flow(self._calls.stream(session_id, prompt, index_ids, require_all_indexes))
