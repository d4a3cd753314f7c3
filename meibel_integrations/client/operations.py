"""What the clients can do, written once: arguments are checked, and a flow comes out.

Every turn that a client sends is recorded in the ledger as the adapters' turns are, so that a lost answer can be told
from an earlier, equal one, and so that a model or engine in the same process sees that its session went on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from meibel_integrations.client.bindings import listing, operation, streaming
from meibel_integrations.client.hosted import ClientCore
from meibel_integrations.client.inputs import File, file_reader, index_ids_of, session_options, turn_body
from meibel_integrations.ledgers.interface import head_marker
from meibel_integrations.models import Agent, DoneEvent, Message, Reply, Session
from meibel_integrations.protocol import sessions, transcript
from meibel_integrations.protocol.agents import AgentRef, ChatSessionOptions, SharedAccess
from meibel_integrations.protocol.commands import Emit, Flow
from meibel_integrations.protocol.dialects.interface import TurnRequest
from meibel_integrations.protocol.dialects.llamacloud import LlamaCloudDialect
from meibel_integrations.protocol.dialects.meibel import MeibelDialect
from meibel_integrations.protocol.requests import FilePart
from meibel_integrations.protocol.turn import check_turn, send_turn, stream_turn

__all__ = ["AgentOperations", "LlamaCloudOperations", "SessionOperations"]

Messages = list[Message]  # in the classes below `list` is a method


class _Namespace:
    """A part of a client."""

    def __init__(self, client: ClientCore[MeibelDialect]) -> None:
        self._core = client


class AgentOperations(_Namespace):
    """``client.agents``"""

    @listing(Agent)
    def list(self, *, page_size: int = 50) -> Flow[int]:
        """Iterates over the agents of the key, fetching pages of ``page_size`` as they are needed."""
        dialect = self._core.dialect
        return sessions.paginate(
            self._core.service, lambda cursor: dialect.list_agents(cursor, page_size), dialect.read_agents
        )

    @operation
    def get(self, agent_id: str) -> Flow[Agent]:
        """One agent."""
        body = yield from self._core.service.fetch(self._core.dialect.get_agent(agent_id))
        return self._core.dialect.read_agent(body)

    @operation
    def create_session(
        self, agent_id: str | None = None, body: Any = None, *, agent_name: str | None = None
    ) -> Flow[Session]:
        """Opens a session with an agent, named by id or by name (its newest published version).

        ``body`` may be a :class:`~meibel_integrations.models.CreateSessionRequest` or a mapping of its fields.
        """
        return _open(self._core, AgentRef(agent_id, agent_name), session_options(body))

    @listing(Session)
    def list_sessions(
        self,
        agent_id: str,
        *,
        page_size: int = 50,
        sort_by: str | None = None,
        sort_order: str | None = None,
        status: str | None = None,
    ) -> Flow[int]:
        """Iterates over all sessions of an agent, fetching pages of ``page_size`` as they are needed."""
        dialect = self._core.dialect
        filters = {"sort_by": sort_by, "sort_order": sort_order, "status": status}
        return sessions.paginate(
            self._core.service,
            lambda cursor: dialect.list_sessions(agent_id, cursor, page_size, **filters),
            lambda page, cursor: dialect.read_sessions(page, cursor, AgentRef(agent_id)),
        )


class SessionOperations(_Namespace):
    """``client.sessions``"""

    @operation
    def send_chat_message(
        self, /, session_id: str, body: Any = None, *, user_message: str | None = None, **options: Any
    ) -> Flow[Reply]:
        """Sends a message and waits for the whole answer.

        ``timeout_seconds`` bounds the service's work, not the connection's silence, which is the client's ``timeout``;
        :meth:`send_chat_message_stream` is the better choice for long answers.

        Raises:
            TurnOutcomeUnknown: the connection broke, or the service failed, before it answered.
        """
        core = self._core
        request = TurnRequest(session_id, turn_body(body, user_message, options))
        done = yield from _recorded(
            core,
            request,
            lambda before: send_turn(core.service, request, recovery=core.recovery, turns_before=before),
        )
        return done.reply

    @streaming
    def send_chat_message_stream(
        self,
        /,
        session_id: str,
        body: Any = None,
        *,
        user_message: str | None = None,
        files: Sequence[File] | None = None,
        **options: Any,
    ) -> Flow[Reply]:
        """Sends a message and streams the answer. Returns once the service has accepted the turn.

        ``files`` are paths, ``(name, bytes)`` pairs or binary file objects.
        """
        request = TurnRequest(session_id, turn_body(body, user_message, options))
        return _stream(self._core, request, file_reader(files))

    @operation
    def get_session_messages(self, session_id: str, *, include_tools: bool = False) -> Flow[Messages]:
        """The session's messages in order. Their text is raw: what was sent and answered, byte for byte."""
        return _read(self._core, session_id, include_tools=include_tools)

    @operation
    def get_session(self, session_id: str) -> Flow[Session]:
        """The session's details."""
        return sessions.get_session(self._core.service, session_id)


