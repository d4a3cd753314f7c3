"""A turn that runs in this process, and what was asked for it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from meibel_integrations.local.store.sessions import SessionRow
from meibel_integrations.local.store.turn_log import StepBatch, TurnRow
from meibel_integrations.local.turns.answer_thread import AnswerThread


@dataclass(frozen=True, slots=True)
class Shown:
    """What a client asked to see besides the answer. ``passages``: what a search found, whole."""

    thinking: bool = False
    tool_activity: bool = False
    passages: bool = False


@dataclass(frozen=True, slots=True)
class Reach:
    """Whose documents a turn searches, and which agent (by name) answers it. ``skipped_index_ids`` are indexes that
    were asked for and cannot be searched."""

    agent_ids: tuple[str, ...]
    answering: str
    skipped_index_ids: tuple[str, ...] = ()


class LiveTurn:
    """A turn that runs in this process, as far as it is stored.

    ``batches`` is its event log: only what is committed. ``turn`` is the stored turn, with its outcome once it has
    one; ``lost`` says why there is none although the turn is over. ``changed`` is set, and replaced, at every change.
    """

    def __init__(self, tenant: str, session: SessionRow, turn: TurnRow, reach: Reach, thread: AnswerThread) -> None:
        self.tenant = tenant
        self.session = session
        self.turn = turn
        self.reach = reach
        self.thread = thread
        self.batches: list[StepBatch] = []
        self.changed = asyncio.Event()
        self.ended = False
        self.lost: str | None = None

    def notify(self) -> None:
        event, self.changed = self.changed, asyncio.Event()
        event.set()

    def end(self) -> None:
        self.ended = True
        self.notify()
