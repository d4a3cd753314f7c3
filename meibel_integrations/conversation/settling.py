"""Waiting until a session's unsettled turn is over.

A turn whose stream somebody reads ends by itself, and the ledger tells when. One whose stream was left, or whose
process is gone, goes on at the service unseen: its end shows in the session's history only, which is read now and then
until it does.
"""

from __future__ import annotations

from datetime import datetime

from meibel_integrations import errors
from meibel_integrations.config import RecoveryPolicy
from meibel_integrations.ledgers.entry import SessionEntry
from meibel_integrations.ledgers.interface import SessionState
from meibel_integrations.ledgers.marks import TurnMark, holds
from meibel_integrations.protocol import transcript
from meibel_integrations.protocol.commands import NOW, Flow, Sleep
from meibel_integrations.protocol.dialects.interface import Dialect
from meibel_integrations.protocol.service import Service
from meibel_integrations.protocol.sessions import get_failures, read_session_history

__all__ = ["until_settled"]

_FIRST_WAIT, _LONGEST_WAIT = 0.2, 5.0
# An event loop closes a stream that was left without being closed only some rounds later.
_ROUNDS = 10


def until_settled(
    service: Service[Dialect], entry: SessionEntry, session_id: str, recovery: RecoveryPolicy
) -> Flow[SessionState]:
    """Waits until no turn of the session is in flight; returns its state then.

    Raises:
        SessionBusyError: the caller itself holds the unfinished stream, or the turn still runs at the deadline.
    """
    started: datetime = yield NOW
    pause = _FIRST_WAIT
    rounds = 0
    while True:
        state = yield from entry.read()
        mark = state.mark
        if mark is None:
            return state
        if holds(mark):
            if rounds >= _ROUNDS:
                raise errors.SessionBusyError(
                    f"Session {session_id!r} is busy: an earlier answer is still being streamed here. "
                    "Read it to its end, or close it, before the next message.",
                    session_id=session_id,
                )
            rounds += 1
            yield Sleep(0)
            continue
        now: datetime = yield NOW
        waited = (now - started).total_seconds()
        left = None if mark.expires is None else mark.expires - now.timestamp()
        read_by_somebody = mark.open and (left is None or left > 0)
        if not read_by_somebody:
            turns = yield from _turns_if_over(service, session_id, state, mark, patient=waited < recovery.grace)
            if turns is not None:
                yield from entry.clear(mark, turns)
                continue
        rest = recovery.deadline - waited
        if rest <= 0:
            raise errors.SessionBusyError(
                f"Session {session_id!r} is busy: an earlier turn is still running after {recovery.deadline:g} s.",
                session_id=session_id,
            )
        if read_by_somebody:
            yield from entry.wait(state, rest if left is None else min(rest, left))
        else:
            yield from entry.wait(state, min(pause, rest))
            pause = min(pause * 2, _LONGEST_WAIT)


def _turns_if_over(
    service: Service[Dialect], session_id: str, state: SessionState, mark: TurnMark, *, patient: bool
) -> Flow[int | None]:
    """How many user turns the session had, if none of them is running any more; ``None`` while one is.

    Args:
        patient: whether a turn that does not show yet may still arrive.
    """
    conversation = yield from read_session_history(service, session_id)
    asked = [message.message for message in conversation.messages if message.role == "user"]
    unanswered = 2 * len(asked) - len(conversation.messages)
    failures = conversation.failures
    if unanswered > 0 and not failures:
        failures = yield from get_failures(service, session_id)
    if unanswered > len(failures):
        return None
    if state.turns is not None:
        arrived = len(asked) > state.turns
    else:  # without a number to count from, the text tells
        arrived = bool(asked) and transcript.digest("user", asked[-1]) == mark.text
    return len(asked) if arrived or not patient else None
