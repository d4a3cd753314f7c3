"""What this process knows of its sessions' heads. It may confirm that a session can go on, never that it cannot.

A head is *unsettled* from the moment a turn is sent until it is complete or provably did not happen. Nothing is held
while a stream is open: each method is one short critical section.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
from collections import OrderedDict
from contextvars import ContextVar
from dataclasses import dataclass, field
from threading import Lock, get_ident

__all__ = ["HEADS", "Flight", "Head", "Heads", "Owner", "current_owner"]

Owner = tuple[int, int]
_MAX_SESSIONS = 10_000
_MAX_SUPERSEDED = 256
_MAX_HELD = 64

_numbers = itertools.count(1)
# The turns that were sent in this context. A task or thread that a wrapper starts inherits it: waiting there for a
# stream that its starter holds would never end, just as in the starter itself.
_held: ContextVar[tuple[int, ...]] = ContextVar("meibel_integrations_held", default=())


def current_owner() -> Owner:
    """The calling thread and task."""
    try:
        task = asyncio.current_task()
    except RuntimeError:
        task = None
    return get_ident(), id(task) if task is not None else 0


@dataclass(slots=True)
class Head:
    """One session's head as this process left it.

    Attributes:
        settled: the marker of the newest complete answer, ``None`` if this process completed none.
        ordinal: how many user turns the session had then, ``None`` if unknown.
        system: the digest of the instructions in force, ``None`` if unknown or none.
        flight: who sent a turn that is not settled, ``None`` if none is.
        open: whether that turn's stream is still open.
        text: what that turn carries.
        number: of that turn, among all that this process sent.
    """

    settled: str | None = None
    ordinal: int | None = None
    system: str | None = None
    flight: Owner | None = None
    open: bool = False
    text: str = ""
    number: int = 0
    superseded: OrderedDict[str, None] = field(default_factory=OrderedDict)

    def copy(self) -> Head:
        """A copy that later changes leave alone."""
        return dataclasses.replace(self, superseded=self.superseded.copy())

    def fly(self, owner: Owner) -> None:
        """A turn is being sent, and the caller's context holds its stream."""
        self.flight, self.open, self.number = owner, True, next(_numbers)
        _held.set((*_held.get()[-_MAX_HELD:], self.number))

    def replace_settled(self, marker: str | None) -> None:
        """Moves the head; the one before is superseded."""
        if self.settled is not None and self.settled != marker:
            self.superseded[self.settled] = None
            while len(self.superseded) > _MAX_SUPERSEDED:
                self.superseded.popitem(last=False)
        self.settled = marker


@dataclass(frozen=True, slots=True)
class Flight:
    """A turn that is not settled. ``open``: its stream is still open; ``mine``: the asking thread or task holds it."""

    open: bool
    mine: bool


class Heads:
    """The heads of up to 10,000 sessions, least recently used first out. A session is named by (service, id)."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._heads: OrderedDict[tuple[str, str], Head] = OrderedDict()

    def take(self, service: str, session_id: str, owner: Owner) -> tuple[Head, Flight | None]:
        """Marks a turn as in flight, unless another one is, which is then returned. Also returns what is known."""
        with self._lock:
            head = self._get(service, session_id)
            flight = None
            if head.flight is not None:
                held = head.flight == owner or head.number in _held.get()
                flight = Flight(open=head.open, mine=head.open and held)
            known = head.copy()
            if flight is None:
                head.fly(owner)
            return known, flight

    def open(self, service: str, session_id: str, owner: Owner) -> None:
        """Marks the first turn of a new session as in flight. What was known under its id was of another one."""
        with self._lock:
            self._heads.pop((service, session_id), None)
            head = self._get(service, session_id)
            head.ordinal = 0
            head.fly(owner)

    def sending(self, service: str, session_id: str, text: str, ordinal: int | None) -> None:
        """The turn in flight carries this text, and is the session's ``ordinal``-th (``None``: not known)."""
        with self._lock:
            head = self._get(service, session_id)
            head.text = text
            if ordinal is not None:
                head.ordinal = ordinal - 1

    def settle(self, service: str, session_id: str, *, marker: str, ordinal: int | None, system: str | None) -> None:
        """The turn in flight is complete."""
        with self._lock:
            head = self._get(service, session_id)
            head.replace_settled(marker)
            head.ordinal, head.system = ordinal, system
            head.flight, head.open, head.text = None, False, ""

    def release(self, service: str, session_id: str) -> None:
        """The turn in flight provably did not happen."""
        with self._lock:
            head = self._get(service, session_id)
            head.flight, head.open, head.text = None, False, ""

    def abandon(self, service: str, session_id: str) -> None:
        """The stream of the turn in flight was left; the turn itself may go on at the service."""
        with self._lock:
            self._get(service, session_id).open = False

    def reconciled(self, service: str, session_id: str, asked: int | None) -> None:
        """No turn is running any more: whatever this process sent is over, and the head is not ours.

        Args:
            asked: how many user turns the server's history shows, ``None`` if it was not read.
        """
        with self._lock:
            head = self._get(service, session_id)
            head.replace_settled(None)
            head.ordinal = asked
            head.flight, head.open, head.text = None, False, ""

    def clear(self) -> None:
        """Forgets everything, as a new process would."""
        with self._lock:
            self._heads.clear()

    def _get(self, service: str, session_id: str) -> Head:
        key = (service, session_id)
        head = self._heads.setdefault(key, Head())
        self._heads.move_to_end(key)
        while len(self._heads) > _MAX_SESSIONS:
            self._heads.popitem(last=False)
        return head


HEADS = Heads()
"""This process's."""
