"""A hosted session as a LangChain chat history.

The session holds the conversation already: every turn of the chat model writes it. So this history is read from the
service, and adding to it means no more than noting that the service has what is added. LangChain deprecates the base
class; with LangGraph, a checkpointer and the chat model need no history at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Self, Unpack

from langchain_core.chat_history import BaseChatMessageHistory
from langchain_core.messages import AIMessage, BaseMessage, ChatMessage, HumanMessage

from meibel_integrations.client import AsyncLlamaCloudChatClient, AsyncMeibelClient, LlamaCloudChatClient, MeibelClient
from meibel_integrations.client.keywords import ClientKeywords, LlamaCloudAgentKeywords, MeibelAgentKeywords
from meibel_integrations.client.lazy_clients import LazyClients
from meibel_integrations.client.options import (
    CONNECTION,
    ClientOptions,
    LlamaCloudAgentOptions,
    MeibelAgentOptions,
    checked,
)
from meibel_integrations.conversation.messages import NeutralMessage, decode, digest, read_history, without_system
from meibel_integrations.errors import InvalidInputError, NotFoundError
from meibel_integrations.langchain.messages import to_neutral
from meibel_integrations.ledgers.interface import head_marker
from meibel_integrations.models import Message, Session
from meibel_integrations.protocol.agents import AgentRef
from meibel_integrations.protocol.commands import Flow
from meibel_integrations.protocol.dialects.llamacloud import LlamaCloudDialect
from meibel_integrations.protocol.sessions import create_session, get_history, get_session

__all__ = ["LlamaCloudChatMessageHistory", "MeibelChatMessageHistory"]


class MeibelHistoryOptions(MeibelAgentOptions, ClientOptions):
    """All settings of a Meibel history."""

    session_id: str | None = None


class LlamaCloudHistoryOptions(LlamaCloudAgentOptions, ClientOptions):
    """All settings of a LlamaCloud history."""

    session_id: str | None = None


class MeibelHistorySettings(ClientKeywords, MeibelAgentKeywords, total=False):
    """The settings, for type checkers."""


class LlamaCloudHistorySettings(ClientKeywords, LlamaCloudAgentKeywords, total=False):
    """The settings, for type checkers."""


class HostedChatMessageHistory(BaseChatMessageHistory):
    """The messages of one hosted session, as they were written; what the histories of all services share.

    A history that was made by :meth:`create` opens no session: it is bound to the session of the first answer that is
    added to it. Reading ``session_id`` before that opens one.
    """

    provider: ClassVar[str]
    client_type: ClassVar[Any]
    async_client_type: ClassVar[Any]
    options_type: ClassVar[type[MeibelHistoryOptions | LlamaCloudHistoryOptions]]

    def __init__(self, **settings: Any) -> None:
        options = self._settings = checked(self.options_type, type(self).__name__, settings)
        self._session_id = options.session_id
        self._agent = self._seen_agent = options.agent_ref()
        connection = {name: getattr(options, name) for name in CONNECTION & options.model_fields_set}
        self._clients: LazyClients[Any, Any] = LazyClients(
            self.client_type,
            self.async_client_type,
            client=options.client,
            async_client=options.async_client,
            api_key=options.api_key,
            service_settings=options.service_settings(),
            **connection,
        )

    def __str__(self) -> str:
        """Without the messages, which would have to be fetched."""
        return repr(self)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(session_id={self._session_id!r})"

    @classmethod
    def create(cls, **settings: Any) -> Self:
        """A history for a conversation that is about to begin; takes the constructor's settings but ``session_id``."""
        if settings.get("session_id") is not None:
            raise InvalidInputError("create() is for a new conversation; for an existing session, name it directly.")
        return cls(**settings)

    @property
    def session_id(self) -> str:
        """The session; opened now if the history is not bound to one yet."""
        if self._session_id is None:
            self._session_id = self._clients.client.run_flow(self._open()).id
        return self._session_id

    async def aget_session_id(self) -> str:
        """The async twin of :attr:`session_id`."""
        if self._session_id is None:
            self._session_id = (await self._clients.async_client.run_flow(self._open())).id
        return self._session_id

    # mypy: the base class has an attribute here, and documents that a property may take its place
    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        """The conversation; instructions are not part of it. Empty until the history is bound to a session."""
        if self._session_id is None:
            return []
        return self._to_langchain(self._clients.client.run_flow(self._read()))

    async def aget_messages(self) -> list[BaseMessage]:
        """The async twin of :attr:`messages`."""
        if self._session_id is None:
            return []
        return self._to_langchain(await self._clients.async_client.run_flow(self._read()))

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        """Notes messages that the session has, and binds an unbound history to the session of their answer.

        Raises:
            InvalidInputError: the session does not have them. A message gets into a session by a turn only.
        """
        if not self._vouched(messages):
            self._require(messages, self._clients.client.run_flow(self._read()))

    async def aadd_messages(self, messages: Sequence[BaseMessage]) -> None:
        """The async twin of :meth:`add_messages`."""
        if not self._vouched(messages):
            self._require(messages, await self._clients.async_client.run_flow(self._read()))

    def clear(self) -> None:
        """Lets go of the session: the next conversation gets a new one.

        Nothing is deleted at the service, which has no call for that.

        Raises:
            InvalidInputError: the history was made with a ``session_id`` alone: nothing is known to begin anew with.
        """
        self._let_go()

    async def aclear(self) -> None:
        """The async twin of :meth:`clear`."""
        self._let_go()

    def _let_go(self) -> None:
        if not self._agent.known:
            raise InvalidInputError(
                "This history knows a session but not whom to open another one with, so it cannot begin anew. "
                "Pass agent_id=…, agent_name=… or index_ids=… as well, or make another history."
            )
        self._session_id = None

    def close(self) -> None:
        """Gives up the connections."""
        self._clients.close()

    async def aclose(self) -> None:
        """Gives up the connections of both kinds."""
        await self._clients.aclose()

    def _open(self) -> Flow[Any]:
        session = yield from create_session(self._clients.service, self._agent, self._settings.opening())
        yield from self._clients.book.entry(session.id).opened()
        return session

    def _read(self) -> Flow[list[Message]]:
        assert self._session_id is not None
        service = self._clients.service
        if self._seen_agent.id is None and self._seen_agent.index_ids is None:
            # a model finds its session behind these answers only if they name its agent
            session = yield from get_session(service, self._session_id)
            self._seen_agent = self._agent.completed_by(session.agent_id, session.agent_name)
            if session.index_ids is not None:
                self._seen_agent = AgentRef(index_ids=tuple(session.index_ids))
        return (yield from get_history(service, self._session_id))

    def _neutral(self, messages: Sequence[BaseMessage]) -> list[NeutralMessage]:
        return to_neutral(messages, provider=self.provider, agent=self._agent if self._agent.known else None)

    def _vouched(self, messages: Sequence[BaseMessage]) -> bool:
        """Whether the messages' own metadata says that the session has them; no request is needed then."""
        waiting: set[str] = set()
        items = self._neutral(messages)
        for item in items:
            if item.anchor is not None and self._session_id is None:
                self._session_id = item.anchor.session_id
            mine = item.anchor is not None and item.anchor.session_id == self._session_id
            lineage = item.anchor.lineage if item.anchor is not None else None
            if mine and lineage is not None and digest(item) in lineage.answers:
                waiting -= set(lineage.carried)
            else:
                waiting.add(digest(item))
        if self._session_id is None and items:
            raise InvalidInputError(
                "This history is not bound to a session yet, and none of the messages names one. Add the answer as "
                "the chat model returns it (not through a parser), or make the history with session_id=… and pin the "
                "model to the same session."
            )
        return not waiting

    def _require(self, messages: Sequence[BaseMessage], held: Sequence[Message]) -> None:
        has = {(item.role, item.text.strip()) for item in read_history(held)}
        for item in self._neutral(messages):
            # what was attached is no part of the service's history
            if (item.role, item.text.strip()) not in has:
                raise InvalidInputError(
                    f"Session {self._session_id!r} does not have the {item.role} message {item.text[:60]!r}. A message "
                    "gets into a session only by a turn: send it with the chat model or the client."
                )

    def _to_langchain(self, held: Sequence[Message]) -> list[BaseMessage]:
        found: list[BaseMessage] = []
        asked = 0
        for message in held:
            if message.role == "user":
                asked += 1
                key = message.signal_id or f"{self._session_id}-{asked}"
                for i, item in enumerate(without_system(decode(message.message))):
                    found.append(_said(item, f"{key}-human" if not i else f"{key}-human-{i}"))
            else:
                found.append(self._answer(message, asked))
        return found

    def _answer(self, message: Message, ordinal: int) -> AIMessage:
        answer = digest(NeutralMessage("assistant", message.message))
        return AIMessage(
            message.message,
            # the question has the same signal; messages with equal ids replace each other in a graph's state
            id=f"{message.signal_id or f'{self._session_id}-{ordinal}'}-ai",
            response_metadata={
                "model_provider": self.provider,
                **self._seen_agent.to_json(),
                "session_id": self._session_id,
                "signal_id": message.signal_id,
                "marker": None if message.signal_id else head_marker(None, ordinal, answer),
            },
        )


