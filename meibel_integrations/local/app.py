"""The service as an ASGI application: the list of its routes, behind what stands before every route.

Each family of routes is a list: Meibel's, LlamaCloud's chat, and the service's own: the page
and what is under ``/_local/``.
"""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from meibel_integrations.local.context import LocalContext
from meibel_integrations.local.http.front import Front
from meibel_integrations.local.http.refusals import HANDLERS, answer_defect, answer_http
from meibel_integrations.local.routes.control import control_routes
from meibel_integrations.local.routes.inspector import inspector_routes
from meibel_integrations.local.routes.llamacloud import llamacloud_routes
from meibel_integrations.local.routes.meibel import meibel_routes
from meibel_integrations.local.routes.page import page_routes


def create_app(context: LocalContext) -> ASGIApp:
    own = [*control_routes(context), *inspector_routes(context), *page_routes()]
    routes = [*meibel_routes(context), *llamacloud_routes(context), *own]
    handlers = {**HANDLERS, HTTPException: answer_http, Exception: answer_defect}
    app = Starlette(routes=routes, exception_handlers=handlers)
    # A redirect to the path without its last slash would be one more thing that the real service may not do.
    app.router.redirect_slashes = False
    return Front(app, context)