class LlamaCloudOperations:
    """The calls of a LlamaCloud chat client."""

    @property
    def _core(self) -> ClientCore[LlamaCloudDialect]:
        assert isinstance(self, ClientCore)  # a client is its own core
        return self

    @operation
    def create(
        self, index_ids: Sequence[str] | None = None, *, shared_access: SharedAccess | None = None
    ) -> Flow[Session]:
        """Opens a session that is bound to these indexes (at most 10), or an unbound one."""
        agent = AgentRef(index_ids=index_ids_of(index_ids))
        return _open(self._core, agent, ChatSessionOptions(shared_access=shared_access))

    @listing(Session)
    def list(self, *, page_size: int = 50) -> Flow[int]:
        """Iterates over all sessions of the key, fetching pages of ``page_size`` as they are needed."""
        dialect = self._core.dialect
        return sessions.paginate(
            self._core.service, lambda cursor: dialect.list_sessions(cursor, page_size), dialect.read_sessions
        )

    @operation
    def retrieve(self, session_id: str) -> Flow[Session]:
        """The session with its ``events``."""
        return sessions.get_session(self._core.service, session_id)

    @operation
    def get_summary(self, session_id: str) -> Flow[Session]:
        """The session without its events."""
        return sessions.get_session(self._core.service, session_id, self._core.dialect.get_summary(session_id))

    @operation
    def get_messages(self, session_id: str) -> Flow[Messages]:
        """The session's messages in order, read from its events."""
        return _read(self._core, session_id)

    @operation
    def delete(self, session_id: str) -> Flow[None]:
        """Deletes the session for good."""
        yield from self._core.service.fetch(self._core.dialect.delete_session(session_id))

    @streaming
    def stream(
        self,
        session_id: str,
        *,
        prompt: str,
        index_ids: Sequence[str] = (),
        require_all_indexes: bool = False,
    ) -> Flow[Reply]:
        """Sends a prompt and streams the answer, with the same events as Meibel's clients.

        ``index_ids`` are the indexes of this message; for a bound session they may be left out.

        Raises:
            PromptTooLongError: the prompt is longer than ``max_prompt_chars``; nothing was sent.
        """
        request = TurnRequest(
            session_id,
            turn_body(None, prompt, {}),
            AgentRef(index_ids=index_ids_of(index_ids)),
            require_all_indexes=require_all_indexes,
        )
        return _stream(self._core, request, None)


def _open(core: ClientCore[Any], agent: AgentRef, options: Any) -> Flow[Session]:
    session = yield from sessions.create_session(core.service, agent, options)
    yield from core.book.entry(session.id).opened()
    return session


def _read(core: ClientCore[Any], session_id: str, *, include_tools: bool = False) -> Flow[Messages]:
    messages = yield from sessions.get_history(core.service, session_id, include_tools=True)
    spoken = [message for message in messages if message.role in ("user", "assistant")]
    if not spoken or spoken[-1].role == "assistant":
        # a turn that is running would be counted, too
        yield from core.book.entry(session_id).count_turns(sum(m.role == "user" for m in spoken))
    return messages if include_tools else spoken


def _stream(
    core: ClientCore[Any], request: TurnRequest, read_files: Callable[[], Sequence[FilePart]] | None
) -> Flow[Reply]:
    def turn(before: int | None) -> Flow[DoneEvent]:
        return core.book.reading_partials(
            request.agent.label,
            lambda proven: stream_turn(
                core.service,
                request,
                read_files=read_files,
                partials=core.partials,
                proven=proven,
                recovery=core.recovery,
                turns_before=before,
            ),
        )

    done = yield from _recorded(core, request, turn)
    yield Emit(done)
    return done.reply


def _recorded(
    core: ClientCore[Any], request: TurnRequest, turn: Callable[[int | None], Flow[DoneEvent]]
) -> Flow[DoneEvent]:
    """Runs a turn, given how many came before it, and notes in the ledger what became of it."""
    check_turn(core.service, request.body)  # what cannot be sent changes nothing
    entry = core.book.entry(request.session_id)
    mark, before = yield from entry.begin(transcript.digest("user", request.body.user_message))
    done = yield from entry.record(mark, turn(before))
    number = None if before is None else before + 1
    answer = transcript.digest("assistant", done.reply.message)
    yield from entry.settle(mark, head=head_marker(done.reply.signal_id, number, answer), turns=number)
    return done
