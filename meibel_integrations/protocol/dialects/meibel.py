"""Meibel's wire: the v2 API as its official SDK speaks it, and the guide's variant of the answers.

What is sent is what the v2 SDK sends. What is received may be in either form, even mixed. Sources of the facts: the
v2 SDK (``meibel`` 2.0.7), the typed v1 SDK (the only place where the stream's payloads are typed), and the guide
("Sessions & Chat"). Nothing here was checked against the hosted service.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from meibel_integrations.errors import InvalidInputError, ProtocolError
from meibel_integrations.models import (
    Agent,
    Artifact,
    CallToAction,
    CreateSessionRequest,
    HistoryRole,
    Message,
    Session,
    ToolActivity,
    Usage,
)
from meibel_integrations.protocol import events, lenient_json
from meibel_integrations.protocol.agents import AgentRef, SessionOptions
from meibel_integrations.protocol.citations import only_markers_differ
from meibel_integrations.protocol.dialects.interface import Page, TurnRequest
from meibel_integrations.protocol.dialects.meibel_citations import read_references
from meibel_integrations.protocol.lenient_json import mapping, mappings, sequence, text
from meibel_integrations.protocol.requests import EVENT_STREAM, Request, path
from meibel_integrations.protocol.sse import SSEEvent
from meibel_integrations.protocol.text import PartialsReading

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
                    message=_said(item) or "",
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
        return _whole(mapping(body), mapping(body))

    def decode(self, event: SSEEvent) -> events.TurnEvent:
        """v2 names the kind in ``event:``, the guide in the payload's ``type``; the payload's word decides where the
        field is missing or says only "message"."""
        try:
            data, clean = lenient_json.parse_text(event.data)
        except ValueError:
            return _not_json(event)
        found = _decoded(event.type, data)
        if data is not clean:
            if not isinstance(found, events.TextReceived | events.ThinkingReceived):
                return _decoded(event.type, clean)
            found.data = clean
        return found


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
    return _normal(text(item.get("role")) or text(item.get("type")) or "")


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
    if word in _UNSPOKEN or _said(item) is None:
        return None
    return "user" if asks else "assistant"


_TEXTS = ("clean_message", "message", "content", "text", "output")


def _said(item: Mapping[str, Any]) -> str | None:
    """A message's text; v1 puts it one level deeper."""
    for place in (item, mapping(item.get("data")), mapping(item.get("message"))):
        for key in _TEXTS:
            if found := text(place.get(key)):
                return found
    return None


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


# Events. What is documented is read first and fast; what servers and proxies are known or feared to make of it, after.

_MAX_WRAPPERS = 4


def _decoded(kind: str, data: Any, depth: int = 0) -> events.TurnEvent:
    """The event of a payload under the kind that the stream names.

    Payloads may be JSON text once more (events go through Redis, which holds text), or ``{event, data}`` inside of
    ``data:``; both are inferred.
    """
    if not isinstance(data, dict):
        inner = _json_in(data) if isinstance(data, str) and depth < _MAX_WRAPPERS else None
        if inner is not None:
            return _decoded(kind, inner, depth + 1)
        return _plain(kind, data) if isinstance(data, str) else events.Unknown(kind, data)
    if "event" in data and "data" in data and isinstance(data["event"], str) and depth < _MAX_WRAPPERS:
        return _decoded(data["event"], data["data"], depth + 1)
    read = _READERS.get(kind)
    if read is None or kind == "message":
        read = _reader(kind, data)
        if read is None:
            return events.Unknown(text(data.get("type")) or kind, data)
    inner = data.get("data")
    if isinstance(inner, str):
        inner = _json_in(inner) or {"message": inner}
    return read(data, inner if isinstance(inner, dict) else data)


def _reader(kind: str, data: Mapping[str, Any]) -> _Reader | None:
    """The reader for a kind in any case, or for the payload's own ``type`` where the stream names none."""
    told = text(data.get("type")) or ""
    for word in (_normal(kind), _normal(told)):
        if word != "message" and word in _READERS:
            return _READERS[word]
        if word.endswith(_FAILURES):
            return _failed
    if kind == "":
        return _whole
    return _content if _normal(told or kind) == "message" else None


