"""The shapes that Meibel's "Sessions & Chat" guide shows: no event names, no signals, content deltas.

The guide shows ``content``, ``citations`` and ``done`` events and says that there are others. Inferred: a citation's
fields (its ``position`` and its source's; a source that nothing cites is listed without a position), what ``done``
carries, the ``thinking``, ``tool_call``, ``tool_result`` and ``error`` events, and every name in the answers that the
guide's snippets do not print.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from meibel_integrations.local.store.sessions import SessionRow
from meibel_integrations.local.store.step_codec import LogStep
from meibel_integrations.local.store.steps import Delta, Done, Thinking, ToolCall, ToolResult
from meibel_integrations.local.store.turn_log import StepBatch, TurnRow
from meibel_integrations.local.turns.live_turn import Shown
from meibel_integrations.local.wires.interface import SessionRecord
from meibel_integrations.local.wires.shapes import source_fields, to_json, tool_uses
from meibel_integrations.protocol.sse import encode_event


class GuideWire:
    """See the module's text."""

    # Sessions

    def created(self, session: SessionRow) -> dict[str, Any]:
        """The guide shows ``id``; ``session_id`` is what the v2 SDK reads."""
        names = {"id": session.session_id, "session_id": session.session_id}
        return {**names, "agent_id": session.agent_id, "created_at": session.created_at}

    def history(self, record: SessionRecord) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = []
        for turn in record.turns:
            messages.append({"role": "user", "message": turn.user_message, "timestamp": turn.started_at})
            if turn.state == "completed":
                messages.append({"role": "assistant", "message": turn.answer, "timestamp": turn.finished_at})
        return messages

    def details(self, record: SessionRecord) -> dict[str, Any]:
        """``failed_turns`` is an extension, as in the v2 dialect: at which of the user's messages no answer follows."""
        session = record.session
        return {
            "id": session.session_id,
            "agent_id": session.agent_id,
            "created_at": session.created_at,
            "status": session.status,
            "failed_turns": [
                {"turn": number, "message": turn.error, "timestamp": turn.finished_at}
                for number, turn in enumerate(record.turns)
                if turn.state == "failed"
            ],
        }

    # Whole answers

    def whole(self, turn: TurnRow, batches: Sequence[StepBatch], shown: Shown) -> dict[str, Any]:
        done = turn.done or Done()
        answer: dict[str, Any] = {
            "message": turn.answer,
            "citations": _citations(done),
            "sources": [source_fields(i, s) for i, s in enumerate(done.sources, start=1)],
            "follow_up_questions": list(done.follow_up_questions),
            "usage": done.usage or None,
        }
        if shown.thinking:
            answer["thinking"] = turn.thinking or None
        if shown.tool_activity:
            answer["tool_activity"] = [
                {
                    "tool_id": use.call.id,
                    "tool_name": use.call.name,
                    "arguments": use.call.arguments,
                    "result": use.result.result if use.result is not None else None,
                    "timestamp": use.called_at,
                }
                for use in tool_uses(batches)
            ]
        return answer

    def reference(self, signal_id: str) -> dict[str, Any]:
        return {}

    # Streams

    def opening(self, turn: TurnRow) -> bytes:
        return b""

    def steps(self, batch: StepBatch, shown: Shown) -> bytes:
        return b"".join(_step(step, shown) for step in batch.steps)

    def closing(self, turn: TurnRow, number: int, shown: Shown) -> bytes:
        if turn.state == "failed" or turn.done is None:
            return self.failure(turn.signal_id, turn.error or "")
        done = turn.done
        end: dict[str, Any] = {
            "message": turn.answer,
            "usage": done.usage or None,
            "follow_up_questions": list(done.follow_up_questions),
        }
        if shown.thinking and turn.thinking:
            end["thinking"] = turn.thinking
        return _event("citations", citations=_citations(done)) + _event("done", **end)

    def failure(self, signal_id: str, message: str) -> bytes:
        return _event("error", message=message)


def _step(step: LogStep, shown: Shown) -> bytes:
    if isinstance(step, Delta):
        return _event("content", delta=step.text)
    if isinstance(step, Thinking):
        return _event("thinking", delta=step.delta) if shown.thinking else b""
    if isinstance(step, ToolCall) and shown.tool_activity:
        return _event("tool_call", tool_id=step.id, tool_name=step.name, arguments=step.arguments)
    if isinstance(step, ToolResult) and shown.tool_activity:
        return _event("tool_result", tool_id=step.id, tool_name=step.name, result=step.result)
    return b""


def _citations(done: Done) -> list[dict[str, Any]]:
    """One item per place that a source supports, by source, so that sources first appear in their own order."""
    places: dict[int, list[int]] = {index: [] for index in range(len(done.sources))}
    for citation in done.citations:
        for index in citation.sources:
            places[index].append(citation.position)
    items: list[dict[str, Any]] = []
    for index, source in enumerate(done.sources):
        fields = source_fields(index + 1, source)
        items += [{"position": position, **fields} for position in places[index]] or [fields]
    return items


def _event(kind: str, **fields: Any) -> bytes:
    return encode_event(None, to_json({"type": kind, **fields}))
