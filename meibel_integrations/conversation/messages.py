"""A conversation as the adapters hand it over: framework-neutral messages; and what a turn carries of it, as text.

The text is ``protocol.transcript``'s: plain for one user message, an envelope for anything more.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from meibel_integrations.models import Message
from meibel_integrations.protocol import transcript
from meibel_integrations.protocol.transcript import Role

if TYPE_CHECKING:
    from meibel_integrations.conversation.lineage import Anchor

__all__ = [
    "Attachment",
    "NeutralMessage",
    "Role",
    "as_sent",
    "decode",
    "digest",
    "digest_of_instructions",
    "encode",
    "read_history",
    "shorten",
    "system_texts",
    "without_system",
]


@dataclass(frozen=True, slots=True)
class Attachment:
    """Something in a message that is not text.

    Attributes:
        kind: what it is, in a word: ``image``, ``file``.
        name: its file name.
        content: its bytes, if they can be sent as a file.
        problem: why they cannot.
    """

    kind: str
    name: str = ""
    content: bytes | None = field(default=None, repr=False)
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class NeutralMessage:
    """One message. ``anchor`` is set on answers of this provider that name their session. Neither it nor the
    attachments are what the message says, so two messages with equal role, text and name are equal."""

    role: Role
    text: str
    name: str | None = None
    anchor: Anchor | None = field(default=None, compare=False)
    attachments: tuple[Attachment, ...] = field(default=(), compare=False)


def digest(message: NeutralMessage) -> str:
    """A short digest of a message: of what it says, and of what is attached to it."""
    said = transcript.digest(message.role, message.text, message.name)
    if not message.attachments:
        return said
    attached = [f"{a.kind} {hashlib.sha256(a.content or b'').hexdigest()}" for a in message.attachments]
    return transcript.digest_of_texts((said, *attached))


def as_sent(messages: Sequence[NeutralMessage]) -> list[NeutralMessage]:
    """The messages as a turn carries them: only the question keeps its attachments, which ride along as files. What
    was attached to any other message is told by a placeholder, ``[image]``."""
    talk = [i for i, message in enumerate(messages) if message.role != "system"]
    question: set[int] = set()
    for i in reversed(talk):
        if messages[i].role == "user":
            question.add(i)
        elif question:
            break
    return [
        message if i in question and message.text.strip() else _with_placeholders(message, keep=i in question)
        for i, message in enumerate(messages)
    ]


def _with_placeholders(message: NeutralMessage, *, keep: bool) -> NeutralMessage:
    if not message.attachments:
        return message
    told = [f"[{attachment.kind}]" for attachment in message.attachments]
    text = "\n".join([*([message.text] if message.text.strip() else ()), *told])
    return dataclasses.replace(message, text=text, attachments=message.attachments if keep else ())


def digest_of_instructions(messages: Iterable[NeutralMessage]) -> str | None:
    """One digest for all system messages, ``None`` without any."""
    texts = system_texts(messages)
    return transcript.digest_of_texts(texts) if texts else None


def system_texts(messages: Iterable[NeutralMessage]) -> list[str]:
    """The system messages' texts in order."""
    return [message.text for message in messages if message.role == "system"]


def without_system(messages: Iterable[NeutralMessage]) -> list[NeutralMessage]:
    """All but the system messages."""
    return [message for message in messages if message.role != "system"]


def encode(messages: Sequence[NeutralMessage], *, omitted: int = 0) -> str:
    """The one text that carries these messages; it says how many older ones were left out."""
    return transcript.encode([transcript.Block(m.role, m.text, m.name) for m in messages], omitted=omitted)


def decode(text: str) -> list[NeutralMessage]:
    """The messages that a text carries."""
    return [NeutralMessage(block.role, block.text, block.name) for block in transcript.decode(text)]


def read_history(history: Iterable[Message]) -> list[NeutralMessage]:
    """A session's conversation as the callers wrote it: the instructions last in force, then everything in order.

    Tool entries of the service's own agent are left out: no caller wrote them.
    """
    instructions: list[NeutralMessage] = []
    found: list[NeutralMessage] = []
    for entry in history:
        if entry.role == "user":
            carried = decode(entry.message)
            if system_texts(carried):
                instructions = [message for message in carried if message.role == "system"]
            found += without_system(carried)
        elif entry.role == "assistant":
            found.append(NeutralMessage("assistant", entry.message))
    return instructions + found


def shorten(messages: Sequence[NeutralMessage], limit: int) -> tuple[list[NeutralMessage], int]:
    """Leaves out the oldest messages until the text is at most ``limit`` characters long, and counts them.

    System messages and everything from the last user message on always stay, so the result may still be too long.
    """
    if len(encode(messages)) <= limit:
        return list(messages), 0
    last = max((i for i, message in enumerate(messages) if message.role == "user"), default=len(messages))
    droppable = [i for i, message in enumerate(messages) if message.role != "system" and i < last]
    size = len(encode(messages, omitted=len(messages)))
    frame = len(encode([], omitted=1))
    gone: set[int] = set()
    for i in droppable:
        # a context that opens with an answer whose question is gone is no context
        if size <= limit and not (gone and messages[i].role != "user"):
            break
        gone.add(i)
        size -= len(encode([messages[i]], omitted=1)) - frame
    return [message for i, message in enumerate(messages) if i not in gone], len(gone)