_FAILURES = ("error", "failed", "failure")
_WORD_BREAK = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[-.\s]+")


def _normal(word: str) -> str:
    """A kind's name as v2 writes it: ``partial_response`` for ``PartialResponse`` and ``PARTIAL-RESPONSE``."""
    return _WORD_BREAK.sub("_", word).lower()


def _json_in(value: str) -> Any:
    """What a text holds as JSON: an object, or another text; ``None`` for anything else."""
    if value.lstrip()[:1] not in ("{", '"'):
        return None
    try:
        return lenient_json.parse_text(value)[0]
    except ValueError:
        return None


def _plain(kind: str, said: str) -> events.TurnEvent:
    """A payload that is a text and no more."""
    word = _normal(kind)
    if said.strip() == "[DONE]" or word == "stream_complete":
        return events.Ended(said)
    if word.endswith(_FAILURES):
        return events.Failed(said, data=said)
    if word in ("completion", "done"):
        return events.Completed(texts=(said,), data=said)
    if word in _TEXT_BEARING:
        return events.TextReceived(said, "partial", None, said)
    return events.Unknown(kind, said)


def _not_json(event: SSEEvent) -> events.TurnEvent:
    """Data that is not JSON. Words of an error and marks of the end are plain text in some streams; a piece of the
    answer that cannot be read is missing in it."""
    found = _plain(event.type, event.data)
    if isinstance(found, events.TextReceived | events.Completed) or event.type == "":
        return events.Undecodable(event.type, event.data)
    return found


# Readers of payloads: the envelope, and its `data` (or the envelope again where there is none).

_Reader = Callable[[Mapping[str, Any], Mapping[str, Any]], events.TurnEvent]


def _connected(envelope: Mapping[str, Any], data: Mapping[str, Any]) -> events.TurnEvent:
    return events.Connected(text(data.get("signal_id")) or text(envelope.get("signal_id")), envelope)


def _status(envelope: Mapping[str, Any], data: Mapping[str, Any]) -> events.TurnEvent:
    content = envelope.get("content")
    said = text(content) or text(mapping(content).get("message")) or text(data.get("message")) or ""
    return events.StatusChanged(said, envelope)


# The words of `disposition` are not documented; these would name what a partial text is.
_DISPOSITIONS: dict[Any, PartialsReading] = {
    "delta": "delta",
    "incremental": "delta",
    "append": "delta",
    "snapshot": "snapshot",
    "cumulative": "snapshot",
    "accumulated": "snapshot",
    "replace": "snapshot",
}
_DISPOSITIONS |= {word.upper(): reading for word, reading in _DISPOSITIONS.items()}


def _partial(envelope: Mapping[str, Any], data: Mapping[str, Any]) -> events.TurnEvent:
    said = data.get("clean_message")
    if not isinstance(said, str):
        said = data.get("message")
        if not isinstance(said, str):
            said = _said(data)
    references = read_references(data) if "sources" in data or "citations" in data else None
    disposition = envelope.get("disposition")
    named = _DISPOSITIONS.get(disposition) if type(disposition) is str else None
    return events.TextReceived(said or "", "partial", references, envelope, named)


def _content(envelope: Mapping[str, Any], data: Mapping[str, Any]) -> events.TurnEvent:
    for key in ("delta", "text"):
        if isinstance(data.get(key), str):
            return events.TextReceived(data[key], "delta", None, envelope)
    said = data.get("content")
    if isinstance(said, str):
        return events.TextReceived(said, "partial", None, envelope)
    if data.get("error") or data.get("detail"):
        return _failed(envelope, data)
    return _partial(envelope, data)


def _cited(envelope: Mapping[str, Any], data: Mapping[str, Any]) -> events.TurnEvent:
    return events.Cited(read_references(data), envelope)


