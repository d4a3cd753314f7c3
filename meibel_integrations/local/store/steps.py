"""The steps of an answer: what an answerer says, what the event log of a turn keeps, and what the wires send."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Status:
    """A line about what is going on."""

    text: str


@dataclass(frozen=True, slots=True)
class Thinking:
    """A piece of reasoning (a delta)."""

    delta: str


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool starts. ``id`` is unique within the turn."""

    id: str
    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ToolResult:
    """A tool is done. ``result`` is JSON."""

    id: str
    name: str
    result: Any


@dataclass(frozen=True, slots=True)
class Delta:
    """The next piece of the answer's text."""

    text: str


@dataclass(frozen=True, slots=True)
class AnswerSource:
    """A source of the answer; its index in ``Done.sources`` is what citations name."""

    title: str
    url: str | None
    snippet: str | None
    score: float | None
    document_id: str | None
    tool_name: str | None = "search"


@dataclass(frozen=True, slots=True)
class AnswerCitation:
    """``position`` counts characters of the answer's text (all deltas joined); ``sources`` index ``Done.sources``."""

    position: int
    sources: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Done:
    """The end of an answer, exactly once and last. The text is what the deltas said."""

    sources: tuple[AnswerSource, ...] = ()
    citations: tuple[AnswerCitation, ...] = ()
    follow_up_questions: tuple[str, ...] = ()
    usage: dict[str, int] = field(default_factory=dict)


Step = Status | Thinking | ToolCall | ToolResult | Delta | Done
