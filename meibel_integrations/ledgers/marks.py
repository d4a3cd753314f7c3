"""Marks of turns in flight: who sent them, and whether the caller itself holds one's open stream."""

from __future__ import annotations

import asyncio
import itertools
from contextvars import ContextVar
from dataclasses import dataclass
from threading import get_ident
from uuid import uuid4

__all__ = ["TurnMark", "holds", "mark_turn"]

_MAX_HELD = 64


@dataclass(frozen=True, slots=True)
class TurnMark:
    """A turn in flight.

    Attributes:
        id: tells it from all other turns, of all processes.
        holder: the thread and task that sent it.
        text: a digest of what it carries.
        open: whether its stream is still being read.
        expires: when its lease ends, in seconds since the epoch; ``None`` for never.
        alone: whether no other turn of the session was sent before it ended. One that was not alone says nothing of
            the head: either of the two may be the newer.
    """

    id: str
    holder: str
    text: str
    open: bool = True
    expires: float | None = None
    alone: bool = True


_PROCESS = uuid4().hex[:12]
_numbers = itertools.count(1)
# The turns that were sent in this context. A task or thread that a wrapper starts inherits it: waiting there for a
# stream that its starter holds would never end, just as in the starter itself.
_held: ContextVar[tuple[str, ...]] = ContextVar("meibel_integrations_held", default=())


def mark_turn(text: str, expires: float | None = None) -> TurnMark:
    """A mark for a turn that the calling thread and task send now. ``text`` is a digest of what it carries."""
    mark = TurnMark(f"{_PROCESS}-{next(_numbers)}", _holder(), text, expires=expires)
    _held.set((*_held.get()[-_MAX_HELD:], mark.id))
    return mark


def holds(mark: TurnMark) -> bool:
    """Whether the calling thread or task itself holds the open stream of this turn."""
    return mark.open and (mark.holder == _holder() or mark.id in _held.get())


def _holder() -> str:
    return f"{_PROCESS}-{get_ident()}-{_task()}"


def _task() -> int:
    try:
        task = asyncio.current_task()
    except RuntimeError:
        task = None
    return 0 if task is None else id(task)
