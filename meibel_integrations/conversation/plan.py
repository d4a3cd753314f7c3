"""Which session a call belongs to, and what its turn carries: pure decisions over the message list.

``run`` asks these functions in turn: where is the newest anchor, does the list match what led to it
(:func:`departure`), has the session gone on since (:func:`head_moved`); and then makes one :class:`Plan`: go on
(:func:`continue_session`, :func:`continue_pinned`) or begin (:func:`start_session`). Nothing here knows a clock, a
ledger or a service.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from meibel_integrations.conversation.lineage import Divergence, walk_back
from meibel_integrations.conversation.messages import (
    Anchor,
    NeutralMessage,
    as_sent,
    digest,
    digest_of_instructions,
    shorten,
    system_texts,
    turn_number,
    without_system,
)
from meibel_integrations.errors import InvalidInputError
from meibel_integrations.ledgers.interface import SessionState
from meibel_integrations.models import Message

__all__ = [
    "Continuity",
    "Plan",
    "continue_pinned",
    "continue_session",
    "departure",
    "head_moved",
    "newest_anchor",
    "require_question",
    "start_session",
]

Continuity = Literal["continued", "new", "seeded", "forked"]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a call is going to do.

    Attributes:
        session_id: the session that goes on, ``None`` to open one.
        messages: what the turn carries, in order; exactly one user message if it is sent as it is.
        omitted: how many older messages a seed had no room for.
        carried: a digest of each message that the turn accounts for, omitted ones included.
        continuity: in a word, how the session was found.
        reason: why, in a sentence for people.
        parent: the marker of the head that the turn continues.
        system: the digest of the instructions in force with this turn.
        turn: the turn's number in its session, from 1; ``None`` if unknown.
    """

    session_id: str | None
    messages: tuple[NeutralMessage, ...]
    carried: tuple[str, ...]
    continuity: Continuity
    reason: str
    parent: str | None = None
    system: str | None = None
    turn: int | None = None
    omitted: int = 0


def newest_anchor(messages: Sequence[NeutralMessage], session_id: str | None = None) -> int | None:
    """The index of the newest answer that names a session (that one, if given)."""
    for at in range(len(messages) - 1, -1, -1):
        anchor = messages[at].anchor
        if anchor is not None and session_id in (None, anchor.session_id):
            return at
    return None


def departure(messages: Sequence[NeutralMessage], at: int, *, ignore_edited_answers: bool = False) -> Divergence | None:
    """Where the list departs from what led to the anchored answer at ``at``."""
    place = len(without_system(messages[:at]))
    walk = walk_back(without_system(messages), place, ignore_edited_answers=ignore_edited_answers)
    anchor = messages[at].anchor
    lineage = anchor.lineage if anchor is not None else None
    if walk.whole and lineage is not None and lineage.system is not None and not system_texts(messages):
        # a list that lost its head may have lost them with it; this one has its head
        return Divergence.WITHDRAWN_INSTRUCTIONS
    return walk.departure


def start_session(
    messages: Sequence[NeutralMessage],
    *,
    max_seed_chars: int,
    forked: Divergence | None = None,
    reason: str = "the list names no session of this agent",
) -> Plan:
    """A new session that is given the whole list: nothing, one message, or a conversation came before.

    Args:
        messages: the conversation.
        max_seed_chars: the longest text to send; older messages are left out of a longer one.
        forked: why the session that the list belongs to cannot go on, if there is one.
        reason: why a session is opened, if none is replaced.

    Raises:
        InvalidInputError: there is no message to answer.
    """
    talk = without_system(messages)
    if not talk and messages:
        # instructions alone are the message: there is nothing else that could be meant
        messages = talk = [_instructions_as_message(messages)]
    if not any(message.role == "user" for message in talk):
        raise InvalidInputError("There is no user message to answer in the list.")
    kept, omitted = shorten(as_sent(messages), max_seed_chars)
    continuity: Continuity = "forked" if forked is not None else "seeded" if len(talk) > 1 else "new"
    return Plan(
        session_id=None,
        messages=tuple(kept),
        omitted=omitted,
        carried=tuple(digest(message) for message in talk),
        continuity=continuity,
        reason=reason if forked is None else forked.value,
        system=digest_of_instructions(messages),
        turn=1,
    )


