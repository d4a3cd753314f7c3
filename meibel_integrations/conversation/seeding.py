"""What one turn carries, as text; and a session's history as the callers wrote it.

The text is ``protocol.envelope``'s: plain for one user message, an envelope for anything more.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from meibel_integrations.conversation.items import Item, system_texts, turns
from meibel_integrations.models import Message
from meibel_integrations.protocol import envelope

__all__ = ["read", "read_history", "shorten", "write"]


def write(items: Sequence[Item], *, omitted: int = 0) -> str:
    """The one text that carries these messages; it says how many older ones were left out."""
    return envelope.write([envelope.Block(item.role, item.text, item.name) for item in items], omitted=omitted)


def read(text: str) -> list[Item]:
    """The messages that a text carries."""
    return [Item(block.role, block.text, block.name) for block in envelope.read(text)]


def read_history(messages: Iterable[Message]) -> list[Item]:
    """A session's conversation as the callers wrote it: the instructions last in force, then everything in order.

    Tool entries of the service's own agent are left out: no caller wrote them.
    """
    instructions: list[Item] = []
    found: list[Item] = []
    for message in messages:
        if message.role == "user":
            items = read(message.message)
            if system_texts(items):
                instructions = [item for item in items if item.role == "system"]
            found += turns(items)
        elif message.role == "assistant":
            found.append(Item("assistant", message.message))
    return instructions + found


def shorten(items: Sequence[Item], limit: int) -> tuple[list[Item], int]:
    """Leaves out the oldest messages until the text is at most ``limit`` characters long, and counts them.

    System messages and everything from the last user message on always stay, so the result may still be too long.
    """
    if len(write(items)) <= limit:
        return list(items), 0
    last = max((i for i, item in enumerate(items) if item.role == "user"), default=len(items))
    droppable = [i for i, item in enumerate(items) if item.role != "system" and i < last]
    size = len(write(items, omitted=len(items)))
    frame = len(write([], omitted=1))
    gone: set[int] = set()
    for i in droppable:
        # a context that opens with an answer whose question is gone is no context
        if size <= limit and not (gone and items[i].role != "user"):
            break
        gone.add(i)
        size -= len(write([items[i]], omitted=1)) - frame
    return [item for i, item in enumerate(items) if i not in gone], len(gone)
