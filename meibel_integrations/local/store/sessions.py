"""Sessions, their turns, and each turn's event log, for both services: Meibel's sessions and LlamaCloud's chats.

A turn is one user message and what the agent made of it. It is written in three kinds of transactions: the user
message first (``begin_turn``), then its steps as they come (``append_steps``), and at the end everything that the
answer consists of at once (``complete_turn``) or the reason why there is none (``fail_turn``). Whatever reads a turn
(a stream, the history, the details) reads it from here.

Functions take the connection that ``Database.read`` or ``Database.write`` hands out. Every statement filters on the
tenant.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from meibel_integrations.errors import SessionBusyError, SessionEndedError
from meibel_integrations.local.answerers.interface import Done
from meibel_integrations.local.store.database import run_script
from meibel_integrations.local.store.step_codec import LogStep, dump_done, dump_json, dump_steps, load_done, load_steps
from meibel_integrations.local.store.tenants import IdSource, now

RUNNING = "RUNNING"
FINAL_STATUSES = ("COMPLETED", "FAILED", "CANCELED", "TERMINATED")

TurnState = Literal["running", "completed", "failed"]
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


@dataclass(frozen=True, slots=True)
class FileRow:
    """A file that came with a turn. Reading it succeeded: a file that cannot be read is refused before the turn."""

    document_id: str
    filename: str
    content_type: str | None
    started_at: str
    finished_at: str


@dataclass(frozen=True, slots=True)
class StepBatch:
    """Steps that were written together, numbered from ``first`` within their turn."""

    first: int
    steps: list[LogStep]
    created_at: str


@dataclass(frozen=True, slots=True)
class TurnRow:
    turn_id: int
    signal_id: str
    state: TurnState
    user_message: str
    answer: str
    thinking: str
    done: Done | None
    error: str | None
    started_at: str
    finished_at: str | None
    skipped_index_ids: tuple[str, ...] = ()


_TURN_COLUMNS = (
    "turn_id, signal_id, state, user_message, answer, thinking, done, error, started_at, finished_at, skipped_index_ids"
)
SESSION_COLUMNS = "s.session_id, s.agent_id, a.name, s.status, s.created_at, s.ended_at"
SESSION_TABLES = "sessions s JOIN agents a ON a.tenant = s.tenant AND a.agent_id = s.agent_id"


def _turn(row: tuple[Any, ...]) -> TurnRow:
    turn_id, signal_id, state, message, answer, thinking, done, error, started_at, finished_at, skipped = row
    loaded = load_done(done) if done is not None else None
    ids = tuple(json.loads(skipped))
    return TurnRow(turn_id, signal_id, state, message, answer, thinking, loaded, error, started_at, finished_at, ids)


# Sessions


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


# Turns


def require_free(conn: sqlite3.Connection, tenant: str, session_id: str) -> None:
    """See that the session accepts a turn now.

    Raises:
        SessionEndedError: it has a final status, or was deleted a moment ago.
        SessionBusyError: a turn of it is running.
    """
    row = conn.execute(
        "SELECT status FROM sessions WHERE tenant = ? AND session_id = ?", (tenant, session_id)
    ).fetchone()
    status = row[0] if row else "deleted"
    if status != RUNNING:
        raise SessionEndedError(f"session {session_id} has ended ({status}); create a new one", session_id=session_id)
    running = conn.execute(
        "SELECT signal_id FROM turns WHERE tenant = ? AND session_id = ? AND state = 'running'", (tenant, session_id)
    ).fetchone()
    if running:
        raise SessionBusyError(
            f"session {session_id} is still answering; wait for that turn to end",
            session_id=session_id,
            signal_id=running[0],
        )


def begin_turn(
    conn: sqlite3.Connection,
    ids: IdSource,
    tenant: str,
    session_id: str,
    user_message: str,
    files: Sequence[FileRow] = (),
    skipped_index_ids: Sequence[str] = (),
) -> TurnRow:
    """Store the user's message and its files; the turn now runs. Raises what ``require_free`` raises."""
    require_free(conn, tenant, session_id)
    signal_id = ids.next(conn, tenant, "signal")
    row = conn.execute(
        "INSERT INTO turns (tenant, session_id, signal_id, state, user_message, started_at, skipped_index_ids)"  # noqa: S608
        f" VALUES (?, ?, ?, 'running', ?, ?, ?) RETURNING {_TURN_COLUMNS}",
        (tenant, session_id, signal_id, user_message, now(), dump_json(list(skipped_index_ids))),
    ).fetchone()
    turn = _turn(row)
    conn.executemany(
        "INSERT OR REPLACE INTO turn_files"
        " (turn_id, document_id, tenant, filename, content_type, started_at, finished_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
        [(turn.turn_id, f.document_id, tenant, f.filename, f.content_type, f.started_at, f.finished_at) for f in files],
    )
    return turn


