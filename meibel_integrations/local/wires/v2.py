"""Meibel's v2 API as the official SDK (``meibel`` 2.0.7) speaks it.

Inferred, because no document says it: the words of ``disposition`` and of a history item's ``type`` (``user``,
``assistant``, ``tool_call``, ``tool_result``); ``sequence`` as a string of the step's number; ``partial_response``
carrying deltas; ``message`` being equal to ``clean_message``; the ``thinking`` event; ``token_usage`` inside the
completion's ``data``; the ``error`` event's ``{message, signal_id}``; ``signal_id`` in the details' token usage;
``citations`` and ``source_id`` in the whole answer, which are documented for the completion only.

Extension: ``failed_turns`` in history and details. The wire has no word for a turn that failed; without it, such a
turn cannot be told from one that still runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from meibel_integrations.local.store.sessions import SessionRow
from meibel_integrations.local.store.step_codec import LogStep
from meibel_integrations.local.store.steps import Delta, Done, Status, Thinking, ToolCall
from meibel_integrations.local.store.tenants import now
from meibel_integrations.local.store.turn_log import FileRow, StepBatch, TurnRow
from meibel_integrations.local.turns.live_turn import Shown
from meibel_integrations.local.wires.interface import SessionRecord
from meibel_integrations.local.wires.shapes import ToolUse, source_fields, text_of, to_json, tool_uses
from meibel_integrations.protocol.sse import encode_event


class V2Wire:
    """See the module's text."""

    # Sessions

    def created(self, session: SessionRow) -> dict[str, Any]:
        """v2 documents ``session_id`` only; the rest is the guide's shape, which clients of either may read."""
        return {
            "session_id": session.session_id,
            "id": session.session_id,
            "agent_id": session.agent_id,
            "agent_name": session.agent_name,
            "created_at": session.created_at,
        }

    def history(self, record: SessionRecord) -> dict[str, Any]:
        messages: list[dict[str, Any]] = []
        for turn in record.turns:
            messages.append(_item("user", turn.started_at, turn, message=turn.user_message))
            for use in tool_uses(record.steps.get(turn.turn_id, ())):
                messages += _tool_items(turn, use)
            if turn.state == "completed":
                messages.append(_item("assistant", turn.finished_at, turn, message=turn.answer))
        session = record.session
        return {
            "agent_id": session.agent_id,
            "agent_name": session.agent_name,
            "version": AGENT_VERSION,
            "messages": messages,
            "failed_turns": failed_turns(record),
        }

    def details(self, record: SessionRecord) -> dict[str, Any]:
        session = record.session
        messages = []
        tools = []
        for turn in record.turns:
            messages.append(_message("user", turn.user_message, turn, turn.started_at))
            tools += [_tool_entry(use) for use in tool_uses(record.steps.get(turn.turn_id, ()))]
            if turn.state == "completed":
                messages.append(_message("assistant", turn.answer, turn, turn.finished_at))
        return {
            "agent_id": session.agent_id,
            "agent_name": session.agent_name,
            "version": AGENT_VERSION,
            "status": session.status,
            "messages": messages,
            "tool_activity": tools,
            "token_usage": [
                {**turn.done.usage, "signal_id": turn.signal_id} for turn in record.turns if turn.done is not None
            ],
            "file_parsing": [_file_entry(file) for file in record.files],
            "result": [],
            "failed_turns": failed_turns(record),
        }

    # Whole answers

    def whole(self, turn: TurnRow, batches: Sequence[StepBatch], shown: Shown) -> dict[str, Any]:
        done = turn.done or Done()
        return {
            "signal_id": turn.signal_id,
            "response": {"message": turn.answer, **_answer_fields(done)},
            "assistant_response": turn.answer,
            "tool_activity": [_tool_activity(use) for use in tool_uses(batches)] if shown.tool_activity else None,
            "thinking": turn.thinking or None if shown.thinking else None,
            "token_usage": done.usage or None,
        }

    def reference(self, signal_id: str) -> dict[str, Any]:
        return {"signal_id": signal_id}

    # Streams

    def opening(self, turn: TurnRow) -> bytes:
        return encode_event("connected", to_json({"signal_id": turn.signal_id}))

    def steps(self, batch: StepBatch, shown: Shown) -> bytes:
        return b"".join(
            self._step(step, number, batch.created_at, shown) for number, step in enumerate(batch.steps, batch.first)
        )

    def _step(self, step: LogStep, number: int, at: str, shown: Shown) -> bytes:
        if isinstance(step, Delta):
            return _event("partial_response", number, at, data={"message": step.text, "clean_message": step.text})
        if isinstance(step, Status):
            return _event("status", number, at, content=step.text)
        if isinstance(step, Thinking):
            return _event("thinking", number, at, data={"thinking": step.delta}) if shown.thinking else b""
        if not shown.tool_activity:
            return b""
        if isinstance(step, ToolCall):
            return _event("tool_call", number, at, tool_id=step.id, tool_name=step.name, arguments=step.arguments)
        return _event("tool_result", number, at, tool_id=step.id, tool_name=step.name, result=step.result)

    def closing(self, turn: TurnRow, number: int, shown: Shown) -> bytes:
        if turn.state == "failed" or turn.done is None:
            return self.failure(turn.signal_id, turn.error or "")
        done = turn.done
        data = {"message": turn.answer, "clean_message": turn.answer, **_answer_fields(done)}
        if done.usage:
            data["token_usage"] = done.usage
        if shown.thinking and turn.thinking:
            data["thinking"] = turn.thinking
        return _event("completion", number, turn.finished_at or now(), disposition="final", data=data)

    def failure(self, signal_id: str, message: str) -> bytes:
        return encode_event("error", to_json({"message": message, "signal_id": signal_id}))


