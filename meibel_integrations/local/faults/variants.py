"""A stream's events in other forms: what servers and proxies may make of the wire that the documents describe.

Each variant takes an event as its kind and its payload and gives the events in its place. A session of one form after
the other shows whether a client reads them all.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from meibel_integrations.local.faults.catalogue import FaultName
from meibel_integrations.protocol.sse import SSEParser, encode_event

__all__ = ["in_another_form"]

_TEXTS = {"partial_response", "content", "text_delta"}
_ENDS = {"completion", "done", "stop"}
_KEYS = ("message", "clean_message", "delta", "content")
_DONE = encode_event(None, "[DONE]")


async def in_another_form(name: FaultName, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The stream of these bytes in the form of this name."""
    parser, form = SSEParser(), _FORMS[name]()
    async for chunk in chunks:
        if chunk.startswith(b":"):
            yield chunk  # a comment that keeps the connection alive
        for event in parser.feed(chunk):
            data: Any = json.loads(event.data)
            kind = None if event.type == "message" and name != "nested_events" else event.type
            for piece in form(kind, str(data.get("type") or event.type), data):
                yield piece


_Form = Callable[[str | None, str, dict[str, Any]], Iterator[bytes]]


def _encoded(kind: str | None, data: Any) -> bytes:
    return encode_event(kind, json.dumps(data, separators=(",", ":")))


def _with_text(data: dict[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    """The payload with its text changed, wherever that is."""
    inner = data.get("data")
    if isinstance(inner, dict):
        return {**data, "data": _with_text(inner, change)}
    return {key: change(value) if key in _KEYS and isinstance(value, str) else value for key, value in data.items()}


def _text(data: dict[str, Any]) -> str:
    found: list[str] = []
    _with_text(data, lambda text: found.append(text) or text)  # type: ignore[func-returns-value]
    return found[0] if found else ""


def _snapshots() -> _Form:
    so_far = ""

    def form(kind: str | None, name: str, data: dict[str, Any]) -> Iterator[bytes]:
        nonlocal so_far
        if name == "partial_response":
            so_far += _text(data)
            data = _with_text(data, lambda _: so_far)
        yield _encoded(kind, data)

    return form


def _json_text() -> _Form:
    return lambda kind, name, data: iter([_encoded(kind, json.dumps(data))])


def _nested() -> _Form:
    return lambda kind, name, data: iter([_encoded(None, {"event": name, "data": data})])


def _upper_case() -> _Form:
    def form(kind: str | None, name: str, data: dict[str, Any]) -> Iterator[bytes]:
        yield _encoded(kind and kind.upper(), {**data, "type": name.upper()})

    return form


def _repeated() -> _Form:
    """Without a sequence a repetition could not be told from a text that repeats."""
    return lambda kind, name, data: iter([_encoded(kind, data)] * (2 if "sequence" in data else 1))


def _done_marker() -> _Form:
    return lambda kind, name, data: iter([_encoded(kind, data), *([_DONE] if name in _ENDS else [])])


def _no_completion() -> _Form:
    return lambda kind, name, data: iter([_DONE if name in _ENDS else _encoded(kind, data)])


def _ending(change: Callable[[str], str]) -> Callable[[], _Form]:
    def make() -> _Form:
        def form(kind: str | None, name: str, data: dict[str, Any]) -> Iterator[bytes]:
            yield _encoded(kind, _with_text(data, change) if name in _ENDS else data)

        return form

    return make


def _ndjson() -> _Form:
    def form(kind: str | None, name: str, data: dict[str, Any]) -> Iterator[bytes]:
        yield json.dumps({"type": name, **data}, separators=(",", ":")).encode() + b"\n"

    return form


_FORMS: dict[FaultName, Callable[[], _Form]] = {
    "snapshots": _snapshots,
    "json_text": _json_text,
    "nested_events": _nested,
    "upper_case": _upper_case,
    "repeated_events": _repeated,
    "done_marker": _done_marker,
    "no_completion": _no_completion,
    "empty_completion": _ending(lambda text: ""),
    "trimmed_completion": _ending(lambda text: text[:-1]),
    "ndjson": _ndjson,
}
