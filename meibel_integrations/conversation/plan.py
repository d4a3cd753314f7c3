"""Which session a call belongs to, and what its turn carries: pure decisions over the message list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from meibel_integrations.conversation.anchor import Anchor
from meibel_integrations.conversation.heads import Head
from meibel_integrations.conversation.items import Item, digest, digest_of_all, system_texts, turns
from meibel_integrations.conversation.seeding import shorten
from meibel_integrations.errors import InvalidInputError
from meibel_integrations.models import Message

__all__ = [
    "CheckHead",
    "Continuity",
    "OnDivergence",
    "Plan",
    "continue_pinned",
    "continue_session",
    "head_moved",
    "newest_anchor",
    "start_session",
]

Continuity = Literal["continued", "new", "seeded", "forked"]
OnDivergence = Literal["fork", "error", "ignore"]
CheckHead = Literal["auto", "always"]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a call is going to do.

    Attributes:
        session_id: the session that goes on, ``None`` to open one.
        items: the messages that the turn carries, in order; exactly one user message if it is sent as it is.
        omitted: how many older messages a seed had no room for.
        carried: a digest of each message that the turn accounts for, omitted ones included.
        continuity: in a word, how the session was found, and ``reason``, why.
        parent: the marker of the head that the turn continues.
        system: the digest of the instructions in force with this turn.
        ordinal: the turn's number in its session, from 1; ``None`` if unknown.
    """

    session_id: str | None
    items: tuple[Item, ...]
    carried: tuple[str, ...]
    continuity: Continuity
    reason: str
    parent: str | None = None
    system: str | None = None
    ordinal: int | None = None
    omitted: int = 0


def newest_anchor(items: Sequence[Item], session_id: str | None = None) -> int | None:
    """The index of the newest answer that names a session (that one, if given)."""
    for at in range(len(items) - 1, -1, -1):
        anchor = items[at].anchor
        if anchor is not None and session_id in (None, anchor.session_id):
            return at
    return None


def start_session(items: Sequence[Item], *, max_seed_chars: int, forked: str | None = None) -> Plan:
    """A new session that is given the whole list: nothing, one message, or a conversation came before.

    Args:
        items: the conversation.
        max_seed_chars: the longest text to send; older messages are left out of a longer one.
        forked: why the session that the list names cannot go on, if it names one.

    Raises:
        InvalidInputError: there is no message to answer.
    """
    talk = turns(items)
    if not talk and items:
        # instructions alone are the message: there is nothing else that could be meant
        items = talk = [Item("user", "\n\n".join(system_texts(items)))]
    if not any(item.role == "user" for item in talk):
        raise InvalidInputError("There is no user message to answer in the list.")
    kept, omitted = shorten(items, max_seed_chars)
    continuity: Continuity = "seeded" if len(talk) > 1 else "new"
    reason = "the list names no session of this agent"
    if forked is not None:
        continuity, reason = "forked", forked
    return Plan(
        session_id=None,
        items=tuple(kept),
        omitted=omitted,
        carried=tuple(digest(item) for item in talk),
        continuity=continuity,
        reason=reason,
        system=digest_of_all(system_texts(items)),
        ordinal=1,
    )


def continue_session(items: Sequence[Item], at: int, known: Head) -> Plan:
    """Goes on behind the answer at ``at``.

    Raises:
        InvalidInputError: nothing follows that could be answered.
    """
    anchor = items[at].anchor
    assert anchor is not None
    lineage = anchor.lineage
    new = turns(items[at + 1 :])
    _require_question(new, "after the session's newest answer")
    ours = known.settled == anchor.marker
    in_force = lineage.system if lineage is not None else known.system if ours else None
    ordinal = _ordinal(anchor)
    if ordinal is None and ours:
        ordinal = known.ordinal
    return _continued(
        anchor.session_id,
        items,
        new,
        in_force,
        parent=anchor.marker,
        ordinal=ordinal,
        reason="the newest answer names it",
    )


