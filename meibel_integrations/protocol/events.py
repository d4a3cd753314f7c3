"""What can arrive during a turn, the same for every service and dialect.

A dialect decodes the wire into these; ``protocol.accumulator`` folds them into what the user sees. ``None`` means that
the wire did not say.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from meibel_integrations.models import Artifact, CallToAction, Source, ToolActivity, Usage
from meibel_integrations.protocol.text import PartialsReading

__all__ = [
    "Cited",
    "Completed",
    "Connected",
    "Ended",
    "Failed",
    "RawCitation",
    "Reading",
    "References",
    "StatusChanged",
    "TextReceived",
    "ThinkingReceived",
    "ToolCalled",
    "ToolReturned",
    "TurnEvent",
    "Undecodable",
    "Unknown",
    "Warned",
    "with_whole_characters",
]

Reading = Literal["delta", "partial", "block"]
"""How a piece of text is meant: new text only; new text or everything so far, without saying which; or the whole of
the block that the last deltas began."""


@dataclass(frozen=True, slots=True)
class RawCitation:
    """A citation as the wire puts it. ``source`` indexes ``References.sources``; offsets are not mapped yet."""

    source: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class References:
    """What an answer rests on: sources, and the places in the text that name them."""

    sources: tuple[Source, ...] = ()
    citations: tuple[RawCitation, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass(slots=True)
class Connected:
    signal_id: str | None
    data: Any = None


@dataclass(slots=True)
class StatusChanged:
    message: str
    data: Any = None


@dataclass(slots=True)
class TextReceived:
    text: str
    reading: Reading
    references: References | None = None
    data: Any = None
    named: PartialsReading | None = None
    """What a partial text itself says that it is."""


@dataclass(slots=True)
class ThinkingReceived:
    text: str
    reading: Reading
    data: Any = None


@dataclass(slots=True)
class ToolCalled:
    id: str | None
    name: str | None
    arguments: dict[str, Any]
    timestamp: str | None = None
    data: Any = None


@dataclass(slots=True)
class ToolReturned:
    id: str | None
    name: str | None
    result: Any
    is_error: bool = False
    timestamp: str | None = None
    references: References | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    data: Any = None


@dataclass(slots=True)
class Cited:
    references: References
    data: Any = None


@dataclass(slots=True)
class Completed:
    """The turn's end. ``texts`` are the forms of the whole answer that the wire offers, the preferred one first."""

    texts: tuple[str, ...] = ()
    raw_text: str | None = None
    references: References | None = None
    usage: Usage | None = None
    thinking: str | None = None
    signal_id: str | None = None
    finish_reason: str | None = None
    follow_up_questions: list[str] = field(default_factory=list)
    call_to_actions: list[CallToAction] = field(default_factory=list)
    artifacts: list[Artifact] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    tools: list[ToolActivity] = field(default_factory=list)
    skipped_index_ids: list[str] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)
    data: Any = None


@dataclass(slots=True)
class Ended:
    """The service says that nothing more comes. Whether the turn is complete is what the events before it said."""

    data: Any = None


@dataclass(slots=True)
class Failed:
    message: str
    signal_id: str | None = None
    data: Any = None


@dataclass(slots=True)
class Warned:
    message: str
    data: Any = None


@dataclass(slots=True)
class Undecodable:
    """An event whose data is not JSON although it has to be: text may have been lost with it."""

    type: str
    data: Any = None


@dataclass(slots=True)
class Unknown:
    type: str
    data: Any = None


TurnEvent = (
    Connected
    | StatusChanged
    | TextReceived
    | ThinkingReceived
    | ToolCalled
    | ToolReturned
    | Cited
    | Completed
    | Ended
    | Failed
    | Warned
    | Undecodable
    | Unknown
)


def with_whole_characters(found: TurnEvent, clean: Any, read: Callable[[Any], TurnEvent]) -> TurnEvent:
    """The event of a payload that has halves of surrogate pairs: ``found`` with them, ``read(clean)`` without.

    Text keeps its halves, as the other half may follow in the next event.
    """
    if not isinstance(found, TextReceived | ThinkingReceived):
        return read(clean)
    found.data = clean
    return found
