"""Group commit: writes that wait at the same moment share one transaction, and with it one ``fsync``."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple


class Write(NamedTuple):
    """A function of a connection, and the future of what it returns: a thread's, or an event loop's."""

    fn: Callable[[sqlite3.Connection], Any]
    future: Future[Any] | asyncio.Future[Any]


class Outcome(NamedTuple):
    """What a write returned, or why it failed."""

    result: Any = None
    error: BaseException | None = None


def commit(conn: sqlite3.Connection, writes: Sequence[Write]) -> None:
    """Run the writes in one transaction, then settle their futures: what succeeded is durable by then.

    A write that raises is undone by its savepoint and fails alone. When the transaction itself breaks (a full disk
    makes SQLite give it up), nothing of the group was stored, and the whole group fails. A write that was cancelled
    while it waited is not run.
    """
    wanted = [write for write in writes if not write.future.cancelled()]
    try:
        conn.execute("BEGIN IMMEDIATE")
        outcomes = [_attempt(conn, write.fn) for write in wanted]
        conn.execute("COMMIT")
    except BaseException as error:  # noqa: BLE001 - whatever it is, it belongs to those who wait
        if conn.in_transaction:
            conn.execute("ROLLBACK")
        outcomes = [Outcome(error=error)] * len(wanted)
    # An event loop is woken once for all that it waits for: under load, waking it costs more than a write.
    of_loops: dict[asyncio.AbstractEventLoop, list[tuple[Any, Outcome]]] = defaultdict(list)
    for write, outcome in zip(wanted, outcomes, strict=True):
        if isinstance(write.future, Future):
            _settle([(write.future, outcome)])
        else:
            of_loops[write.future.get_loop()].append((write.future, outcome))
    for loop, settled in of_loops.items():
        with contextlib.suppress(RuntimeError):  # the loop is closed, and with it everybody who waited
            loop.call_soon_threadsafe(_settle, settled)


def _settle(settled: Sequence[tuple[Any, Outcome]]) -> None:
    for future, outcome in settled:
        if future.cancelled():
            continue
        if outcome.error is not None:
            future.set_exception(outcome.error)
        else:
            future.set_result(outcome.result)


def _attempt(conn: sqlite3.Connection, fn: Callable[[sqlite3.Connection], Any]) -> Outcome:
    conn.execute("SAVEPOINT one")
    try:
        outcome = Outcome(fn(conn))
    except BaseException as error:
        if not conn.in_transaction:
            raise
        conn.execute("ROLLBACK TO one")
        outcome = Outcome(error=error)
    require_transaction(conn)
    conn.execute("RELEASE one")
    return outcome


def require_transaction(conn: sqlite3.Connection) -> None:
    """See that a function which was not to commit has not."""
    if not conn.in_transaction:
        raise RuntimeError("a write function must not commit; use run_script instead of executescript")


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
