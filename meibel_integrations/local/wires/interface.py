"""What the service sends: the interface of its wires, and what they share.

A wire turns stored sessions, turns and steps into bytes and JSON, and knows nothing of HTTP or the database. Both
dialects of Meibel carry the same information: the answer's text, its citations with positions, its sources, its usage.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from meibel_integrations.local.answerers.interface import AnswerSource, ToolCall, ToolResult
from meibel_integrations.local.store.sessions import FileRow, SessionRow, StepBatch, TurnRow

DialectName = Literal["v2", "guide"]


@dataclass(frozen=True, slots=True)
class Shown:
    """What a client asked to see besides the answer. ``passages``: what a search found, whole."""

    thinking: bool = False
    tool_activity: bool = False
    passages: bool = False


@dataclass(frozen=True, slots=True)
class ToolUse:
    """A tool call of a turn with its result, as the event log tells them. ``call_number`` and ``result_number`` are
    the steps' numbers in that log."""

    call: ToolCall
    call_number: int
    called_at: str
    result: ToolResult | None = None
    result_number: int = 0
    returned_at: str | None = None


@dataclass(frozen=True, slots=True)
class Conversation:
    """A session with everything that happened in it."""

    session: SessionRow
    turns: Sequence[TurnRow]
    steps: Mapping[int, Sequence[StepBatch]]
    files: Sequence[FileRow]


class StreamWire(Protocol):
    """How a turn is streamed."""

    def opening(self, turn: TurnRow) -> bytes:
        """What a stream begins with."""
        ...

    def steps(self, batch: StepBatch, shown: Shown) -> bytes:
        """Events of a stretch of the event log."""
        ...

    def closing(self, turn: TurnRow, number: int, shown: Shown) -> bytes:
        """What a stream ends with; ``number`` follows the last step's."""
        ...

    def failure(self, signal_id: str, message: str) -> bytes:
        """The event that says that the turn, or the wait for it, failed."""
        ...


class Wire(StreamWire, Protocol):
    """One dialect of the Meibel routes."""

    def created(self, session: SessionRow) -> dict[str, Any]:
        """The answer to creating a session."""
        ...

    def reference(self, signal_id: str) -> dict[str, Any]:
        """How an error answer names its turn, where the dialect can."""
        ...

    def whole(self, turn: TurnRow, batches: Sequence[StepBatch], shown: Shown) -> dict[str, Any]:
        """The answer of ``/chat``."""
        ...

    def history(self, conversation: Conversation) -> Any: ...

    def details(self, conversation: Conversation) -> dict[str, Any]: ...


def wire_for(dialect: DialectName) -> Wire:
    from meibel_integrations.local.wires.guide import GuideWire
    from meibel_integrations.local.wires.v2 import V2Wire

    return GuideWire() if dialect == "guide" else V2Wire()


def source_fields(number: int, source: AnswerSource) -> dict[str, Any]:
    """A source with every field that the v2 stream documents."""
    return {
        "source_id": number,
        "data_element_id": source.document_id,
        "title": source.title,
        "url": source.url,
        "snippet": source.snippet,
        "relevance_score": source.score,
        "tool_name": source.tool_name,
    }


def tool_uses(batches: Sequence[StepBatch]) -> list[ToolUse]:
    """A turn's tool calls, each with its result, in the order of the calls."""
    uses: dict[str, ToolUse] = {}
    for batch in batches:
        for number, step in enumerate(batch.steps, start=batch.first):
            if isinstance(step, ToolCall):
                uses[step.id] = ToolUse(step, number, batch.created_at)
            elif isinstance(step, ToolResult):
                call = uses.get(step.id)
                # A result without a call still happened: it is shown as a call without arguments.
                call = call or ToolUse(ToolCall(step.id, step.name, {}), number, batch.created_at)
                uses[step.id] = ToolUse(call.call, call.call_number, call.called_at, step, number, batch.created_at)
    return list(uses.values())


def to_json(value: Any) -> str:
    """JSON in ASCII: several readers of event streams in the field take U+2028 and U+0085 for line ends."""
    return json.dumps(value, separators=(",", ":"))


def text_of(value: Any) -> str:
    """A tool's result where the wire wants a string."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
