"""LlamaCloud's chat routes. An agent's documents are one index; everything below the routes is what Meibel's use.

Inferred: an index is looked up when it is queried and not before, so a session may be bound to one that is not there;
sessions are listed by their creation, newest first; ``shared_access`` is ``read_only`` unless asked for otherwise;
deleting a session ends the turn that runs in it. ``organization_id`` and ``project_id`` are accepted and do not
separate anything: the key does.
"""

from __future__ import annotations

import base64
import json
import sqlite3
from collections.abc import Sequence
from functools import partial

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from meibel_integrations.local.context import LocalContext
from meibel_integrations.local.http.endpoints import LLAMA_CLOUD_KEY, authenticated, breakable
from meibel_integrations.local.http.event_stream import stream_response
from meibel_integrations.local.http.refusals import invalid, not_found, refuse
from meibel_integrations.local.http.request_bodies import (
    ChatQuery,
    PromptFields,
    read_chat_options,
    read_prompt,
    read_query,
)
from meibel_integrations.local.store import chats, sessions, turn_log
from meibel_integrations.local.store.chats import ChatRow
from meibel_integrations.local.store.turn_log import StepBatch, TurnRow
from meibel_integrations.local.turns.live_turn import Reach, Shown
from meibel_integrations.local.wires import llamacloud as wire

CHAT_PATH = "/api/v1/chat"

# The wire has no switch for them: what the agent thinks and does is always part of the stream.
_SHOWN = Shown(thinking=True, tool_activity=True, passages=True)


def llamacloud_routes(context: LocalContext) -> list[Route]:
    routes = _ChatRoutes(context)
    keyed = partial(authenticated, context, header=LLAMA_CLOUD_KEY)
    stream = breakable(context, routes.stream, wire.LlamaCloudStream(), streamed=True)
    one = f"{CHAT_PATH}/{{session_id}}"
    return [
        Route(CHAT_PATH, keyed(routes.create), methods=["POST"]),
        Route(CHAT_PATH, keyed(routes.list_chats), methods=["GET"]),
        Route(one, keyed(routes.retrieve), methods=["GET"]),
        Route(one, keyed(routes.delete), methods=["DELETE"]),
        Route(f"{one}/summary", keyed(routes.summary), methods=["GET"]),
        Route(f"{one}/messages/stream", keyed(stream), methods=["POST"]),
    ]


