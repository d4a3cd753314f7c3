"""The events of Meibel's stream, and the whole answer, in every form that its documents and SDKs show or hint at.

What is documented is read first and fast; what servers and proxies are known or feared to make of it, after. A reader
takes an envelope and its ``data`` (or the envelope again where there is none) and makes one event of it. What no reader
understands is :class:`~meibel_integrations.protocol.events.Unknown`, never an error. Sources of the facts: see
``meibel``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from meibel_integrations.models import Artifact, CallToAction, ToolActivity
from meibel_integrations.protocol import events, lenient_json
from meibel_integrations.protocol.citations import only_markers_differ
from meibel_integrations.protocol.dialects.meibel_citations import read_references
from meibel_integrations.protocol.lenient_json import mapping, mappings, sequence, text
from meibel_integrations.protocol.sse import SSEEvent
from meibel_integrations.protocol.text import PartialsReading

__all__ = ["decode_event", "normal_word", "read_answer", "spoken_text"]

_TEXTS = ("clean_message", "message", "content", "text", "output")
"""Where a text may stand, the preferred place first."""


def spoken_text(item: Mapping[str, Any]) -> str | None:
    """A message's text; v1 puts it one level deeper."""
    for place in (item, mapping(item.get("data")), mapping(item.get("message"))):
        for key in _TEXTS:
            if found := text(place.get(key)):
                return found
    return None


def decode_event(event: SSEEvent) -> events.TurnEvent:
    """The event of a block of the stream; never fails.

    v2 names the kind in ``event:``, the guide in the payload's ``type``. The payload's word decides where the field is
    missing or says only "message".
    """
    try:
        data, clean = lenient_json.parse_text(event.data)
    except ValueError:
        return _not_json(event)
    found = _decoded(event.type, data)
    return found if data is clean else events.with_whole_characters(found, clean, partial(_decoded, event.type))


def read_answer(body: Mapping[str, Any]) -> events.TurnEvent:
    """The whole answer of ``/chat`` as a turn's completion, so that it gives the same reply as a stream."""
    return _whole(body, body)


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
    for word in (normal_word(kind), normal_word(told)):
        if word != "message" and word in _READERS:
            return _READERS[word]
        if word.endswith(_FAILURES):
            return _failed
    if kind == "":
        return _whole
    return _content if normal_word(told or kind) == "message" else None


_FAILURES = ("error", "failed", "failure")
_WORD_BREAK = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[-.\s]+")


def normal_word(word: str) -> str:
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
    word = normal_word(kind)
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
            said = spoken_text(data)
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
