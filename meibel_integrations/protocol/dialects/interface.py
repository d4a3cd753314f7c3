"""What a service's dialect has to answer, so that flows, drivers and adapters need not know the service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from meibel_integrations.models import Agent, ChatMessageRequest, Message, Session, Usage
from meibel_integrations.protocol.agents import NOBODY, AgentRef, SessionOptions
from meibel_integrations.protocol.events import TurnEvent
from meibel_integrations.protocol.requests import FilePart, Request
from meibel_integrations.protocol.sse import SSEEvent

__all__ = ["Dialect", "Page", "TurnRequest"]


@dataclass(frozen=True, slots=True)
class TurnRequest:
    """One turn, for any service.

    Attributes:
        session_id: where it goes.
        body: the message and its options.
        agent: whom it asks, for services that want to be told with each message.
        require_all_indexes: whether an index that cannot be queried fails the turn.
        files: what rides along.
    """

    session_id: str
    body: ChatMessageRequest
    agent: AgentRef = NOBODY
    require_all_indexes: bool = False
    files: tuple[FilePart, ...] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list, and the cursor of the next part; ``None`` at the end."""

    items: Sequence[Session | Agent]
    next: str | None


class Dialect(Protocol):
    """The requests of a service and how its answers read. Pure; all facts of the wire live in implementations."""

    name: str
    """The provider's name as the adapters show it (``model_provider``)."""
    default_base_url: str
    base_url_variable: str
    key_variables: tuple[str, ...]

    def key_header(self, key: str) -> Mapping[str, str]:
        """The header that carries the key."""

    max_prompt_chars: int | None
    """The longest message that the service accepts, in characters; ``None`` where it documents no limit."""

    takes_files: bool
    """Whether files may ride along with a message."""

    def create_session(self, agent: AgentRef, options: SessionOptions | None = None) -> Request:
        """Raises ``InvalidInputError`` if the agent is not named as the service needs it."""

    def read_session(self, body: Any, agent: AgentRef | None = None) -> Session:
        """Decodes a created or described session; raises ``ProtocolError`` if it has no id."""

    def stream_turn(self, turn: TurnRequest) -> Request: ...

    def decode(self, event: SSEEvent) -> TurnEvent:
        """Decodes one event of a turn's stream; never fails. The type ``""`` stands for a JSON
        document that is the whole response."""

    def get_session(self, session_id: str) -> Request: ...

    def has_ended(self, body: Any) -> bool:
        """Whether a session's details say that it accepts no further turns."""

    def read_last_usage(self, body: Any) -> Usage | None:
        """The token usage of the last turn, from a session's details."""

    def get_history(self, session_id: str) -> Request: ...

    def read_history(self, body: Any) -> list[Message]: ...

    def read_failures(self, body: Any) -> Mapping[str, str]:
        """The reasons of turns that failed, where a session's history tells them: by signal, or on a wire without
        signals by ``#`` and the turn's place in the session, counted from 0."""

    def read_turns(self, body: Any) -> Mapping[str, Sequence[TurnEvent]]:
        """What a session's history tells of its turns besides their messages, as their streams would have told it;
        by the same names."""
