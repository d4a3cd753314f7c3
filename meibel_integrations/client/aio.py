"""The async clients. What their methods do is written in ``operations``, as flows."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any, TypeVar, Unpack

from pydantic import SecretStr

from meibel_integrations.client.bindings import AsyncMethods
from meibel_integrations.client.closing import AsyncClosing
from meibel_integrations.client.hosted import ClientCore, ClientSettings
from meibel_integrations.client.operations import AgentOperations, LlamaCloudOperations, SessionOperations
from meibel_integrations.client.streams import AsyncChatStream
from meibel_integrations.errors import ConfigurationError
from meibel_integrations.protocol.commands import Flow
from meibel_integrations.protocol.dialects.interface import Dialect
from meibel_integrations.protocol.dialects.llamacloud import MAX_PROMPT_CHARS, LlamaCloudDialect
from meibel_integrations.protocol.dialects.meibel import MeibelDialect
from meibel_integrations.transports.drivers import adrive, arun
from meibel_integrations.transports.httpx_async import AsyncHttpClient, AsyncHttpxTransport
from meibel_integrations.transports.interface import AsyncTransport
from meibel_integrations.transports.pools import AsyncPool, shared_async_pool

__all__ = ["AsyncAgents", "AsyncHostedClient", "AsyncLlamaCloudChatClient", "AsyncMeibelClient", "AsyncSessions"]

T = TypeVar("T")
D = TypeVar("D", bound=Dialect)


class AsyncHostedClient(ClientCore[D], AsyncClosing):
    """What the async clients of all services have in common; the twin of ``HostedClient``, with the same arguments.

    Nothing is bound to an event loop before a request is made on it, so one client serves several ``asyncio.run``
    calls. Also an async context manager. ``http_client`` is your own ``httpx.AsyncClient``.
    """

    def __init__(
        self,
        api_key: str | SecretStr | None = None,
        base_url: str | None = None,
        *,
        dialect: D | None = None,
        http_client: AsyncHttpClient | None = None,
        **settings: Unpack[ClientSettings],
    ) -> None:
        own = dialect or self.make_dialect()
        super().__init__(own, api_key, base_url, owns_http=http_client is None, **settings)
        self._transport: AsyncTransport | None = (
            shared_async_pool(self.config, self._key_header(), self)
            if http_client is None
            else AsyncHttpxTransport(self.config, self._key_header(), http_client)
        )

    async def run_flow(self, flow: Flow[T]) -> T:
        """Runs a flow to its result."""
        return await arun(flow, self._open_transport(), self._clock, total=self.config.timeouts.total)

    def iterate_flow(self, flow: Flow[Any]) -> AsyncGenerator[Any, None]:
        """Runs a flow and yields what it emits."""
        return adrive(flow, self._open_transport(), self._clock, total=self.config.timeouts.total)

    def stream_flow(self, flow: Flow[Any]) -> AsyncChatStream:
        """Runs a flow that streams a turn; ``await`` the stream to wait for the service's acceptance."""
        total = self.config.timeouts.total
        return AsyncChatStream(adrive(flow, self._open_transport(), self._clock, total=total, pause=True))

    async def aclose(self) -> None:
        """Gives up the running loop's connections that no other client uses. May be called again."""
        transport, self._transport = self._transport, None
        if isinstance(transport, AsyncPool):
            await transport.leave(self)

    close = aclose

    def _open_transport(self) -> AsyncTransport:
        if self._transport is None:
            raise ConfigurationError("This client is closed. Make a new one.")
        return self._transport


class AsyncMeibelClient(AsyncHostedClient[MeibelDialect]):
    """Sessions and chat of Meibel agents; the key is ``MEIBEL_API_KEY`` and the address ``MEIBEL_BASE_URL`` if they are
    not given. Settings: those of :class:`AsyncHostedClient`."""

    _dialect_type = MeibelDialect

    # Made anew each time: a client that its own attributes refer to would not be freed when it is dropped.

    @property
    def agents(self) -> AsyncAgents:
        """The agents of the key."""
        return AsyncAgents(self)

    @property
    def sessions(self) -> AsyncSessions:
        """Sessions and their turns."""
        return AsyncSessions(self)


class AsyncAgents(AgentOperations, AsyncMethods):
    """``client.agents``"""


class AsyncSessions(SessionOperations, AsyncMethods):
    """``client.sessions``"""


class AsyncLlamaCloudChatClient(LlamaCloudOperations, AsyncMethods, AsyncHostedClient[LlamaCloudDialect]):
    """The async twin of :class:`~meibel_integrations.client.sync.LlamaCloudChatClient`, with the same arguments."""

    _dialect_type = LlamaCloudDialect

    def __init__(
        self,
        api_key: str | SecretStr | None = None,
        base_url: str | None = None,
        *,
        organization_id: str | None = None,
        project_id: str | None = None,
        max_prompt_chars: int | None = MAX_PROMPT_CHARS,
        http_client: AsyncHttpClient | None = None,
        **settings: Unpack[ClientSettings],
    ) -> None:
        dialect = LlamaCloudDialect(organization_id, project_id, max_prompt_chars)
        super().__init__(api_key, base_url, dialect=dialect, http_client=http_client, **settings)
