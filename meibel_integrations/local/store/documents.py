"""The tables of documents and passages, and every statement that touches them.

A document belongs to one *scope*: an agent's documents, or the uploads of one session, of one tenant. Each scope has a
full-text index of its own, so that neither words nor their weights tell one tenant about another, and a search walks
only what the caller may see. Text lives once, in the index's own content table. Beside it stand the scope's vocabulary
(how many passages have a word) and, when an embedding model is used, one vector for each passage.

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
Place = tuple[int, int, int]  # a scope, and the first and the last id of passages in it
_STALE = "?"  # no word: it stands in a vocabulary that is behind its index, also after a crash in between
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


def index_by_scope(conn: sqlite3.Connection) -> None:
    """Give each scope its own index, and make room for vocabularies and vectors (a migration)."""
    conn.execute("ALTER TABLE document_scopes ADD COLUMN revision INTEGER NOT NULL DEFAULT 0")
    conn.execute(
        "CREATE TABLE vocabulary (scope INTEGER NOT NULL, word TEXT NOT NULL, passages INTEGER NOT NULL,"
        " PRIMARY KEY (scope, word)) STRICT, WITHOUT ROWID"
    )
    conn.execute(
        "CREATE TABLE vectors (passage INTEGER PRIMARY KEY REFERENCES passages (id) ON DELETE CASCADE,"
        " model TEXT NOT NULL, vector BLOB NOT NULL) STRICT"
    )
    for (scope,) in conn.execute("SELECT id FROM document_scopes").fetchall():
        _create_index(conn, scope)
        conn.execute(
            f"INSERT INTO {index_name(scope)} (rowid, title, heading, body, extra)"  # noqa: S608
            " SELECT f.rowid, f.title, f.heading, f.body, f.extra FROM documents d"
            " JOIN passages p ON p.document = d.no JOIN passages_fts f ON f.rowid = p.id WHERE d.scope = ?",
            (scope,),
        )
        conn.execute("INSERT INTO vocabulary VALUES (?, ?, 0)", (scope, _STALE))
        count_words(conn, scope)
    conn.execute("DROP TABLE passages_fts")


def index_name(scope: int) -> str:
    """The table that holds the text of a scope's passages."""
    return f"passages_fts_{scope:d}"


def _create_index(conn: sqlite3.Connection, scope: int) -> None:
    name = index_name(scope)
    conn.execute(f"CREATE VIRTUAL TABLE {name} USING fts5 (title, heading, body, extra, tokenize = 'porter unicode61')")
    conn.execute(f"CREATE VIRTUAL TABLE {name}_words USING fts5vocab ({name}, 'row')")
    # Fewer, larger index segments while a tree is being ingested.
    conn.execute(f"INSERT INTO {name} ({name}, rank) VALUES ('hashsize', 16777216)")  # noqa: S608


def count_words(conn: sqlite3.Connection, scope: int) -> None:
    """Bring a scope's vocabulary in line with its index, if it is not. The empty word stands for all passages."""
    if not conn.execute("SELECT 1 FROM vocabulary WHERE scope = ? AND word = ?", (scope, _STALE)).fetchone():
        return
    conn.execute("DELETE FROM vocabulary WHERE scope = ?", (scope,))
    conn.execute(f"INSERT INTO vocabulary SELECT ?, term, doc FROM {index_name(scope)}_words", (scope,))  # noqa: S608
    conn.execute(
        "INSERT INTO vocabulary SELECT ?, '', count(*) FROM passages p JOIN documents d ON d.no = p.document"
        " WHERE d.scope = ?",
        (scope, scope),
    )


def ensure_scope(conn: sqlite3.Connection, tenant: str, kind: ScopeKind, owner: str) -> int:
    """The number of a scope, which is created if need be."""
    key = (tenant, kind, owner)
    found = conn.execute("SELECT id FROM document_scopes WHERE tenant = ? AND kind = ? AND owner = ?", key).fetchone()
    if found is not None:
        return int(found[0])
    conn.execute("INSERT INTO document_scopes (tenant, kind, owner) VALUES (?, ?, ?)", key)
    scope = int(conn.execute("SELECT last_insert_rowid()").fetchone()[0])
    _create_index(conn, scope)
    return scope


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


def document_ids(conn: sqlite3.Connection, tenant: str, scope: int) -> list[str]:
    """The ids of a scope's documents, the newest first."""
    rows = conn.execute("SELECT id FROM documents WHERE tenant = ? AND scope = ? ORDER BY no DESC", (tenant, scope))
    return [row[0] for row in rows]


