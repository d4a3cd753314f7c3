"""Turns: each runs as its own task, independent of the request that began it.

The user's message is stored before anything else; the steps follow as they come, and a response of any kind only
reads what was stored. So a client that leaves loses nothing, and a turn that was interrupted by the end of the
process is known as such when the file is opened again.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

from meibel_integrations.errors import SessionBusyError
from meibel_integrations.local.answerers.interface import Answerer, Question
from meibel_integrations.local.documents.uploads import Upload, store_uploads, uploaded
from meibel_integrations.local.limits import Limits
from meibel_integrations.local.search.embeddings import Vectors
from meibel_integrations.local.search.search import DocumentSearch
from meibel_integrations.local.store import turn_log as store
from meibel_integrations.local.store.database import Database, StorageError
from meibel_integrations.local.store.sessions import SessionRow
from meibel_integrations.local.store.step_codec import LogStep
from meibel_integrations.local.store.steps import Step
from meibel_integrations.local.store.tenants import IdSource
from meibel_integrations.local.store.turn_log import FileRow, StepBatch, TurnRow
from meibel_integrations.local.turns.answer_fold import AnswererError, AnswerFold
from meibel_integrations.local.turns.answer_thread import AnswerThread
from meibel_integrations.local.turns.compute_gate import ComputeGate
from meibel_integrations.local.turns.conversation import instructions_in, read_message, told_by
from meibel_integrations.local.turns.live_turn import LiveTurn, Reach, Shown

logger = logging.getLogger("meibel_integrations.local")

# Steps that come faster than this are stored together: enough to spare commits, too short to be seen.
_GROUPING_SECONDS = 0.004
# What an answerer is told of a session: enough for any follow-up, and as much in a long session as in a short one.
_REMEMBERED_TURNS = 50


class ClosingError(Exception):
    """The service is shutting down and begins no further turn."""


class TooManyTurnsError(Exception):
    """As many turns run as the service takes."""


class TurnRunner:
    """Begins turns, runs them, and ends them when the service closes. Lives in one event loop."""

    def __init__(
        self,
        db: Database,
        ids: IdSource,
        answerer_of: Callable[[str], Answerer],
        limits: Limits,
        vectors: Vectors | None = None,
    ) -> None:
        self._db = db
        self._vectors = vectors
        self._ids = ids
        self._answerer_of = answerer_of
        self._limits = limits
        self._live: dict[int, LiveTurn] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._threads: set[threading.Thread] = set()
        self._beginning: set[str] = set()
        self._gate = ComputeGate()
        self._unstored: dict[int, tuple[LiveTurn, str]] = {}  # turns whose failure the database could not take
        self._closing = False

    # Beginning

    async def begin(
        self,
        tenant: str,
        session: SessionRow,
        message: str,
        uploads: Sequence[Upload],
        shown: Shown,
        reach: Reach | None = None,
    ) -> LiveTurn:
        """Store the message (and its files before it) and let the turn run. Without ``reach`` the session's own agent
        searches its own documents.

        Raises:
            SessionBusyError: a turn of the session runs, or is just beginning.
            SessionEndedError: the session has a final status.
            InvalidInputError: a file cannot be read; nothing was stored.
            ClosingError: the service is closing.
            TooManyTurnsError: as many turns run as the service takes.
        """
        self._require_room()
        for lost, reason in list(self._unstored.values()):
            await self._fail(lost, reason)
        if session.session_id in self._beginning:
            raise SessionBusyError(f"session {session.session_id} is just beginning another turn")
        self._beginning.add(session.session_id)
        reach = reach or Reach((session.agent_id,), session.agent_name)
        try:
            turn, files = await self._store(tenant, session.session_id, message, uploads, reach)
        finally:
            self._beginning.discard(session.session_id)
        thread = AnswerThread(asyncio.get_running_loop(), f"meibel-turn-{turn.turn_id}")
        return self._run(LiveTurn(tenant, session, turn, reach, thread), files, shown)

    async def _store(
        self, tenant: str, session_id: str, message: str, uploads: Sequence[Upload], reach: Reach
    ) -> tuple[TurnRow, list[FileRow]]:
        files: list[FileRow] = []
        if uploads:
            await self._db.aread(partial(store.require_free, tenant=tenant, session_id=session_id))
            files = await asyncio.to_thread(store_uploads, self._db, tenant, session_id, uploads)
        begin = partial(
            store.begin_turn,
            ids=self._ids,
            tenant=tenant,
            session_id=session_id,
            user_message=message,
            files=files,
            skipped_index_ids=reach.skipped_index_ids,
        )
        with self._gate.beginning():
            return await self._db.awrite(begin), files

    def _require_room(self) -> None:
        if self._closing:
            raise ClosingError("the service is shutting down")
        if len(self._live) >= self._limits.max_running_turns:
            raise TooManyTurnsError(f"{len(self._live)} turns are running already")

    def _run(self, live: LiveTurn, files: Sequence[FileRow], shown: Shown) -> LiveTurn:
        turn, thread = live.turn, live.thread
        self._live[turn.turn_id] = live
        self._tasks[turn.turn_id] = asyncio.create_task(self._record(live))
        self._threads = {each for each in self._threads if each.is_alive()}
        self._threads.add(thread.start(partial(self._answer, live, files, shown)))
        return live

    def _answer(self, live: LiveTurn, files: Sequence[FileRow], shown: Shown) -> Iterator[Step]:
        """In the turn's own thread: gather the question, hand it to the answerer."""
        answerer = self._answerer_of(live.reach.answering)
        with self._gate.computing():
            question = self._question(live, files, shown)
        if not getattr(answerer, "computes", False):
            yield from answerer.answer(question)
            return
        with self._gate.computing():
            yield from answerer.answer(question)

    def search_of(self, tenant: str, agent_ids: Sequence[str], session_id: str | None) -> DocumentSearch:
        """The search that an answerer is given."""
        return DocumentSearch(self._db, tenant, agent_ids, session_id, self._vectors, self._gate.computing)

    def _question(self, live: LiveTurn, files: Sequence[FileRow], shown: Shown) -> Question:
        session = live.session
        earlier = self._db.read(
            partial(
                store.list_turns,
                tenant=live.tenant,
                session_id=session.session_id,
                before=live.turn.turn_id,
                last=_REMEMBERED_TURNS,
            )
        )
        told, text = read_message(live.turn.user_message)
        return Question(
            text=text,
            history=(*told_by(earlier), *told),
            search=self.search_of(live.tenant, live.reach.agent_ids, session.session_id),
            uploaded_document_ids=tuple(file.document_id for file in files),
            earlier_document_ids=self._db.read(partial(uploaded, tenant=live.tenant, session_id=session.session_id)),
            instructions=instructions_in(live.turn.user_message),
            include_thinking=shown.thinking,
            include_tool_activity=shown.tool_activity,
            whole_passages=shown.passages,
        )

    # Running

    async def _record(self, live: LiveTurn) -> None:
        try:
            await self._store_steps(live)
        except Exception as error:
            # The one place where a turn's failure, whatever its cause, becomes part of the session.
            if isinstance(error, StorageError):
                logger.error("turn %s could not be recorded: %s", live.turn.signal_id, error)
            elif not isinstance(error, AnswererError):
                logger.exception("turn %s could not be recorded", live.turn.signal_id)
            await self._fail(live, str(error) or type(error).__name__)
        finally:
            self._forget(live)

    def _forget(self, live: LiveTurn) -> None:
        live.thread.abandon()
        self._live.pop(live.turn.turn_id, None)
        self._tasks.pop(live.turn.turn_id, None)
        live.end()

    async def _store_steps(self, live: LiveTurn) -> None:
        fold = AnswerFold(self._limits.max_answer_chars)
        ended = False
        while not ended:
            steps, ended = await live.thread.take()
            began = time.monotonic()
            first = fold.count
            logged = fold.add(steps)
            if ended and fold.done is None:
                raise AnswererError("the answerer ended without its last step (Done)")
            batch, turn = await self._db.awrite(
                partial(_write, live=live, first=first, steps=logged, fold=fold if ended else None)
            )
            live.batches.append(batch)
            live.turn = turn
            if not ended:
                live.notify()
                await asyncio.sleep(max(0.0, _GROUPING_SECONDS - (time.monotonic() - began)))

    async def _fail(self, live: LiveTurn, reason: str) -> None:
        try:
            failed = await self._db.awrite(
                partial(store.fail_turn, tenant=live.tenant, turn_id=live.turn.turn_id, error=reason)
            )
            live.turn = failed or live.turn
            self._unstored.pop(live.turn.turn_id, None)
        except (StorageError, sqlite3.Error, RuntimeError) as error:
            # Not even the failure could be stored (disk full, database closed). Whoever waits must still be told.
            logger.error("the failure of turn %s could not be stored: %s", live.turn.signal_id, error)
            live.lost = reason
            self._unstored[live.turn.turn_id] = live, reason

    # Ending

    async def wait(self, live: LiveTurn, patience: float | None) -> bool:
        """Wait until the turn has ended; ``False`` if it has not after ``patience`` seconds."""
        try:
            async with asyncio.timeout(patience):
                while not live.ended:
                    await live.changed.wait()
        except TimeoutError:
            return False
        return True

    @asynccontextmanager
    async def held(self, tenant: str, session_id: str, reason: str) -> AsyncIterator[None]:
        """Inside, no turn of the session runs and none begins; one that ran has failed for ``reason``.

        Raises:
            SessionBusyError: a turn is just beginning.
        """
        if session_id in self._beginning:
            raise SessionBusyError(f"session {session_id} is just beginning a turn")
        self._beginning.add(session_id)
        try:
            await self.stop(tenant, reason, session_id)
            yield
        finally:
            self._beginning.discard(session_id)

    async def stop(self, tenant: str | None, reason: str, session_id: str | None = None) -> None:
        """Fail the turns that run (of one session, of one tenant, or all) and tell those who wait."""
        stopped = [
            live
            for live in self._live.values()
            if tenant in (None, live.tenant) and session_id in (None, live.session.session_id)
        ]
        tasks = [self._tasks[live.turn.turn_id] for live in stopped]
        for live, task in zip(stopped, tasks, strict=True):
            live.thread.abandon()
            live.lost = reason
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for live in stopped:
            if live.turn.state == "running":
                await self._fail(live, reason)
            # Also for a task that was cancelled before its first step and has not tidied up.
            self._forget(live)

    async def aclose(self, grace: float) -> None:
        """Refuse new turns, give the running ones a moment, fail the rest."""
        self._closing = True
        if self._tasks:
            await asyncio.wait(list(self._tasks.values()), timeout=grace)
        await self.stop(None, "the service was shut down while it answered")

    def join(self, timeout: float) -> None:
        """Wait for the answerers' threads; one that still blocks after ``timeout`` is left behind."""
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._threads = {thread for thread in self._threads if thread.is_alive()}


def _write(
    conn: sqlite3.Connection, live: LiveTurn, first: int, steps: Sequence[LogStep], fold: AnswerFold | None
) -> tuple[StepBatch, TurnRow]:
    """Store steps and, with the last of them, the answer; what is now stored."""
    tenant, turn = live.tenant, live.turn
    batch = store.append_steps(conn, tenant, turn.turn_id, first, steps)
    if fold is None or fold.done is None:
        return batch, turn
    ended = store.complete_turn(conn, tenant, turn.turn_id, answer=fold.text, thinking=fold.thinking, done=fold.done)
    return batch, ended or turn
