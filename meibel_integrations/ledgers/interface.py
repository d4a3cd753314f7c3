"""What is known of a session, and how it changes: the ledger's interface.

A ledger holds one small :class:`SessionState` a session: its newest answer (the *head*), how many user turns it had,
which instructions are in force, and whether a turn is in flight. It may confirm that a session can go on as a message
list says, never that it cannot; that takes the service's history.

How it works. Every change is a pure function over one state (:func:`take`, :func:`settle`, …), and a ledger is nothing
but a place that applies such a function to one state in one atomic step (:meth:`Ledger.update`). So all ledgers follow
the same rules, and a new one - a file, a server - brings a read-modify-write and no rules of its own.

A turn in flight is marked from the moment when it is planned until it is settled, released or cleared. A mark whose
stream was left (``open`` is false), or whose lease ran out, stays: whoever comes next asks the service what became of
that turn, and clears it. Nothing is held while a stream is open.

No text of a message and no key is ever in a ledger: only ids, counts and digests.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from meibel_integrations.ledgers.marks import TurnMark
from meibel_integrations.protocol.commands import Wakeup

__all__ = [
    "UNKNOWN",
    "Change",
    "Ledger",
    "SessionState",
    "abandon",
    "clear",
    "count_turns",
    "crowd",
    "forget",
    "head_marker",
    "open_session",
    "renew",
    "settle",
    "take",
]

T = TypeVar("T")
_MAX_SUPERSEDED = 256


@dataclass(frozen=True, slots=True)
class SessionState:
    """What is known of one session.

    Attributes:
        version: counts the changes.
        head: the marker of the newest complete answer (:func:`head_marker`); ``None`` if unknown.
        turns: how many user turns it had before the one in flight; ``None`` if unknown.
        instructions: a digest of those in force at the head; ``None`` if unknown or none.
        superseded: markers of answers that are no head any more, the oldest first, at most 256.
        mark: the turn in flight, ``None`` if none is.
    """

    version: int = 0
    head: str | None = None
    turns: int | None = None
    instructions: str | None = None
    superseded: tuple[str, ...] = ()
    mark: TurnMark | None = None


UNKNOWN = SessionState()
"""Of a session that the ledger never heard of."""

Change = Callable[[SessionState], tuple[SessionState, T]]
"""A pure step: the state before in, the state after and a result out. It may run more than once."""


class Ledger(Protocol):
    """Remembers sessions by key. Safe to use from any thread and task.

    Attributes:
        lease: how long a mark is good for without being renewed, in seconds; ``None`` where marks cannot be orphaned.
    """

    lease: float | None

    def update(self, key: str, change: Change[T]) -> T:
        """Applies a change in one atomic step. The version is the ledger's business."""

    async def aupdate(self, key: str, change: Change[T]) -> T: ...

    def watch(self, key: str, version: int) -> Wakeup:
        """Something that wakes up when the session's version is not (or no longer) this one."""

    def recall(self, key: str) -> str | None:
        """A word that was remembered under a key, such as what a service's partial texts proved to be."""

    async def arecall(self, key: str) -> str | None: ...

    def remember(self, key: str, word: str) -> None: ...

    async def aremember(self, key: str, word: str) -> None: ...


# Changes


def take(mark: TurnMark, expected: int) -> Change[bool]:
    """Marks a turn as in flight, if the state is still the ``expected`` one and no other turn is."""

    def change(state: SessionState) -> tuple[SessionState, bool]:
        if state.version != expected or state.mark is not None:
            return state, False
        return dataclasses.replace(state, mark=mark), True

    return change


def renew(mark: TurnMark, expires: float) -> Change[bool]:
    """Prolongs the lease of a turn in flight; the result is whether it still is."""

    def change(state: SessionState) -> tuple[SessionState, bool]:
        if state.mark is None or state.mark.id != mark.id:
            return state, False
        return dataclasses.replace(state, mark=dataclasses.replace(state.mark, expires=expires)), True

    return change


