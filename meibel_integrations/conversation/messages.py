"""A conversation as the adapters hand it over, and what a turn carries of it as text.

A :class:`NeutralMessage` is a message of any framework. An answer carries an :class:`Anchor` in its own metadata,
through checkpointers, stores and other processes: its session, the marker of the head that it made, and its
:class:`Lineage` - digests of what led to it. A model object needs no memory besides.

The text is ``protocol.transcript``'s: plain for one user message, an envelope for anything more.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from meibel_integrations.ledgers.interface import head_marker
from meibel_integrations.models import Message
from meibel_integrations.protocol import transcript
from meibel_integrations.protocol.agents import NOBODY, AgentRef
from meibel_integrations.protocol.transcript import Role

__all__ = [
    "Anchor",
    "Attachment",
    "Lineage",
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
    "turn_number",
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
        reason: why it was given there, in words.
    """

    session_id: str
    marker: str
    lineage: Lineage | None = None
    agent: AgentRef = NOBODY
    reason: str | None = None

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
        reason = metadata.get("continuity_reason")
        return cls(session_id, marker, lineage, named, reason if isinstance(reason, str) else None)

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
