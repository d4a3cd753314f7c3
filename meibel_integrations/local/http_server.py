"""An HTTP server in a thread of its own, on a socket that is bound before the thread starts.

The server is plain uvicorn; its connections stand behind those of ``connections``.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future

import uvicorn
from starlette.types import ASGIApp

from meibel_integrations.errors import ConfigurationError
from meibel_integrations.local.connections import Connections
from meibel_integrations.local.limits import Limits

# A reader that takes nothing more is cut off after this many seconds when the server closes.
_DRAIN_SECONDS = 2.0
_BACKLOG = 2048
# asyncio accepts as many in one step, each with a file of its own, and closes those that have to go some steps later.
_ACCEPTED_AT_ONCE = 16
# Longer than the idle time after which clients drop a pooled connection themselves: whoever closes first while the
# other is sending breaks a request.
_KEEP_ALIVE_SECONDS = 75


class ServerThread:
    """Runs an application until ``stop``.

    The thread is a daemon on purpose: a program that forgets to close the service must still be able to end. ``stop``
    joins it all the same.
    """

    def __init__(
        self, listener: socket.socket, app: ASGIApp, limits: Limits, before_stop: Callable[[], Awaitable[None]]
    ) -> None:
        self._listener = listener
        self._app = app
        self._connections = Connections(limits)
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
            self._connections.counting(self._app),
            http=self._connections.accept,  # type: ignore[arg-type]  # a class is called in the same way
            ws="none",
            loop="asyncio",
            lifespan="off",
            # Nobody stands between the service and its clients whose headers could be believed.
            proxy_headers=False,
            # The program's logging belongs to the program.
            log_config=None,
            log_level=None,
            backlog=_ACCEPTED_AT_ONCE,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        )
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve(sockets=[self._listener]))
        # uvicorn tells nobody that it has started; it is a matter of a few steps of the loop.
        while not (server.started or serving.done()):  # noqa: ASYNC110
            await asyncio.sleep(0)
        if server.started:
            self._listener.listen(_BACKLOG)
            self._ready.set_result(None)
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if serving.done():
            await serving
            return
        await self._before_stop()
        # uvicorn's own way to stop waits for fixed times, which tests that open and close many services would pay.
        for listening in server.servers:
            listening.close()
        await self._connections.drain(_DRAIN_SECONDS)
        serving.cancel()
        await asyncio.wait({serving})


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
