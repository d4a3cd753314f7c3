"""Sessions: to open, list and read them, and to read what was said in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from meibel_integrations.models import Message, Session, Usage
from meibel_integrations.protocol.agents import AgentRef, SessionOptions
from meibel_integrations.protocol.commands import Emit, Flow
from meibel_integrations.protocol.dialects.interface import Dialect, Page
from meibel_integrations.protocol.lenient_json import mapping
from meibel_integrations.protocol.requests import Request
from meibel_integrations.protocol.service import Service

__all__ = [
    "SessionHistory",
    "create_session",
    "get_failures",
    "get_history",
    "get_last_usage",
    "get_session",
    "has_ended",
    "paginate",
    "read_session_history",
]


def create_session(service: Service[Dialect], agent: AgentRef, options: SessionOptions | None = None) -> Flow[Session]:
    """Opens a session."""
    body = yield from service.fetch(service.dialect.create_session(agent, options))
    return service.dialect.read_session(body, agent)


def paginate(
    service: Service[Dialect], request: Callable[[str | None], Request], read: Callable[[Any, str | None], Page]
) -> Flow[int]:
    """Emits the items of all pages; returns their number.

    Ends where no further page is named, and at a page that brings nothing new: a service may ignore the cursor.

    Args:
        request: the request for the page at a cursor, ``None`` for the first one.
        read: the page out of the answer and its cursor.
    """
    seen: set[str] = set()
    cursor: str | None = None
    while True:
        body = yield from service.fetch(request(cursor))
        page = read(body, cursor)
        new = [item for item in page.items if item.id not in seen]
        for item in new:
            seen.add(item.id)
            yield Emit(item)
        if page.next is None or not new:
            return len(seen)
        cursor = page.next


def get_session(service: Service[Dialect], session_id: str, request: Request | None = None) -> Flow[Session]:
    """The session's details, or what another ``request`` shows of it."""
    body = yield from service.fetch(request or service.dialect.get_session(session_id))
    return service.dialect.read_session({"session_id": session_id, **mapping(body)})


def has_ended(service: Service[Dialect], session_id: str) -> Flow[bool]:
    """Whether the session's own status says that it accepts no further turns."""
    body = yield from service.fetch(service.dialect.get_session(session_id))
    return service.dialect.has_ended(body)


def get_last_usage(service: Service[Dialect], session_id: str) -> Flow[Usage | None]:
    """The token usage of the session's last turn, as its details tell it."""
    body = yield from service.fetch(service.dialect.get_session(session_id))
    return service.dialect.read_last_usage(body)


def get_failures(service: Service[Dialect], session_id: str) -> Flow[Mapping[str, str]]:
    """The reasons of a session's failed turns, where its details tell them."""
    return service.dialect.read_failures((yield from service.fetch(service.dialect.get_session(session_id))))


def get_history(service: Service[Dialect], session_id: str, *, include_tools: bool = False) -> Flow[list[Message]]:
    """A session's messages in order; tool entries only on request."""
    body = yield from service.fetch(service.dialect.get_history(session_id))
    messages = service.dialect.read_history(body)
    return messages if include_tools else _spoken(messages)


@dataclass(frozen=True, slots=True)
class SessionHistory:
    """What was said in a session: the user's and the agent's messages in order, and the reasons of the turns that
    failed, where the history tells them (by signal, or ``#`` and the turn's place from 0)."""

    messages: list[Message]
    failures: Mapping[str, str]


def read_session_history(service: Service[Dialect], session_id: str) -> Flow[SessionHistory]:
    """A session's messages and failures, by one request."""
    body = yield from service.fetch(service.dialect.get_history(session_id))
    return SessionHistory(_spoken(service.dialect.read_history(body)), service.dialect.read_failures(body))


def _spoken(messages: list[Message]) -> list[Message]:
    return [message for message in messages if message.role in ("user", "assistant")]
