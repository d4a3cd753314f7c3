"""Meibel's wire: the v2 API as its official SDK speaks it, and the guide's variant of the answers.

What is sent is what the v2 SDK sends. What is received may be in either form, even mixed. Sources of the facts: the
v2 SDK (``meibel`` 2.0.7), the typed v1 SDK (the only place where the stream's payloads are typed), and the guide
("Sessions & Chat"). Nothing here was checked against the hosted service.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from meibel_integrations.errors import InvalidInputError, ProtocolError
from meibel_integrations.models import (
    Agent,
    CreateSessionRequest,
    HistoryRole,
    Message,
    Session,
    Usage,
)
from meibel_integrations.protocol import events, lenient_json
from meibel_integrations.protocol.agents import AgentRef, SessionOptions
from meibel_integrations.protocol.dialects.interface import Page, TurnRequest
from meibel_integrations.protocol.dialects.meibel_events import decode_event, normal_word, read_answer, spoken_text
from meibel_integrations.protocol.lenient_json import mapping, mappings, sequence, text
from meibel_integrations.protocol.requests import EVENT_STREAM, Request, path
from meibel_integrations.protocol.sse import SSEEvent

__all__ = ["MeibelDialect"]

# The exact words of a history item's `type` are not documented; these are what the SDKs and the guide suggest, and
# the words of the v1 SDK's enumeration. Any other word is inferred from where the item stands.
_ROLES: dict[str, HistoryRole] = {
    "user": "user",
    "user_message": "user",
    "user_input": "user",
    "human": "user",
    "assistant": "assistant",
    "assistant_message": "assistant",
    "agent": "assistant",
    "agent_message": "assistant",
    "agent_output": "assistant",
    "ai": "assistant",
    "tool_call": "tool_call",
    "tool_result": "tool_result",
    "agent_tool_usage": "tool_result",
}
_UNSPOKEN = frozenset(
    {"system", "developer", "status", "thinking", "agent_thinking", "warning", "error", "agent_error"}
)
"""Words of items with a message that neither side of the conversation said."""
_FINAL_STATUSES = frozenset({"COMPLETED", "FAILED", "CANCELED", "TERMINATED"})


class MeibelDialect:
    """Requests to and answers from Meibel. Stateless."""

    name = "meibel"
    default_base_url = "https://api.meibel.ai/v2"
    base_url_variable = "MEIBEL_BASE_URL"
    key_variables: tuple[str, ...] = ("MEIBEL_API_KEY",)
    max_prompt_chars: int | None = None
    takes_files = True

    def key_header(self, key: str) -> Mapping[str, str]:
        return {"Meibel-API-Key": key}

    # Requests

    def create_session(self, agent: AgentRef, options: SessionOptions | None = None) -> Request:
        """By name the newest published version of the agent is started (v2 SDK)."""
        if (agent.id is None) == (agent.name is None):
            raise InvalidInputError("Name the agent by agent_id or by agent_name, by one of the two.")
        if agent.id is not None:
            route = path("/agents/{agent_id}/sessions", agent_id=agent.id)
        else:
            route = path("/agents/name/{agent_name}/sessions", agent_name=agent.name or "")
        body = options.model_dump(exclude_none=True) if isinstance(options, CreateSessionRequest) else None
        # A session that was opened twice is an empty session too many, not a turn too many.
        return Request("POST", route, json=body or None, repeatable=True)

    def list_agents(self, cursor: str | None, page_size: int) -> Request:
        return _page("/agents", cursor, page_size)

    def get_agent(self, agent_id: str) -> Request:
        return Request("GET", path("/agents/{agent_id}", agent_id=agent_id), repeatable=True)

    def list_sessions(self, agent_id: str, cursor: str | None, page_size: int, **filters: str | None) -> Request:
        """``filters``: ``sort_by``, ``sort_order``, ``status``."""
        return _page(path("/agents/{agent_id}/sessions", agent_id=agent_id), cursor, page_size, **filters)

    def get_session(self, session_id: str) -> Request:
        route = path("/sessions/{session_id}", session_id=session_id)
        return Request("GET", route, repeatable=True, session_id=session_id)

    def get_history(self, session_id: str) -> Request:
        route = path("/sessions/{session_id}/messages", session_id=session_id)
        return Request("GET", route, repeatable=True, session_id=session_id)

    def send_turn(self, turn: TurnRequest) -> Request:
        route = path("/sessions/{session_id}/chat", session_id=turn.session_id)
        return Request("POST", route, json=turn.body.model_dump(exclude_none=True), session_id=turn.session_id)

    def stream_turn(self, turn: TurnRequest) -> Request:
        """Form fields; multipart when files ride along. Booleans are ``true``/``false``."""
        form = tuple(
            (key, str(value).lower() if isinstance(value, bool) else str(value))
            for key, value in turn.body.model_dump(exclude_none=True).items()
        )
        return Request(
            "POST",
            path("/sessions/{session_id}/chat/stream", session_id=turn.session_id),
            form=form,
            files=turn.files,
            accept=EVENT_STREAM,
            session_id=turn.session_id,
        )

    # Answers

    def read_session(self, body: Any, agent: AgentRef | None = None) -> Session:
        """Create and list answers, and details. The v2 details have no id and no time: the caller adds the id, and the
        first message's time stands in."""
        agent = agent or AgentRef()
        body = mapping(body)
        session_id = text(body.get("session_id")) or text(body.get("id"))
        if not session_id:
            raise ProtocolError("The service's answer names no session (neither session_id nor id).")
        messages = self._messages(body.get("messages"))
        created = (
            lenient_json.timestamp(body.get("created_at"))
            or lenient_json.timestamp(body.get("start_time"))
            or next((message.timestamp for message in messages if message.timestamp), None)
        )
        tokens = body.get("token_usage")
        return Session(
            id=session_id,
            agent_id=text(body.get("agent_id")) or agent.id,
            agent_name=text(body.get("agent_name")) or agent.name,
            created_at=created,
            ended_at=lenient_json.timestamp(body.get("end_time")),
            status=text(body.get("status")),
            version=text(body.get("version")) or text(body.get("agent_version")),
            messages_count=lenient_json.integer(body.get("messages_count")),
            messages=messages,
            token_usage=[dict(item) for item in mappings(tokens if isinstance(tokens, list) else [tokens])],
            tool_activity=sequence(body.get("tool_activity")),
            file_parsing=sequence(body.get("file_parsing")),
            result=_as_list(body.get("result")),
            extra=lenient_json.leftover(body, _SESSION_FIELDS),
        )

    def read_sessions(self, body: Any, cursor: str | None, agent: AgentRef) -> Page:
        items, following = _items(body, cursor)
        return Page([self.read_session(item, agent) for item in items], following)

    def read_agents(self, body: Any, cursor: str | None) -> Page:
        items, following = _items(body, cursor)
        return Page([self.read_agent(item) for item in items], following)

    def read_agent(self, body: Any) -> Agent:
        body = mapping(body)
        agent_id = text(body.get("agent_id")) or text(body.get("id"))
        if not agent_id:
            raise ProtocolError("The service's answer names no agent (neither agent_id nor id).")
        name = text(body.get("name")) or text(body.get("agent_name")) or ""
        return Agent(
            id=agent_id,
            name=name,
            display_name=text(body.get("display_name")) or name,
            description=text(body.get("description")),
            version=text(body.get("version")),
            extra=lenient_json.leftover(body, _AGENT_FIELDS),
        )

    def has_ended(self, body: Any) -> bool:
        return (text(mapping(body).get("status")) or "").upper() in _FINAL_STATUSES

    def read_last_usage(self, body: Any) -> Usage | None:
        """The details' ``token_usage`` is a list (v2 SDK); that its last entry is the last turn's is assumed."""
        found = mapping(body).get("token_usage")
        entries = found if isinstance(found, list) else [found]
        return next((usage for entry in reversed(entries) if (usage := lenient_json.usage(entry)) is not None), None)

    def read_history(self, body: Any) -> list[Message]:
        """A bare list (guide) or ``{messages: […]}`` (v2), in order."""
        return self._messages(_history_items(body))

    def _messages(self, items: Any) -> list[Message]:
        found: list[Message] = []
        answered = True  # the question before, of an item without a signal
        asked: set[str] = set()  # the signals whose question was there
        for item in mappings(items):
            signal = text(item.get("signal_id"))
            role = _role(item, asks=answered if signal is None else signal not in asked)
            if role is None:
                continue
            arguments = item.get("arguments")
            if role == "user":
                answered = False
                asked.add(signal or "")
            elif role == "assistant":
                answered = True
            found.append(
                Message(
                    role=role,
                    message=spoken_text(item) or "",
                    timestamp=lenient_json.timestamp(item.get("timestamp"))
                    or lenient_json.timestamp(item.get("created_at")),
                    signal_id=signal,
                    tool_id=text(item.get("tool_id")),
                    tool_name=text(item.get("tool_name")),
                    arguments=arguments if isinstance(arguments, dict) else None,
                    result=item.get("result"),
                    extra=lenient_json.leftover(item, _MESSAGE_FIELDS),
                )
            )
        return found

    def read_failures(self, body: Any) -> Mapping[str, str]:
        """``failed_turns`` is an extension of the local service, and ``agent_error`` an item's word in the v1 SDK; v2
        has no word for a failed turn. In the guide's dialect, which has no signals, the turn's number stands for it."""
        failed = {
            text(item.get("signal_id")) or f"#{item.get('turn', f'unknown-{number}')}": text(item.get("message")) or ""
            for number, item in enumerate(mappings(mapping(body).get("failed_turns")))
        }
        asked = -1
        for item in mappings(_history_items(body)):
            word = _item_word(item)
            asked += _ROLES.get(word) == "user"
            if word in ("agent_error", "error"):
                failed[text(item.get("signal_id")) or f"#{asked}"] = lenient_json.error_message(item)
        return failed

    def read_turns(self, body: Any) -> Mapping[str, Sequence[events.TurnEvent]]:
        """The tool calls of each turn that has a signal; the history tells no more of it."""
        found: dict[str, list[events.TurnEvent]] = {}
        for message in self.read_history(body):
            if message.signal_id is None or message.role not in ("tool_call", "tool_result"):
                continue
            at = None if message.timestamp is None else message.timestamp.isoformat()
            arguments = message.arguments or {}
            found.setdefault(message.signal_id, []).append(
                events.ToolCalled(message.tool_id, message.tool_name, arguments, at)
                if message.role == "tool_call"
                else events.ToolReturned(
                    message.tool_id, message.tool_name, message.result, timestamp=at, arguments=arguments
                )
            )
        return found

    def read_answer(self, body: Any) -> events.TurnEvent:
        """The whole answer of ``/chat`` as a turn's completion, so that it gives the same reply as a stream."""
        return read_answer(mapping(body))

    def decode(self, event: SSEEvent) -> events.TurnEvent:
        return decode_event(event)


