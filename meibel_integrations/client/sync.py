"""The sync clients. What their methods do is written in ``operations``, as flows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar, Unpack

from pydantic import SecretStr

from meibel_integrations.client.bindings import SyncMethods
from meibel_integrations.client.closing import Closing
from meibel_integrations.client.hosted import ClientCore, ClientSettings
from meibel_integrations.client.operations import AgentOperations, LlamaCloudOperations, SessionOperations
from meibel_integrations.client.streams import ChatStream
from meibel_integrations.errors import ConfigurationError
from meibel_integrations.protocol.commands import Flow
from meibel_integrations.protocol.dialects.interface import Dialect
from meibel_integrations.protocol.dialects.llamacloud import MAX_PROMPT_CHARS, LlamaCloudDialect
from meibel_integrations.protocol.dialects.meibel import MeibelDialect
from meibel_integrations.transports.drivers import drive, run
from meibel_integrations.transports.httpx_sync import HttpClient, HttpxTransport
from meibel_integrations.transports.interface import Transport
from meibel_integrations.transports.pools import SyncPool, shared_pool

__all__ = ["Agents", "HostedClient", "LlamaCloudChatClient", "MeibelClient", "Sessions"]

T = TypeVar("T")
D = TypeVar("D", bound=Dialect)


class HostedClient(ClientCore[D], Closing):
    """What the clients of all services have in common. Thread-safe; also a context manager.

    Args:
        api_key: the key; from the environment if not given.
        base_url: the service; from the environment or the hosted one if not given.
        dialect: the service's requests, and how its answers read.
        http_client: your own ``httpx.Client``; it stays yours to close. The key is still attached per request.
        settings: see :class:`~meibel_integrations.client.hosted.ClientSettings`.

    Raises:
        ConfigurationError: no key, or an address that the key must not be sent to.
    """

    def __init__(
        self,
        api_key: str | SecretStr | None = None,
        base_url: str | None = None,
        *,
        dialect: D | None = None,
        http_client: HttpClient | None = None,
        **settings: Unpack[ClientSettings],
    ) -> None:
        own = dialect or self.make_dialect()
        super().__init__(own, api_key, base_url, owns_http=http_client is None, **settings)
        self._transport: Transport | None = (
            shared_pool(self.config, self._key_header(), self)
            if http_client is None
            else HttpxTransport(self.config, self._key_header(), http_client)
        )

    def run_flow(self, flow: Flow[T]) -> T:
        """Runs a flow to its result."""
        return run(flow, self._open_transport(), self._clock, total=self.config.timeouts.total)

    def iterate_flow(self, flow: Flow[Any]) -> Iterator[Any]:
        """Runs a flow and yields what it emits."""
        return drive(flow, self._open_transport(), self._clock, total=self.config.timeouts.total)

    def stream_flow(self, flow: Flow[Any]) -> ChatStream:
        """Runs a flow that streams a turn; returns once the service has accepted it."""
        total = self.config.timeouts.total
        return ChatStream(drive(flow, self._open_transport(), self._clock, total=total, pause=True)).open()

    def close(self) -> None:
        """Gives up the connections that no other client or open stream uses. May be called again."""
        transport, self._transport = self._transport, None
        if isinstance(transport, SyncPool):
            transport.leave(self)

    def _open_transport(self) -> Transport:
        if self._transport is None:
            raise ConfigurationError("This client is closed. Make a new one.")
        return self._transport


class MeibelClient(HostedClient[MeibelDialect]):
    """Sessions and chat of Meibel agents; the key is ``MEIBEL_API_KEY`` and the address ``MEIBEL_BASE_URL`` if they are
    not given. Settings: those of :class:`HostedClient`."""

    _dialect_type = MeibelDialect

    # Made anew each time: a client that its own attributes refer to would not be freed when it is dropped.

    @property
    def agents(self) -> Agents:
        """The agents of the key."""
        return Agents(self)

    @property
    def sessions(self) -> Sessions:
        """Sessions and their turns."""
        return Sessions(self)


class Agents(AgentOperations, SyncMethods):
    """``client.agents``"""


class Sessions(SessionOperations, SyncMethods):
    """``client.sessions``"""


class LlamaCloudChatClient(LlamaCloudOperations, SyncMethods, HostedClient[LlamaCloudDialect]):
    """LlamaCloud's Index v2 chat: an agent over one or more indexes, with sessions.

    The key is ``LLAMA_CLOUD_API_KEY`` and the address ``LLAMA_CLOUD_BASE_URL`` if they are not given. Settings: those
    of :class:`HostedClient`, and:

    Args:
        organization_id, project_id: sent with every call.
        max_prompt_chars: the longest prompt, 1,000 characters unless set; a longer one is refused before it is sent.
    """

    _dialect_type = LlamaCloudDialect

    def __init__(
        self,
        api_key: str | SecretStr | None = None,
        base_url: str | None = None,
        *,
        organization_id: str | None = None,
        project_id: str | None = None,
        max_prompt_chars: int | None = MAX_PROMPT_CHARS,
        http_client: HttpClient | None = None,
        **settings: Unpack[ClientSettings],
    ) -> None:
        dialect = LlamaCloudDialect(organization_id, project_id, max_prompt_chars)
        super().__init__(api_key, base_url, dialect=dialect, http_client=http_client, **settings)