class MeibelChatMessageHistory(HostedChatMessageHistory):
    """The messages of one Meibel session, as they were written.

    A history that was made by :meth:`create` opens no session: it is bound to the session of the first answer that is
    added to it. Reading ``session_id`` before that opens one.

    Args:
        session_id: the session to read.
        settings: ``agent_id`` or ``agent_name`` and ``session_options``, as in ``ChatMeibel``, and the connection:
            ``api_key``, ``base_url``, ``timeout`` …, or ``client`` and ``async_client``.

    Raises:
        ConfigurationError: neither a session nor an agent is named, there is no key, or a setting is unknown or wrong.
    """

    provider: ClassVar[str] = "meibel"
    client_type: ClassVar[Any] = MeibelClient
    async_client_type: ClassVar[Any] = AsyncMeibelClient
    options_type = MeibelHistoryOptions

    def __init__(self, session_id: str | None = None, **settings: Unpack[MeibelHistorySettings]) -> None:
        super().__init__(session_id=session_id, **settings)


class LlamaCloudChatMessageHistory(HostedChatMessageHistory):
    """The messages of one LlamaCloud chat session, as they were written.

    The same as :class:`MeibelChatMessageHistory`, with ``index_ids`` for the agent - and :meth:`clear` really deletes.
    """

    provider: ClassVar[str] = "llamacloud"
    client_type: ClassVar[Any] = LlamaCloudChatClient
    async_client_type: ClassVar[Any] = AsyncLlamaCloudChatClient
    options_type = LlamaCloudHistoryOptions

    def __init__(self, session_id: str | None = None, **settings: Unpack[LlamaCloudHistorySettings]) -> None:
        super().__init__(session_id=session_id, **settings)

    def get_summary(self) -> Session:
        """The session without its events: its title, its indexes, and ``job_metadata`` of its last turn."""
        return self._clients.client.get_summary(self.session_id)  # type: ignore[no-any-return]

    async def aget_summary(self) -> Session:
        """The async twin of :meth:`get_summary`."""
        session_id = await self.aget_session_id()
        return await self._clients.async_client.get_summary(session_id)  # type: ignore[no-any-return]

    def clear(self) -> None:
        """Deletes the session at the service, for good. The next conversation gets a new one."""
        if self._session_id is not None:
            self._clients.client.run_flow(self._delete(self._session_id))
            self._session_id = None

    async def aclear(self) -> None:
        """The async twin of :meth:`clear`."""
        if self._session_id is not None:
            await self._clients.async_client.run_flow(self._delete(self._session_id))
            self._session_id = None

    def _delete(self, session_id: str) -> Flow[None]:
        """Also where somebody else, or an attempt whose answer got lost, has deleted it already."""
        service = self._clients.service
        assert isinstance(service.dialect, LlamaCloudDialect)
        try:
            yield from service.fetch(service.dialect.delete_session(session_id))
        except NotFoundError:
            return


def _said(item: NeutralMessage, id_: str) -> BaseMessage:
    """A message that was carried in a turn, in the caller's own form."""
    if item.role == "user":
        return HumanMessage(item.text, name=item.name, id=id_)
    if item.role == "assistant":
        return AIMessage(item.text, name=item.name, id=id_)
    return ChatMessage(role=item.role, content=item.text, name=item.name, id=id_)