def replace_documents(
    conn: sqlite3.Connection, tenant: str, scope: int, records: Sequence[DocumentRecord], *, more_follow: bool = False
) -> None:
    """Store documents; one with the same path in this scope is replaced.

    While ``more_follow`` the vocabulary is left as it is, which is a pass over the whole index less.
    """
    remove_documents(conn, tenant, scope, [record.path for record in records], more_follow=True)
    next_id = int(conn.execute("SELECT coalesce(max(id), 0) + 1 FROM passages").fetchone()[0])
    passages: list[tuple[int, int, int, int, int]] = []
    indexed: list[tuple[int, str, str, str, str]] = []
    rows: list[tuple[int, str, int, str, str, str, str, str, int]] = []
    first = int(conn.execute("SELECT coalesce(max(no), 0) + 1 FROM documents").fetchone()[0])
    for number, r in enumerate(records, first):
        rows.append((number, tenant, scope, r.id, r.path, r.title, r.url, r.digest, r.size))
        for ordinal, p in enumerate(r.passages):
            passages.append((next_id, number, ordinal, p.start, p.end))
            indexed.append((next_id, r.title, p.heading, p.text, p.extra))
            next_id += 1
    conn.executemany(
        "INSERT INTO documents (no, tenant, scope, id, path, title, url, digest, size)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        rows,
    )
    conn.executemany('INSERT INTO passages (id, document, ordinal, start, "end") VALUES (?, ?, ?, ?, ?)', passages)
    conn.executemany(
        f"INSERT INTO {index_name(scope)} (rowid, title, heading, body, extra) VALUES (?, ?, ?, ?, ?)",  # noqa: S608
        indexed,
    )
    if not more_follow:
        count_words(conn, scope)


def remove_documents(
    conn: sqlite3.Connection, tenant: str, scope: int, paths: Sequence[str], *, more_follow: bool = False
) -> int:
    """Remove documents by path; how many there were."""
    removed = 0
    conn.execute("UPDATE document_scopes SET revision = revision + 1 WHERE id = ?", (scope,))
    conn.execute("INSERT OR IGNORE INTO vocabulary VALUES (?, ?, 0)", (scope, _STALE))
    for i in range(0, len(paths), _IDS_PER_STATEMENT):
        some = paths[i : i + _IDS_PER_STATEMENT]
        found = conn.execute(
            f"SELECT no FROM documents WHERE tenant = ? AND scope = ? AND path IN ({_marks(some)})",  # noqa: S608
            (tenant, scope, *some),
        ).fetchall()
        conn.executemany(
            f"DELETE FROM {index_name(scope)} WHERE rowid IN (SELECT id FROM passages WHERE document = ?)",  # noqa: S608
            found,
        )
        conn.executemany("DELETE FROM passages WHERE document = ?", found)
        conn.executemany("DELETE FROM documents WHERE no = ?", found)
        removed += len(found)
    if removed and not more_follow:
        count_words(conn, scope)
    return removed


def drop_scope(conn: sqlite3.Connection, scope: int) -> None:
    """Remove a scope with everything in it."""
    conn.execute("DELETE FROM passages WHERE document IN (SELECT no FROM documents WHERE scope = ?)", (scope,))
    for table, column in (("documents", "scope"), ("vocabulary", "scope"), ("document_scopes", "id")):
        conn.execute(f"DELETE FROM {table} WHERE {column} = ?", (scope,))  # noqa: S608
    conn.execute(f"DROP TABLE {index_name(scope)}_words")
    conn.execute(f"DROP TABLE {index_name(scope)}")


def list_documents(conn: sqlite3.Connection, tenant: str, scope: int) -> list[DocumentRow]:
    """All documents of a scope, by path."""
    rows = conn.execute(
        "SELECT d.path, d.title, d.url, d.size, (SELECT count(*) FROM passages p WHERE p.document = d.no)"
        " FROM documents d WHERE d.tenant = ? AND d.scope = ? ORDER BY d.path",
        (tenant, scope),
    )
    return [DocumentRow(*row) for row in rows]


def word_counts(conn: sqlite3.Connection, scopes: Sequence[int], words: Iterable[str]) -> dict[str, int]:
    """How many passages of the scopes have each word (as the index stems it); the empty word counts all passages."""
    wanted = list(dict.fromkeys(words))
    rows = conn.execute(
        f"SELECT word, sum(passages) FROM vocabulary WHERE scope IN ({_marks(scopes)})"  # noqa: S608
        f" AND word IN ({_marks(wanted)}) GROUP BY word",
        (*scopes, *wanted),
    )
    return dict(rows.fetchall())


def words_like(conn: sqlite3.Connection, scopes: Sequence[int], word: str, spread: int) -> list[tuple[str, int]]:
    """The words of the scopes with the same first letter and about the same length, with their counts."""
    rows = conn.execute(
        f"SELECT word, sum(passages) FROM vocabulary WHERE scope IN ({_marks(scopes)})"  # noqa: S608
        " AND word >= ? AND word < ? AND length(word) BETWEEN ? AND ? GROUP BY word",
        (*scopes, word[0], chr(ord(word[0]) + 1), len(word) - spread, len(word) + spread),
    )
    return rows.fetchall()