AGENT_VERSION = "1"


def _answer_fields(done: Done) -> dict[str, Any]:
    """What an answer has besides its text."""
    return {
        "citations": [
            {"position": citation.position, "source_ids": [index + 1 for index in citation.sources]}
            for citation in done.citations
        ],
        "sources": [source_fields(i, s) for i, s in enumerate(done.sources, start=1)],
        "follow_up_questions": list(done.follow_up_questions),
        "call_to_actions": [],
        "artifacts": [],
    }


def failed_turns(record: SessionRecord) -> list[dict[str, Any]]:
    """The turns that have no answer and will get none."""
    return [
        {"signal_id": turn.signal_id, "message": turn.error, "timestamp": turn.finished_at}
        for turn in record.turns
        if turn.state == "failed"
    ]


def _event(kind: str, number: int, at: str, *, disposition: str = "intermediate", **fields: Any) -> bytes:
    envelope = {"type": kind, "disposition": disposition, "sequence": str(number + 1), "timestamp": at, **fields}
    return encode_event(kind, to_json(envelope))


def _item(kind: str, at: str | None, turn: TurnRow, **fields: Any) -> dict[str, Any]:
    empty = {"message": None, "tool_id": None, "tool_name": None, "arguments": None, "result": None}
    return {"type": kind, "timestamp": at, "signal_id": turn.signal_id, **empty, **fields}


def _tool_items(turn: TurnRow, use: ToolUse) -> list[dict[str, Any]]:
    name = {"tool_id": use.call.id, "tool_name": use.call.name}
    items = [_item("tool_call", use.called_at, turn, **name, arguments=use.call.arguments)]
    if use.result is not None:
        items.append(_item("tool_result", use.returned_at, turn, **name, result=text_of(use.result.result)))
    return items


def _message(role: str, text: str, turn: TurnRow, at: str | None) -> dict[str, Any]:
    return {"role": role, "message": text, "signal_id": turn.signal_id, "timestamp": at}


def _tool_activity(use: ToolUse) -> dict[str, Any]:
    """The SDK types ``result`` as an object: anything else is put into one."""
    value = use.result.result if use.result is not None else None
    return {
        "tool_id": use.call.id,
        "tool_name": use.call.name,
        "arguments": use.call.arguments,
        "result": value if value is None or isinstance(value, dict) else {"result": value},
        "timestamp": use.called_at,
    }


def _tool_entry(use: ToolUse) -> dict[str, Any]:
    result = None
    if use.result is not None:
        result = {
            "tool_name": use.result.name,
            "result": text_of(use.result.result),
            "sequence": str(use.result_number + 1),
            "timestamp": use.returned_at,
        }
    return {
        "tool_id": use.call.id,
        "tool_call": {
            "tool_name": use.call.name,
            "arguments": use.call.arguments,
            "sequence": str(use.call_number + 1),
            "timestamp": use.called_at,
        },
        "tool_result": result,
    }


def _file_entry(file: FileRow) -> dict[str, Any]:
    """The words of ``status`` are inferred. Boxes and pages are not counted here."""
    return {
        "file_id": file.document_id,
        "filename": file.filename,
        "parse_start": {"attempt": 1, "timestamp": file.started_at},
        "parse_complete": {
            "status": "success",
            "error": None,
            "bbox_count": None,
            "page_count": None,
            "content_type": file.content_type,
            "timestamp": file.finished_at,
        },
    }
