"""What stands before every route: the ``Host`` check, the version header, the body limit, the request log."""

from __future__ import annotations

import asyncio

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from meibel_integrations import __version__
from meibel_integrations.config import is_loopback
from meibel_integrations.local.context import LocalContext
from meibel_integrations.local.http.endpoints import LOG_ENTRY
from meibel_integrations.local.http.refusals import refuse
from meibel_integrations.local.limits import Limits
from meibel_integrations.local.request_log import RequestEntry

VERSION_HEADER = "X-Meibel-Local"
_OWN_PATHS = ("/_local/", "/page/")


class Front:
    """Before every route: the ``Host`` check, the version header, the body limit, the request log."""

    def __init__(self, app: ASGIApp, context: LocalContext) -> None:
        self._app = app
        self._context = context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = Headers(scope=scope)
        content_type = headers.get("content-type", "")
        entry = RequestEntry(scope["method"], _path(scope), content_type)
        body = LimitedBody(receive, self._context.limits, content_type, self._context.log.body_chars)
        # Looking at the log, and preparing a test, is not part of what is looked at; nor is the page.
        if scope["path"] != "/" and not scope["path"].startswith(_OWN_PATHS):
            self._context.log.add(entry)
            scope[LOG_ENTRY] = entry

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                entry.status = message["status"]
                entry.body = body.beginning.decode("utf-8", "replace")
                MutableHeaders(scope=message)[VERSION_HEADER] = __version__
            await send(message)

        host = headers.get("host", "")
        if not host_allowed(host, self._context.host):
            refused = refuse(421, "host_not_allowed", f"this service does not answer under the name {host!r}")
            await refused.response(scope["path"])(scope, body, answer)
            return
        await self._app(scope, body, answer)


def _path(scope: Scope) -> str:
    query = scope.get("query_string", b"").decode("latin-1")
    path: str = scope["path"]
    return f"{path}?{query}" if query else path


class LimitedBody:
    """An ASGI ``receive`` that counts the body and keeps its beginning for the request log.

    What is too long is read on and thrown away for a while before it is refused: a client that is still sending when
    the answer comes would otherwise see a broken connection and not the answer.
    """

    def __init__(self, receive: Receive, limits: Limits, content_type: str, keep: int) -> None:
        self._receive = receive
        self._limit = limits.body_limit(content_type)
        self._drain = 4 * self._limit
        self._patience = limits.idle_seconds
        self._keep = keep
        self._size = 0
        self._complete = False
        self.beginning = bytearray()

    async def __call__(self) -> Message:
        message = await self._next()
        while self._size > self._limit:
            if not message.get("more_body", False) or self._size > self._drain:
                raise refuse(413, "body_too_large", f"the request's body is longer than {self._limit} bytes")
            message = await self._next()
        return message

    async def _next(self) -> Message:
        if self._complete:
            # From here on, only the end of the connection is heard, which may take as long as it likes.
            return await self._receive()
        try:
            async with asyncio.timeout(self._patience):
                message = await self._receive()
        except TimeoutError:
            stalled = f"no byte of the request's body came for {self._patience:g} seconds"
            raise refuse(408, "body_stalled", stalled, headers={"Connection": "close"}) from None
        self._count(message)
        self._complete = not message.get("more_body", False)
        return message

    def _count(self, message: Message) -> None:
        if message["type"] == "http.request":
            body = message.get("body", b"")
            self._size += len(body)
            self.beginning += body[: max(0, self._keep - len(self.beginning))]


def host_allowed(header: str, bound_to: str) -> bool:
    """Whether a request's ``Host`` may be answered.

    A web page can make its own name resolve to 127.0.0.1 (DNS rebinding) and so reach a loopback service with the
    page's origin; it cannot change the ``Host`` that the browser then sends. A service that is open to a network has
    names that it does not know; its key protects it.
    """
    if not is_loopback(bound_to):
        return True
    name = header.rsplit(":", 1)[0] if not header.endswith("]") else header
    return is_loopback(name)
