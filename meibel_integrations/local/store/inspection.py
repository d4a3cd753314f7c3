"""What the page reads beside the wires: all sessions of a tenant, one turn by its signal, a document's passages.

Functions take the connection that ``Database.read`` hands out. Every statement filters on the tenant.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from meibel_integrations.local.store.documents import index_name
from meibel_integrations.local.store.turn_log import TurnRow, find_turn, list_turns


@dataclass(frozen=True, slots=True)
class SessionOverview:
    """A session as a list shows it. ``first_message`` is as it was sent; ``running`` is a turn's signal."""

    session_id: str
    service: str
    agent_id: str
    agent_name: str
    index_ids: tuple[str, ...]
    status: str
    created_at: str
    turns: int
    updated_at: str
    first_message: str | None
    running: str | None


_OVERVIEW = """
    SELECT s.session_id, s.service, s.agent_id, a.name, s.index_ids, s.status, s.created_at,
        (SELECT count(*) FROM turns t WHERE t.session_id = s.session_id),
        coalesce((SELECT max(t.started_at) FROM turns t WHERE t.session_id = s.session_id), s.created_at) AS updated_at,
        (SELECT t.user_message FROM turns t WHERE t.session_id = s.session_id ORDER BY t.turn_id LIMIT 1) AS first,
        (SELECT t.signal_id FROM turns t WHERE t.session_id = s.session_id AND t.state = 'running')
    FROM sessions s JOIN agents a ON a.tenant = s.tenant AND a.agent_id = s.agent_id
    WHERE s.tenant = ?
"""


def list_overviews(
    conn: sqlite3.Connection, tenant: str, *, containing: str, offset: int, limit: int
) -> tuple[list[SessionOverview], int]:
    """A page of the tenant's sessions, the last used first, and how many there are; of those whose first message or
    id contains a text, if it is not empty."""
    where = f"{_OVERVIEW} AND (? = '' OR instr(lower(coalesce(first, '')), lower(?)) OR instr(s.session_id, ?))"
    parameters = (tenant, containing, containing, containing)
    (total,) = conn.execute(f"SELECT count(*) FROM ({where})", parameters).fetchone()  # noqa: S608
    order = "ORDER BY updated_at DESC, s.rowid DESC LIMIT ? OFFSET ?"
    return [_overview(row) for row in conn.execute(f"{where} {order}", (*parameters, limit, offset))], total


def find_overview(conn: sqlite3.Connection, tenant: str, session_id: str) -> SessionOverview | None:
    row = conn.execute(f"{_OVERVIEW} AND s.session_id = ?", (tenant, session_id)).fetchone()
    return _overview(row) if row else None


def _overview(row: tuple[Any, ...]) -> SessionOverview:
    session_id, service, agent_id, agent, index_ids, *rest = row
    return SessionOverview(session_id, service, agent_id, agent, tuple(json.loads(index_ids or "[]")), *rest)


def find_signal(conn: sqlite3.Connection, tenant: str, session_id: str, signal_id: str) -> TurnRow | None:
    """The turn of a session that has this signal."""
    row = conn.execute(
        "SELECT turn_id FROM turns WHERE tenant = ? AND session_id = ? AND signal_id = ?",
        (tenant, session_id, signal_id),
    ).fetchone()
    return find_turn(conn, tenant, row[0]) if row else None


def files_by_turn(conn: sqlite3.Connection, tenant: str, session_id: str) -> dict[int, list[tuple[str, str]]]:
    """The document ids and names of the uploaded files, by turn."""
    found: dict[int, list[tuple[str, str]]] = {}
    rows = conn.execute(
        "SELECT f.turn_id, f.document_id, f.filename FROM turns t JOIN turn_files f ON f.turn_id = t.turn_id"
        " WHERE t.tenant = ? AND t.session_id = ? ORDER BY f.turn_id, f.started_at",
        (tenant, session_id),
    )
    for turn_id, document_id, filename in rows:
        found.setdefault(turn_id, []).append((document_id, filename))
    return found