def continue_session(messages: Sequence[NeutralMessage], at: int, known: SessionState, turns: int | None) -> Plan:
    """Goes on behind the answer at ``at``.

    Args:
        known: what the ledger knows of the session.
        turns: how many user turns the session has, where its history was read.

    Raises:
        InvalidInputError: nothing follows that could be answered.
    """
    anchor = messages[at].anchor
    assert anchor is not None
    new = require_question(messages, at)
    ours = known.head == anchor.marker
    lineage = anchor.lineage
    in_force = lineage.system if lineage is not None else known.instructions if ours else None
    before = turn_number(anchor)
    if before is None:
        before = known.turns if ours else turns
    return _continued(
        anchor.session_id,
        messages,
        new,
        in_force,
        parent=anchor.marker,
        before=before,
        reason="the newest answer names it",
    )


def continue_pinned(
    messages: Sequence[NeutralMessage],
    session_id: str,
    known: SessionState,
    *,
    empty: bool,
    reason: str = "the caller named it",
) -> Plan:
    """Goes on in a session that the caller named: with what follows its newest answer in the list, else with what
    follows the last answer, else with everything.

    Args:
        empty: the session is known to hold nothing yet.
    """
    at = newest_anchor(messages, session_id)
    if at is None and not empty:
        at = max((i for i, message in enumerate(messages) if message.role == "assistant"), default=None)
    anchor = None if at is None else messages[at].anchor
    if anchor is not None and anchor.session_id != session_id:
        anchor = None
    new = without_system(messages if at is None else messages[at + 1 :])
    if not new and not any(message.role == "assistant" for message in messages):
        if not messages:
            raise InvalidInputError("There is no message to send.")
        messages = new = [_instructions_as_message(messages)]
        in_force = known.instructions
    else:
        _require_user_message(new, "after the last answer")
        # others may have used the session since: what is known of its instructions counts only at its head
        in_force = known.instructions if anchor is not None and known.head == anchor.marker else None
    before = 0 if empty else known.turns
    if anchor is not None and before is None:
        before = turn_number(anchor)
    return _continued(
        session_id,
        messages,
        new,
        in_force,
        parent=anchor.marker if anchor is not None else known.head,
        before=before,
        reason=reason,
    )


def head_moved(history: Sequence[Message], anchor: Anchor) -> bool:
    """Whether the server's history shows that its session went on behind the anchor's answer.

    Only positive evidence counts, a later user turn. An answer that the history does not show under its marker is
    looked for by its text; one that is not found at all proves nothing.
    """
    asked = [i for i, message in enumerate(history) if message.role == "user"]
    at = _find(history, anchor)
    if at is None:
        number = turn_number(anchor)
        return number is not None and len(asked) > number
    return any(i > at for i in asked)


def _find(history: Sequence[Message], anchor: Anchor) -> int | None:
    answers = [i for i, message in enumerate(history) if message.role == "assistant"]
    for i in reversed(answers):
        if history[i].signal_id is not None and history[i].signal_id == anchor.marker:
            return i
    same = [i for i in answers if digest(NeutralMessage("assistant", history[i].message)) in anchor.answers]
    # answers may repeat: the one at the turn's own place counts, else the last
    number = turn_number(anchor)
    placed = (i for i in same if sum(m.role == "user" for m in history[:i]) == number)
    return next(placed, same[-1] if same else None)


def require_question(messages: Sequence[NeutralMessage], at: int) -> list[NeutralMessage]:
    """What follows the answer at ``at``, without system messages.

    Raises:
        InvalidInputError: no user message is among it.
    """
    new = without_system(messages[at + 1 :])
    _require_user_message(new, "after the session's newest answer")
    return new


def _require_user_message(new: Sequence[NeutralMessage], where: str) -> None:
    if not any(message.role == "user" for message in new):
        raise InvalidInputError(
            f"There is nothing new to answer: no user message comes {where}. "
            "To ask again, end the list with the question."
        )


def _instructions_as_message(messages: Sequence[NeutralMessage]) -> NeutralMessage:
    return NeutralMessage("user", "\n\n".join(system_texts(messages)))


def _continued(
    session_id: str,
    messages: Sequence[NeutralMessage],
    new: Sequence[NeutralMessage],
    in_force: str | None,
    *,
    parent: str | None,
    before: int | None,
    reason: str,
) -> Plan:
    """Instructions are sent again only when they changed; a list without any has lost its head, not withdrawn them."""
    instructions = [message for message in messages if message.role == "system"]
    wanted = digest_of_instructions(instructions)
    changed = wanted is not None and wanted != in_force
    return Plan(
        session_id=session_id,
        messages=tuple(as_sent([*(instructions if changed else ()), *new])),
        carried=tuple(digest(message) for message in new),
        continuity="continued",
        reason=reason,
        parent=parent,
        system=wanted if changed else in_force,
        turn=None if before is None else before + 1,
    )
