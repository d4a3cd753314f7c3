"""Meibel's wire: the v2 API as its official SDK speaks it, and the guide's variant of the answers.

What is sent is what the v2 SDK sends. What is received may be in either form, even mixed. Sources of the facts: the
v2 SDK (``meibel`` 2.0.7), the typed v1 SDK (the only place where the stream's payloads are typed), and the guide
("Sessions & Chat"). Nothing here was checked against the hosted service.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
from meibel_integrations.protocol.dialects.interface import Page, TurnRequest
from meibel_integrations.protocol.dialects.meibel_citations import read_references
from meibel_integrations.protocol.lenient_json import mapping, mappings, text
from meibel_integrations.protocol.requests import EVENT_STREAM, Request, path
from meibel_integrations.protocol.sse import SSEEvent

__all__ = ["MeibelDialect"]

# The exact words of a history item's `type` are not documented; these are what the SDKs and the guide suggest.
_ROLES: dict[str, HistoryRole] = {
    "user": "user",
    "user_message": "user",
    "human": "user",
    "assistant": "assistant",
    "assistant_message": "assistant",
    "agent": "assistant",
    "agent_message": "assistant",
    "ai": "assistant",
    "tool_call": "tool_call",
    "tool_result": "tool_result",
}
_FINAL_STATUSES = frozenset({"COMPLETED", "FAILED", "CANCELED", "TERMINATED"})


class MeibelDialect:
    """Requests to and answers from Meibel. Stateless."""

    name = "meibel"
    default_base_url = "https://api.meibel.ai/v2"
    base_url_variable = "MEIBEL_BASE_URL"
    key_variable = "MEIBEL_API_KEY"
    max_prompt_chars: int | None = None

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

    @staticmethod
    def file_field(count: int) -> str:
        """One part named ``file`` is what the Python SDK sends; ``files`` for several is inferred from the API page."""
        return "file" if count == 1 else "files"

    # Answers

    def read_session(self, body: Any, agent: AgentRef | None = None) -> Session:
        """Create and list answers, and details. The v2 details have no id and no time: the caller adds the id, and the
        first message's time stands in."""
        agent = agent or AgentRef()
        body = mapping(body)
        session_id = text(body.get("session_id")) or text(body.get("id"))
        if not session_id:
            raise ProtocolError("The service's answer names no session (neither session_id nor id).")
        first = next((m.timestamp for m in self._messages(body.get("messages")) if m.timestamp), None)
        created = (
            lenient_json.timestamp(body.get("created_at")) or lenient_json.timestamp(body.get("start_time")) or first
        )
        tokens = body.get("token_usage")
        return Session(
            id=session_id,
            agent_id=text(body.get("agent_id")) or agent.id,
            agent_name=text(body.get("agent_name")) or agent.name,
            created_at=created,
            ended_at=lenient_json.timestamp(body.get("end_time")),
            status=text(body.get("status")),
            messages_count=lenient_json.integer(body.get("messages_count")),
            token_usage=[dict(item) for item in mappings(tokens if isinstance(tokens, list) else [tokens])],
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
        return self._messages(body if isinstance(body, list) else mapping(body).get("messages"))

    def _messages(self, items: Any) -> list[Message]:
        found = []
        for item in mappings(items):
            role = _ROLES.get((text(item.get("role")) or text(item.get("type")) or "").lower())
            if role is None:
                continue
            arguments = item.get("arguments")
            found.append(
                Message(
                    role=role,
                    message=text(item.get("message")) or text(item.get("content")) or "",
                    timestamp=lenient_json.timestamp(item.get("timestamp"))
                    or lenient_json.timestamp(item.get("created_at")),
                    signal_id=text(item.get("signal_id")),
                    tool_id=text(item.get("tool_id")),
                    tool_name=text(item.get("tool_name")),
                    arguments=arguments if isinstance(arguments, dict) else None,
                    result=item.get("result"),
                )
            )
        return found

    def read_failures(self, body: Any) -> Mapping[str, str]:
        """``failed_turns`` is an extension of the local service; the documents have no word for a failed turn. In the
        guide's dialect, which has no signals, the turn's number stands for it."""
        return {
            text(item.get("signal_id")) or f"#{item.get('turn', f'unknown-{number}')}": text(item.get("message")) or ""
            for number, item in enumerate(mappings(mapping(body).get("failed_turns")))
        }

    def read_answer(self, body: Any) -> events.Completed:
        """The whole answer of ``/chat`` as a turn's completion, so that it gives the same reply as a stream."""
        body = mapping(body)
        done = _completed(body, mapping(body.get("response")) or body)
        done.tools = [_tool(item) for item in mappings(body.get("tool_activity"))]
        return done

    def decode(self, event: SSEEvent) -> events.TurnEvent:
        """v2 names the kind in ``event:``, the guide in the payload's ``type``; the payload's word decides where the
        field is missing or says only "message"."""
        try:
            data = lenient_json.parse(event.data)
        except ValueError:
            kind = event.type
            return events.Undecodable(kind, event.data) if kind in _TEXT_BEARING else events.Unknown(kind, event.data)
        if not isinstance(data, dict):
            return events.Unknown(event.type, data)
        read = _READERS.get(event.type) if event.type != "message" else None
        if read is None:
            kind = text(data.get("type")) or event.type
            read = _READERS.get(kind)
            if read is None:
                return events.Unknown(kind, data)
        inner = data.get("data")
        return read(data, inner if isinstance(inner, dict) else data)


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


# Readers of the stream's payloads: the envelope, and its `data` (or the envelope again where there is none).


def _connected(envelope: Mapping[str, Any], data: Mapping[str, Any]) -> events.TurnEvent:
    return events.Connected(text(data.get("signal_id")) or text(envelope.get("signal_id")), envelope)


def _status(envelope: Mapping[str, Any], data: Mapping[str, Any]) -> events.TurnEvent:
    content = envelope.get("content")
    said = text(content) or text(mapping(content).get("message")) or text(data.get("message")) or ""
    return events.StatusChanged(said, envelope)


def _partial(envelope: Mapping[str, Any], data: Mapping[str, Any]) -> events.TurnEvent:
    said = data.get("clean_message")
    if not isinstance(said, str):
        said = data.get("message")
    references = read_references(data) if "sources" in data or "citations" in data else None
    return events.TextReceived(said if isinstance(said, str) else "", "partial", references, envelope)


def _content(envelope: Mapping[str, Any], data: Mapping[str, Any]) -> events.TurnEvent:
    for key in ("delta", "text"):
        if isinstance(data.get(key), str):
            return events.TextReceived(data[key], "delta", None, envelope)
    said = data.get("content")
    return events.TextReceived(said if isinstance(said, str) else "", "partial", None, envelope)


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
        data=envelope,
    )


