"""Meibel's routes: agents, sessions, chat. The shapes of the answers are the dialect's (``wire``)."""

from __future__ import annotations

import sqlite3
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from meibel_integrations.local.context import LocalContext
from meibel_integrations.local.http.endpoints import authenticated, breakable, find_session
from meibel_integrations.local.http.event_stream import stream_response
from meibel_integrations.local.http.refusals import not_found, refuse
from meibel_integrations.local.http.request_bodies import PageQuery, SessionQuery, read_chat, read_options, read_query
from meibel_integrations.local.store import sessions, tenants, turn_log
from meibel_integrations.local.store.sessions import SessionRow
from meibel_integrations.local.store.tenants import AgentRow
from meibel_integrations.local.turns.live_turn import LiveTurn, Shown
from meibel_integrations.local.wires.interface import SessionRecord
from meibel_integrations.local.wires.v2 import AGENT_VERSION

BASE_PATH = "/v2"


def meibel_routes(context: LocalContext) -> list[Route]:
    routes = _MeibelRoutes(context)
    keyed = partial(authenticated, context)
    chat = breakable(context, routes.chat, context.wire, streamed=False)
    chat_stream = breakable(context, routes.chat_stream, context.wire, streamed=True)
    return [
        Route(f"{BASE_PATH}/agents", keyed(routes.list_agents), methods=["GET"]),
        Route(f"{BASE_PATH}/agents/", keyed(routes.list_agents), methods=["GET"]),
        # Before the routes by id: "name" is a word of the path there, not an agent's id.
        Route(f"{BASE_PATH}/agents/name/{{name}}/sessions", keyed(routes.create_by_name), methods=["POST"]),
        Route(f"{BASE_PATH}/agents/{{agent_id}}", keyed(routes.get_agent), methods=["GET"]),
        Route(f"{BASE_PATH}/agents/{{agent_id}}/sessions", keyed(routes.create), methods=["POST"]),
        Route(f"{BASE_PATH}/agents/{{agent_id}}/sessions", keyed(routes.list_sessions), methods=["GET"]),
        Route(f"{BASE_PATH}/sessions/{{session_id}}", keyed(routes.details), methods=["GET"]),
        Route(f"{BASE_PATH}/sessions/{{session_id}}/messages", keyed(routes.history), methods=["GET"]),
        Route(f"{BASE_PATH}/sessions/{{session_id}}/chat", keyed(chat), methods=["POST"]),
        Route(f"{BASE_PATH}/sessions/{{session_id}}/chat/stream", keyed(chat_stream), methods=["POST"]),
    ]