def _thinking(envelope: Mapping[str, Any], data: Mapping[str, Any]) -> events.TurnEvent:
    """Where thinking rides in a v2 stream is not documented; this reads the likely places."""
    for key in ("delta", "thinking", "content", "message"):
        said = data.get(key) if isinstance(data.get(key), str) else envelope.get(key)
        if isinstance(said, str):
            return events.ThinkingReceived(said, "delta" if key == "delta" else "partial", envelope)
    return events.Unknown("thinking", envelope)


def _tool_called(envelope: Mapping[str, Any], data: Mapping[str, Any]) -> events.TurnEvent:
    merged = {**data, **envelope}
    return events.ToolCalled(
        id=text(merged.get("tool_id")) or text(merged.get("id")),
        name=text(merged.get("tool_name")) or text(merged.get("name")),
        arguments=dict(mapping(merged.get("arguments"))),
        timestamp=text(merged.get("timestamp")),
        data=envelope,
    )


def _tool_returned(envelope: Mapping[str, Any], data: Mapping[str, Any]) -> events.TurnEvent:
    merged = {**data, **envelope}
    return events.ToolReturned(
        id=text(merged.get("tool_id")) or text(merged.get("id")),
        name=text(merged.get("tool_name")) or text(merged.get("name")),
        result=merged.get("result"),
        timestamp=text(merged.get("timestamp")),
        arguments=dict(mapping(merged.get("arguments"))),
        data=envelope,
    )


def _tool_used(envelope: Mapping[str, Any], data: Mapping[str, Any]) -> events.TurnEvent:
    """v1 has one word for a call and for its result."""
    returned = envelope.get("result") is not None or data.get("result") is not None
    return (_tool_returned if returned else _tool_called)(envelope, data)


