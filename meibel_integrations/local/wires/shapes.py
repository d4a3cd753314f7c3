"""What several wires share: sources, tool uses, and JSON as text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from meibel_integrations.local.store.steps import AnswerSource, ToolCall, ToolResult
from meibel_integrations.local.store.turn_log import StepBatch


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
