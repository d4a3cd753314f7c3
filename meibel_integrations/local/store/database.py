"""The local service's database: one SQLite file (or memory), one writer thread, snapshot reads.

Every write runs in the writer thread inside ``BEGIN IMMEDIATE`` and is acknowledged only after its commit. Writes that
wait at the same moment share one commit (each in its own savepoint, see ``writing``), so that many concurrent turns do
not pay one ``fsync`` each. A file is in WAL mode with ``synchronous=FULL``: an acknowledged write survives ``kill -9``
and a power cut, and readers never wait for the writer.

A ``:memory:`` database has exactly one connection (SQLite offers no snapshot between connections to shared memory);
its reads take turns with the writer under a lock. A function handed to ``read`` or ``write`` must not commit by itself;
``run_script`` runs several statements without doing so, which ``sqlite3``'s own ``executescript`` does not.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import TypeVar

from meibel_integrations.errors import ConfigurationError
from meibel_integrations.local.store.group_commit import Job, Outbox, commit, require_transaction

__all__ = ["Database", "Migration", "run_script"]

T = TypeVar("T")
Migration = Callable[[sqlite3.Connection], None]

# "MbLi": tells our files from any other program's SQLite database.
_APPLICATION_ID = 0x4D624C69
_BUSY_TIMEOUT_MS = 10_000
_READER_THREADS = 8
_IDLE_READERS = 8
_GROUP_LIMIT = 256


def _migrations() -> list[Migration]:
    """The schema's history, oldest first. Append only: a released entry is never edited."""
    steps = ["documents.create_tables", "tenants.create_tables", "sessions.create_tables", "chats.add_columns"]
    named = (step.split(".") for step in steps)
    return [getattr(import_module(f"{__package__}.{module}"), function) for module, function in named]


