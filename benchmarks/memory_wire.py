"""A wire without a network: prebuilt chunks of a turn behind the seam of ``transports.interface``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from meibel_integrations import AsyncMeibelClient, MeibelClient
from meibel_integrations.protocol.commands import ResponseHead
from meibel_integrations.protocol.requests import Request

__all__ = ["EVENT_BYTES", "bare_loop", "chunks_of", "connect", "connect_async", "pieces"]

EVENT_BYTES = 230
_TIME = "2026-01-01T00:00:00.000000+00:00"
_SESSION = b'{"session_id":"session-1","agent_id":"agent-1","created_at":"2026-01-01T00:00:00+00:00"}'


def pieces(count: int) -> list[str]:
    """The texts of so many deltas, each of such a length that its event has ``EVENT_BYTES`` bytes."""
    return [_piece(number) for number in range(1, count + 1)]


def _piece(number: int) -> str:
    missing = EVENT_BYTES - len(_delta(number, ""))
    return f" word{number}".ljust(missing // 2, "x")  # it is in the event twice


def _delta(number: int, text: str) -> bytes:
    data = {"message": text, "clean_message": text}
    return _event("partial_response", number, "intermediate", data)


def _event(kind: str, number: int, disposition: str, data: Mapping[str, object]) -> bytes:
    envelope = {"type": kind, "disposition": disposition, "sequence": str(number), "timestamp": _TIME, "data": data}
    return f"event: {kind}\ndata: {json.dumps(envelope, separators=(',', ':'))}\n\n".encode()


def chunks_of(texts: Sequence[str]) -> list[bytes]:
    """A whole turn, one chunk per event, as a service that streams tokens sends it."""
    whole = "".join(texts)
    source = {"source_id": 1, "title": "A document", "url": "https://example.org/", "snippet": "What it says."}
    final = {
        "message": whole,
        "clean_message": whole,
        "citations": [{"position": len(whole), "source_ids": [1]}],
        "sources": [source],
        "token_usage": {"input_tokens": 10, "output_tokens": len(texts), "total_tokens": 10 + len(texts)},
    }
    return [
        b'event: connected\ndata: {"signal_id":"signal-1"}\n\n',
        *(_delta(number, text) for number, text in enumerate(texts, 1)),
        _event("completion", len(texts) + 1, "final", final),
    ]


def bare_loop(chunks: Sequence[bytes]) -> int:
    """What anybody would write in five lines: split at blank lines, decode the JSON, take the text."""
    shown = 0
    rest = b""
    for chunk in chunks:
        *events, rest = (rest + chunk).split(b"\n\n")
        for event in events:
            data = json.loads(event.partition(b"data: ")[2])
            if data.get("type") == "partial_response":
                shown += len(data["data"]["clean_message"])
    return shown


class _Exchange:
    def __init__(self, chunks: Sequence[bytes]) -> None:
        self.head = ResponseHead(200, {"content-type": "text/event-stream" if len(chunks) > 1 else "application/json"})
        self._chunks = iter(chunks)

    def read(self) -> bytes:
        return next(self._chunks, b"")

    def close(self) -> None:
        return


class _Wire:
    """Opens a session for whoever asks, and answers every turn with the same chunks."""

    def __init__(self, chunks: Sequence[bytes]) -> None:
        self._chunks = chunks

    def open(self, request: Request) -> _Exchange:
        return _Exchange(self._chunks if request.path.endswith("/stream") else [_SESSION])


class _AsyncExchange:
    def __init__(self, exchange: _Exchange) -> None:
        self.head = exchange.head
        self._exchange = exchange

    async def read(self) -> bytes:
        return self._exchange.read()

    async def close(self) -> None:
        return


class _AsyncWire:
    def __init__(self, chunks: Sequence[bytes]) -> None:
        self._wire = _Wire(chunks)

    async def open(self, request: Request) -> _AsyncExchange:
        return _AsyncExchange(self._wire.open(request))


def connect(chunks: Sequence[bytes]) -> MeibelClient:
    """A client whose every turn is answered with these chunks."""
    client = MeibelClient("key", "http://127.0.0.1:9/v2")
    client._transport = _Wire(chunks)
    return client


def connect_async(chunks: Sequence[bytes]) -> AsyncMeibelClient:
    """The async twin of :func:`connect`."""
    client = AsyncMeibelClient("key", "http://127.0.0.1:9/v2")
    client._transport = _AsyncWire(chunks)
    return client