def append_steps(
    conn: sqlite3.Connection, tenant: str, turn_id: int, first: int, steps: Sequence[LogStep]
) -> StepBatch:
    batch = StepBatch(first, list(steps), now())
    if steps:
        conn.execute(
            "INSERT INTO turn_steps (turn_id, first_step, tenant, steps, created_at) VALUES (?, ?, ?, ?, ?)",
            (turn_id, first, tenant, dump_steps(steps), batch.created_at),
        )
    return batch


def complete_turn(
    conn: sqlite3.Connection, tenant: str, turn_id: int, *, answer: str, thinking: str, done: Done
) -> TurnRow | None:
    """The turn as it now is; ``None``: it was dropped."""
    conn.execute(
        "UPDATE turns SET state = 'completed', answer = ?, thinking = ?, done = ?, finished_at = ?"
        " WHERE tenant = ? AND turn_id = ? AND state = 'running'",
        (answer, thinking, dump_done(done), now(), tenant, turn_id),
    )
    return find_turn(conn, tenant, turn_id)


def fail_turn(conn: sqlite3.Connection, tenant: str, turn_id: int, error: str) -> TurnRow | None:
    """The turn as it now is; ``None``: it was dropped."""
    conn.execute(
        "UPDATE turns SET state = 'failed', error = ?, finished_at = ?"
        " WHERE tenant = ? AND turn_id = ? AND state = 'running'",
        (error, now(), tenant, turn_id),
    )
    return find_turn(conn, tenant, turn_id)


def fail_running_turns(conn: sqlite3.Connection, error: str) -> int:
    """Mark the turns that a dead process left behind, of all tenants. How many there were."""
    return conn.execute(
        "UPDATE turns SET state = 'failed', error = ?, finished_at = ? WHERE state = 'running'", (error, now())
    ).rowcount


def find_turn(conn: sqlite3.Connection, tenant: str, turn_id: int) -> TurnRow | None:
    row = conn.execute(
        f"SELECT {_TURN_COLUMNS} FROM turns WHERE tenant = ? AND turn_id = ?",  # noqa: S608
        (tenant, turn_id),
    ).fetchone()
    return _turn(row) if row else None


def list_turns(conn: sqlite3.Connection, tenant: str, session_id: str) -> list[TurnRow]:
    """All turns of a session, oldest first."""
    rows = conn.execute(
        f"SELECT {_TURN_COLUMNS} FROM turns WHERE tenant = ? AND session_id = ? ORDER BY turn_id",  # noqa: S608
        (tenant, session_id),
    )
    return [_turn(row) for row in rows]


def list_steps(conn: sqlite3.Connection, tenant: str, session_id: str) -> dict[int, list[StepBatch]]:
    """The event logs of a session's turns, by turn."""
    found: dict[int, list[StepBatch]] = {}
    rows = conn.execute(
        "SELECT l.turn_id, l.first_step, l.steps, l.created_at FROM turns t JOIN turn_steps l ON l.turn_id = t.turn_id"
        " WHERE t.tenant = ? AND t.session_id = ? ORDER BY l.turn_id, l.first_step",
        (tenant, session_id),
    )
    for turn_id, first, steps, created_at in rows:
        found.setdefault(turn_id, []).append(StepBatch(first, load_steps(steps), created_at))
    return found


def list_files(conn: sqlite3.Connection, tenant: str, session_id: str) -> list[FileRow]:
    """The files that were uploaded in a session, oldest first."""
    rows = conn.execute(
        "SELECT f.document_id, f.filename, f.content_type, f.started_at, f.finished_at"
        " FROM turns t JOIN turn_files f ON f.turn_id = t.turn_id"
        " WHERE t.tenant = ? AND t.session_id = ? ORDER BY f.turn_id, f.started_at",
        (tenant, session_id),
    )
    return [FileRow(*row) for row in rows]


def count_messages(conn: sqlite3.Connection, tenant: str, session_id: str) -> tuple[int, dict[str, int]]:
    """How many messages a session has, and its token usage summed over its turns."""
    count, usage = 0, dict[str, int]()
    rows = conn.execute("SELECT state, done FROM turns WHERE tenant = ? AND session_id = ?", (tenant, session_id))
    for state, done in rows:
        count += 2 if state == "completed" else 1
        for name, value in (json.loads(done)["usage"] if done else {}).items():
            usage[name] = usage.get(name, 0) + value
    return count, usage