def turns_that_answered(
    conn: sqlite3.Connection, tenant: str, answer: str, *, before: int, not_in: str
) -> list[tuple[str, int]]:
    """The newest turns of other sessions, before a turn, with this answer (white space at its edges aside): session
    ids and turn ids."""
    blank = " \t\r\n"
    rows = conn.execute(
        "SELECT session_id, turn_id FROM turns WHERE tenant = ? AND turn_id < ? AND session_id <> ?"
        " AND trim(answer, ?) = trim(?, ?) ORDER BY turn_id DESC LIMIT 5",
        (tenant, before, not_in, blank, answer, blank),
    )
    return rows.fetchall()


def sessions_that_begin_with(
    conn: sqlite3.Connection, tenant: str, beginning: str, *, after: int, limit: int
) -> list[tuple[str, list[TurnRow]]]:
    """The newest sessions whose first message begins with a text and was sent after a turn; each with its turns."""
    rows = conn.execute(
        "SELECT t.session_id FROM turns t WHERE t.tenant = ? AND t.turn_id > ?"
        " AND substr(t.user_message, 1, ?) = ?"
        " AND NOT EXISTS (SELECT 1 FROM turns e WHERE e.session_id = t.session_id AND e.turn_id < t.turn_id)"
        " ORDER BY t.turn_id DESC LIMIT ?",
        (tenant, after, len(beginning), beginning, limit),
    ).fetchall()
    return [(session_id, list_turns(conn, tenant, session_id)) for (session_id,) in rows]


# Documents


@dataclass(frozen=True, slots=True)
class DocumentOverview:
    """A document of an agent, or a file that was uploaded in a session."""

    document_id: str
    title: str
    url: str
    size: int
    passages: int
    session_id: str | None


@dataclass(frozen=True, slots=True)
class StoredPassage:
    """``start`` and ``end`` count characters of the document's extracted text."""

    ordinal: int
    start: int
    end: int
    heading: str
    text: str


_DOCUMENT = """
    SELECT d.id, d.title, d.url, d.size, (SELECT count(*) FROM passages p WHERE p.document = d.no),
        CASE s.kind WHEN 'session' THEN s.owner END
    FROM documents d JOIN document_scopes s ON s.id = d.scope WHERE d.tenant = ?
"""


def list_documents(
    conn: sqlite3.Connection, tenant: str, scopes: Sequence[int], *, containing: str, offset: int, limit: int
) -> tuple[list[DocumentOverview], int]:
    """A page of the documents of some scopes, by path, and how many there are."""
    marks = ", ".join("?" * len(scopes))
    where = f"{_DOCUMENT} AND d.scope IN ({marks}) AND (? = '' OR instr(lower(d.title || ' ' || d.path), lower(?)))"
    parameters = (tenant, *scopes, containing, containing)
    (total,) = conn.execute(f"SELECT count(*) FROM ({where})", parameters).fetchone()  # noqa: S608
    rows = conn.execute(f"{where} ORDER BY s.kind DESC, d.path LIMIT ? OFFSET ?", (*parameters, limit, offset))
    return [DocumentOverview(*row) for row in rows], total


def find_document(conn: sqlite3.Connection, tenant: str, document_id: str) -> DocumentOverview | None:
    row = conn.execute(f"{_DOCUMENT} AND d.id = ?", (tenant, document_id)).fetchone()
    return DocumentOverview(*row) if row else None


def list_passages(
    conn: sqlite3.Connection, tenant: str, document_id: str, *, first: int = 0, limit: int = -1
) -> list[StoredPassage]:
    """A document's passages in reading order, from an ordinal on."""
    scope = conn.execute("SELECT scope FROM documents WHERE tenant = ? AND id = ?", (tenant, document_id)).fetchone()
    if scope is None:
        return []
    rows = conn.execute(
        'SELECT p.ordinal, p.start, p."end", f.heading, f.body'  # noqa: S608 - the name is ours
        f" FROM documents d JOIN passages p ON p.document = d.no JOIN {index_name(*scope)} f ON f.rowid = p.id"
        " WHERE d.tenant = ? AND d.id = ? AND p.ordinal >= ? ORDER BY p.ordinal LIMIT ?",
        (tenant, document_id, first, limit),
    )
    return [StoredPassage(*row) for row in rows]