def continue_pinned(items: Sequence[Item], session_id: str, known: Head, *, empty: bool) -> Plan:
    """Goes on in a session that the caller named: with what follows its newest answer in the list, else with what
    follows the last answer, else with everything.

    Args:
        empty: the session is known to hold nothing yet.
    """
    at = newest_anchor(items, session_id)
    if at is None and not empty:
        at = max((i for i, item in enumerate(items) if item.role == "assistant"), default=None)
    anchor = None if at is None else items[at].anchor
    if anchor is not None and anchor.session_id != session_id:
        anchor = None
    new = turns(items if at is None else items[at + 1 :])
    if not new and not any(item.role == "assistant" for item in items):
        return _only_instructions(items, session_id, known)
    _require_question(new, "after the last answer")
    # others may have used the session since: what is known of its instructions counts only at its head
    at_head = anchor is not None and known.settled == anchor.marker
    in_force = known.system if at_head else None
    ordinal = 0 if empty else known.ordinal
    if anchor is not None and ordinal is None:
        ordinal = _ordinal(anchor)
    parent = anchor.marker if anchor is not None else known.settled
    return _continued(session_id, items, new, in_force, parent=parent, ordinal=ordinal, reason="the caller named it")


def head_moved(history: Sequence[Message], anchor: Anchor, *, has_signals: bool) -> str | None:
    """Whether the server's history shows that its session went on behind the anchor's answer.

    Only positive evidence counts, a later user turn. An answer that the history does not show under its marker is
    looked for by its text; one that is not found at all proves nothing.
    """
    asked = [i for i, message in enumerate(history) if message.role == "user"]
    at = _find(history, anchor, has_signals=has_signals)
    if at is None:
        ordinal = _ordinal(anchor)
        later = ordinal is not None and len(asked) > ordinal
    else:
        later = any(i > at for i in asked)
    return "the session went on without these messages" if later else None


def _find(history: Sequence[Message], anchor: Anchor, *, has_signals: bool) -> int | None:
    answers = [i for i, message in enumerate(history) if message.role == "assistant"]
    if has_signals:
        for i in reversed(answers):
            if history[i].signal_id == anchor.marker:
                return i
    text = anchor.lineage.answer if anchor.lineage is not None else anchor.marker.partition(":")[2]
    same = [i for i in answers if digest(Item("assistant", history[i].message)) == text]
    # answers may repeat: the one at the turn's own place counts, else the last
    ordinal = _ordinal(anchor)
    placed = (i for i in same if sum(m.role == "user" for m in history[:i]) == ordinal)
    return next(placed, same[-1] if same else None)


def _ordinal(anchor: Anchor) -> int | None:
    if anchor.lineage is not None and anchor.lineage.ordinal is not None:
        return anchor.lineage.ordinal
    number, colon, _ = anchor.marker.partition(":")
    return int(number) if colon and number.isdecimal() else None


def _require_question(new: Sequence[Item], where: str) -> None:
    if not any(item.role == "user" for item in new):
        raise InvalidInputError(
            f"There is nothing new to answer: no user message comes {where}. "
            "To ask again, end the list with the question."
        )


def _only_instructions(items: Sequence[Item], session_id: str, known: Head) -> Plan:
    if not items:
        raise InvalidInputError("There is no message to send.")
    only = Item("user", "\n\n".join(system_texts(items)))
    return _continued(
        session_id,
        [only],
        [only],
        known.system,
        parent=known.settled,
        ordinal=known.ordinal,
        reason="the caller named it",
    )


def _continued(
    session_id: str,
    items: Sequence[Item],
    new: list[Item],
    in_force: str | None,
    *,
    parent: str | None,
    ordinal: int | None,
    reason: str,
) -> Plan:
    """Instructions are sent again only when they changed; a list without any has lost its head, not withdrawn them."""
    instructions = [item for item in items if item.role == "system"]
    wanted = digest_of_all([item.text for item in instructions])
    changed = wanted is not None and wanted != in_force
    return Plan(
        session_id=session_id,
        items=(*(instructions if changed else ()), *new),
        carried=tuple(digest(item) for item in new),
        continuity="continued",
        reason=reason,
        parent=parent,
        system=wanted if changed else in_force,
        ordinal=None if ordinal is None else ordinal + 1,
    )
