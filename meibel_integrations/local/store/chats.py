"""LlamaCloud's chats: sessions that search indexes instead of belonging to an agent.

A chat is a row of ``sessions`` like any other, so its turns, their event log and whatever ends or drops sessions are
the same. What it has beyond that is here. Its ``agent_id`` is a formality (the agent of its first index, or the
tenant's oldest): each of its turns says which agents' documents it searches.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from meibel_integrations.local.store.group_commit import run_script
from meibel_integrations.local.store.sessions import RUNNING, SESSION_COLUMNS, SESSION_TABLES, SessionRow
from meibel_integrations.local.store.step_codec import dump_json
from meibel_integrations.local.store.tenants import AgentRow, IdSource, list_agents, now
from meibel_integrations.local.store.turn_log import TurnRow

SharedAccess = Literal["query", "read_only"]


def add_columns(conn: sqlite3.Connection) -> None:
    """Migration: a session knows its service; a chat its indexes, and a turn those it had to leave out."""
    run_script(
        conn,
        """
        ALTER TABLE sessions ADD COLUMN service TEXT NOT NULL DEFAULT 'meibel'
            CHECK (service IN ('meibel', 'llamacloud'));
        ALTER TABLE sessions ADD COLUMN index_ids TEXT;
        ALTER TABLE sessions ADD COLUMN shared_access TEXT CHECK (shared_access IN ('query', 'read_only'));
        ALTER TABLE turns ADD COLUMN skipped_index_ids TEXT NOT NULL DEFAULT '[]';
        CREATE INDEX chats_of_tenant ON sessions (tenant, created_at, session_id) WHERE service = 'llamacloud';
        """,
    )


@dataclass(frozen=True, slots=True)
class RunRow:
    """How a turn ended. ``error`` is ``None`` for one that has an answer."""

    error: str | None
    usage: Mapping[str, int]
    started_at: str
    finished_at: str | None


@dataclass(frozen=True, slots=True)
class ChatRow:
    """A chat. ``index_ids`` is ``None`` when it is bound to none; ``last_run`` is its last turn that has ended."""

    session: SessionRow
    index_ids: tuple[str, ...] | None
    shared_access: SharedAccess
    first_message: str | None
    last_run: RunRow | None
    updated_at: str


def run_of(turn: TurnRow) -> RunRow:
    usage = turn.done.usage if turn.done is not None else {}
    return _run(turn.state, turn.error, usage, turn.started_at, turn.finished_at)


def _run(state: str, error: str | None, usage: Mapping[str, int], started_at: str, finished_at: str | None) -> RunRow:
    return RunRow((error or "") if state == "failed" else None, usage, started_at, finished_at)


def create_chat(
    conn: sqlite3.Connection,
    ids: IdSource,
    tenant: str,
    index_ids: Sequence[str] | None,
    shared_access: SharedAccess,
) -> ChatRow:
    agents = list_agents(conn, tenant)
    owner = next((agent for agent in agents if agent.index_id in (index_ids or ())), agents[0])
    session_id = ids.next(conn, tenant, "chat")
    conn.execute(
        "INSERT INTO sessions"
        " (session_id, tenant, agent_id, status, options, created_at, service, index_ids, shared_access)"
        " VALUES (?, ?, ?, ?, '{}', ?, 'llamacloud', ?, ?)",
        (
            session_id,
            tenant,
            owner.agent_id,
            RUNNING,
            now(),
            dump_json(list(index_ids)) if index_ids else None,
            shared_access,
        ),
    )
    chat = find_chat(conn, tenant, session_id)
    assert chat is not None
    return chat


_COLUMNS = f"{SESSION_COLUMNS}, s.index_ids, s.shared_access"
_WHERE = "s.service = 'llamacloud' AND s.tenant = ?"


def find_chat(conn: sqlite3.Connection, tenant: str, session_id: str) -> ChatRow | None:
    row = conn.execute(
        f"SELECT {_COLUMNS} FROM {SESSION_TABLES} WHERE {_WHERE} AND s.session_id = ?",  # noqa: S608
        (tenant, session_id),
    ).fetchone()
    return _chat(conn, row) if row else None


def list_chats(
    conn: sqlite3.Connection, tenant: str, *, after: tuple[str, str] | None, limit: int
) -> tuple[list[ChatRow], int]:
    """The newest chats, from behind the one with this time of creation and id on; and how many there are in all."""
    created_at, session_id = after or (None, None)
    rows = conn.execute(
        f"SELECT {_COLUMNS} FROM {SESSION_TABLES} WHERE {_WHERE}"  # noqa: S608
        " AND (? IS NULL OR (s.created_at, s.session_id) < (?, ?))"
        " ORDER BY s.created_at DESC, s.session_id DESC LIMIT ?",
        (tenant, created_at, created_at, session_id, limit),
    ).fetchall()
    (total,) = conn.execute(f"SELECT count(*) FROM sessions s WHERE {_WHERE}", (tenant,)).fetchone()  # noqa: S608
    return [_chat(conn, row) for row in rows], total


def delete_chat(conn: sqlite3.Connection, tenant: str, session_id: str) -> bool:
    """Drop the chat with everything in it. ``False``: there is none."""
    deleted = conn.execute(
        "DELETE FROM sessions WHERE service = 'llamacloud' AND tenant = ? AND session_id = ?", (tenant, session_id)
    )
    return deleted.rowcount > 0


def find_indexes(conn: sqlite3.Connection, tenant: str, index_ids: Sequence[str]) -> list[AgentRow]:
    """The agents whose documents these indexes are, in the order asked for; unknown indexes are left out."""
    by_index = {agent.index_id: agent for agent in list_agents(conn, tenant)}
    return [by_index[index_id] for index_id in index_ids if index_id in by_index]


def _chat(conn: sqlite3.Connection, row: tuple[str, ...]) -> ChatRow:
    *session_fields, index_ids, shared_access = row
    session = SessionRow(*session_fields)
    first = conn.execute(
        "SELECT user_message FROM turns WHERE session_id = ? ORDER BY turn_id LIMIT 1", (session.session_id,)
    ).fetchone()
    last = conn.execute(
        "SELECT state, error, done, started_at, finished_at FROM turns WHERE session_id = ?"
        " ORDER BY turn_id DESC LIMIT 2",
        (session.session_id,),
    ).fetchall()
    runs = [
        _run(state, error, json.loads(done)["usage"] if done else {}, started, ended)
        for state, error, done, started, ended in last
        if state != "running"
    ]
    return ChatRow(
        session=session,
        index_ids=tuple(json.loads(index_ids)) if index_ids is not None else None,
        shared_access="query" if shared_access == "query" else "read_only",
        first_message=first[0] if first else None,
        last_run=runs[0] if runs else None,
        # Of the last turn: when it ended or, while it runs, when it began.
        updated_at=(last[0][4] or last[0][3]) if last else session.created_at,
    )
