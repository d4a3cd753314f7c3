"""Group commit: many writes, one transaction, each with its own outcome.

Writes from an event loop wait in an ``Outbox`` while the loop's previous ones are being committed and then travel
together: under load the loop and the writer thread meet once per commit and not once per write.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any


class Job:
    """One write and what became of it."""

    def __init__(self, fn: Callable[[sqlite3.Connection], Any]) -> None:
        self._fn = fn
        self._result: Any = None
        self.error: BaseException | None = None

    def run(self, conn: sqlite3.Connection) -> None:
        """Run inside a savepoint: a failure undoes this write only, and the others go on."""
        conn.execute("SAVEPOINT job")
        try:
            self._result = self._fn(conn)
            require_transaction(conn)
        except BaseException as error:  # noqa: BLE001 - whatever it is, it belongs to the caller who waits for it
            self.error = error
            if conn.in_transaction:
                conn.execute("ROLLBACK TO job")
            else:
                conn.execute("BEGIN IMMEDIATE")
                return
        conn.execute("RELEASE job")

    def outcome(self) -> Any:
        if self.error is not None:
            raise self.error
        return self._result


def commit(conn: sqlite3.Connection, jobs: Sequence[Job]) -> None:
    """Run the jobs in one transaction. Afterwards each has its result or its error, and what succeeded is durable."""
    try:
        conn.execute("BEGIN IMMEDIATE")
        for job in jobs:
            job.run(conn)
        conn.execute("COMMIT")
    except sqlite3.Error as error:
        if conn.in_transaction:
            conn.execute("ROLLBACK")
        for job in jobs:
            job.error = job.error or error


def require_transaction(conn: sqlite3.Connection) -> None:
    if not conn.in_transaction:
        raise RuntimeError("a write function must not commit; use run_script instead of executescript")


class Outbox:
    """The writes of one event loop on their way to the writer thread."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, submit: Callable[[list[Job], Callable[[], object]], None]
    ) -> None:
        self.loop = loop
        self._submit = submit
        self._waiting: list[tuple[Job, asyncio.Future[Any]]] = []
        self._sent: list[tuple[Job, asyncio.Future[Any]]] = []

    def add(self, job: Job) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = self.loop.create_future()
        self._waiting.append((job, future))
        if not self._sent:
            self._send()
        return future

    def _send(self) -> None:
        # Whoever was cancelled while waiting here never wrote anything.
        self._sent = [(job, future) for job, future in self._waiting if not future.cancelled()]
        self._waiting = []
        if not self._sent:
            return
        try:
            self._submit([job for job, _ in self._sent], self._settled)
        except RuntimeError as error:
            sent, self._sent = self._sent, []
            for _, future in sent:
                future.set_exception(error)

    def _settled(self) -> None:
        """In the writer thread."""
        try:
            self.loop.call_soon_threadsafe(self._deliver)
        except RuntimeError:
            return  # the loop is closed, and with it everybody who waited

    def _deliver(self) -> None:
        sent, self._sent = self._sent, []
        for job, future in sent:
            if future.done():
                continue
            if job.error is not None:
                future.set_exception(job.error)
            else:
                future.set_result(job.outcome())
        if self._waiting:
            self._send()