class _MeibelRoutes:
    def __init__(self, context: LocalContext) -> None:
        self._context = context
        self._db = context.db

    # Agents

    async def list_agents(self, request: Request, tenant: str) -> Response:
        page = read_query(request, PageQuery)
        agents = await self._db.aread(lambda conn: tenants.list_agents(conn, tenant))
        shown = agents[page.offset : page.offset + page.limit]
        return JSONResponse(
            {
                "data": [self._agent_summary(agent) for agent in shown],
                "total": len(agents),
                "offset": page.offset,
                "limit": page.limit,
            }
        )

    async def get_agent(self, request: Request, tenant: str) -> Response:
        agent = await self._agent(tenant, agent_id=request.path_params["agent_id"])
        return JSONResponse(
            {
                **self._agent_identity(agent),
                "catalog_urn": f"urn:meibel:local:agent:{agent.agent_id}",
                "parent_version": None,
                "fallback_models": [],
                "datasources": [agent.index_id],
                "instructions": "",
                "tools": [{"name": "search", "description": "Full-text search over the agent's documents."}],
                "artifacts": [],
                "confidence_configs": [],
                "temperature": 0,
                "max_tokens": None,
                "tags": [],
                "icon": None,
                "created_by": None,
                "created_at": agent.created_at,
                "execution_policy": None,
                "execution_policy_ids": [],
            }
        )

    def _agent_summary(self, agent: AgentRow) -> dict[str, Any]:
        return {**self._agent_identity(agent), "tool_count": 1, "datasource_count": 1}

    def _agent_identity(self, agent: AgentRow) -> dict[str, Any]:
        return {
            "id": agent.agent_id,
            "name": agent.name,
            "display_name": agent.name,
            "description": "An agent of the local service.",
            "version": AGENT_VERSION,
            "type": "published",
            # There need not be a language model behind an answer; the answerer is named instead.
            "llm_model": f"local/{type(self._context.answerer_of(agent.name)).__name__}",
            "last_execution_status": None,
            "last_execution_time": None,
        }

    async def _agent(self, tenant: str, *, agent_id: str | None = None, name: str | None = None) -> AgentRow:
        agent = await self._db.aread(lambda conn: tenants.find_agent(conn, tenant, agent_id=agent_id, name=name))
        if agent is None:
            raise not_found("agent", agent_id or name or "")
        return agent

    # Sessions

    async def create(self, request: Request, tenant: str) -> Response:
        return await self._create(request, tenant, agent_id=request.path_params["agent_id"])

    async def create_by_name(self, request: Request, tenant: str) -> Response:
        return await self._create(request, tenant, name=request.path_params["name"])

    async def _create(
        self, request: Request, tenant: str, *, agent_id: str | None = None, name: str | None = None
    ) -> Response:
        """The options are kept with the session. What they do to an agent is not documented, so nothing is done."""
        options = await read_options(request)
        agent = await self._agent(tenant, agent_id=agent_id, name=name)
        limit = self._context.limits.max_sessions

        def insert(conn: sqlite3.Connection) -> SessionRow:
            if sessions.count_sessions(conn, tenant) >= limit:
                raise refuse(429, "too_many_sessions", f"there are {limit} sessions already")
            chosen = options.model_dump(exclude_none=True)
            return sessions.create_session(conn, self._context.ids, tenant, agent.agent_id, chosen)

        return JSONResponse(self._context.wire.created(await self._db.awrite(insert)))

    async def list_sessions(self, request: Request, tenant: str) -> Response:
        query = read_query(request, SessionQuery)
        agent = await self._agent(tenant, agent_id=request.path_params["agent_id"])

        def page(conn: sqlite3.Connection) -> tuple[list[dict[str, Any]], int]:
            found, total = sessions.list_sessions(
                conn,
                tenant,
                agent.agent_id,
                status=query.status,
                sort_by=query.sort_by,
                descending=query.sort_order == "desc",
                offset=query.offset,
                limit=query.limit,
            )
            return [_summary(conn, tenant, session) for session in found], total

        data, total = await self._db.aread(page)
        return JSONResponse({"data": data, "total": total, "offset": query.offset, "limit": query.limit})

    async def history(self, request: Request, tenant: str) -> Response:
        return JSONResponse(self._context.wire.history(await self._conversation(request, tenant)))

    async def details(self, request: Request, tenant: str) -> Response:
        return JSONResponse(self._context.wire.details(await self._conversation(request, tenant)))

    async def _conversation(self, request: Request, tenant: str) -> SessionRecord:
        session_id = request.path_params["session_id"]

        def load(conn: sqlite3.Connection) -> SessionRecord | None:
            session = sessions.find_session(conn, tenant, session_id, "meibel")
            if session is None:
                return None
            return SessionRecord(
                session,
                turn_log.list_turns(conn, tenant, session_id),
                turn_log.list_steps(conn, tenant, session_id),
                turn_log.list_files(conn, tenant, session_id),
            )

        found = await self._db.aread(load)
        if found is None:
            raise not_found("session", session_id)
        return found

    # Chat

    async def chat(self, request: Request, tenant: str) -> Response:
        live, shown, timeout = await self._begin(request, tenant, files=False)
        if not await self._context.runner.wait(live, timeout):
            # Inferred: neither the status of a turn that takes too long, nor that it goes on, is documented.
            raise refuse(
                504,
                "turn_timeout",
                f"no answer within {timeout} seconds; the turn goes on",
                **self._context.wire.reference(live.turn.signal_id),
            )
        if live.turn.state != "completed":
            reference = self._context.wire.reference(live.turn.signal_id)
            # Inferred: what a failed turn answers here is not documented.
            raise refuse(500, "turn_failed", live.turn.error or live.lost or "the turn failed", **reference)
        return JSONResponse(self._context.wire.whole(live.turn, live.batches, shown))

    async def chat_stream(self, request: Request, tenant: str) -> Response:
        live, shown, timeout = await self._begin(request, tenant, files=True)
        return stream_response(live, self._context.wire, shown, heartbeat=self._context.heartbeat, patience=timeout)

    async def _begin(self, request: Request, tenant: str, *, files: bool) -> tuple[LiveTurn, Shown, int | None]:
        session = await find_session(self._context, tenant, request.path_params["session_id"], "meibel")
        chat, uploads = await read_chat(request, self._context.limits, files=files)
        shown = Shown(thinking=bool(chat.include_thinking), tool_activity=bool(chat.include_tool_activity))
        live = await self._context.runner.begin(tenant, session, chat.user_message, uploads, shown)
        return live, shown, chat.timeout_seconds


def _summary(conn: sqlite3.Connection, tenant: str, session: SessionRow) -> dict[str, Any]:
    messages, usage = turn_log.count_messages(conn, tenant, session.session_id)
    return {
        "session_id": session.session_id,
        "status": session.status,
        "start_time": session.created_at,
        "end_time": session.ended_at,
        "agent_name": session.agent_name,
        "agent_version": AGENT_VERSION,
        "messages_count": messages,
        "token_usage": usage or None,
        "result": [],
    }
