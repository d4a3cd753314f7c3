"""Whether a message list is the history of the session that its newest answer names.

:func:`walk_back` goes from an anchored answer towards the beginning of the list, one turn at a time: each message that
is there must match the digest that the turn noted, and before the turn's messages must stand the answer that the turn
continued. The first thing that does not match is the departure. A list that merely begins later does not depart, and
answers without a lineage (read from the server) are trusted.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

from meibel_integrations.conversation.messages import Anchor, NeutralMessage, digest

__all__ = ["Divergence", "Walk", "walk_back"]


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
