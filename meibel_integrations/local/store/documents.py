"""The tables of documents and passages, and every statement that touches them.

A document belongs to one *scope*: an agent's documents, or the uploads of one session, of one tenant. Each passage
carries its scope as a token in the full-text index, so a search walks only what the caller may see, and counts of
words cannot tell one tenant about another. Text lives once, in the index's own content table.

Every function takes an open connection and is meant to run inside ``Database.write`` or ``Database.read``.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

ScopeKind = Literal["agent", "session"]
HEADING_SEPARATOR = " > "  # between the headings of a passage's path
UPLOAD_URL_PREFIX = "upload:"  # an uploaded file has no place that a URL could name
_IDS_PER_STATEMENT = 500  # SQLite's oldest default allows 999 parameters


@dataclass(frozen=True, slots=True)
class PassageRecord:
    """A stretch ``[start, end)`` of a document's extracted text. ``extra`` holds derived words for the index only."""

    start: int
    end: int
    heading: str
    text: str
    extra: str = ""


@dataclass(frozen=True, slots=True)
class DocumentRecord:
    """A document that is ready to be stored. ``path`` is what identifies it within its scope."""

    id: str
    path: str
    title: str
    url: str
    digest: str
    size: int
    passages: Sequence[PassageRecord]


@dataclass(frozen=True, slots=True)
class DocumentRow:
    """A stored document. ``size`` is in bytes; ``passages`` is how many it was cut into."""

    path: str
    title: str
    url: str
    size: int
    passages: int


@dataclass(frozen=True, slots=True)
class PassageRow:
    """A stored passage with what its document says about itself."""

    id: int
    document_id: str
    path: str
    title: str
    url: str
    heading: str
    text: str
    start: int
    end: int
    ordinal: int


def create_tables(conn: sqlite3.Connection) -> None:
    """Create the tables of documents and passages (a migration)."""
    for statement in (
        """CREATE TABLE document_scopes (
            id INTEGER PRIMARY KEY,
            tenant TEXT NOT NULL,
            kind TEXT NOT NULL CHECK (kind IN ('agent', 'session')),
            owner TEXT NOT NULL,
            UNIQUE (tenant, kind, owner)
        ) STRICT""",
        """CREATE TABLE documents (
            no INTEGER PRIMARY KEY,
            tenant TEXT NOT NULL,
            scope INTEGER NOT NULL REFERENCES document_scopes (id),
            id TEXT NOT NULL,
            path TEXT NOT NULL,
            title TEXT NOT NULL,
            url TEXT NOT NULL,
            digest TEXT NOT NULL,
            size INTEGER NOT NULL,
            UNIQUE (tenant, id),
            UNIQUE (scope, path)
        ) STRICT""",
        """CREATE TABLE passages (
            id INTEGER PRIMARY KEY,
            document INTEGER NOT NULL REFERENCES documents (no),
            ordinal INTEGER NOT NULL,
            start INTEGER NOT NULL,
            "end" INTEGER NOT NULL,
            UNIQUE (document, ordinal)
        ) STRICT""",
        """CREATE VIRTUAL TABLE passages_fts USING fts5 (
            title, heading, body, extra, scope, tokenize = 'porter unicode61'
        )""",
        # Fewer, larger index segments while a tree is being ingested.
        "INSERT INTO passages_fts (passages_fts, rank) VALUES ('hashsize', 16777216)",
    ):
        conn.execute(statement)


def scope_token(scope: int) -> str:
    """The word that marks a scope's passages in the full-text index."""
    return f"z{scope}"


def ensure_scope(conn: sqlite3.Connection, tenant: str, kind: ScopeKind, owner: str) -> int:
    """The number of a scope, which is created if need be."""
    conn.execute(
        "INSERT INTO document_scopes (tenant, kind, owner) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        (tenant, kind, owner),
    )
    row = conn.execute(
        "SELECT id FROM document_scopes WHERE tenant = ? AND kind = ? AND owner = ?", (tenant, kind, owner)
    ).fetchone()
    return int(row[0])


def find_scopes(conn: sqlite3.Connection, tenant: str, agent_ids: Iterable[str], session_id: str | None) -> list[int]:
    """The scopes that a search of this tenant may see, as far as they hold anything."""
    wanted = [(tenant, "agent", agent_id) for agent_id in dict.fromkeys(agent_ids)]
    if session_id is not None:
        wanted.append((tenant, "session", session_id))
    found: list[int] = []
    for key in wanted:
        row = conn.execute("SELECT id FROM document_scopes WHERE tenant = ? AND kind = ? AND owner = ?", key).fetchone()
        if row is not None:
            found.append(int(row[0]))
    return found


def document_digests(conn: sqlite3.Connection, tenant: str, scope: int) -> dict[str, str]:
    """The digest of every document of a scope, by path."""
    rows = conn.execute("SELECT path, digest FROM documents WHERE tenant = ? AND scope = ?", (tenant, scope))
    return dict(rows.fetchall())


