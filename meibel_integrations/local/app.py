"""The service as an ASGI application: what stands before every route, and the list of routes.

Each family of routes is a list: Meibel's, LlamaCloud's chat, and the service's own under ``/_local/``.
"""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from meibel_integrations import __version__
from meibel_integrations.local.context import LOG_ENTRY, Service
from meibel_integrations.local.http.refusals import HANDLERS, answer_defect, answer_http, refuse
from meibel_integrations.local.limits import LimitedBody, host_allowed
from meibel_integrations.local.request_log import RequestEntry
from meibel_integrations.local.routes.control import control_routes
from meibel_integrations.local.routes.llamacloud import llamacloud_routes
from meibel_integrations.local.routes.meibel import meibel_routes

VERSION_HEADER = "X-Meibel-Local"


def create_app(service: Service) -> ASGIApp:
    routes = [*meibel_routes(service), *llamacloud_routes(service), *control_routes(service)]
    handlers = {**HANDLERS, HTTPException: answer_http, Exception: answer_defect}
    app = Starlette(routes=routes, exception_handlers=handlers)
    # A redirect to the path without its last slash would be one more thing that the real service may not do.
    app.router.redirect_slashes = False
    return Front(app, service)


class Front:
    """Before every route: the ``Host`` check, the version header, the body limit, the request log."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = Headers(scope=scope)
        content_type = headers.get("content-type", "")
        entry = RequestEntry(scope["method"], _path(scope), content_type)
        body = LimitedBody(receive, self._service.limits.body_limit(content_type), self._service.log.body_chars)
        # Looking at the log, and preparing a test, is not part of what is looked at.
        if not scope["path"].startswith("/_local/"):
            self._service.log.add(entry)
            scope[LOG_ENTRY] = entry

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                entry.status = message["status"]
                entry.body = body.beginning.decode("utf-8", "replace")
                MutableHeaders(scope=message)[VERSION_HEADER] = __version__
            await send(message)

        host = headers.get("host", "")
        if not host_allowed(host, self._service.host):
            refused = refuse(421, "host_not_allowed", f"this service does not answer under the name {host!r}")
            await refused.response(scope["path"])(scope, body, answer)
            return
        await self._app(scope, body, answer)


def _path(scope: Scope) -> str:
    query = scope.get("query_string", b"").decode("latin-1")
    path: str = scope["path"]
    return f"{path}?{query}" if query else path
