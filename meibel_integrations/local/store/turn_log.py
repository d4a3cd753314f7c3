"""The turns of a session, and each turn's event log.

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
from meibel_integrations.local.store.sessions import RUNNING
from meibel_integrations.local.store.step_codec import LogStep, dump_done, dump_json, dump_steps, load_done, load_steps
from meibel_integrations.local.store.steps import Done
from meibel_integrations.local.store.tenants import IdSource, now

TurnState = Literal["running", "completed", "failed"]


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


def _turn(row: tuple[Any, ...]) -> TurnRow:
    turn_id, signal_id, state, message, answer, thinking, done, error, started_at, finished_at, skipped = row
    loaded = load_done(done) if done is not None else None
    ids = tuple(json.loads(skipped))
    return TurnRow(turn_id, signal_id, state, message, answer, thinking, loaded, error, started_at, finished_at, ids)


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


def list_turns(
    conn: sqlite3.Connection, tenant: str, session_id: str, *, before: int | None = None, last: int = -1
) -> list[TurnRow]:
    """The turns of a session, oldest first: all of them, or the ``last`` ones, or those ``before`` a turn."""
    rows = conn.execute(
        f"SELECT {_TURN_COLUMNS} FROM turns WHERE tenant = ? AND session_id = ? AND turn_id < ?"  # noqa: S608
        " ORDER BY turn_id DESC LIMIT ?",
        (tenant, session_id, 2**63 - 1 if before is None else before, last),
    ).fetchall()
    return [_turn(row) for row in reversed(rows)]


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
