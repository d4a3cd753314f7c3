"""Responses that break on purpose. ASGI has no word for a broken connection; the server lends its own.

The turn, where it runs, is left alone: it goes on by itself as after any client that left.
"""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator, Callable
from typing import NoReturn, Protocol

from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from meibel_integrations.local.faults.catalogue import VARIANTS, Fault, FaultName
from meibel_integrations.local.faults.variants import in_another_form
from meibel_integrations.protocol.sse import encode_comment, encode_event

__all__ = ["CONNECTION", "BreakableConnection", "broken"]

CONNECTION = "meibel_integrations.connection"
"""The name in a request's ``state`` under which the server lends its connection."""

_DRIP_BYTES = 16
_BOMB_BYTES = 64 * 1024 * 1024
_HUGE_BYTES = 10 * 1024 * 1024
_END = b"\n\n"


class BreakableConnection(Protocol):
    """A request's connection."""

    def close(self) -> None:
        """Ends it when what was sent has left."""

    def reset(self) -> None:
        """Ends it at once, with a reset."""


Failure = Callable[[str], bytes]
"""The bytes of a wire's error event."""


def broken(fault: Fault, answer: Response | None, failure: Failure) -> Response:
    """The response in place of ``answer``, which is ``None`` if the turn was not begun."""
    name, wait = fault.fault, {"Retry-After": str(fault.retry_after)}
    match name:
        case "reset_before_head":
            return _Reset()
        case "bad_gateway":
            return HTMLResponse(_page("502 Bad Gateway"), 502)
        case "unavailable":
            return HTMLResponse(_page("503 Service Unavailable"), 503, headers=wait)
        case "too_many_requests":
            return JSONResponse(
                {"code": "too_many_requests", "message": "a fault that was asked for"}, 429, headers=wait
            )
        case "html":
            return HTMLResponse(_page("Welcome"))
        case "redirect":
            return Response(status_code=302, headers={"Location": fault.location})
    assert answer is not None
    return _Broken(fault, answer, failure)


def _page(title: str) -> str:
    return f"<!doctype html><html><title>{title}</title><h1>{title}</h1></html>"


def _connection(scope: Scope) -> BreakableConnection:
    connection: BreakableConnection = scope["state"][CONNECTION]
    return connection


class _Reset(Response):
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        _connection(scope).reset()
        while (await receive())["type"] != "http.disconnect":
            continue


class _Broken(Response):
    """An answer that begins well."""

    def __init__(self, fault: Fault, answer: Response, failure: Failure) -> None:
        super().__init__()
        self._fault = fault
        self._answer = answer
        self._failure = failure

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = self._answer
        headers = dict(answer.headers.items())
        if self._fault.fault == "ndjson":
            headers["content-type"] = "application/x-ndjson"
        if self._fault.fault in _REWRITTEN:
            headers.pop("content-length", None)
        if self._fault.fault in ("truncated_gzip", "gzip_bomb"):
            headers["content-encoding"] = "gzip"
        pieces = _Pieces(self._fault, answer, self._failure, _connection(scope))
        response = StreamingResponse(_BREAKING[self._fault.fault](pieces), answer.status_code, headers)
        await response(scope, receive, send)


class _Pieces:
    """What a breaking response is made of."""

    def __init__(self, fault: Fault, answer: Response, failure: Failure, connection: BreakableConnection) -> None:
        self.fault = fault
        self.failure = failure
        self.connection = connection
        self.streamed = isinstance(answer, StreamingResponse)
        self._answer = answer

    async def chunks(self) -> AsyncIterator[bytes]:
        """The answer's bytes as they come."""
        if isinstance(self._answer, StreamingResponse):
            async for chunk in self._answer.body_iterator:
                yield chunk.encode() if isinstance(chunk, str) else bytes(chunk)
        else:
            yield bytes(self._answer.body)

    async def events(self) -> AsyncIterator[bytes]:
        """The answer's events, each with its blank line, as they come; or the whole answer."""
        rest = b""
        async for chunk in self.chunks():
            *whole, rest = (rest + chunk).split(_END)
            for event in whole:
                yield event + _END
        if rest:
            yield rest

    async def cut(self) -> NoReturn:
        """Ends the connection; the response is then given up."""
        self.connection.close()
        await self.wait()

    async def wait(self) -> NoReturn:
        """Waits until the connection is gone, when the response is cancelled."""
        await asyncio.Event().wait()
        raise AssertionError("unreachable")


async def _reset_after_head(pieces: _Pieces) -> AsyncIterator[bytes]:
    yield b""
    pieces.connection.reset()
    await pieces.wait()


