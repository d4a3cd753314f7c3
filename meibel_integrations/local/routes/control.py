"""The routes under ``/_local/``: what no real service has, and a test needs."""

from __future__ import annotations

import sqlite3
from functools import partial

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from meibel_integrations import __version__
from meibel_integrations.local.context import LocalContext
from meibel_integrations.local.documents.uploads import delete_uploads
from meibel_integrations.local.faults.catalogue import FAULTS, Fault
from meibel_integrations.local.http.endpoints import authenticated, find_session
from meibel_integrations.local.http.refusals import not_found
from meibel_integrations.local.http.request_bodies import EndSession, read_model
from meibel_integrations.local.store import sessions
from meibel_integrations.local.store.database import Database
from meibel_integrations.local.turns.runner import TurnRunner


def control_routes(context: LocalContext) -> list[Route]:
    """Health is open; everything else needs the key and concerns its tenant only."""

    async def health(_: Request) -> Response:
        return JSONResponse({"status": "ok", "version": __version__})

    async def reset(_: Request, tenant: str) -> Response:
        await reset_tenant(context.db, context.runner, tenant)
        return Response(status_code=204)

    async def requests(_: Request, tenant: str) -> Response:
        return JSONResponse({"requests": context.log.entries(tenant)})

    async def clear_requests(_: Request, tenant: str) -> Response:
        context.log.clear(tenant)
        return Response(status_code=204)

    async def end(request: Request, tenant: str) -> Response:
        session_id = request.path_params["session_id"]
        wanted = await read_model(request, EndSession)
        found = await context.db.awrite(
            partial(sessions.end_session, tenant=tenant, session_id=session_id, status=wanted.status)
        )
        if not found:
            raise not_found("session", session_id)
        session = await find_session(context, tenant, session_id)
        return JSONResponse({"session_id": session_id, "status": session.status})

    async def show_faults(_: Request, tenant: str) -> Response:
        return JSONResponse(
            {"faults": [fault.model_dump() for fault in context.faults.waiting(tenant)], "available": FAULTS}
        )

    async def add_fault(request: Request, tenant: str) -> Response:
        context.faults.add(tenant, await read_model(request, Fault))
        return await show_faults(request, tenant)

    async def clear_faults(_: Request, tenant: str) -> Response:
        context.faults.clear(tenant)
        return Response(status_code=204)

    keyed = partial(authenticated, context)
    return [
        Route("/_local/health", health, methods=["GET"]),
        Route("/_local/reset", keyed(reset), methods=["POST"]),
        Route("/_local/requests", keyed(requests), methods=["GET"]),
        Route("/_local/requests", keyed(clear_requests), methods=["DELETE"]),
        Route("/_local/faults", keyed(show_faults), methods=["GET"]),
        Route("/_local/faults", keyed(add_fault), methods=["POST"]),
        Route("/_local/faults", keyed(clear_faults), methods=["DELETE"]),
        Route("/_local/sessions/{session_id}/end", keyed(end), methods=["POST"]),
    ]


async def reset_tenant(db: Database, runner: TurnRunner, tenant: str) -> None:
    """Drop a tenant's sessions and uploads; keep its agents and their documents."""

    def drop(conn: sqlite3.Connection) -> None:
        delete_uploads(conn, tenant, sessions.delete_sessions(conn, tenant))

    await runner.stop(tenant, "the service was reset while it answered")
    await db.awrite(drop)
