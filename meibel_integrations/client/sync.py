"""The sync Meibel client. Every method runs a flow; what it does is written there."""

from __future__ import annotations

import builtins
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack

from pydantic import SecretStr

from meibel_integrations.client.arguments import File
from meibel_integrations.client.calls import LlamaCloudCalls, MeibelCalls
from meibel_integrations.client.settings import ClientBase, ClientSettings
from meibel_integrations.client.streams import ChatStream
from meibel_integrations.errors import ConfigurationError
from meibel_integrations.models import Message, Reply, Session
from meibel_integrations.protocol import flows
from meibel_integrations.protocol.agents import SharedAccess
from meibel_integrations.protocol.dialects.llamacloud import MAX_PROMPT_CHARS, LlamaCloudDialect
from meibel_integrations.protocol.dialects.meibel import MeibelDialect
from meibel_integrations.transports.base import Transport, drive, run
from meibel_integrations.transports.httpx_sync import HttpxTransport
from meibel_integrations.transports.pools import SyncPool, shared_pool

if TYPE_CHECKING:
    import httpx

__all__ = ["HostedClient", "LlamaCloudChatClient", "MeibelClient"]

T = TypeVar("T")


class HostedClient(ClientBase):
    """What the clients of all services have in common. Thread-safe; also a context manager.

    Args:
        api_key: the key; from the environment if not given.
        base_url: the service; from the environment or the hosted one if not given.
        http_client: your own ``httpx.Client``; it stays yours to close. The key is still attached per request.
        settings: see :class:`~meibel_integrations.client.settings.ClientSettings`.

    Raises:
        ConfigurationError: no key, or an address that the key must not be sent to.
    """

    def __init__(
        self,
        api_key: str | SecretStr | None = None,
        base_url: str | None = None,
        *,
        http_client: httpx.Client | None = None,
        **settings: Unpack[ClientSettings],
    ) -> None:
        super().__init__(api_key, base_url, **settings)
        self._transport: Transport | None = (
            shared_pool(self.config, self._key_header(), self)
            if http_client is None
            else HttpxTransport(self.config, self._key_header(), http_client)
        )

    def run_flow(self, flow: flows.Flow[T]) -> T:
        """Runs a flow to its result."""
        return run(flow, self._open_transport(), self._clock, total=self.config.timeouts.total)

    def iterate_flow(self, flow: flows.Flow[Any]) -> Iterator[Any]:
        """Runs a flow and yields what it emits."""
        return drive(flow, self._open_transport(), self._clock, total=self.config.timeouts.total)

    def stream_flow(self, flow: flows.Flow[Any]) -> ChatStream:
        """Runs a flow that streams a turn; returns once the service has accepted it."""
        total = self.config.timeouts.total
        return ChatStream(drive(flow, self._open_transport(), self._clock, total=total)).open()

    def close(self) -> None:
        """Gives up the connections that no other client or open stream uses. May be called again."""
        transport, self._transport = self._transport, None
        if isinstance(transport, SyncPool):
            transport.leave(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open_transport(self) -> Transport:
        if self._transport is None:
            raise ConfigurationError("This client is closed. Make a new one, or close it later.")
        return self._transport


class MeibelClient(HostedClient):
    """Sessions and chat of Meibel agents; the key is ``MEIBEL_API_KEY`` and the address ``MEIBEL_BASE_URL`` if they are
    not given. Settings: those of :class:`HostedClient`."""

    dialect = MeibelDialect()

    def _ready(self) -> None:
        calls = MeibelCalls(self.dialect, self.policy, self.partials, self.recovery)
        self.agents = Agents(self, calls)
        self.sessions = Sessions(self, calls)


class Agents:
    """``client.agents``"""

    def __init__(self, client: MeibelClient, calls: MeibelCalls) -> None:
        self._client = client
        self._calls = calls

    def create_session(
        self, agent_id: str | None = None, body: Any = None, *, agent_name: str | None = None
    ) -> Session:
        """Opens a session with an agent, named by id or by name (its newest published version).

        ``body`` may be a :class:`~meibel_integrations.models.CreateSessionRequest` or a mapping of its fields.
        """
        return self._client.run_flow(self._calls.create_session(agent_id, agent_name, body))

    def list_sessions(
        self,
        agent_id: str,
        *,
        page_size: int = 50,
        sort_by: str | None = None,
        sort_order: str | None = None,
        status: str | None = None,
    ) -> Iterator[Session]:
        """Iterates over all sessions of an agent, fetching pages of ``page_size`` as they are needed."""
        filters = {"sort_by": sort_by, "sort_order": sort_order, "status": status}
        return self._client.iterate_flow(self._calls.list_sessions(agent_id, page_size, **filters))


class Sessions:
    """``client.sessions``"""

    def __init__(self, client: MeibelClient, calls: MeibelCalls) -> None:
        self._client = client
        self._calls = calls

    def send_chat_message(
        self, session_id: str, body: Any = None, *, user_message: str | None = None, **options: Any
    ) -> Reply:
        """Sends a message and waits for the whole answer.

        ``timeout_seconds`` bounds the service's work, not the connection's silence, which is the client's ``timeout``;
        :meth:`send_chat_message_stream` is the better choice for long answers.

        Raises:
            TurnOutcomeUnknown: the connection broke, or the service failed, before it answered.
        """
        return self._client.run_flow(self._calls.send(session_id, body, user_message, options))

    def send_chat_message_stream(
        self,
        session_id: str,
        body: Any = None,
        *,
        user_message: str | None = None,
        files: Sequence[File] | None = None,
        **options: Any,
    ) -> ChatStream:
        """Sends a message and streams the answer. Returns once the service has accepted the turn.

        ``files`` are paths, ``(name, bytes)`` pairs or binary file objects.
        """
        return self._client.stream_flow(self._calls.stream(session_id, body, user_message, files, options))

    def get_session_messages(self, session_id: str, *, include_tools: bool = False) -> list[Message]:
        """The session's messages in order. Their text is raw: what was sent and answered, byte for byte."""
        return self._client.run_flow(self._calls.messages(session_id, include_tools))

    def get_session(self, session_id: str) -> Session:
        """The session's details."""
        return self._client.run_flow(self._calls.session(session_id))


class LlamaCloudChatClient(HostedClient):
    """LlamaCloud's Index v2 chat: an agent over one or more indexes, with sessions.

    The key is ``LLAMA_CLOUD_API_KEY`` and the address ``LLAMA_CLOUD_BASE_URL`` if they are not given. Settings: those
    of :class:`HostedClient`, and:

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
        http_client: httpx.Client | None = None,
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

    def create(self, index_ids: Sequence[str] | None = None, *, shared_access: SharedAccess | None = None) -> Session:
        """Opens a session that is bound to these indexes (at most 10), or an unbound one."""
        return self.run_flow(self._calls.create(index_ids, shared_access))

    def list(self, *, page_size: int = 50) -> Iterator[Session]:
        """Iterates over all sessions of the key, fetching pages of ``page_size`` as they are needed."""
        return self.iterate_flow(self._calls.list(page_size))

    def retrieve(self, session_id: str) -> Session:
        """The session with its ``events``."""
        return self.run_flow(self._calls.retrieve(session_id))

    def get_summary(self, session_id: str) -> Session:
        """The session without its events."""
        return self.run_flow(self._calls.get_summary(session_id))

    def get_messages(self, session_id: str) -> builtins.list[Message]:
        """The session's messages in order, read from its events."""
        return self.run_flow(self._calls.messages(session_id))

    def delete(self, session_id: str) -> None:
        """Deletes the session for good."""
        self.run_flow(self._calls.delete(session_id))

    def stream(
        self,
        session_id: str,
        *,
        prompt: str,
        index_ids: Sequence[str] = (),
        require_all_indexes: bool = False,
    ) -> ChatStream:
        """Sends a prompt and streams the answer, with the same events as Meibel's clients.

        ``index_ids`` are the indexes of this message; for a bound session they may be left out.

        Raises:
            PromptTooLongError: the prompt is longer than ``max_prompt_chars``; nothing was sent.
        """
        return self.stream_flow(self._calls.stream(session_id, prompt, index_ids, require_all_indexes))
