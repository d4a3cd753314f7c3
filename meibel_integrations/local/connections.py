"""The connections of the server: what is silent for too long, and how many there may be.

A ``_Connection`` speaks no HTTP. It stands before uvicorn's own protocol, passes everything on, watches the clock, and
lends itself to the faults on request.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from meibel_integrations.local.faults.fault_responses import CONNECTION
from meibel_integrations.local.limits import Limits

_REFUSING_SECONDS = 0.5
_SPARE_FILES = 128  # open files that are left to everything but connections
_FULL_BODY = b'{"code":"too_many_connections","message":"the local service has no room for another connection"}'
_FULL = b"\r\n".join(
    [
        b"HTTP/1.1 503 Service Unavailable",
        b"Content-Type: application/json",
        b"Content-Length: %d" % len(_FULL_BODY),
        b"Retry-After: 1",
        b"Connection: close",
        b"",
        _FULL_BODY,
    ]
)


class Connections:
    """The open connections of a server.

    A connection *waits* while no request of it is being answered. When there are too many connections, the one that
    has waited longest makes room: nobody who only opens connections can keep others out.
    """

    def __init__(self, limits: Limits) -> None:
        self.head_seconds = limits.head_seconds
        self.idle_seconds = limits.idle_seconds
        self._most = _connection_limit(limits.max_connections)
        self._all: set[_Connection] = set()
        self._waiting: dict[_Connection, None] = {}
        self._answering = 0
        self._closing = False
        self._changed = asyncio.Event()

    def accept(self, **given: Any) -> asyncio.Protocol:
        """The protocol of a new connection; uvicorn calls this as it calls its own classes."""
        return _Connection(self, given)

    def counting(self, app: ASGIApp) -> ASGIApp:
        """The application, telling each connection when a request of it begins and ends."""

        async def counted(scope: Scope, receive: Receive, send: Send) -> None:
            connection: _Connection = scope["state"][CONNECTION]
            connection.request_began()
            self._waiting.pop(connection, None)
            self._answering += 1
            try:
                await app(scope, receive, send)
            finally:
                self._answering -= 1
                connection.request_ended()
                self._wait_again(connection)
                self._changed.set()

        return counted

    def add(self, connection: _Connection) -> bool:
        """``False``: there is no room for one more."""
        if len(self._all) >= self._most:
            longest = next(iter(self._waiting), None)
            if longest is None:
                return False
            self.remove(longest)
            longest.drop()
        self._all.add(connection)
        self._waiting[connection] = None
        return True

    def remove(self, connection: _Connection) -> None:
        self._waiting.pop(connection, None)
        self._all.discard(connection)
        self._changed.set()

    def _wait_again(self, connection: _Connection) -> None:
        if self._closing:
            connection.close()
        elif connection in self._all:
            self._waiting[connection] = None

    async def drain(self, seconds: float) -> None:
        """Close what waits at once, and the rest when it has been answered or ``seconds`` have passed."""
        self._closing = True
        for connection in list(self._waiting):
            connection.close()
        await self._empty(seconds)
        # A reader that takes nothing is cut off; the response that waited for it then ends by itself.
        for connection in list(self._all):
            connection.drop()
        await self._empty(seconds)

    async def _empty(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._all or self._answering:
                    self._changed.clear()
                    await self._changed.wait()


class _Connection(asyncio.Protocol):
    """One connection: passes everything on to uvicorn's protocol, and watches the clock."""

    transport: asyncio.Transport

    def __init__(self, connections: Connections, given: dict[str, Any]) -> None:
        self._connections = connections
        self._http = H11Protocol(**{**given, "app_state": {CONNECTION: self}})
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._busy = False
        self._refused = False

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._refused = not self._connections.add(self)
        if self._refused:
            transport.write(_FULL)
            # Closed before the client's request was read, the connection would be reset, and the answer be lost.
            transport.write_eof()
            self._close_after(_REFUSING_SECONDS)
            return
        self._close_after(self._connections.head_seconds)
        self._http.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        # The first bytes of the next request: its head has to be complete before long.
        if not self._busy and self._timer is None:
            self._close_after(self._connections.head_seconds)
        self._http.data_received(data)

    def pause_writing(self) -> None:
        """The client reads nothing."""
        self._close_after(self._connections.idle_seconds)
        self._http.pause_writing()

    def resume_writing(self) -> None:
        self._stop_timer()
        self._http.resume_writing()

    def eof_received(self) -> None:
        self._http.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        self._connections.remove(self)
        if not self._refused:
            self._http.connection_lost(exc)

    # What the application calls

    def request_began(self) -> None:
        self._busy = True
        self._stop_timer()

    def request_ended(self) -> None:
        self._busy = False

    def close(self) -> None:
        """Ends the connection when what was sent has left."""
        self.transport.close()

    def drop(self) -> None:
        """Ends the connection at once."""
        self.transport.abort()

    def reset(self) -> None:
        """Ends the connection at once, with a reset."""
        no_linger = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)
        self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_linger)
        self.transport.abort()

    def _close_after(self, seconds: float) -> None:
        self._stop_timer()
        self._timer = self._loop.call_later(seconds, self.drop)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _connection_limit(wanted: int) -> int:
    """As many connections as wanted, if this process may open so many files."""
    try:
        import resource
    except ImportError:  # Windows
        return wanted
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return wanted
    return max(16, min(wanted, files - _SPARE_FILES))