def replace_documents(conn: sqlite3.Connection, tenant: str, scope: int, records: Sequence[DocumentRecord]) -> None:
    """Store documents; one with the same path in this scope is replaced."""
    remove_documents(conn, tenant, scope, [record.path for record in records])
    token = scope_token(scope)
    next_id = int(conn.execute("SELECT coalesce(max(id), 0) + 1 FROM passages").fetchone()[0])
    passages: list[tuple[int, int, int, int, int]] = []
    indexed: list[tuple[int, str, str, str, str, str]] = []
    rows: list[tuple[int, str, int, str, str, str, str, str, int]] = []
    first = int(conn.execute("SELECT coalesce(max(no), 0) + 1 FROM documents").fetchone()[0])
    for number, r in enumerate(records, first):
        rows.append((number, tenant, scope, r.id, r.path, r.title, r.url, r.digest, r.size))
        for ordinal, p in enumerate(r.passages):
            passages.append((next_id, number, ordinal, p.start, p.end))
            indexed.append((next_id, r.title, p.heading, p.text, p.extra, token))
            next_id += 1
    conn.executemany(
        "INSERT INTO documents (no, tenant, scope, id, path, title, url, digest, size)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        rows,
    )
    conn.executemany('INSERT INTO passages (id, document, ordinal, start, "end") VALUES (?, ?, ?, ?, ?)', passages)
    conn.executemany(
        "INSERT INTO passages_fts (rowid, title, heading, body, extra, scope) VALUES (?, ?, ?, ?, ?, ?)", indexed
    )


def remove_documents(conn: sqlite3.Connection, tenant: str, scope: int, paths: Sequence[str]) -> int:
    """Remove documents by path; how many there were."""
    removed = 0
    for i in range(0, len(paths), _IDS_PER_STATEMENT):
        some = paths[i : i + _IDS_PER_STATEMENT]
        found = conn.execute(
            f"SELECT no FROM documents WHERE tenant = ? AND scope = ? AND path IN ({_marks(some)})",  # noqa: S608
            (tenant, scope, *some),
        ).fetchall()
        conn.executemany("DELETE FROM passages_fts WHERE rowid IN (SELECT id FROM passages WHERE document = ?)", found)
        conn.executemany("DELETE FROM passages WHERE document = ?", found)
        conn.executemany("DELETE FROM documents WHERE no = ?", found)
        removed += len(found)
    return removed


def list_documents(conn: sqlite3.Connection, tenant: str, scope: int) -> list[DocumentRow]:
    """All documents of a scope, by path."""
    rows = conn.execute(
        "SELECT d.path, d.title, d.url, d.size, (SELECT count(*) FROM passages p WHERE p.document = d.no)"
        " FROM documents d WHERE d.tenant = ? AND d.scope = ? ORDER BY d.path",
        (tenant, scope),
    )
    return [DocumentRow(*row) for row in rows]


def count_matches(conn: sqlite3.Connection, match: str) -> int:
    """How many passages an FTS5 expression matches; ``match`` comes from ``retrieval.query`` and names the scopes."""
    row = conn.execute("SELECT count(*) FROM passages_fts WHERE passages_fts MATCH ?", (match,)).fetchone()
    return int(row[0])


def match_passages(conn: sqlite3.Connection, match: str, weights: Sequence[float], limit: int) -> list[int]:
    """The ids of the best passages for an FTS5 expression from ``retrieval.query``, best first.

    ``weights`` are those of title, heading, body and extra. The scope's own token weighs nothing.
    """
    title, heading, body, extra = weights
    rows = conn.execute(
        "SELECT rowid FROM passages_fts WHERE passages_fts MATCH ?"
        " ORDER BY bm25(passages_fts, ?, ?, ?, ?, 0.0), rowid LIMIT ?",
        (match, title, heading, body, extra, limit),
    )
    return [int(row[0]) for row in rows]


_PASSAGE_COLUMNS = 'p.id, d.id, d.path, d.title, d.url, f.heading, f.body, p.start, p."end", p.ordinal'


def load_passages(
    conn: sqlite3.Connection, tenant: str, scopes: Sequence[int], passage_ids: Sequence[int]
) -> list[PassageRow]:
    """Passages by id, in the order asked for; ids outside the tenant's scopes are left out."""
    found: dict[int, PassageRow] = {}
    for i in range(0, len(passage_ids), _IDS_PER_STATEMENT):
        ids = passage_ids[i : i + _IDS_PER_STATEMENT]
        rows = conn.execute(
            f"SELECT {_PASSAGE_COLUMNS} FROM passages p JOIN documents d ON d.no = p.document"  # noqa: S608
            f" JOIN passages_fts f ON f.rowid = p.id"
            f" WHERE p.id IN ({_marks(ids)}) AND d.tenant = ? AND d.scope IN ({_marks(scopes)})",
            (*ids, tenant, *scopes),
        )
        found.update((row[0], PassageRow(*row)) for row in rows)
    return [found[passage_id] for passage_id in passage_ids if passage_id in found]


def document_passage_ids(
    conn: sqlite3.Connection, tenant: str, scopes: Sequence[int], document_ids: Sequence[str]
) -> list[int]:
    """The ids of all passages of the given documents, in the documents' order and then in reading order."""
    found: list[int] = []
    for document_id in dict.fromkeys(document_ids):
        rows = conn.execute(
            f"SELECT p.id FROM documents d JOIN passages p ON p.document = d.no WHERE d.tenant = ? AND d.id = ?"  # noqa: S608
            f" AND d.scope IN ({_marks(scopes)}) ORDER BY p.ordinal",
            (tenant, document_id, *scopes),
        )
        found.extend(int(row[0]) for row in rows)
    return found


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))
