"""The async transport over httpx."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import anyio
import httpcore
import httpx

from meibel_integrations.config import ClientConfig
from meibel_integrations.protocol.commands import ResponseHead
from meibel_integrations.protocol.requests import Request
from meibel_integrations.transports.httpx_common import FAILURES, build_request, translate, without_key

__all__ = ["AsyncHttpClient", "AsyncHttpxExchange", "AsyncHttpxTransport"]

AsyncHttpClient = httpx.AsyncClient
"""What callers may bring: the one name of httpx that other layers know."""


class AsyncHttpxExchange:
    """One response that is being read."""

    def __init__(self, config: ClientConfig, response: httpx.Response) -> None:
        self.head = ResponseHead(response.status_code, dict(response.headers.items()))
        self._config = config
        self._response = response
        self._chunks = response.aiter_raw()

    async def read(self) -> bytes:
        try:
            async for chunk in self._chunks:
                if chunk:
                    return without_key(chunk, self.head.status, self._config)
            return b""
        except FAILURES as error:
            raise translate(error, self._config) from error

    async def close(self) -> None:
        try:
            await self._response.aclose()
        except FAILURES as error:
            raise translate(error, self._config) from error


class AsyncHttpxTransport:
    """Sends requests through an ``httpx.AsyncClient``; closing that is its owner's business."""

    def __init__(self, config: ClientConfig, key_header: Mapping[str, str], client: httpx.AsyncClient) -> None:
        self._config = config
        self._key_header = dict(key_header)
        self._client = client

    async def open(self, request: Request) -> AsyncHttpxExchange:
        try:
            built = build_request(self._client, self._config, self._key_header, request)
            response = await self._client.send(built, stream=True, follow_redirects=False)
        except FAILURES as error:
            raise translate(error, self._config) from error
        except asyncio.CancelledError:
            with anyio.CancelScope(shield=True):
                await _close_forgotten(self._client)
            raise
        return AsyncHttpxExchange(self._config, response)


async def _close_forgotten(client: httpx.AsyncClient) -> None:
    """Closes what httpcore (1.0.9) forgets: a request that is cancelled at the moment when its connection is made
    leaves it in the pool, where it is neither idle nor closed and belongs to no request, as long as the pool lives."""
    for transport in (client._transport, *client._mounts.values()):
        pool: Any = getattr(transport, "_pool", None)
        if isinstance(pool, httpcore.AsyncConnectionPool):
            held = {id(request.connection) for request in pool._requests}
            for connection in pool.connections:
                if id(connection) not in held and not connection.is_idle() and not connection.is_closed():
                    await connection.aclose()