def open_session(mark: TurnMark | None) -> Change[None]:
    """A new session, with its first turn in flight where there is one. What was known under its id was of another
    one: a service that begins anew may repeat its ids."""
    return lambda state: (SessionState(version=state.version, turns=0, mark=mark), None)


def crowd() -> Change[None]:
    """Another turn is sent although one is in flight."""
    return lambda state: (_crowded(state), None)


def settle(mark: TurnMark, *, head: str, turns: int | None, instructions: str | None) -> Change[None]:
    """The turn is complete; ``turns`` counts it. If another turn was sent meanwhile, which of the two is the head is
    not known any more."""

    def change(state: SessionState) -> tuple[SessionState, None]:
        if state.mark is not None and state.mark.id != mark.id:
            return dataclasses.replace(_beheaded(_crowded(state)), turns=None), None
        if not (mark.alone if state.mark is None else state.mark.alone):
            return dataclasses.replace(_beheaded(state), turns=None, mark=None), None
        moved = _superseding(state, head)
        return dataclasses.replace(moved, head=head, turns=turns, instructions=instructions, mark=None), None

    return change


def forget(mark: TurnMark) -> Change[None]:
    """The turn provably did not run: everything is as it was before, but for what another turn sent meanwhile did."""
    return lambda state: (_unmarked(state, mark.id), None)


def abandon(mark: TurnMark) -> Change[None]:
    """The turn's stream was left. The turn itself may go on at the service."""

    def change(state: SessionState) -> tuple[SessionState, None]:
        if state.mark is None or state.mark.id != mark.id:
            return state, None
        return dataclasses.replace(state, mark=dataclasses.replace(state.mark, open=False)), None

    return change


def clear(mark: TurnMark, turns: int | None) -> Change[None]:
    """The turn is over, whatever became of it; the head is not known. ``turns`` is what the service's history counts,
    ``None`` if it was not read."""

    def change(state: SessionState) -> tuple[SessionState, None]:
        if state.mark is None or state.mark.id != mark.id:
            return state, None
        return dataclasses.replace(_beheaded(state), turns=turns, mark=None), None

    return change


def count_turns(turns: int) -> Change[None]:
    """The service's history shows this many user turns, none of them running. A turn whose stream was left is over if
    it is among them."""

    def change(state: SessionState) -> tuple[SessionState, None]:
        if state.mark is not None:
            over = not state.mark.open and state.turns is not None and turns > state.turns
            return (dataclasses.replace(_beheaded(state), turns=turns, mark=None) if over else state), None
        if state.turns == turns:
            return state, None
        known = state if state.turns is None else _beheaded(state)
        return dataclasses.replace(known, turns=turns), None

    return change


def _crowded(state: SessionState) -> SessionState:
    if state.mark is None or not state.mark.alone:
        return state
    return dataclasses.replace(state, mark=dataclasses.replace(state.mark, alone=False))


def _unmarked(state: SessionState, mark_id: str) -> SessionState:
    if state.mark is None or state.mark.id != mark_id:
        return state
    if not state.mark.alone:
        return dataclasses.replace(_beheaded(state), turns=None, mark=None)
    return dataclasses.replace(state, mark=None)


def _superseding(state: SessionState, head: str | None) -> SessionState:
    if state.head is None or state.head == head:
        return state
    return dataclasses.replace(state, superseded=(*state.superseded, state.head)[-_MAX_SUPERSEDED:])


def _beheaded(state: SessionState) -> SessionState:
    return dataclasses.replace(_superseding(state, None), head=None)


# Markers


def head_marker(signal_id: str | None, turn: int | None, answer: str) -> str:
    """What names an answer: its signal where the wire has one, otherwise the turn's number in its session and the
    answer's digest."""
    return signal_id or f"{'?' if turn is None else turn}:{answer}"
