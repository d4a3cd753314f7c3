"""Opening the database: whose file it is, its settings, and the history of its tables."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from meibel_integrations.errors import ConfigurationError
from meibel_integrations.local.store import chats, documents, sessions, tenants
from meibel_integrations.local.store.group_commit import require_transaction

# The schema's history, oldest first. Append only: a released entry is never edited.
MIGRATIONS: list[Callable[[sqlite3.Connection], None]] = [
    documents.create_tables,
    tenants.create_tables,
    sessions.create_tables,
    chats.add_columns,
    documents.index_by_scope,
]

# "MbLi": tells our files from any other program's SQLite database.
_APPLICATION_ID = 0x4D624C69
_BUSY_SECONDS = 10


def open_database(path: str) -> sqlite3.Connection:
    """A connection to the database, which is made or brought up to date if need be.

    Raises:
        ConfigurationError: the file is not a database, belongs to another program or to a newer version of this
            package, is damaged, cannot be opened or written, or this Python's SQLite lacks FTS5.
    """
    if path != ":memory:":
        _create_private(Path(path))
    conn: sqlite3.Connection | None = None
    try:
        conn = connect(path)
        _prepare(conn, path)
    except BaseException as error:
        if conn is not None:
            conn.close()
        # A damaged file may hold names that are no text.
        if isinstance(error, sqlite3.Error | UnicodeError):
            raise ConfigurationError(f"cannot open the database {path!r}: {error}") from error
        raise
    return conn


def connect(path: str) -> sqlite3.Connection:
    """A connection without any check."""
    conn = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    conn.execute("PRAGMA foreign_keys=ON")
    return conn


def _prepare(conn: sqlite3.Connection, path: str) -> None:
    _require_fts5(conn)
    if path != ":memory:":
        # Looked at before anything is changed: another program's file must stay as it is.
        _require_ours(conn, path)
        conn.execute("PRAGMA journal_mode=WAL")
        conn.execute("PRAGMA synchronous=FULL")
    conn.execute("BEGIN IMMEDIATE")
    _require_ours(conn, path)
    _migrate(conn, path)
    conn.execute("COMMIT")


def _require_ours(conn: sqlite3.Connection, path: str) -> None:
    application = conn.execute("PRAGMA application_id").fetchone()[0]
    tables = conn.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if tables and application != _APPLICATION_ID:
        raise ConfigurationError(f"{path!r} is a database of another program; it was left as it is")


def _migrate(conn: sqlite3.Connection, path: str) -> None:
    conn.execute(f"PRAGMA application_id={_APPLICATION_ID}")
    conn.execute(
        "CREATE TABLE IF NOT EXISTS schema_migrations"
        " (version INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_at TEXT NOT NULL) STRICT"
    )
    version = conn.execute("SELECT coalesce(max(version), 0) FROM schema_migrations").fetchone()[0]
    if version > len(MIGRATIONS):
        raise ConfigurationError(
            f"the database {path!r} was written by a newer version of meibel-integrations "
            f"(schema {version}, this version knows {len(MIGRATIONS)}); upgrade the package or use another file"
        )
    for number, migration in enumerate(MIGRATIONS[version:], start=version + 1):
        migration(conn)
        require_transaction(conn)
        name = f"{migration.__module__.rpartition('.')[2]}.{migration.__name__}"
        conn.execute(
            "INSERT INTO schema_migrations (version, name, applied_at) VALUES (?, ?, ?)",
            (number, name, datetime.now(UTC).isoformat()),
        )


def _require_fts5(conn: sqlite3.Connection) -> None:
    try:
        conn.execute("CREATE VIRTUAL TABLE temp.fts5_probe USING fts5(text)")
        conn.execute("DROP TABLE temp.fts5_probe")
    except sqlite3.OperationalError as error:
        if "no such module" not in str(error):
            raise
        raise ConfigurationError(
            f"this Python's SQLite {sqlite3.sqlite_version} is built without FTS5, which the local service needs; "
            "use a Python from python.org, your distribution or conda"
        ) from error


def _create_private(path: Path) -> None:
    """Create the file readable by its owner only: it holds the service's keys and everybody's conversations."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise ConfigurationError(f"cannot open the database {str(path)!r}: {error.strerror}") from error
