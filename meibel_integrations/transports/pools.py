"""Connection pools, shared by all clients of one origin, key and settings, and closed when the last of them is gone.

A sync pool closes when its last user has left or is gone, and the streams that are open then are over. An async pool
belongs to the event loop that it was first used on, as its sockets do: it closes with its last user or with that loop,
whichever comes first, so one client works across several ``asyncio.run`` calls.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncGenerator, Callable, Mapping
from threading import Lock, RLock

import httpx

from meibel_integrations.config import ClientConfig
from meibel_integrations.protocol.requests import Request
from meibel_integrations.transports.httpx_async import AsyncHttpxExchange, AsyncHttpxTransport
from meibel_integrations.transports.httpx_common import client_options
from meibel_integrations.transports.httpx_sync import HttpxExchange, HttpxTransport

__all__ = ["AsyncPool", "SyncPool", "shared_async_pool", "shared_pool"]

_Key = tuple[ClientConfig, tuple[tuple[str, str], ...]]
_lock = Lock()
_sync_pools: weakref.WeakValueDictionary[_Key, SyncPool] = weakref.WeakValueDictionary()
_pools: weakref.WeakValueDictionary[_Key, AsyncPool] = weakref.WeakValueDictionary()


def shared_pool(config: ClientConfig, key_header: Mapping[str, str], user: object) -> SyncPool:
    """The sync pool of these settings, for one user. Keep the reference for as long as it is in use."""
    key = (config, tuple(key_header.items()))
    with _lock:
        pool = _sync_pools.get(key)
        if pool is None:
            pool = _sync_pools[key] = SyncPool(config, key_header)
        pool.users.add(user)
        return pool


def shared_async_pool(config: ClientConfig, key_header: Mapping[str, str], user: object) -> AsyncPool:
    """The async pool of these settings, for one user. Keep the reference for as long as it is in use."""
    key = (config, tuple(key_header.items()))
    with _lock:
        pool = _pools.get(key)
        if pool is None:
            pool = _pools[key] = AsyncPool(config, key_header)
        pool.users.add(user)
        return pool


class SyncPool:
    """A sync transport whose connections close when nobody uses them, even if something - a traceback that somebody
    keeps - still refers to it."""

    def __init__(self, config: ClientConfig, key_header: Mapping[str, str]) -> None:
        self.users: weakref.WeakSet[object] = weakref.WeakSet()
        self._config = config
        self._key_header = dict(key_header)
        # The garbage collector may close a dropped stream while this thread holds the lock.
        self._lock = RLock()
        self._open = 0
        self._transport: HttpxTransport | None = None
        self._close: Callable[[], object] = int

    def open(self, request: Request) -> HttpxExchange:
        with self._lock:
            if self._transport is None:
                client = httpx.Client(**client_options(self._config))
                self._transport = HttpxTransport(self._config, self._key_header, client)
                self._close = weakref.finalize(self, client.close)
            transport = self._transport
            self._open += 1
        try:
            exchange = transport.open(request)
        except BaseException:
            self._leave_exchange()
            raise
        exchange.when_closed = self._leave_exchange
        return exchange

    def leave(self, user: object) -> None:
        """Notes that a user is done."""
        self.users.discard(user)
        self._close_if_idle()

    def _leave_exchange(self) -> None:
        with self._lock:
            self._open -= 1
        self._close_if_idle()

    def _close_if_idle(self) -> None:
        with self._lock:
            if self._open or self.users or self._transport is None:
                return
            self._transport = None
            close = self._close
        close()


class AsyncPool:
    """An async transport with one httpx client per event loop. Nothing is bound to a loop before its first request."""

    def __init__(self, config: ClientConfig, key_header: Mapping[str, str]) -> None:
        self.users: weakref.WeakSet[object] = weakref.WeakSet()
        self._config = config
        self._key_header = dict(key_header)
        self._lock = Lock()
        self._by_loop: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _LoopBound] = weakref.WeakKeyDictionary()

    async def open(self, request: Request) -> AsyncHttpxExchange:
        loop = asyncio.get_running_loop()
        with self._lock:
            bound = self._by_loop.get(loop)
            if bound is None:
                client = httpx.AsyncClient(**client_options(self._config))
                transport = AsyncHttpxTransport(self._config, self._key_header, client)
                bound = self._by_loop[loop] = _LoopBound(transport, client)
        await bound.watch()
        return await bound.transport.open(request)

    async def leave(self, user: object) -> None:
        """Notes that a user is done; the last one closes the running loop's connections."""
        self.users.discard(user)
        if not self.users:
            with self._lock:
                bound = self._by_loop.pop(asyncio.get_running_loop(), None)
            if bound is not None:
                await bound.close()


class _LoopBound:
    """A transport and the guard that closes it with its loop."""

    def __init__(self, transport: AsyncHttpxTransport, client: httpx.AsyncClient) -> None:
        self.transport = transport
        self._guard = _close_at_end(client)
        self._watched = False

    async def watch(self) -> None:
        """Starts the guard: a started async generator is closed by the loop at its shutdown, or, if it is dropped
        earlier, by the loop's finalizer hook. Both run its ``finally``."""
        if not self._watched:
            self._watched = True
            await anext(self._guard)

    async def close(self) -> None:
        await self._guard.aclose()


async def _close_at_end(client: httpx.AsyncClient) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        await client.aclose()