class _ChatRoutes:
    def __init__(self, context: LocalContext) -> None:
        self._context = context
        self._db = context.db

    # Sessions

    async def create(self, request: Request, tenant: str) -> Response:
        options = await read_chat_options(request, self._context.limits)
        limit = self._context.limits.max_sessions

        def insert(conn: sqlite3.Connection) -> ChatRow:
            if sessions.count_sessions(conn, tenant) >= limit:
                raise refuse(429, "too_many_sessions", f"there are {limit} sessions already")
            index_ids = _distinct(options.index_ids or ())
            access = options.shared_access or "read_only"
            return chats.create_chat(conn, self._context.ids, tenant, index_ids, access)

        return JSONResponse(wire.summary(await self._db.awrite(insert)))

    async def list_chats(self, request: Request, tenant: str) -> Response:
        query = read_query(request, ChatQuery)
        after = _read_token(query.page_token) if query.page_token is not None else None
        # One more than the page has tells whether there is another one.
        found, total = await self._db.aread(
            lambda conn: chats.list_chats(conn, tenant, after=after, limit=query.page_size + 1)
        )
        shown = found[: query.page_size]
        return JSONResponse(
            {
                "items": [wire.summary(chat) for chat in shown],
                "next_page_token": _page_token(shown[-1]) if len(found) > len(shown) else None,
                "total_size": total,
            }
        )

    async def summary(self, request: Request, tenant: str) -> Response:
        return JSONResponse(wire.summary(await self._chat(request, tenant)))

    async def retrieve(self, request: Request, tenant: str) -> Response:
        session_id = request.path_params["session_id"]

        def load(
            conn: sqlite3.Connection,
        ) -> tuple[ChatRow, list[TurnRow], dict[int, list[StepBatch]]] | None:
            chat = chats.find_chat(conn, tenant, session_id)
            if chat is None:
                return None
            return chat, turn_log.list_turns(conn, tenant, session_id), turn_log.list_steps(conn, tenant, session_id)

        found = await self._db.aread(load)
        if found is None:
            raise not_found("session", session_id)
        return JSONResponse(wire.whole_session(*found))

    async def delete(self, request: Request, tenant: str) -> Response:
        # Looked up first: only the tenant's own session is held.
        session_id = (await self._chat(request, tenant)).session.session_id
        async with self._context.runner.held(tenant, session_id, "the session was deleted while it answered"):
            deleted = await self._db.awrite(partial(chats.delete_chat, tenant=tenant, session_id=session_id))
        if not deleted:
            raise not_found("session", session_id)
        return Response(status_code=204)

    async def _chat(self, request: Request, tenant: str) -> ChatRow:
        session_id = request.path_params["session_id"]
        chat = await self._db.aread(lambda conn: chats.find_chat(conn, tenant, session_id))
        if chat is None:
            raise not_found("session", session_id)
        return chat

    # Turns

    async def stream(self, request: Request, tenant: str) -> Response:
        chat = await self._chat(request, tenant)
        fields = await read_prompt(request, self._context.limits)
        reach = await self._reach(tenant, chat, fields)
        live = await self._context.runner.begin(tenant, chat.session, fields.prompt, (), _SHOWN, reach)
        return stream_response(live, wire.LlamaCloudStream(), _SHOWN, heartbeat=self._context.heartbeat, patience=None)

    async def _reach(self, tenant: str, chat: ChatRow, fields: PromptFields) -> Reach:
        """What the turn searches.

        Raises:
            Refusal: 422, there is nothing to search, or not all that must be.
        """
        wanted = _wanted(chat.index_ids, _distinct(fields.index_ids))
        agents = await self._db.aread(lambda conn: chats.find_indexes(conn, tenant, wanted))
        known = {agent.index_id for agent in agents}
        skipped = tuple(index_id for index_id in wanted if index_id not in known)
        # Inferred: that a turn which cannot search is refused, with this status, and leaves no trace in the session.
        # Not 404, which says that the session is gone.
        if not agents or (skipped and fields.require_all_indexes):
            reason = "all indexes are required" if agents else "no index is left to query"
            raise invalid(["body", "index_ids"], f"there is no index {', '.join(map(repr, skipped))}; {reason}")
        # The agent of the first index answers: only one can.
        return Reach(tuple(agent.agent_id for agent in agents), agents[0].name, skipped)


def _wanted(bound: tuple[str, ...] | None, asked: tuple[str, ...]) -> tuple[str, ...]:
    """The indexes that a message is about.

    Inferred: a message may name some of a bound session's indexes (the page binds two and asks one), and an empty list
    means all of them. Anything else than bound is refused, from the first message on.

    Raises:
        Refusal: 422, the message names no index, or one to which the session is not bound.
    """
    if bound is None:
        if not asked:
            raise invalid(["body", "index_ids"], "the session is bound to no index: name the indexes to query")
        return asked
    if not set(asked) <= set(bound):
        locked = (
            f"the session is bound and locked to the indexes {', '.join(bound)}; the message names {', '.join(asked)}"
        )
        raise invalid(["body", "index_ids"], locked)
    return asked or bound


def _distinct(index_ids: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(index_ids))


def _page_token(last: ChatRow) -> str:
    place = json.dumps([last.session.created_at, last.session.session_id])
    return base64.urlsafe_b64encode(place.encode()).decode()


def _read_token(token: str) -> tuple[str, str]:
    try:
        created_at, session_id = json.loads(base64.urlsafe_b64decode(token))
        place = str(created_at), str(session_id)
        # Half of a surrogate pair, which JSON can spell, is no text that a database could compare.
        "".join(place).encode()
    except (ValueError, TypeError, RecursionError) as error:
        raise invalid(["query", "page_token"], "not a token of this list") from error
    return place
