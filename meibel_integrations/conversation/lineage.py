"""Whether a message list is the history of the session that its newest answer names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from meibel_integrations.conversation.anchor import Anchor
from meibel_integrations.conversation.items import Item, digest

__all__ = ["Walk", "walk_back"]


class Walk(NamedTuple):
    """How far a list matches what its session holds: where it departs, in words (``None``: nowhere), and whether it
    goes back to the session's very beginning."""

    reason: str | None
    whole: bool = False


def walk_back(items: Sequence[Item], anchored: int) -> Walk:
    """Walks back from the answer at ``anchored`` and says where the list departs from what its session holds.

    A list that merely begins later continues. So does one whose older answers say nothing of how they came about:
    messages read from the server are trusted.

    Args:
        items: the conversation without system messages.
        anchored: the index of an item with an anchor.

    """
    session_id = _anchor(items[anchored]).session_id
    at = anchored
    while True:
        lineage = _anchor(items[at]).lineage
        if lineage is None:
            return Walk(None)
        if digest(items[at]) != lineage.answer:
            return Walk("an answer was edited")
        for expected in reversed(lineage.carried):
            at -= 1
            if at < 0:
                return Walk(None)
            if digest(items[at]) != expected:
                return Walk("an earlier message was edited, inserted or removed")
        at -= 1
        if at < 0:
            return Walk(None, whole=lineage.parent is None)
        if lineage.parent is None:
            return Walk("messages were inserted before the session's first")
        before = items[at].anchor
        if before is None or before.session_id != session_id or before.marker != lineage.parent:
            return Walk("another message stands where the session has its previous answer")


def _anchor(item: Item) -> Anchor:
    assert item.anchor is not None
    return item.anchor
