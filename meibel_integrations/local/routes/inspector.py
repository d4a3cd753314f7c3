"""What the page shows and no wire has: ``/_local/`` routes that only read. ``docs/page.md`` has their shapes.

Each needs the key and shows its tenant's things only; another tenant's answer 404, like those that are not there.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from meibel_integrations import __version__
from meibel_integrations.local.context import LocalContext
from meibel_integrations.local.http.endpoints import authenticated
from meibel_integrations.local.http.refusals import not_found, refuse
from meibel_integrations.local.http.request_bodies import read_model, read_query
from meibel_integrations.local.search.quotation import find_quotation
from meibel_integrations.local.store import documents, inspection, tenants, turn_log
from meibel_integrations.local.store.inspection import SessionOverview
from meibel_integrations.local.store.step_codec import kind_of
from meibel_integrations.local.store.steps import Delta, Done
from meibel_integrations.local.store.turn_log import StepBatch, TurnRow
from meibel_integrations.local.turns.continuity import branches, continuity
from meibel_integrations.local.turns.conversation import read_message
from meibel_integrations.local.turns.live_turn import Shown
from meibel_integrations.local.wires.guide import GuideWire
from meibel_integrations.local.wires.interface import StreamWire
from meibel_integrations.local.wires.llamacloud import LlamaCloudStream
from meibel_integrations.local.wires.shapes import source_fields
from meibel_integrations.protocol import transcript

T = TypeVar("T")
_Loaded = Callable[[sqlite3.Connection], T | None]
_TITLE_CHARS = 120
_EVERYTHING = Shown(thinking=True, tool_activity=True, passages=True)
_Offset = Annotated[int, Field(ge=0, le=2**31)]


class _Token(BaseModel):
    token: str


class _ListQuery(BaseModel):
    contains: str = ""
    offset: _Offset = 0
    limit: int = Field(default=50, ge=1, le=500)


class _TurnsQuery(BaseModel):
    limit: int = Field(default=50, ge=1, le=1000)


class _PassagesQuery(BaseModel):
    quote: str = Field(default="", max_length=8_000)
    first: _Offset | None = None
    limit: int = Field(default=20, ge=1, le=500)


class _SearchQuery(BaseModel):
    q: str = Field(max_length=20_000)
    agent_id: str
    session_id: str | None = None
    limit: int = Field(default=10, ge=1, le=100)


def inspector_routes(context: LocalContext) -> list[Route]:
    routes = _InspectorRoutes(context)
    keyed = partial(authenticated, context)
    session = "/_local/sessions/{session_id}"
    return [
        Route("/_local/key", routes.key, methods=["POST"]),
        Route("/_local/service", keyed(routes.service), methods=["GET"]),
        Route("/_local/sessions", keyed(routes.sessions), methods=["GET"]),
        Route(session, keyed(routes.session), methods=["GET"]),
        Route(f"{session}/continuity", keyed(routes.continuity), methods=["GET"]),
        Route(f"{session}/turns/{{signal_id}}", keyed(routes.turn), methods=["GET"]),
        Route("/_local/agents/{agent_id}/documents", keyed(routes.documents), methods=["GET"]),
        Route("/_local/documents/{document_id}", keyed(routes.document), methods=["GET"]),
        Route("/_local/search", keyed(routes.search), methods=["GET"]),
    ]


class _InspectorRoutes:
    def __init__(self, context: LocalContext) -> None:
        self._context = context
        self._db = context.db

    async def key(self, request: Request) -> Response:
        """Trades a token for the key. The page of another origin cannot read the answer, and is not given it."""
        origin = request.headers.get("origin")
        # Without the scheme: TLS may end in front of the service.
        if origin is not None and origin.partition("://")[2] != request.headers.get("host"):
            raise refuse(403, "other_origin", "a token is traded by the service's own page only")
        wanted = await read_model(request, _Token)
        key = self._context.page_tokens.redeem(wanted.token)
        if key is None:
            raise refuse(401, "token_used", "the token of this link was used, or has expired")
        return JSONResponse({"key": key}, headers={"Cache-Control": "no-store"})

    async def service(self, _: Request, tenant: str) -> Response:
        agents = await self._db.aread(lambda conn: tenants.list_agents(conn, tenant))
        limits = self._context.limits
        return JSONResponse(
            {
                "version": __version__,
                "dialect": "guide" if isinstance(self._context.wire, GuideWire) else "v2",
                "agents": [
                    {"agent_id": agent.agent_id, "index_id": agent.index_id, "name": agent.name} for agent in agents
                ],
                "limits": {
                    "message_chars": limits.max_message_chars,
                    "prompt_chars": limits.max_prompt_chars,
                    "files": limits.max_files,
                    "file_bytes": limits.max_file_bytes,
                },
            }
        )

    # Sessions

    async def sessions(self, request: Request, tenant: str) -> Response:
        query = read_query(request, _ListQuery)
        found, total = await self._db.aread(
            lambda conn: inspection.list_overviews(
                conn, tenant, containing=query.contains, offset=query.offset, limit=query.limit
            )
        )
        return JSONResponse({"sessions": [_overview(session) for session in found], "total": total})

    async def session(self, request: Request, tenant: str) -> Response:
        query = read_query(request, _TurnsQuery)
        session_id = request.path_params["session_id"]

        def load(conn: sqlite3.Connection) -> dict[str, Any] | None:
            session = inspection.find_overview(conn, tenant, session_id)
            if session is None:
                return None
            turns = turn_log.list_turns(conn, tenant, session_id)
            running = any(turn.state == "running" for turn in turns)
            steps = turn_log.list_steps(conn, tenant, session_id) if running else {}
            files = inspection.files_by_turn(conn, tenant, session_id)
            shown = turns[-query.limit :]
            return {
                **_overview(session),
                "continuity": asdict(continuity(conn, tenant, session_id, turns)),
                "earlier_turns": len(turns) - len(shown),
                "messages": [_turn(turn, steps.get(turn.turn_id, ()), files.get(turn.turn_id, ())) for turn in shown],
            }

        return JSONResponse(await self._found(load, "session", session_id))

    async def continuity(self, request: Request, tenant: str) -> Response:
        session_id = request.path_params["session_id"]

        def load(conn: sqlite3.Connection) -> dict[str, Any] | None:
            if inspection.find_overview(conn, tenant, session_id) is None:
                return None
            turns = turn_log.list_turns(conn, tenant, session_id)
            found = continuity(conn, tenant, session_id, turns)
            origin = inspection.find_overview(conn, tenant, found.origin.session_id) if found.origin else None
            others = branches(conn, tenant, session_id, turns)
            overviews = (inspection.find_overview(conn, tenant, other) for other in others)
            first = transcript.decode(turns[0].user_message) if turns else []
            return {
                **asdict(found),
                "origin_session": _overview(origin) if origin is not None else None,
                "first_message": [block._asdict() for block in first],
                "branches": [_overview(other) for other in overviews if other is not None],
            }

        return JSONResponse(await self._found(load, "session", session_id))

    async def turn(self, request: Request, tenant: str) -> Response:
        session_id, signal_id = request.path_params["session_id"], request.path_params["signal_id"]

        def load(conn: sqlite3.Connection) -> dict[str, Any] | None:
            session = inspection.find_overview(conn, tenant, session_id)
            turn = inspection.find_signal(conn, tenant, session_id, signal_id)
            if session is None or turn is None:
                return None
            wire = LlamaCloudStream() if session.service == "llamacloud" else self._context.wire
            return _log(turn, turn_log.list_steps(conn, tenant, session_id).get(turn.turn_id, []), wire)

        return JSONResponse(await self._found(load, "turn", signal_id))

    # Documents

    async def documents(self, request: Request, tenant: str) -> Response:
        """With ``session_id``, the files that were uploaded in that session come first."""
        query = read_query(request, _ListQuery)
        agent_id, session_id = request.path_params["agent_id"], request.query_params.get("session_id")

        def load(conn: sqlite3.Connection) -> dict[str, Any] | None:
            if tenants.find_agent(conn, tenant, agent_id=agent_id) is None:
                return None
            scopes = documents.find_scopes(conn, tenant, [agent_id], session_id)
            found, total = inspection.list_documents(
                conn, tenant, scopes, containing=query.contains, offset=query.offset, limit=query.limit
            )
            return {"documents": [asdict(document) for document in found], "total": total}

        return JSONResponse(await self._found(load, "agent", agent_id))

    async def document(self, request: Request, tenant: str) -> Response:
        """Some passages: from ``first`` on, or around those that contain ``quote``."""
        query = read_query(request, _PassagesQuery)
        document_id = request.path_params["document_id"]

        def load(conn: sqlite3.Connection) -> dict[str, Any] | None:
            document = inspection.find_document(conn, tenant, document_id)
            if document is None:
                return None
            place = None
            if query.quote:
                place = find_quotation(inspection.list_passages(conn, tenant, document_id), query.quote)
            first = query.first
            if first is None:
                first = max(0, place.ordinal - query.limit // 2) if place is not None else 0
            passages = inspection.list_passages(conn, tenant, document_id, first=first, limit=query.limit)
            return {
                **asdict(document),
                "passages_in_all": document.passages,
                "passages": [asdict(passage) for passage in passages],
                "quote": asdict(place) if place is not None else None,
            }

        return JSONResponse(await self._found(load, "document", document_id))

    async def search(self, request: Request, tenant: str) -> Response:
        query = read_query(request, _SearchQuery)
        search = self._context.runner.search_of(tenant, [query.agent_id], query.session_id)
        found = await asyncio.to_thread(search, query.q, limit=query.limit)
        return JSONResponse({"passages": [asdict(passage) for passage in found]})

    async def _found(self, load: _Loaded[T], what: str, name: str) -> T:
        found = await self._db.aread(load)
        if found is None:
            raise not_found(what, name)
        return found


def _overview(session: SessionOverview) -> dict[str, Any]:
    fields = asdict(session)
    first = fields.pop("first_message")
    asked = read_message(first)[1] if first is not None else ""
    return {**fields, "title": " ".join(asked[: 4 * _TITLE_CHARS].split())[:_TITLE_CHARS]}


def _turn(turn: TurnRow, batches: Sequence[StepBatch], files: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """A turn as it stands; the answer of one that runs is what was said so far."""
    done = turn.done or Done()
    said = "".join(step.text for batch in batches for step in batch.steps if isinstance(step, Delta))
    return {
        "signal_id": turn.signal_id,
        "state": turn.state,
        "error": turn.error,
        "started_at": turn.started_at,
        "finished_at": turn.finished_at,
        "message": [block._asdict() for block in transcript.decode(turn.user_message)],
        "files": [{"document_id": document_id, "filename": name} for document_id, name in files],
        "answer": turn.answer or said,
        "thinking": turn.thinking,
        "sources": [source_fields(number, source) for number, source in enumerate(done.sources, start=1)],
        "citations": [
            {"position": citation.position, "source_ids": [index + 1 for index in citation.sources]}
            for citation in done.citations
        ],
        "follow_up_questions": list(done.follow_up_questions),
        "usage": done.usage,
    }


def _log(turn: TurnRow, batches: Sequence[StepBatch], wire: StreamWire) -> dict[str, Any]:
    """A turn's event log, and the same as a stream that shows everything."""
    events: list[dict[str, Any]] = []
    stream = wire.opening(turn)
    number = 0
    for batch in batches:
        stream += wire.steps(batch, _EVERYTHING)
        for number, step in enumerate(batch.steps, start=batch.first):
            events.append({"number": number, "at": batch.created_at, "kind": kind_of(step), **asdict(step)})
    if turn.state != "running":
        stream += wire.closing(turn, number + 1, _EVERYTHING)
    return {
        "signal_id": turn.signal_id,
        "state": turn.state,
        "error": turn.error,
        "started_at": turn.started_at,
        "finished_at": turn.finished_at,
        "usage": turn.done.usage if turn.done is not None else {},
        "events": events,
        "stream": stream.decode(),
    }
