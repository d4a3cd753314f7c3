"""Where an answer belongs, as the answer itself says; and whether a message list is its session's history.

An answer carries an :class:`Anchor` in its own metadata, through checkpointers, stores and other processes: its
session, the marker of the head that it made, and its :class:`Lineage` - digests of what led to it. A model object needs
no memory besides.

:func:`walk_back` goes from an anchored answer towards the beginning of the list, one turn at a time: each message that
is there must match the digest that the turn noted, and before the turn's messages must stand the answer that the turn
continued. The first thing that does not match is the departure. A list that merely begins later does not depart, and
answers without a lineage (read from the server) are trusted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

from meibel_integrations.conversation.messages import NeutralMessage, digest
from meibel_integrations.ledgers.interface import head_marker
from meibel_integrations.protocol.agents import NOBODY, AgentRef

__all__ = ["Anchor", "Divergence", "Lineage", "Walk", "turn_number", "walk_back"]


class Divergence(Enum):
    """Why a message list is not what its session holds, or why the session cannot go on."""

    EDITED_ANSWER = "an answer was edited"
    EDITED_MESSAGE = "an earlier message was edited, inserted or removed"
    INSERTED_BEFORE = "messages were inserted before the session's first"
    OTHER_ANSWER = "another message stands where the session has its previous answer"
    OTHER_CONVERSATION = "the messages are another conversation"
    WITHDRAWN_INSTRUCTIONS = "the instructions were withdrawn"
    WENT_ON = "the session went on without these messages"
    UNSETTLED = "an earlier turn of the session is not settled"
    GONE = "the session is gone"
    ENDED = "the session has ended"
    BUSY = "the session is busy elsewhere"


@dataclass(frozen=True, slots=True)
class Lineage:
    """How an answer came about, in digests.

    Attributes:
        parent: the marker of the head that the turn continued; ``None`` if it opened its session.
        carried: a digest of each message that the turn carried, in order, without system messages.
        answers: the digests that the answer is recognised by: of the text that the user received, and of the
            completion's text where that is another.
        system: the digest of the instructions in force, ``None`` if there were none.
        turn: the turn's number in its session, from 1; ``None`` if that is not known.
    """

    parent: str | None
    carried: tuple[str, ...]
    answers: tuple[str, ...]
    system: str | None = None
    turn: int | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "parent": self.parent,
            "carried": list(self.carried),
            "answers": list(self.answers),
            "system": self.system,
            "turn": self.turn,
        }

    @classmethod
    def from_json(cls, value: Any) -> Lineage | None:
        """``None`` for anything that is not a lineage: stores may change or drop it."""
        if not isinstance(value, Mapping):
            return None
        carried, answers = (_texts(value.get(name)) for name in ("carried", "answers"))
        if carried is None or not answers:
            return None
        parent, system, turn = value.get("parent"), value.get("system"), value.get("turn")
        return cls(
            parent=parent if isinstance(parent, str) else None,
            carried=carried,
            answers=answers,
            system=system if isinstance(system, str) else None,
            turn=turn if isinstance(turn, int) else None,
        )


def _texts(value: Any) -> tuple[str, ...] | None:
    if not isinstance(value, Sequence) or isinstance(value, str):
        return None
    return tuple(str(each) for each in value)


@dataclass(frozen=True, slots=True)
class Anchor:
    """A place in a session: the head that an answer made.

    Attributes:
        session_id: the session.
        marker: what names the answer there (``ledgers.interface.head_marker``).
        lineage: how it came about; ``None`` for answers that were read from the server, which are trusted.
        agent: whom the answer names.
        after_an_edit: whether its session was begun because an earlier answer was edited.
    """

    session_id: str
    marker: str
    lineage: Lineage | None = None
    agent: AgentRef = NOBODY
    after_an_edit: bool = False

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any], *, provider: str, agent: AgentRef | None) -> Anchor | None:
        """Reads an answer's metadata; ``None`` if it is not this provider's, or (with ``agent``) another agent's."""
        if metadata.get("model_provider") != provider or (agent is not None and not agent.is_named_by(metadata)):
            return None
        session_id = metadata.get("session_id")
        lineage = Lineage.from_json(metadata.get("lineage"))
        marker = metadata.get("signal_id") or metadata.get("marker")
        if marker is None and lineage is not None:
            marker = head_marker(None, lineage.turn, lineage.answers[-1])
        if not isinstance(session_id, str) or not session_id or not isinstance(marker, str):
            return None
        id_, name = metadata.get("agent_id"), metadata.get("agent_name")
        named = AgentRef(id_ if isinstance(id_, str) else None, name if isinstance(name, str) else None)
        after_an_edit = metadata.get("continuity_reason") == Divergence.EDITED_ANSWER.value
        return cls(session_id, marker, lineage, named, after_an_edit)

    @property
    def answers(self) -> tuple[str, ...]:
        """The digests that the answer is recognised by."""
        return self.lineage.answers if self.lineage is not None else (self.marker.partition(":")[2],)


def turn_number(anchor: Anchor) -> int | None:
    """The number of the anchor's turn in its session, from 1; ``None`` if the answer does not tell."""
    if anchor.lineage is not None and anchor.lineage.turn is not None:
        return anchor.lineage.turn
    number, colon, _ = anchor.marker.partition(":")
    return int(number) if colon and number.isdecimal() else None


class Walk(NamedTuple):
    """How far a list matches what its session holds: where it departs (``None``: nowhere), and whether it goes back to
    the session's very beginning."""

    departure: Divergence | None
    whole: bool = False


def walk_back(messages: Sequence[NeutralMessage], anchored: int, *, ignore_edited_answers: bool = False) -> Walk:
    """Walks back from the answer at ``anchored``.

    Args:
        messages: the conversation without system messages.
        anchored: the index of a message with an anchor.
        ignore_edited_answers: whether answers whose text was changed match all the same.
    """
    session_id = _anchor(messages[anchored]).session_id
    at = anchored
    while True:
        lineage = _anchor(messages[at]).lineage
        if lineage is None:
            return Walk(None)
        if not ignore_edited_answers and digest(messages[at]) not in lineage.answers:
            return Walk(Divergence.EDITED_ANSWER)
        for expected in reversed(lineage.carried):
            at -= 1
            if at < 0:
                return Walk(None)
            if digest(messages[at]) != expected:
                return Walk(Divergence.EDITED_MESSAGE)
        at -= 1
        if at < 0:
            return Walk(None, whole=lineage.parent is None)
        if lineage.parent is None:
            return Walk(Divergence.INSERTED_BEFORE)
        before = messages[at].anchor
        if before is None or before.session_id != session_id or before.marker != lineage.parent:
            return Walk(Divergence.OTHER_ANSWER)


def _anchor(message: NeutralMessage) -> Anchor:
    assert message.anchor is not None
    return message.anchor