def _levels(envelope: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """A completion's objects, the innermost first: v2 puts the answer into ``data``, ``/chat`` into ``response``."""
    found = [envelope]
    while len(found) <= _MAX_WRAPPERS:
        for key in ("data", "response"):
            inner = found[0].get(key)
            if isinstance(inner, str):
                inner = _json_in(inner) or {"message": inner}
            if isinstance(inner, dict):
                found.insert(0, inner)
                break
        else:
            break
    return found


def _completed(envelope: Mapping[str, Any], _: Mapping[str, Any]) -> events.TurnEvent:
    """v2's ``completion``, the guide's ``done``, and the whole answer of ``/chat``.

    The user's text is ``clean_message``; where there is none it is ``message``, without its markers if
    ``assistant_response`` shows what they are. Where token usage rides in a v2 stream is not documented;
    ``token_usage`` and ``usage`` are read from the payload and from the envelope.
    """
    levels = _levels(envelope)
    merged = {key: value for level in reversed(levels) for key, value in level.items()}
    if merged.get("error") or merged.get("is_error") is True:
        return _failed(envelope, merged)
    holder = next((level for level in levels if any(text(level.get(key)) for key in _TEXTS)), levels[0])
    raw, spoken = holder.get("message"), merged.get("assistant_response")
    texts = [holder.get("clean_message"), raw, spoken, *(holder.get(key) for key in _TEXTS[2:])]
    if isinstance(raw, str) and isinstance(spoken, str) and only_markers_differ(raw, spoken):
        texts.insert(1, spoken)
    used = next((found for key in ("token_usage", "usage") if (found := lenient_json.usage(merged.get(key)))), None)
    return events.Completed(
        texts=tuple(dict.fromkeys(t for t in texts if isinstance(t, str))),
        raw_text=raw if isinstance(raw, str) else None,
        references=read_references(merged) if "sources" in merged or "citations" in merged else None,
        usage=used,
        thinking=text(merged.get("thinking")),
        signal_id=text(merged.get("signal_id")),
        finish_reason=text(merged.get("finish_reason")),
        follow_up_questions=[q for q in sequence(merged.get("follow_up_questions")) if isinstance(q, str)],
        call_to_actions=[_call_to_action(item) for item in mappings(merged.get("call_to_actions"))],
        artifacts=[_artifact(item) for item in mappings(merged.get("artifacts"))],
        tools=[_tool(item) for item in mappings(merged.get("tool_activity"))],
        extra=lenient_json.leftover(merged, _COMPLETION_FIELDS if used else _COMPLETION_FIELDS - _USAGE_FIELDS),
        data=envelope,
    )


def _ended(envelope: Mapping[str, Any], data: Mapping[str, Any]) -> events.TurnEvent:
    """``stream_complete`` is a mark of the end; if it has the answer's text it is a completion, too."""
    completed = _completed(envelope, data)
    if isinstance(completed, events.Completed) and not any(said.strip() for said in completed.texts):
        return events.Ended(envelope)
    return completed


def _whole(envelope: Mapping[str, Any], data: Mapping[str, Any]) -> events.TurnEvent:
    """A JSON document by itself: an answer, or the words of a failure."""
    completed = _completed(envelope, data)
    if isinstance(completed, events.Completed) and not completed.texts and lenient_json.error_message(envelope):
        return _failed(envelope, data)
    return completed


def _failed(envelope: Mapping[str, Any], data: Mapping[str, Any]) -> events.TurnEvent:
    """``error`` is in the TypeScript SDK's signature and ``agent_error`` in v1's enumeration; the payload of neither is
    documented."""
    said = next((words for level in (data, *_levels(envelope)) if (words := lenient_json.error_message(level))), "")
    return events.Failed(said, text(envelope.get("signal_id")) or text(data.get("signal_id")), envelope)


def _warned(envelope: Mapping[str, Any], data: Mapping[str, Any]) -> events.TurnEvent:
    return events.Warned(text(data.get("message")) or text(data.get("content")) or "", envelope)


def _tool(item: Mapping[str, Any]) -> ToolActivity:
    return ToolActivity(
        id=text(item.get("tool_id")),
        name=text(item.get("tool_name")),
        arguments=dict(mapping(item.get("arguments"))),
        result=item.get("result"),
        timestamp=text(item.get("timestamp")),
    )


def _call_to_action(item: Mapping[str, Any]) -> CallToAction:
    action_data = item.get("action_data")
    return CallToAction(
        label=text(item.get("label")) or "",
        action=text(item.get("action")) or "",
        action_data=action_data if isinstance(action_data, dict) else None,
    )


def _artifact(item: Mapping[str, Any]) -> Artifact:
    return Artifact(
        artifact_id=text(item.get("artifact_id")) or "",
        filename=text(item.get("filename")) or "",
        mime_type=text(item.get("mime_type")) or "",
        content=text(item.get("content")),
        storage_url=text(item.get("storage_url")),
        size_bytes=lenient_json.integer(item.get("size_bytes")),
        created_at=text(item.get("created_at")),
    )


_READERS: dict[str, _Reader] = {
    "connected": _connected,
    "status": _status,
    "partial_response": _partial,
    "content": _content,
    "message": _content,
    "thinking": _thinking,
    "tool_call": _tool_called,
    "tool_result": _tool_returned,
    "citations": _cited,
    "completion": _completed,
    "done": _completed,
    "error": _failed,
    "warning": _warned,
    # a mark of the end that newer proxies send, and the words of the v1 SDK's enumeration
    "stream_complete": _ended,
    "user_input": _connected,
    "agent_output": _partial,
    "agent_thinking": _thinking,
    "agent_tool_usage": _tool_used,
}
_TEXT_BEARING = frozenset({"partial_response", "content", "message", "agent_output", "completion", "done"})

# What is read of each object. Everything else is kept under ``extra``; an envelope's own bookkeeping is not.
_ENVELOPE = frozenset({"type", "event", "disposition", "sequence", "timestamp", "data", "response"})
_USAGE_FIELDS = frozenset({"token_usage", "usage"})
_COMPLETION_FIELDS = (
    _ENVELOPE
    | _USAGE_FIELDS
    | {*_TEXTS, "assistant_response", "citations", "sources", "thinking", "signal_id", "finish_reason", "error"}
    | {"follow_up_questions", "call_to_actions", "artifacts", "tool_activity"}
)
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
