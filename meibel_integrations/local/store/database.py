"""The local service's database: one SQLite file (or memory), one writer thread, snapshot reads.

Every write runs in the writer thread and is acknowledged only after its commit; writes that wait at the same moment
share one (see ``group_commit``). A file is in WAL mode with ``synchronous=FULL``: an acknowledged write survives
``kill -9`` and a power cut, and readers never wait for the writer.

A ``:memory:`` database has exactly one connection (SQLite offers no snapshot between connections to shared memory);
its reads take turns with the writer under a lock. A function handed to ``read`` or ``write`` must not commit by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from json import JSONDecodeError
from pathlib import Path
from typing import Any, TypeVar

from meibel_integrations.errors import MeibelIntegrationError
from meibel_integrations.local.store.group_commit import Write, commit
from meibel_integrations.local.store.schema import connect, open_database

__all__ = ["Database", "StorageError"]

T = TypeVar("T")
_READER_THREADS = 8
# What SQLite says when the file or the disk is at fault, and not the statement.
_OF_THE_FILE = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_READONLY,
    }
)


class StorageError(MeibelIntegrationError):
    """The database file cannot be read or written: the disk is full, the file is read-only, locked or damaged.

    Nothing of the failed write is kept. The database goes on to work when the cause is gone. ``full`` tells a full
    disk from the rest.
    """

    def __init__(self, message: str, *, full: bool = False) -> None:
        super().__init__(message)
        self.full = full


class Database:
    """One database, usable from any thread and, by ``awrite`` and ``aread``, from any event loop.

    Raises:
        ConfigurationError: from the constructor, as ``open_database`` says.
        StorageError: from reading and writing.
        RuntimeError: from reading and writing, when the database is closed.
    """

    def __init__(self, path: str | Path = ":memory:") -> None:
        self.path = str(path)
        self.in_memory = self.path == ":memory:"
        self._connection = open_database(self.path)
        self._turns = threading.Lock()  # whoever uses the one connection of a memory database
        self._gate = threading.Lock()  # guards _closed and the order of the queue; never held during work
        self._closed = False
        self._queue: queue.SimpleQueue[Write | None] = queue.SimpleQueue()
        self._idle: list[sqlite3.Connection] = []
        self._inside = threading.local()
        self._readers = ThreadPoolExecutor(_READER_THREADS, thread_name_prefix="meibel-db-read")
        # A daemon, and no executor: those stop before a program that forgot to close the service can still do so.
        self._writer = threading.Thread(target=self._write_loop, name="meibel-db-write", daemon=True)
        self._writer.start()

    # Writing

    def write(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``fn`` in the writer thread; return its result after the commit, or re-raise after the rollback."""
        if getattr(self._inside, "now", False):
            raise RuntimeError("a write inside a read or write function would wait for itself")
        future: Future[T] = Future()
        with self._telling():
            self._submit(Write(fn, future))
            return future.result()

    async def awrite(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        """``write`` without blocking the event loop. Cancelled while it still waits, it is not done."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        with self._telling():
            self._submit(Write(fn, future))
            return await future

    def _submit(self, write: Write) -> None:
        with self._gate:
            self._require_open()
            self._queue.put(write)

    def _write_loop(self) -> None:
        self._inside.now = True
        last = False
        while not last:
            group = [self._queue.get()]
            while group[-1] is not None and not self._queue.empty():
                group.append(self._queue.get())
            last = group[-1] is None
            with self._turns if self.in_memory else contextlib.nullcontext():
                commit(self._connection, [write for write in group if write is not None])

    # Reading

    def read(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``fn`` on a snapshot, in the calling thread. What it writes is an error."""
        if getattr(self._inside, "now", False):
            raise RuntimeError("a read inside a read or write function: use the connection that it was given")
        self._inside.now = True
        try:
            with self._telling(), self._reader() as conn:
                conn.execute("BEGIN")
                try:
                    return fn(conn)
                finally:
                    conn.execute("ROLLBACK")
        finally:
            self._inside.now = False

    async def aread(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        """``read`` in a thread of its own, without blocking the event loop."""
        with self._gate:
            self._require_open()
            future = self._readers.submit(self.read, fn)
        return await asyncio.wrap_future(future)

    @contextlib.contextmanager
    def _reader(self) -> Iterator[sqlite3.Connection]:
        if self.in_memory:
            with self._turns:
                self._require_open()
                self._connection.execute("PRAGMA query_only=ON")
                try:
                    yield self._connection
                finally:
                    self._connection.execute("PRAGMA query_only=OFF")
            return
        self._require_open()
        try:
            conn = self._idle.pop()
        except IndexError:
            conn = connect(self.path)
            conn.execute("PRAGMA query_only=ON")
        try:
            yield conn
        finally:
            self._idle.append(conn)
            if self._closed or len(self._idle) > _READER_THREADS:
                self._idle.pop().close()

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        """Makes a typed error of what is the file's fault."""
        try:
            yield
        except sqlite3.Error as error:
            # The low byte of an extended code is the kind of error. Text that is no text has no code at all.
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
            if code not in _OF_THE_FILE or isinstance(error, sqlite3.ProgrammingError):
                raise
            raise StorageError(f"the database {self.path!r}: {error}", full=code == sqlite3.SQLITE_FULL) from error
        except (UnicodeError, JSONDecodeError) as error:
            raise StorageError(f"the database {self.path!r} is damaged: {error}") from error

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
        while self._idle:
            self._idle.pop().close()
        with self._turns:
            self._connection.close()

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()