def _page(route: str, cursor: str | None, page_size: int, **filters: str | None) -> Request:
    """Lists are paged by an offset, which is the cursor here."""
    query = {"offset": cursor or "0", "limit": str(page_size), **filters}
    return Request(
        "GET", route, query=tuple((key, value) for key, value in query.items() if value is not None), repeatable=True
    )


def _items(body: Any, cursor: str | None) -> tuple[list[Mapping[str, Any]], str | None]:
    """The items of a page, ``{data: […], total}`` or a bare list, and the next page's cursor."""
    items = mappings(body if isinstance(body, list) else mapping(body).get("data"))
    offset = int(cursor or "0") + len(items)
    total = lenient_json.integer(mapping(body).get("total"))
    return items, None if total is not None and offset >= total else str(offset)


# History


def _history_items(body: Any) -> Any:
    return body if isinstance(body, list) else mapping(body).get("messages")


def _item_word(item: Mapping[str, Any]) -> str:
    return normal_word(text(item.get("role")) or text(item.get("type")) or "")


def _role(item: Mapping[str, Any], *, asks: bool) -> HistoryRole | None:
    """Who said an item. A word that is not known tells nothing: then what an item has of a tool makes it a tool's, and
    of the messages of one signal (or, without signals, of two in a row) the first is the user's."""
    word = _item_word(item)
    role = _ROLES.get(word)
    result = item.get("result")
    if word == "agent_tool_usage" and result is None:
        return "tool_call"
    if role is not None:
        return role
    if item.get("tool_id") or item.get("tool_name"):
        return "tool_call" if result is None else "tool_result"
    if word in _UNSPOKEN or spoken_text(item) is None:
        return None
    return "user" if asks else "assistant"


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


# What is read of each object. Everything else is kept under ``extra``.
_SESSION_FIELDS = frozenset(
    {"session_id", "id", "agent_id", "agent_name", "created_at", "start_time", "end_time", "status", "version"}
    | {"agent_version", "messages_count", "messages", "token_usage", "tool_activity", "file_parsing", "result"}
    | {"failed_turns"}
)
_AGENT_FIELDS = frozenset({"agent_id", "id", "name", "agent_name", "display_name", "description", "version"})
_MESSAGE_FIELDS = frozenset(
    {"role", "type", "message", "content", "timestamp", "created_at", "signal_id", "tool_id", "tool_name", "arguments"}
    | {"result"}
)
