"""Where a session comes from, and what came from it.

An adapter that cannot continue a session opens a new one with the conversation so far as its first message. Nothing on
the wire says which session that was. It is found again by what was said: the session, of the same tenant, whose
answers the first message repeats.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from meibel_integrations.local.answerers.interface import HistoryTurn
from meibel_integrations.local.store import inspection
from meibel_integrations.local.store.turn_log import TurnRow, list_turns
from meibel_integrations.local.turns.conversation import read_message, told_by
from meibel_integrations.protocol.transcript import Block, encode

# Every text that carries several messages begins like this.
_ENVELOPE = encode([Block("system", "")]).partition("\n")[0]
_LOOKED_AT = 200  # later sessions, and messages of a seed


@dataclass(frozen=True, slots=True)
class Origin:
    """The session that a seed repeats, up to the turn ``signal_id``. ``messages`` of it are the same, ``exact`` if
    that is all the seed tells; ``went_on`` if that session had another turn before the seed was sent."""

    session_id: str
    signal_id: str
    messages: int
    exact: bool
    went_on: bool


@dataclass(frozen=True, slots=True)
class Continuity:
    """``new``: opened without an earlier conversation. ``seeded``: opened with one, ``told`` messages long.
    ``forked``: so, but the session that it comes from went on by itself, or said something else."""

    kind: Literal["new", "seeded", "forked"]
    told: int = 0
    origin: Origin | None = None


def continuity(conn: sqlite3.Connection, tenant: str, session_id: str, turns: Sequence[TurnRow]) -> Continuity:
    told = read_message(turns[0].user_message)[0] if turns else []
    if not told:
        return Continuity("new")
    origin = _origin(conn, tenant, session_id, turns[0].turn_id, told)
    forked = origin is not None and (origin.went_on or not origin.exact)
    return Continuity("forked" if forked else "seeded", len(told), origin)


def branches(conn: sqlite3.Connection, tenant: str, session_id: str, turns: Sequence[TurnRow]) -> list[str]:
    """The sessions that were opened with the conversation of this one, the newest first."""
    answers = {turn.answer.strip() for turn in turns if turn.answer.strip()}
    if not answers:
        return []
    found = []
    for other, theirs in inspection.sessions_that_begin_with(
        conn, tenant, _ENVELOPE, after=turns[0].turn_id, limit=_LOOKED_AT
    ):
        told, _ = read_message(theirs[0].user_message)
        if not any(message.role == "assistant" and message.text.strip() in answers for message in told):
            continue
        origin = _origin(conn, tenant, other, theirs[0].turn_id, told)
        if origin is not None and origin.session_id == session_id:
            found.append(other)
    return found


def _origin(
    conn: sqlite3.Connection, tenant: str, session_id: str, first_turn: int, told: Sequence[HistoryTurn]
) -> Origin | None:
    """The session that shares most with the seed, by its newest answer that is known."""
    for place in reversed(range(max(0, len(told) - _LOOKED_AT), len(told))):
        if told[place].role != "assistant" or not told[place].text.strip():
            continue
        candidates = inspection.turns_that_answered(
            conn, tenant, told[place].text, before=first_turn, not_in=session_id
        )
        found = [_compared(conn, tenant, other, turn, first_turn, told, place) for other, turn in candidates]
        if found:
            return max(found, key=lambda origin: origin.messages)
    return None


def _compared(
    conn: sqlite3.Connection,
    tenant: str,
    session_id: str,
    turn_id: int,
    first_turn: int,
    told: Sequence[HistoryTurn],
    place: int,
) -> Origin:
    theirs = list_turns(conn, tenant, session_id)
    until = [turn for turn in theirs if turn.turn_id <= turn_id]
    messages = 0
    for one, other in zip(reversed(list(told_by(until))), reversed(told[: place + 1]), strict=False):
        if (one.role, one.text.strip()) != (other.role, other.text.strip()):
            break
        messages += 1
    return Origin(
        session_id,
        until[-1].signal_id,
        messages,
        exact=messages == len(told),
        went_on=any(turn_id < turn.turn_id < first_turn for turn in theirs),
    )
