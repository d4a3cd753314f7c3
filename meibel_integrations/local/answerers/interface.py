"""What an answerer is: the part of the local service that turns a question into an answer.

The service hands over the conversation and a way to search the agent's documents, and receives a stream of steps.
Answerers are synchronous generators; the service runs each in a worker thread, so one may block.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol


@dataclass(frozen=True, slots=True)
class Passage:
    """A stretch of a document that retrieval returned. ``score`` is higher for better; ``start`` and ``end`` are
    character offsets into the document's extracted text, and ``ordinal`` counts the document's passages."""

    document_id: str
    title: str
    url: str
    text: str
    score: float
    start: int
    end: int
    heading: str = ""
    ordinal: int | None = None


@dataclass(frozen=True, slots=True)
class HistoryTurn:
    """One earlier message of the session, oldest first. ``document_ids`` are those that an answer cited."""

    role: Literal["user", "assistant"]
    text: str
    document_ids: tuple[str, ...] = ()


class Search(Protocol):
    """Search over the documents of this agent and the files uploaded in this session."""

    def __call__(self, query: str, *, limit: int = 10, document_ids: Sequence[str] | None = None) -> list[Passage]: ...


@dataclass(frozen=True, slots=True)
class Question:
    """One turn to answer. ``uploaded_document_ids`` are the files that came with this very message. With
    ``whole_passages`` the client is shown what a search found in full, not only its beginning."""

    text: str
    history: tuple[HistoryTurn, ...]
    search: Search
    uploaded_document_ids: tuple[str, ...] = ()
    include_thinking: bool = False
    include_tool_activity: bool = False
    whole_passages: bool = False


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


class Answerer(Protocol):
    """Turns a question into steps. Raising means that the turn failed; the message reaches the client."""

    def answer(self, question: Question) -> Iterator[Step]: ...