def _completed(envelope: Mapping[str, Any], data: Mapping[str, Any]) -> events.Completed:
    """v2's ``completion``, the guide's ``done``, and the whole answer of ``/chat``.

    The user's text is ``clean_message``; where there is none it is ``message``. Where token usage rides in a v2 stream
    is not documented; ``token_usage`` and ``usage`` are read from the payload and from the envelope.
    """
    texts = [data.get("clean_message"), data.get("message"), envelope.get("assistant_response"), data.get("content")]
    said = tuple(t for t in texts if isinstance(t, str))
    raw = data.get("message")
    references = read_references(data) if "sources" in data or "citations" in data else None
    used = next(
        (
            found
            for place in (data, envelope)
            for key in ("token_usage", "usage")
            if (found := lenient_json.usage(place.get(key))) is not None
        ),
        None,
    )
    return events.Completed(
        texts=said,
        raw_text=raw if isinstance(raw, str) else None,
        references=references,
        usage=used,
        thinking=text(data.get("thinking")) or text(envelope.get("thinking")),
        signal_id=text(envelope.get("signal_id")) or text(data.get("signal_id")),
        finish_reason=text(data.get("finish_reason")) or text(envelope.get("finish_reason")),
        follow_up_questions=[q for q in lenient_json.sequence(data.get("follow_up_questions")) if isinstance(q, str)],
        call_to_actions=[_call_to_action(item) for item in mappings(data.get("call_to_actions"))],
        artifacts=[_artifact(item) for item in mappings(data.get("artifacts"))],
        data=envelope,
    )


def _failed(envelope: Mapping[str, Any], data: Mapping[str, Any]) -> events.TurnEvent:
    """``error`` is in the TypeScript SDK's signature; its payload is not documented."""
    said = (
        lenient_json.error_message(data) or lenient_json.error_message(envelope) or text(envelope.get("content")) or ""
    )
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


_READERS: dict[str, Callable[[Mapping[str, Any], Mapping[str, Any]], events.TurnEvent]] = {
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
}
_TEXT_BEARING = frozenset({"partial_response", "content", "message", "completion", "done"})
