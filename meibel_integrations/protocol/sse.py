"""Server-Sent Events: a byte-level parser and the matching encoder.

The parser follows the WHATWG specification (web platform test vectors are in ``tests/conformance``), gives the same
events however the bytes are cut, dispatches an event as soon as its blank line is there, and is bounded in memory.
"""

from __future__ import annotations

from dataclasses import dataclass

from meibel_integrations.errors import ResponseTooLargeError

__all__ = ["MAX_EVENT_BYTES", "SSEEvent", "SSEParser", "encode_comment", "encode_event"]

MAX_EVENT_BYTES = 8 * 1024 * 1024
"""Default limit of one event (all its lines together), in bytes."""

_BOM = b"\xef\xbb\xbf"
_DIGITS = frozenset(b"0123456789")


@dataclass(slots=True)
class SSEEvent:
    """A dispatched event. ``data`` has its lines joined by LF; ``last_event_id`` is the id in force."""

    type: str
    data: str
    last_event_id: str = ""


class SSEParser:
    """Turns chunks of bytes into events.

    Attributes:
        retry: the reconnection time in milliseconds that the stream asked for, or ``None``.

    Raises:
        ResponseTooLargeError: from :meth:`feed`, when one event passes ``max_event_bytes``.
    """

    def __init__(self, *, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self.retry: int | None = None
        self._max = max_event_bytes
        self._partial: list[bytes] = []  # pieces of a line whose end has not come yet
        self._pending = 0  # bytes held in _partial and _data
        self._data: list[bytes] = []
        self._type = ""
        self._id = ""
        self._after_cr = False
        self._bom: bytes | None = b""  # bytes seen while a BOM is still possible, None once decided

    def feed(self, chunk: bytes) -> list[SSEEvent]:
        """Takes the next bytes and returns the events that they complete."""
        if self._bom is not None:
            chunk = self._without_bom(chunk)
        if self._after_cr and chunk:
            self._after_cr = False
            if chunk[0] == 10:
                chunk = chunk[1:]  # the second half of a CRLF; the line ended at its CR already
        if not chunk:
            return []
        if b"\r" in chunk:
            self._after_cr = chunk[-1] == 13
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        if b"\n" not in chunk:
            self._hold(chunk)
            return []
        lines = chunk.split(b"\n")
        if self._partial:
            self._partial.append(lines[0])
            lines[0] = b"".join(self._partial)
            self._pending -= len(lines[0]) - len(self._partial[-1])
            self._partial.clear()
        rest = lines.pop()
        events: list[SSEEvent] = []
        for line in lines:
            if not line:
                if self._data:
                    events.append(self._dispatch())
                else:
                    self._type = ""
            elif line[:5] == b"data:":
                self._add(line[6:] if line[5:6] == b" " else line[5:])
            else:
                self._field(line)
        if rest:
            self._hold(rest)
        return events

    def close(self) -> SSEEvent | None:
        """Ends the stream and returns the event whose blank line never came, if there is one.

        The specification drops such an event. It is returned separately so that the caller can decide.
        """
        if self._bom:
            self._partial.append(self._bom)
            self._bom = None
        if self._partial:
            line = b"".join(self._partial)
            self._partial.clear()
            if line[:5] == b"data:":
                self._data.append(line[6:] if line[5:6] == b" " else line[5:])
            else:
                self._field(line)
        self._pending = 0
        return self._dispatch() if self._data else None

    def _without_bom(self, chunk: bytes) -> bytes:
        assert self._bom is not None
        head = self._bom + chunk
        if len(head) < len(_BOM) and _BOM.startswith(head):
            self._bom = head
            return b""
        self._bom = None
        return head.removeprefix(_BOM)

    def _hold(self, piece: bytes) -> None:
        self._partial.append(piece)
        self._count(len(piece))

    def _add(self, value: bytes) -> None:
        self._data.append(value)
        self._count(len(value) + 1)

    def _count(self, size: int) -> None:
        self._pending += size
        if self._pending > self._max:
            raise ResponseTooLargeError(f"one event of the stream is larger than {self._max:,} bytes")

    def _dispatch(self) -> SSEEvent:
        data = self._data
        raw = data[0] if len(data) == 1 else b"\n".join(data)
        event = SSEEvent(self._type or "message", raw.decode("utf-8", "replace"), self._id)
        self._data = []
        self._pending = 0
        self._type = ""
        return event

    def _field(self, line: bytes) -> None:
        """Everything but a ``data:`` line with a colon (the hot case), comments included."""
        name, _, value = line.partition(b":")
        if value[:1] == b" ":
            value = value[1:]
        if name == b"event":
            self._type = value.decode("utf-8", "replace")
        elif name == b"data":
            self._add(value)
        elif name == b"id":
            if b"\0" not in value:
                self._id = value.decode("utf-8", "replace")
        elif name == b"retry" and value and _DIGITS.issuperset(value):
            self.retry = int(value)


def encode_event(event: str | None, data: str, *, id: str | None = None) -> bytes:
    """One event as bytes. CR, LF and CRLF inside ``data`` all arrive as LF, as the format has no other line ends.

    Raises:
        ValueError: a line break in ``event`` or ``id``, or NUL in ``id``: they cannot be expressed.
    """
    if event is not None and ("\n" in event or "\r" in event):
        raise ValueError(f"an event's type cannot hold a line break: {event!r}")
    if id is not None and any(c in id for c in "\n\r\0"):
        raise ValueError(f"an event's id cannot hold a line break or NUL: {id!r}")
    lines = [] if event is None else [f"event: {event}"]
    if id is not None:
        lines.append(f"id: {id}")
    lines += [f"data: {line}" for line in data.replace("\r\n", "\n").replace("\r", "\n").split("\n")]
    return ("\n".join(lines) + "\n\n").encode()


def encode_comment(text: str) -> bytes:
    """A comment line, which every reader skips: what keeps an idle connection open."""
    return f": {text}\n\n".encode()