def match_passages(
    conn: sqlite3.Connection, place: Place, match: str, weights: Sequence[float], limit: int
) -> list[tuple[int, float]]:
    """The ids of the best passages for an FTS5 expression, best first, with what ``bm25()`` says, higher for better.

    ``weights`` are those of title, heading, body and extra.
    """
    scope, first, last = place
    name = index_name(scope)
    rows = conn.execute(
        f"SELECT rowid, -bm25({name}, ?, ?, ?, ?) AS value FROM {name} WHERE {name} MATCH ?"  # noqa: S608
        " AND rowid BETWEEN ? AND ? ORDER BY value DESC, rowid LIMIT ?",
        (*weights, match, first, last, limit),
    )
    return rows.fetchall()


def load_passages(
    conn: sqlite3.Connection, tenant: str, scopes: Sequence[int], passage_ids: Sequence[int]
) -> list[PassageRow]:
    """Passages by id, in the order asked for; ids outside the tenant's scopes are left out."""
    found: dict[int, PassageRow] = {}
    for scope in scopes:
        for i in range(0, len(passage_ids), _IDS_PER_STATEMENT):
            ids = passage_ids[i : i + _IDS_PER_STATEMENT]
            rows = conn.execute(
                'SELECT p.id, d.id, d.path, d.title, d.url, f.heading, f.body, p.start, p."end", p.ordinal'  # noqa: S608
                f" FROM passages p JOIN documents d ON d.no = p.document JOIN {index_name(scope)} f ON f.rowid = p.id"
                f" WHERE p.id IN ({_marks(ids)}) AND d.tenant = ? AND d.scope = ?",
                (*ids, tenant, scope),
            )
            found.update((row[0], PassageRow(*row)) for row in rows)
    return [found[passage_id] for passage_id in passage_ids if passage_id in found]


def document_ranges(
    conn: sqlite3.Connection, tenant: str, scopes: Sequence[int], document_ids: Sequence[str]
) -> list[Place]:
    """The scope and the first and last passage of each of the documents; the passages of one are consecutive."""
    rows = conn.execute(
        "SELECT d.id, d.scope, min(p.id), max(p.id) FROM documents d JOIN passages p ON p.document = d.no"  # noqa: S608
        f" WHERE d.tenant = ? AND d.id IN ({_marks(document_ids)}) AND d.scope IN ({_marks(scopes)}) GROUP BY d.no",
        (tenant, *document_ids, *scopes),
    )
    found = {row[0]: (row[1], row[2], row[3]) for row in rows}
    return [found[document_id] for document_id in dict.fromkeys(document_ids) if document_id in found]


def scope_revision(conn: sqlite3.Connection, scope: int) -> int:
    """A number that changes with the documents of a scope."""
    return int(conn.execute("SELECT revision FROM document_scopes WHERE id = ?", (scope,)).fetchone()[0])


def load_vectors(conn: sqlite3.Connection, scope: int, model: str) -> list[tuple[int, bytes]]:
    """The vectors that a model made of a scope's passages, in the order of their ids."""
    rows = conn.execute(
        "SELECT v.passage, v.vector FROM documents d JOIN passages p ON p.document = d.no"
        " JOIN vectors v ON v.passage = p.id WHERE d.scope = ? AND v.model = ? ORDER BY p.id",
        (scope, model),
    )
    return rows.fetchall()


def passages_without_vector(conn: sqlite3.Connection, scope: int, model: str, limit: int) -> list[tuple[int, str]]:
    """Passages of a scope that the model has not seen yet: id, and title, heading and text in one."""
    rows = conn.execute(
        f"SELECT p.id, d.title || '. ' || f.heading || '. ' || f.body FROM documents d"  # noqa: S608
        f" JOIN passages p ON p.document = d.no JOIN {index_name(scope)} f ON f.rowid = p.id"
        " LEFT JOIN vectors v ON v.passage = p.id AND v.model = ? WHERE d.scope = ? AND v.passage IS NULL LIMIT ?",
        (model, scope, limit),
    )
    return rows.fetchall()


def store_vectors(conn: sqlite3.Connection, model: str, vectors: Sequence[tuple[int, bytes]]) -> None:
    """Store vectors by passage id; those of passages that were removed meanwhile are dropped."""
    conn.executemany(
        "INSERT OR REPLACE INTO vectors SELECT ?, ?, ? WHERE EXISTS (SELECT 1 FROM passages WHERE id = ?)",
        [(passage, model, vector, passage) for passage, vector in vectors],
    )


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))
