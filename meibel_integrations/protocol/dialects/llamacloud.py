"""LlamaCloud's wire: Index v2 chat, as its "Chat" page and its official SDK (``llama-cloud`` 2.19) have it.

Facts that neither tells are assumed and marked so here; nothing was checked against the hosted service.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from meibel_integrations.errors import InvalidInputError, ProtocolError
from meibel_integrations.models import Message, Session, Usage
from meibel_integrations.protocol import events, lenient_json
from meibel_integrations.protocol.agents import AgentRef, ChatSessionOptions, SessionOptions
from meibel_integrations.protocol.dialects.interface import Page, TurnRequest
from meibel_integrations.protocol.dialects.llamacloud_retrieval import read_retrieved
from meibel_integrations.protocol.lenient_json import mapping, mappings, text
from meibel_integrations.protocol.requests import EVENT_STREAM, Request, path
from meibel_integrations.protocol.sse import SSEEvent
from meibel_integrations.protocol.text import TextAccumulator

__all__ = ["MAX_INDEXES", "MAX_PROMPT_CHARS", "LlamaCloudDialect", "checked_indexes"]

MAX_PROMPT_CHARS = 1_000
"""The documented limit of a prompt (the SDKs' reference pages)."""
MAX_INDEXES = 10
"""The documented limit of a session's indexes (the "Chat" page)."""


class LlamaCloudDialect:
    """Requests to and answers from LlamaCloud's chat.

    Args:
        organization_id, project_id: sent as query parameters with every call.
        max_prompt_chars: the longest prompt, ``None`` for no limit of ours.
    """

    name = "llamacloud"
    takes_files = False
    default_base_url = "https://api.cloud.llamaindex.ai"
    base_url_variable = "LLAMA_CLOUD_BASE_URL"
    key_variables: tuple[str, ...] = ("LLAMA_CLOUD_API_KEY", "LLAMA_PARSE_API_KEY")

    def __init__(
        self,
        organization_id: str | None = None,
        project_id: str | None = None,
        max_prompt_chars: int | None = MAX_PROMPT_CHARS,
    ) -> None:
        self.max_prompt_chars = max_prompt_chars
        given = {"organization_id": organization_id, "project_id": project_id}
        self._scope = tuple((key, value) for key, value in given.items() if value is not None)

    def key_header(self, key: str) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {key}"}

    # Requests

    def create_session(self, agent: AgentRef, options: SessionOptions | None = None) -> Request:
        """Bound to the agent's indexes, or unbound."""
        how = options if isinstance(options, ChatSessionOptions) else ChatSessionOptions()
        body: dict[str, Any] = {}
        if how.bound and agent.index_ids:
            body["index_ids"] = list(checked_indexes(agent.index_ids))
        if how.shared_access is not None:
            body["shared_access"] = how.shared_access
        return Request("POST", "/api/v1/chat", query=self._scope, json=body, repeatable=True)

    def list_sessions(self, cursor: str | None, page_size: int) -> Request:
        query = (*self._scope, ("page_size", str(page_size)), *((("page_token", cursor),) if cursor else ()))
        return Request("GET", "/api/v1/chat", query=query, repeatable=True)

    def get_session(self, session_id: str) -> Request:
        return self._get("/api/v1/chat/{session_id}", session_id)

    def get_summary(self, session_id: str) -> Request:
        return self._get("/api/v1/chat/{session_id}/summary", session_id)

    def get_history(self, session_id: str) -> Request:
        """The full session: its events are the history."""
        return self.get_session(session_id)

    def delete_session(self, session_id: str) -> Request:
        route = path("/api/v1/chat/{session_id}", session_id=session_id)
        return Request("DELETE", route, query=self._scope, repeatable=True, session_id=session_id)

    def stream_turn(self, turn: TurnRequest) -> Request:
        """``index_ids`` is required with each message; for a bound session they are the bound ones."""
        if turn.files:
            raise InvalidInputError("LlamaCloud chat takes no files with a message; add them to an index.")
        message: dict[str, Any] = {
            "index_ids": list(checked_indexes(turn.agent.index_ids or ())),
            "prompt": turn.body.user_message,
        }
        if turn.require_all_indexes:
            message["require_all_indexes"] = True
        return Request(
            "POST",
            path("/api/v1/chat/{session_id}/messages/stream", session_id=turn.session_id),
            query=self._scope,
            json=message,
            accept=EVENT_STREAM,
            session_id=turn.session_id,
        )

    def _get(self, template: str, session_id: str) -> Request:
        route = path(template, session_id=session_id)
        return Request("GET", route, query=self._scope, repeatable=True, session_id=session_id)

    # Answers

    def read_session(self, body: Any, agent: AgentRef | None = None) -> Session:
        """A summary or a full session. The service tells no time of creation."""
        body = mapping(body)
        session_id = text(body.get("session_id")) or text(body.get("id"))
        if not session_id:
            raise ProtocolError("The service's answer names no session (session_id).")
        bound = body.get("index_ids")
        job = body.get("job_metadata")
        return Session(
            id=session_id,
            updated_at=lenient_json.timestamp(body.get("last_updated_at")),
            title=text(body.get("generated_title")),
            shared_access=text(body.get("shared_access")),
            index_ids=[i for i in bound if isinstance(i, str)] if isinstance(bound, list) else None,
            job_metadata=job if isinstance(job, dict) else None,
            events=[dict(event) for event in mappings(body.get("events"))],
            extra=lenient_json.leftover(body, _SESSION_FIELDS),
        )

    def read_sessions(self, body: Any, cursor: str | None) -> Page:
        body = mapping(body)
        return Page(
            [self.read_session(item) for item in mappings(body.get("items"))], text(body.get("next_page_token"))
        )

    def has_ended(self, body: Any) -> bool:
        """Sessions do not end; they are deleted, which a 404 tells."""
        return False

    def read_last_usage(self, body: Any) -> Usage | None:
        """``job_metadata`` describes the most recent run (SDK)."""
        return lenient_json.usage(mapping(body).get("job_metadata"))

    def read_history(self, body: Any) -> list[Message]:
        """One user and one assistant message per finished turn; the answer of one that runs or failed is not there."""
        found: list[Message] = []
        for turn in _turns(body):
            found.append(Message(role="user", message=turn.asked))
            if turn.complete:
                found.append(Message(role="assistant", message=turn.text.finish([]).text))
        return found

    def read_failures(self, body: Any) -> Mapping[str, str]:
        return {f"#{place}": turn.error for place, turn in enumerate(_turns(body)) if turn.error is not None}

    def read_turns(self, body: Any) -> Mapping[str, Sequence[events.TurnEvent]]:
        """The history holds a turn's own events."""
        return {f"#{place}": turn.events for place, turn in enumerate(_turns(body)) if turn.complete}

    def decode(self, event: SSEEvent) -> events.TurnEvent:
        """The payload's ``type`` tells the kind; ``event:`` says only whether it is a delta or a whole event."""
        try:
            data, clean = lenient_json.parse_text(event.data)
        except ValueError:
            if event.data.strip() == "[DONE]":
                return events.Ended(event.data)
            if event.type.lower() == "error":
                return events.Failed(event.data, data=event.data)
            return events.Undecodable(event.type, event.data)
        found = _decoded(event.type, data)
        return found if data is clean else events.with_whole_characters(found, clean, partial(_decoded, event.type))


def checked_indexes(index_ids: tuple[str, ...]) -> tuple[str, ...]:
    """The indexes of a session or a message.

    Raises:
        InvalidInputError: more than the service takes, or an id that is none.
    """
    if len(index_ids) > MAX_INDEXES:
        raise InvalidInputError(f"A session takes at most {MAX_INDEXES} indexes, not {len(index_ids)}.")
    for index_id in index_ids:
        if not isinstance(index_id, str) or not index_id.strip():
            raise InvalidInputError(f"An index id must be a text that is not empty, not {index_id!r}.")
    return index_ids


_SESSION_FIELDS = frozenset(
    {"session_id", "id", "last_updated_at", "generated_title", "shared_access", "index_ids", "job_metadata", "events"}
)


class _HistoryTurn:
    """One turn of a session's events: from ``user_input`` to ``stop``. Its text may be there whole, as deltas only, or
    as both, as in a stream."""

    def __init__(self, asked: str) -> None:
        self.asked = asked
        self.text = TextAccumulator()
        self.events: list[events.TurnEvent] = []
        self.complete = False
        self.error: str | None = None


def _turns(body: Any) -> list[_HistoryTurn]:
    found: list[_HistoryTurn] = []
    for event in mappings(mapping(body).get("events")):
        kind, content = event.get("type"), text(event.get("content")) or ""
        if kind == "user_input":
            found.append(_HistoryTurn(content))
            continue
        if not found:
            continue
        turn, read = found[-1], _READERS.get(str(kind))
        if kind == "text_delta":
            turn.text.delta(content)
        elif kind == "text":
            turn.text.block(content)
        elif read is not None:
            told = read(event)
            turn.events.append(told)
            if isinstance(told, events.Failed):
                turn.error = told.message
            turn.complete = turn.complete or isinstance(told, events.Completed)
    return found


def _decoded(kind: str, data: Any) -> events.TurnEvent:
    if isinstance(data, str) and data.lstrip().startswith("{"):
        try:
            data = lenient_json.parse(data)
        except ValueError:
            return events.Undecodable(kind, data)
    if not isinstance(data, dict):
        said = data if isinstance(data, str) else ""
        return events.Failed(said, data=data) if kind.lower() == "error" else events.Unknown(kind, data)
    if "event" in data and isinstance(data.get("data"), dict | str) and "type" not in data:
        return _decoded(text(data["event"]) or kind, data["data"])
    kind = text(data.get("type")) or kind
    read = _READERS.get(kind) or _READERS.get(kind.lower())
    if read is None and kind in ("message", "") and lenient_json.error_message(data):
        read = _failed
    return events.Unknown(kind, data) if read is None else read(data)


# Readers of the stream's events


def _content(data: Mapping[str, Any]) -> str:
    return text(data.get("content")) or ""


def _tool_called(data: Mapping[str, Any]) -> events.TurnEvent:
    return events.ToolCalled(
        text(data.get("call_id")), text(data.get("name")), dict(mapping(data.get("arguments"))), data=data
    )


def _tool_returned(data: Mapping[str, Any]) -> events.TurnEvent:
    name = text(data.get("name"))
    image = data.get("image_attachment")
    sources = read_retrieved(data.get("result"), tool_name=name, image=image if isinstance(image, dict) else None)
    references = events.References(sources=tuple(sources)) if sources else None
    return events.ToolReturned(text(data.get("call_id")), name, data.get("result"), references=references, data=data)


def _warned(data: Mapping[str, Any]) -> events.TurnEvent:
    """The shape of ``warning`` is not documented."""
    said = lenient_json.error_message(data) or _content(data) or text(data.get("text")) or "The service gave a warning."
    return events.Warned(said, data)


def _failed(data: Mapping[str, Any]) -> events.TurnEvent:
    """An error event is not documented; ``stop`` tells failures."""
    return events.Failed(lenient_json.error_message(data), data=data)


def _stopped(data: Mapping[str, Any]) -> events.TurnEvent:
    """The end of a turn. Whether ``usage`` counts the turn or the session is not documented; it is passed on."""
    if data.get("is_error") or lenient_json.error_message({"error": data.get("error")}):
        return _failed(data)
    skipped = [i for i in lenient_json.sequence(data.get("skipped_index_ids")) if isinstance(i, str)]
    warnings = [f"These indexes could not be queried: {', '.join(skipped)}."] if skipped else []
    return events.Completed(
        usage=lenient_json.usage(data.get("usage")),
        warnings=warnings,
        skipped_index_ids=skipped,
        extra=lenient_json.leftover(data, ("type", "is_error", "error", "usage", "skipped_index_ids")),
        data=data,
    )


_READERS: dict[str, Callable[[Mapping[str, Any]], events.TurnEvent]] = {
    "text_delta": lambda data: events.TextReceived(_content(data), "delta", None, data),
    "text": lambda data: events.TextReceived(_content(data), "block", None, data),
    "thinking_delta": lambda data: events.ThinkingReceived(_content(data), "delta", data),
    "thinking": lambda data: events.ThinkingReceived(_content(data), "block", data),
    "user_input": lambda data: events.Connected(None, data),
    "tool_call": _tool_called,
    "tool_result": _tool_returned,
    "warning": _warned,
    "stop": _stopped,
    "error": _failed,
}