def run_script(conn: sqlite3.Connection, script: str) -> None:
    """Run several statements inside the transaction that is open."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            conn.execute(statement)
            statement = ""
    if statement.strip():
        conn.execute(statement)


class Database:
    """One database, usable from any thread and, by ``awrite`` and ``aread``, from any event loop.

    Raises:
        ConfigurationError: the file is not a database, belongs to another program or to a newer version of this
            package, cannot be opened, or this Python's SQLite lacks FTS5.
    """

    def __init__(self, path: str | Path = ":memory:") -> None:
        self.path = str(path)
        self.in_memory = self.path == ":memory:"
        self._gate = threading.Lock()  # guards _closed, _idle and the order of the queue; never held during work
        self._memory = threading.RLock()  # whoever uses the one connection of a memory database
        self._reading = threading.local()
        self._idle: list[sqlite3.Connection] = []
        self._closed = False
        self._queue: queue.SimpleQueue[tuple[list[Job], Callable[[], object]] | None] = queue.SimpleQueue()
        self._outboxes = threading.local()  # one per event loop, and a thread runs one loop at a time
        self._connection = self._open()
        self._readers = ThreadPoolExecutor(_READER_THREADS, thread_name_prefix="meibel-db-read")
        # A daemon: a program that forgets to close must still end, and what was acknowledged is on the disk already.
        self._writer = threading.Thread(target=self._write_loop, name="meibel-db-write", daemon=True)
        self._writer.start()

    # Opening

    def _open(self) -> sqlite3.Connection:
        if not self.in_memory:
            _create_private(Path(self.path))
        conn: sqlite3.Connection | None = None
        try:
            conn = self._connect()
            self._prepare(conn)
        except sqlite3.Error as error:
            if conn is not None:
                conn.close()
            raise ConfigurationError(f"cannot open the database {self.path!r}: {error}") from error
        except BaseException:
            if conn is not None:
                conn.close()
            raise
        return conn

    def _connect(self) -> sqlite3.Connection:
        conn = sqlite3.connect(
            self.path, timeout=_BUSY_TIMEOUT_MS / 1000, isolation_level=None, check_same_thread=False
        )
        conn.execute(f"PRAGMA busy_timeout={_BUSY_TIMEOUT_MS}")
        conn.execute("PRAGMA foreign_keys=ON")
        return conn

    def _prepare(self, conn: sqlite3.Connection) -> None:
        _require_fts5(conn)
        if not self.in_memory:
            # Looked at before anything is changed: another program's file must stay as it is.
            self._require_ours(conn)
            conn.execute("PRAGMA journal_mode=WAL")
            conn.execute("PRAGMA synchronous=FULL")
        conn.execute("BEGIN IMMEDIATE")
        try:
            self._require_ours(conn)
            self._migrate(conn, _migrations())
        except BaseException:
            conn.execute("ROLLBACK")
            raise
        conn.execute("COMMIT")

    def _require_ours(self, conn: sqlite3.Connection) -> None:
        application = conn.execute("PRAGMA application_id").fetchone()[0]
        tables = conn.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if tables and application != _APPLICATION_ID:
            raise ConfigurationError(f"{self.path!r} is a database of another program; it was left as it is")

    def _migrate(self, conn: sqlite3.Connection, migrations: list[Migration]) -> None:
        conn.execute(f"PRAGMA application_id={_APPLICATION_ID}")
        conn.execute(
            "CREATE TABLE IF NOT EXISTS schema_migrations"
            " (version INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_at TEXT NOT NULL) STRICT"
        )
        version = conn.execute("SELECT coalesce(max(version), 0) FROM schema_migrations").fetchone()[0]
        if version > len(migrations):
            raise ConfigurationError(
                f"the database {self.path!r} was written by a newer version of meibel-integrations "
                f"(schema {version}, this version knows {len(migrations)}); upgrade the package or use another file"
            )
        for number, migration in enumerate(migrations[version:], start=version + 1):
            migration(conn)
            require_transaction(conn)
            name = f"{migration.__module__.rpartition('.')[2]}.{migration.__name__}"
            conn.execute(
                "INSERT INTO schema_migrations (version, name, applied_at) VALUES (?, ?, ?)",
                (number, name, datetime.now(UTC).isoformat()),
            )

    # Writing

    def write(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``fn`` in the writer thread; return its result after the commit, or re-raise after the rollback."""
        if threading.current_thread() is self._writer or getattr(self._reading, "now", False):
            raise RuntimeError("a write inside a read or write function would wait for itself")
        job = Job(fn)
        settled = threading.Event()
        self._submit([job], settled.set)
        settled.wait()
        result: T = job.outcome()
        return result

    async def awrite(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        """``write`` without blocking the event loop."""
        loop = asyncio.get_running_loop()
        outbox = getattr(self._outboxes, "current", None)
        if outbox is None or outbox.loop is not loop:
            outbox = self._outboxes.current = Outbox(loop, self._submit)
        result: T = await outbox.add(Job(fn))
        return result

    def _submit(self, jobs: list[Job], settled: Callable[[], object]) -> None:
        with self._gate:
            self._require_open()
            self._queue.put((jobs, settled))

    def _write_loop(self) -> None:
        last = False
        while not last:
            groups = [self._queue.get()]
            while groups[-1] is not None and len(groups) < _GROUP_LIMIT and not self._queue.empty():
                groups.append(self._queue.get())
            last = groups[-1] is None
            waiting = [group for group in groups if group is not None]
            jobs = [job for group, _ in waiting for job in group]
            if jobs:
                with self._memory if self.in_memory else contextlib.nullcontext():
                    commit(self._connection, jobs)
            for _, settled in waiting:
                settled()

    # Reading

    def read(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``fn`` on a snapshot, in the calling thread. What it writes is an error."""
        if getattr(self._reading, "now", False):
            raise RuntimeError("a read inside a read function: use the connection that it was given")
        self._reading.now = True
        try:
            with self._reader() as conn:
                conn.execute("BEGIN")
                try:
                    return fn(conn)
                finally:
                    conn.execute("ROLLBACK")
        finally:
            self._reading.now = False

    async def aread(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        """``read`` in a thread of its own, without blocking the event loop."""
        with self._gate:
            self._require_open()
            future = self._readers.submit(self.read, fn)
        return await asyncio.wrap_future(future)

    @contextlib.contextmanager
    def _reader(self) -> Iterator[sqlite3.Connection]:
        if self.in_memory:
            with self._memory:
                self._require_open()
                self._connection.execute("PRAGMA query_only=ON")
                try:
                    yield self._connection
                finally:
                    self._connection.execute("PRAGMA query_only=OFF")
            return
        with self._gate:
            self._require_open()
            conn = self._idle.pop() if self._idle else None
        if conn is None:
            conn = self._connect()
            conn.execute("PRAGMA query_only=ON")
        try:
            yield conn
        finally:
            with self._gate:
                keep = not self._closed and len(self._idle) < _IDLE_READERS
                if keep:
                    self._idle.append(conn)
            if not keep:
                conn.close()

    # Closing

    def _require_open(self) -> None:
        if self._closed:
            raise RuntimeError(f"the database {self.path!r} is closed")

    def close(self) -> None:
        """Finish what was submitted, then close every connection and thread. Idempotent."""
        with self._gate:
            if self._closed:
                return
            self._closed = True
            self._queue.put(None)
        self._writer.join()
        self._readers.shutdown(wait=True)
        with self._gate:
            idle, self._idle = self._idle, []
        for conn in idle:
            conn.close()
        with self._memory:
            self._connection.close()

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


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