async def _struck(pieces: _Pieces) -> AsyncIterator[tuple[bytes, bool]]:
    """The events up to the one that is struck, which is marked; the last one if there are not so many."""
    held: bytes | None = None
    count = 0
    async for event in pieces.events():
        if held is not None:
            yield held, False
            count += 1
        held = event
        if count == pieces.fault.after:
            break
    yield held or b"", True


async def _cut_after_connected(pieces: _Pieces) -> AsyncIterator[bytes]:
    async for event in pieces.events():
        yield event
        await pieces.cut()


async def _cut_inside(pieces: _Pieces) -> AsyncIterator[bytes]:
    async for event, struck in _struck(pieces):
        if not struck:
            yield event
            continue
        # JSON in ASCII has no character of several bytes: one is begun.
        begun = b"\xf0\x9f" if pieces.fault.fault == "cut_inside_character" else b""
        yield event[: len(event) // 2] + begun
        await pieces.cut()


async def _no_blank_line(pieces: _Pieces) -> AsyncIterator[bytes]:
    held = b""
    async for event in pieces.events():
        yield held
        held = event
    yield held.rstrip(b"\n")


async def _stall(pieces: _Pieces) -> AsyncIterator[bytes]:
    async for event, struck in _struck(pieces):
        yield event[: len(event) // 2] if struck and not pieces.streamed else event
    await pieces.wait()


async def _slow_drip(pieces: _Pieces) -> AsyncIterator[bytes]:
    async for chunk in pieces.chunks():
        for i in range(0, len(chunk), _DRIP_BYTES):
            yield chunk[i : i + _DRIP_BYTES]
            await asyncio.sleep(pieces.fault.seconds)


async def _truncated_gzip(pieces: _Pieces) -> AsyncIterator[bytes]:
    packed = gzip.compress(b"".join([chunk async for chunk in pieces.chunks()]))
    yield packed[: len(packed) // 2]


async def _gzip_bomb(_: _Pieces) -> AsyncIterator[bytes]:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    spaces = b" " * (1024 * 1024)
    for _i in range(_BOMB_BYTES // len(spaces) + 1):
        yield packer.compress(spaces)
        await asyncio.sleep(0)
    yield packer.flush()


async def _with_more(pieces: _Pieces, more: bytes) -> AsyncIterator[bytes]:
    """The whole stream, with something more before one of its events."""
    count = 0
    async for event in pieces.events():
        yield more + event if count == pieces.fault.after else event
        count += 1


async def _huge_event(pieces: _Pieces) -> AsyncIterator[bytes]:
    more = encode_event("message", '{"type":"padding","data":"' + "x" * _HUGE_BYTES + '"}')
    async for event in _with_more(pieces, more):
        yield event


async def _bad_event(pieces: _Pieces) -> AsyncIterator[bytes]:
    if not pieces.streamed:
        async for chunk in pieces.chunks():
            yield chunk[: len(chunk) // 2]
        return
    more = b'event: partial_response\ndata: {"type": "partial_response", "data": {"mess\n\n'
    async for event in _with_more(pieces, more):
        yield event


async def _error_event(pieces: _Pieces) -> AsyncIterator[bytes]:
    async for event, struck in _struck(pieces):
        yield pieces.failure("a fault that was asked for") if struck else event


def _another_form(pieces: _Pieces) -> AsyncIterator[bytes]:
    return in_another_form(pieces.fault.fault, pieces.chunks())


async def _endless(pieces: _Pieces) -> AsyncIterator[bytes]:
    async for event, struck in _struck(pieces):
        if not struck:
            yield event
    while True:
        yield encode_comment("and on")
        await asyncio.sleep(pieces.fault.seconds)


_BREAKING: dict[FaultName, Callable[[_Pieces], AsyncIterator[bytes]]] = {
    "reset_after_head": _reset_after_head,
    "cut_after_connected": _cut_after_connected,
    "cut_inside_delta": _cut_inside,
    "cut_inside_character": _cut_inside,
    "no_blank_line": _no_blank_line,
    "stall": _stall,
    "slow_drip": _slow_drip,
    "truncated_gzip": _truncated_gzip,
    "gzip_bomb": _gzip_bomb,
    "invalid_json": _bad_event,
    "error_event": _error_event,
    "huge_event": _huge_event,
    "endless": _endless,
    **dict.fromkeys(VARIANTS, _another_form),
}
_REWRITTEN = frozenset({"truncated_gzip", "gzip_bomb", "invalid_json"})
