"""The async Meibel client. Every method runs a flow; what it does is written there."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from pydantic import SecretStr

from meibel_integrations.client.arguments import File
from meibel_integrations.client.calls import MeibelCalls
from meibel_integrations.client.streams import AsyncChatStream
from meibel_integrations.config import ClientConfig, RetryPolicy, Timeouts, resolve
from meibel_integrations.errors import ConfigurationError
from meibel_integrations.models import Message, Reply, Session
from meibel_integrations.protocol import flows
from meibel_integrations.protocol.dialects.meibel import MeibelDialect
from meibel_integrations.protocol.reconcile import OnAmbiguous, Recovery
from meibel_integrations.protocol.text import Partials
from meibel_integrations.transports.base import AsyncTransport, Clock, SystemClock, adrive, arun
from meibel_integrations.transports.httpx_async import AsyncHttpxTransport
from meibel_integrations.transports.pools import AsyncPool, shared_async_pool

if TYPE_CHECKING:
    import httpx

__all__ = ["AsyncMeibelClient"]

T = TypeVar("T")


class AsyncMeibelClient:
    """The async twin of :class:`~meibel_integrations.MeibelClient`, with the same arguments.

    Nothing is bound to an event loop before a request is made on it, so one client serves several ``asyncio.run``
    calls. Also an async context manager. ``http_client`` is your own ``httpx.AsyncClient``.
    """

    dialect = MeibelDialect()

    def __init__(
        self,
        api_key: str | SecretStr | None = None,
        base_url: str | None = None,
        *,
        timeout: Timeouts | float | None = None,
        max_retries: int = 2,
        partials: Partials = "auto",
        on_ambiguous: OnAmbiguous = "raise",
        reconcile_grace: float = 5.0,
        reconcile_deadline: float = 120.0,
        allow_insecure_http: bool = False,
        http_client: httpx.AsyncClient | None = None,
        clock: Clock | None = None,
        config: ClientConfig | None = None,
    ) -> None:
        self.config: ClientConfig = config or resolve(
            self.dialect,
            api_key=api_key,
            base_url=base_url,
            timeout=timeout,
            max_retries=max_retries,
            allow_insecure_http=allow_insecure_http,
        )
        self.partials: Partials = partials
        recovery = Recovery(reconcile_grace, reconcile_deadline, on_ambiguous)
        self._clock = clock or SystemClock()
        header = self.dialect.key_header(self.config.api_key.get_secret_value())
        self._transport: AsyncTransport | None = (
            shared_async_pool(self.config, header, self)
            if http_client is None
            else AsyncHttpxTransport(self.config, header, http_client)
        )
        calls = MeibelCalls(self.dialect, self.policy, partials, recovery)
        self.agents = AsyncAgents(self, calls)
        self.sessions = AsyncSessions(self, calls)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(base_url={self.config.base_url!r})"

    @property
    def policy(self) -> RetryPolicy:
        """How requests are retried."""
        return self.config.retry

    async def run(self, flow: flows.Flow[T]) -> T:
        """Runs a flow to its result."""
        return await arun(flow, self._open_transport(), self._clock, total=self.config.timeouts.total)

    def iterate(self, flow: flows.Flow[Any]) -> AsyncGenerator[Any, None]:
        """Runs a flow and yields what it emits."""
        return adrive(flow, self._open_transport(), self._clock, total=self.config.timeouts.total)

    def stream(self, flow: flows.Flow[Any]) -> AsyncChatStream:
        """Runs a flow that streams a turn; ``await`` the stream to wait for the service's acceptance."""
        return AsyncChatStream(self.iterate(flow))

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
            raise ConfigurationError("This client is closed.")
        return self._transport


class AsyncAgents:
    """``client.agents``"""

    def __init__(self, client: AsyncMeibelClient, calls: MeibelCalls) -> None:
        self._client = client
        self._calls = calls

    async def create_session(
        self, agent_id: str | None = None, body: Any = None, *, agent_name: str | None = None
    ) -> Session:
        """See :meth:`meibel_integrations.client.sync.Agents.create_session`."""
        return await self._client.run(self._calls.create_session(agent_id, agent_name, body))

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
        return self._client.iterate(self._calls.list_sessions(agent_id, page_size, **filters))


class AsyncSessions:
    """``client.sessions``"""

    def __init__(self, client: AsyncMeibelClient, calls: MeibelCalls) -> None:
        self._client = client
        self._calls = calls

    async def send_chat_message(
        self, session_id: str, body: Any = None, *, user_message: str | None = None, **options: Any
    ) -> Reply:
        """See :meth:`meibel_integrations.client.sync.Sessions.send_chat_message`."""
        return await self._client.run(self._calls.send(session_id, body, user_message, options))

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
        return self._client.stream(self._calls.stream(session_id, body, user_message, files, options))

    async def get_session_messages(self, session_id: str, *, include_tools: bool = False) -> list[Message]:
        """See :meth:`meibel_integrations.client.sync.Sessions.get_session_messages`."""
        return await self._client.run(self._calls.messages(session_id, include_tools))

    async def get_session(self, session_id: str) -> Session:
        """See :meth:`meibel_integrations.client.sync.Sessions.get_session`."""
        return await self._client.run(self._calls.session(session_id))
