"""An HTTP server in a thread of its own, on a socket that is bound before the thread starts."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from meibel_integrations.errors import ConfigurationError
from meibel_integrations.local.faults.fault_responses import CONNECTION

# A reader that takes nothing more is cut off after this many seconds when the server closes.
_DRAIN_SECONDS = 2
_BACKLOG = 2048
# Longer than the idle time after which clients drop a pooled connection themselves: whoever closes first while the
# other is sending breaks a request.
_KEEP_ALIVE_SECONDS = 75


class ServerThread:
    """Runs an application until ``stop``.

    The thread is a daemon on purpose: a program that forgets to close the service must still be able to end. ``stop``
    joins it all the same.
    """

    def __init__(self, listener: socket.socket, app: ASGIApp, before_stop: Callable[[], Awaitable[None]]) -> None:
        self._listener = listener
        self._app = app
        self._before_stop = before_stop
        self._ready: Future[None] = Future()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name="meibel-local", daemon=True)

    def start(self) -> None:
        """Return when connections are accepted."""
        self._thread.start()
        self._ready.result()

    def stop(self) -> None:
        loop, stopping = self._loop, self._stopping
        if loop is not None and stopping is not None and self._thread.is_alive():
            loop.call_soon_threadsafe(stopping.set)
        self._thread.join()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            if not self._ready.done():
                self._ready.set_exception(error)
                return
            raise

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        config = uvicorn.Config(
            self._app,
            http=_Http,
            ws="none",
            loop="asyncio",
            lifespan="off",
            # The program's logging belongs to the program.
            log_config=None,
            log_level=None,
            backlog=_BACKLOG,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        )
        server = _Server(config, lambda: self._ready.set_result(None))
        serving = asyncio.create_task(server.serve(sockets=[self._listener]))
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not serving.done():
            await self._before_stop()
            server.exit_now()
        await serving


class _Http(H11Protocol):
    """Lends the application the connection of each request, to break it on purpose: see ``fault_responses``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        app = self.app

        async def lend(scope: Scope, receive: Receive, send: Send) -> None:
            scope.setdefault("extensions", {})[CONNECTION] = self
            await app(scope, receive, send)

        self.app = lend

    def close(self) -> None:
        """Ends the connection when what was sent has left."""
        self.transport.close()

    def reset(self) -> None:
        """Ends the connection at once, with a reset."""
        no_linger = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)
        self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_linger)
        self.transport.abort()


class _Server(uvicorn.Server):
    """Tells when it is ready, and stops without waiting for its next tick."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._tell_ready = ready
        self._exit = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self._tell_ready()

    async def main_loop(self) -> None:
        tick = 0
        while not await self.on_tick(tick):
            tick = (tick + 10) % 864_000
            try:
                async with asyncio.timeout(1.0):
                    await self._exit.wait()
            except TimeoutError:
                continue

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As the base class does it, but without its fixed waits: tests open and close many services."""
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        await self._drained(_DRAIN_SECONDS)
        # A reader that takes nothing is cut off; the response that waited for it then ends by itself.
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await self._drained(_DRAIN_SECONDS)

    async def _drained(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        # The base class's state tells nobody when it changes.
        while (self.server_state.connections or self.server_state.tasks) and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.005)

    def exit_now(self) -> None:
        self.should_exit = True
        self._exit.set()


def bind(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        ConfigurationError: the port is taken, or the host is not one of this machine's.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        # The protocol is named because asyncio looks at it: without it, connections would not get TCP_NODELAY, and
        # every small answer would wait 40 ms for an acknowledgement.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    except OSError as error:
        raise ConfigurationError(f"cannot listen on {host!r}: {error.strerror or error}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise ConfigurationError(
            f"cannot listen on {host} port {port}: {error.strerror or error}; choose another port (0: any free one)"
        ) from error
    return listener


def address_of(listener: socket.socket) -> str:
    """``host:port`` under which this machine reaches the socket."""
    host, port = listener.getsockname()[:2]
    if host == "0.0.0.0":  # noqa: S104 - compared, not bound
        host = "127.0.0.1"
    elif host == "::":
        host = "::1"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
