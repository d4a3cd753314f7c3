"""How the steps of an answer are kept in the database: JSON that gives back equal dataclasses."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from meibel_integrations.local.store.steps import (
    AnswerCitation,
    AnswerSource,
    Delta,
    Done,
    Status,
    Step,
    Thinking,
    ToolCall,
    ToolResult,
)

LogStep = Status | Thinking | ToolCall | ToolResult | Delta

_KINDS: dict[str, type[LogStep]] = {
    "status": Status,
    "thinking": Thinking,
    "tool_call": ToolCall,
    "tool_result": ToolResult,
    "delta": Delta,
}
_NAMES = {cls: name for name, cls in _KINDS.items()}


def dump_steps(steps: Sequence[LogStep]) -> str:
    return dump_json([[_NAMES[type(step)], asdict(step)] for step in steps])


def load_steps(text: str) -> list[LogStep]:
    return [_KINDS[name](**fields) for name, fields in json.loads(text)]


def kind_of(step: LogStep) -> str:
    """The word for a step of this kind."""
    return _NAMES[type(step)]


def is_log_step(step: Step) -> bool:
    """Whether the step goes into the event log (all but the end)."""
    return type(step) in _NAMES


def dump_done(done: Done) -> str:
    return dump_json(asdict(done))


def load_done(text: str) -> Done:
    fields: dict[str, Any] = json.loads(text)
    return Done(
        sources=tuple(AnswerSource(**source) for source in fields["sources"]),
        citations=tuple(AnswerCitation(item["position"], tuple(item["sources"])) for item in fields["citations"]),
        follow_up_questions=tuple(fields["follow_up_questions"]),
        usage=fields["usage"],
    )


def dump_json(value: Any) -> str:
    """Strict JSON: what JSON cannot say (NaN, a set, an object) raises ``TypeError`` or ``ValueError``."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
