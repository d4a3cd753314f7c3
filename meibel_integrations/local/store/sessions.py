"""Sessions, of both services: Meibel's sessions and LlamaCloud's chats.

Functions take the connection that ``Database.read`` or ``Database.write`` hands out. Every statement filters on the
tenant.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from typing import Any, Literal

from meibel_integrations.local.store.group_commit import run_script
from meibel_integrations.local.store.tenants import IdSource, now

RUNNING = "RUNNING"
FINAL_STATUSES = ("COMPLETED", "FAILED", "CANCELED", "TERMINATED")

ServiceName = Literal["meibel", "llamacloud"]


def create_tables(conn: sqlite3.Connection) -> None:
    """Migration: sessions, turns, the event log, uploaded files."""
    run_script(
        conn,
        """
        CREATE TABLE sessions (
            session_id TEXT PRIMARY KEY,
            tenant TEXT NOT NULL,
            agent_id TEXT NOT NULL,
            status TEXT NOT NULL,
            options TEXT NOT NULL,
            created_at TEXT NOT NULL,
            ended_at TEXT,
            FOREIGN KEY (tenant, agent_id) REFERENCES agents (tenant, agent_id)
        ) STRICT;
        CREATE INDEX sessions_of_agent ON sessions (tenant, agent_id, created_at);
        CREATE TABLE turns (
            turn_id INTEGER PRIMARY KEY,
            tenant TEXT NOT NULL,
            session_id TEXT NOT NULL REFERENCES sessions (session_id) ON DELETE CASCADE,
            signal_id TEXT NOT NULL UNIQUE,
            state TEXT NOT NULL CHECK (state IN ('running', 'completed', 'failed')),
            user_message TEXT NOT NULL,
            answer TEXT NOT NULL DEFAULT '',
            thinking TEXT NOT NULL DEFAULT '',
            done TEXT,
            error TEXT,
            started_at TEXT NOT NULL,
            finished_at TEXT
        ) STRICT;
        CREATE INDEX turns_of_session ON turns (session_id, turn_id);
        CREATE UNIQUE INDEX one_running_turn ON turns (session_id) WHERE state = 'running';
        CREATE TABLE turn_steps (
            turn_id INTEGER NOT NULL REFERENCES turns (turn_id) ON DELETE CASCADE,
            first_step INTEGER NOT NULL,
            tenant TEXT NOT NULL,
            steps TEXT NOT NULL,
            created_at TEXT NOT NULL,
            PRIMARY KEY (turn_id, first_step)
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE turn_files (
            turn_id INTEGER NOT NULL REFERENCES turns (turn_id) ON DELETE CASCADE,
            document_id TEXT NOT NULL,
            tenant TEXT NOT NULL,
            filename TEXT NOT NULL,
            content_type TEXT,
            started_at TEXT NOT NULL,
            finished_at TEXT NOT NULL,
            PRIMARY KEY (turn_id, document_id)
        ) STRICT, WITHOUT ROWID;
        """,
    )


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A session of either service. ``agent_id`` and ``agent_name`` say whose it is on the Meibel routes."""

    session_id: str
    agent_id: str
    agent_name: str
    status: str
    created_at: str
    ended_at: str | None


SESSION_COLUMNS = "s.session_id, s.agent_id, a.name, s.status, s.created_at, s.ended_at"
SESSION_TABLES = "sessions s JOIN agents a ON a.tenant = s.tenant AND a.agent_id = s.agent_id"


def create_session(
    conn: sqlite3.Connection, ids: IdSource, tenant: str, agent_id: str, options: dict[str, Any]
) -> SessionRow:
    session_id = ids.next(conn, tenant, "session")
    conn.execute(
        "INSERT INTO sessions (session_id, tenant, agent_id, status, options, created_at) VALUES (?, ?, ?, ?, ?, ?)",
        (session_id, tenant, agent_id, RUNNING, json.dumps(options), now()),
    )
    session = find_session(conn, tenant, session_id)
    assert session is not None
    return session


def find_session(
    conn: sqlite3.Connection, tenant: str, session_id: str, service: ServiceName | None = None
) -> SessionRow | None:
    """The tenant's session of that id, of one service or of any."""
    row = conn.execute(
        f"SELECT {SESSION_COLUMNS} FROM {SESSION_TABLES}"  # noqa: S608
        " WHERE s.tenant = ? AND s.session_id = ? AND (? IS NULL OR s.service = ?)",
        (tenant, session_id, service, service),
    ).fetchone()
    return SessionRow(*row) if row else None


def count_sessions(conn: sqlite3.Connection, tenant: str) -> int:
    """How many sessions the tenant has, of both services."""
    (count,) = conn.execute("SELECT count(*) FROM sessions WHERE tenant = ?", (tenant,)).fetchone()
    return int(count)


def list_sessions(
    conn: sqlite3.Connection,
    tenant: str,
    agent_id: str,
    *,
    status: str | None = None,
    sort_by: Literal["start_time", "status"] = "start_time",
    descending: bool = True,
    offset: int = 0,
    limit: int = -1,
) -> tuple[list[SessionRow], int]:
    """One page of an agent's Meibel sessions, and how many there are in all."""
    where = "s.service = 'meibel' AND s.tenant = ? AND s.agent_id = ? AND (? IS NULL OR s.status = ?)"
    parameters = (tenant, agent_id, status, status)
    direction = "DESC" if descending else "ASC"
    order = f"s.created_at {direction}, s.rowid {direction}"
    if sort_by == "status":
        order = f"s.status {direction}, {order}"
    rows = conn.execute(
        f"SELECT {SESSION_COLUMNS} FROM {SESSION_TABLES} WHERE {where} ORDER BY {order} LIMIT ? OFFSET ?",  # noqa: S608
        (*parameters, limit, offset),
    ).fetchall()
    (total,) = conn.execute(f"SELECT count(*) FROM sessions s WHERE {where}", parameters).fetchone()  # noqa: S608
    return [SessionRow(*row) for row in rows], total


def end_session(conn: sqlite3.Connection, tenant: str, session_id: str, status: str) -> bool:
    """Give the session its final status, once. A turn that runs may finish. ``False``: no such session."""
    conn.execute(
        "UPDATE sessions SET status = ?, ended_at = ? WHERE tenant = ? AND session_id = ? AND status = ?",
        (status, now(), tenant, session_id, RUNNING),
    )
    return find_session(conn, tenant, session_id) is not None


def delete_sessions(conn: sqlite3.Connection, tenant: str) -> list[str]:
    """Drop every session of the tenant and let seeded ids begin anew. The ids of the dropped sessions."""
    dropped = [row[0] for row in conn.execute("SELECT session_id FROM sessions WHERE tenant = ?", (tenant,))]
    conn.execute("DELETE FROM sessions WHERE tenant = ?", (tenant,))
    conn.execute("DELETE FROM id_counters WHERE tenant = ?", (tenant,))
    return dropped
