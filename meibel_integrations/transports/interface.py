"""The seam between flows and the network: what a transport offers.

A transport opens exchanges; an exchange has a head, is read, and is closed. Another HTTP library is one more file like
``httpx_sync`` or ``httpx_async``.
"""

from __future__ import annotations

from typing import Protocol

from meibel_integrations.protocol.commands import ResponseHead
from meibel_integrations.protocol.requests import Request

__all__ = ["AsyncExchange", "AsyncTransport", "Exchange", "Transport"]


class Exchange(Protocol):
    """One request and its response. Errors are the package's own ``TransportError``s."""

    head: ResponseHead

    def read(self) -> bytes:
        """The next bytes of the body as they arrive, undecoded; ``b""`` at the end."""

    def close(self) -> None:
        """Frees the connection. May be called at any time, and again."""


class Transport(Protocol):
    """Sends requests to one origin with one key."""

    def open(self, request: Request) -> Exchange: ...


class AsyncExchange(Protocol):
    """The async twin of :class:`Exchange`."""

    head: ResponseHead

    async def read(self) -> bytes: ...

    async def close(self) -> None: ...


class AsyncTransport(Protocol):
    """The async twin of :class:`Transport`."""

    async def open(self, request: Request) -> AsyncExchange: ...
