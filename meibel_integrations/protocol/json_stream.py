"""A streamed turn that is answered with JSON instead of an event stream: one object a line, or one whole answer.

Neither is documented; servers and proxies in between do it. Each object becomes an event, as if it had come in an event
stream that names no kinds.
"""

from __future__ import annotations

import json

from meibel_integrations.errors import ResponseTooLargeError
from meibel_integrations.protocol.lenient_json import parse
from meibel_integrations.protocol.sse import MAX_EVENT_BYTES, SSEEvent, SSEParser

__all__ = ["JSONParser", "parser_for"]


def parser_for(first: bytes) -> SSEParser | JSONParser:
    """The parser for a response that begins with these bytes. No line of an event stream that means anything begins
    with a bracket."""
    return JSONParser() if first.lstrip()[:1] in (b"{", b"[") else SSEParser()


class JSONParser:
    """Turns chunks of bytes into events, one for each object.

    A first line that is JSON by itself, with another line behind it, means that every line is; otherwise the response
    is one document. A document by itself becomes an event with the type ``""``.
    """

    def __init__(self) -> None:
        self._held = b""
        self._by_line: bool | None = None

    def feed(self, chunk: bytes) -> list[SSEEvent]:
        """Takes the next bytes and returns the events that they complete."""
        self._held += chunk
        if len(self._held) > MAX_EVENT_BYTES:
            raise ResponseTooLargeError(f"the JSON of the response is larger than {MAX_EVENT_BYTES:,} bytes")
        if self._by_line is None:
            first, _, more = self._held.lstrip().partition(b"\n")
            if more.strip():
                self._by_line = _is_json(first)
        if not self._by_line:
            return []
        *lines, self._held = self._held.split(b"\n")
        return [_event(line) for line in lines if line.strip()]

    def close(self) -> list[SSEEvent]:
        """Ends the response and returns the events that were not complete before: the rest, or an array's objects."""
        rest, self._held = self._held, b""
        if not rest.strip():
            return []
        if self._by_line:
            return [_event(rest)]
        try:
            value = parse(rest)
        except ValueError:
            value = None
        if isinstance(value, list):
            return [SSEEvent("message", json.dumps(item)) for item in value]
        return [SSEEvent("", rest.decode("utf-8", "replace"))]


def _event(line: bytes) -> SSEEvent:
    return SSEEvent("message", line.decode("utf-8", "replace"))


def _is_json(line: bytes) -> bool:
    try:
        parse(line)
    except ValueError:
        return False
    return True
