"""One turn, folded: wire events in, user events and the whole reply out."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any

from meibel_integrations.errors import AgentTurnError, StreamInterrupted
from meibel_integrations.models import ChatEvent, Message, Reply, ToolActivity
from meibel_integrations.protocol import events as wire
from meibel_integrations.protocol.citations import place
from meibel_integrations.protocol.text import GrowingText, Partials

__all__ = ["Phase", "Turn"]


class Phase(StrEnum):
    """How far a turn provably got. Later phases include the earlier ones."""

    NOT_SENT = "not_sent"
    SENT = "sent"
    ACCEPTED = "accepted"
    STREAMING = "streaming"
    COMPLETED = "completed"
    FAILED = "failed"


class Turn:
    """The fold of one turn. Feed it wire events in order with :meth:`apply`; read ``reply`` once ``finished``.

    Events after the end are ignored. The events and the reply do not depend on the dialect that was spoken.
    """

    def __init__(self, session_id: str | None, *, partials: Partials = "auto") -> None:
        self.session_id = session_id
        self.signal_id: str | None = None
        self.phase = Phase.NOT_SENT
        self.reply: Reply | None = None
        self._text = GrowingText(partials)
        self._thinking = GrowingText(partials)
        self._evidence: wire.Evidence | None = None
        self._retrieved: list[wire.Evidence] = []
        self._tools: dict[str, ToolActivity] = {}
        self._warnings: list[str] = []
        self._handlers: dict[type, Callable[[Any], list[ChatEvent]]] = {
            wire.Text: self._on_text,
            wire.Connected: self._on_connected,
            wire.StatusChanged: lambda e: [ChatEvent("status", message=e.message, data=e.data)],
            wire.Thinking: self._on_thinking,
            wire.ToolCalled: self._on_tool_called,
            wire.ToolReturned: self._on_tool_returned,
            wire.Cited: self._on_cited,
            wire.Completed: self._on_completed,
            wire.Failed: self._on_failed,
            wire.Warned: self._on_warned,
            wire.Undecodable: self._on_undecodable,
            wire.Unknown: lambda e: [ChatEvent("unknown", message=e.type, data=e.data)],
        }

    @property
    def finished(self) -> bool:
        """Whether the turn has ended, one way or the other."""
        return self.phase in (Phase.COMPLETED, Phase.FAILED)

    @property
    def partial_text(self) -> str:
        """The text that was let out so far."""
        return self._text.text

    def apply(self, event: wire.WireEvent) -> list[ChatEvent]:
        """Takes the next event of the wire and returns what the user sees of it.

        Raises:
            AgentTurnError: the agent reported that the turn failed.
        """
        if self.finished:
            return []
        self.phase = Phase.STREAMING
        return self._handlers[type(event)](event)

    def recover(self, answer: Message) -> list[ChatEvent]:
        """Takes the answer from the session's history, which holds its text and no more, and ends the turn.

        What had arrived of sources and citations before the connection broke is kept.
        """
        self.phase = Phase.STREAMING
        shown = self._on_completed(wire.Completed(texts=(answer.message,), signal_id=answer.signal_id))
        assert self.reply is not None
        self.reply = shown[-1].reply = self.reply.model_copy(update={"recovered": True})
        return shown

    def interrupted(self, reason: str, cause: Exception | None = None) -> StreamInterrupted:
        """The error for a stream that ended before the turn did."""
        shown = self.partial_text
        return StreamInterrupted(
            f"The answer's stream ended before the turn did ({reason}); {len(shown)} characters had arrived.",
            session_id=self.session_id,
            signal_id=self.signal_id,
            phase=self.phase,
            partial_text=shown,
            cause=cause,
        )

    def _on_text(self, event: wire.Text) -> list[ChatEvent]:
        if event.evidence is not None:
            self._evidence = event.evidence
        grow = self._text
        if event.reading == "delta":
            delta = grow.delta(event.text)
        elif event.reading == "partial":
            delta = grow.partial(event.text)
        else:
            delta = grow.block(event.text)
        return [ChatEvent("content", delta, data=event.data)] if delta else []

    def _on_connected(self, event: wire.Connected) -> list[ChatEvent]:
        self.signal_id = event.signal_id or self.signal_id
        return [ChatEvent("connected", signal_id=self.signal_id, data=event.data)]

    def _on_thinking(self, event: wire.Thinking) -> list[ChatEvent]:
        grow = self._thinking
        delta = {"delta": grow.delta, "partial": grow.partial, "block": grow.block}[event.reading](event.text)
        return [ChatEvent("thinking", delta, data=event.data)] if delta else []

    def _on_tool_called(self, event: wire.ToolCalled) -> list[ChatEvent]:
        tool = ToolActivity(id=event.id, name=event.name, arguments=event.arguments, timestamp=event.timestamp)
        self._tools[event.id or f"#{len(self._tools)}"] = tool
        return [ChatEvent("tool_call", tool=tool, data=event.data)]

    def _on_tool_returned(self, event: wire.ToolReturned) -> list[ChatEvent]:
        if event.evidence is not None:
            self._retrieved.append(event.evidence)
        called = self._tools.get(event.id) if event.id else None
        tool = ToolActivity(
            id=event.id,
            name=event.name or (called.name if called else None),
            arguments=called.arguments if called else {},
            result=event.result,
            is_error=event.is_error,
            timestamp=event.timestamp or (called.timestamp if called else None),
        )
        self._tools[event.id or f"#{len(self._tools)}"] = tool
        return [ChatEvent("tool_result", tool=tool, data=event.data)]

    def _on_cited(self, event: wire.Cited) -> list[ChatEvent]:
        # Told at the end, as positions can be placed only in the whole text.
        known = self._evidence
        if known is None:
            self._evidence = event.evidence
        else:
            offset = len(known.sources)
            more = tuple(wire.Mark(m.source + offset, m.start, m.end) for m in event.evidence.marks)
            self._evidence = wire.Evidence(
                known.sources + event.evidence.sources, known.marks + more, known.problems + event.evidence.problems
            )
        return []

    def _on_completed(self, event: wire.Completed) -> list[ChatEvent]:
        if self._text.lost and not event.texts:
            raise self.interrupted("an event of it could not be read, and the end does not repeat the text")
        rest, text, agreed = self._text.finish(event.texts)
        shown: list[ChatEvent] = []
        if rest:
            shown.append(ChatEvent("content", rest, data=event.data))
        if not agreed:
            shown += self._on_warned(wire.Warned("The final answer differs from the text that was streamed before it."))
        told = "\n".join(self._warnings)
        if not event.skipped_index_ids or not all(index_id in told for index_id in event.skipped_index_ids):
            for warning in event.warnings:
                shown += self._on_warned(wire.Warned(warning))
        evidence = event.evidence or self._evidence or wire.Evidence()
        if not evidence.sources and self._retrieved:
            # a passage may be found again, with another score: the first one counts
            passages = [s for e in self._retrieved for s in e.sources]
            found = {(s.data_element_id, s.title, s.snippet): s for s in reversed(passages)}
            evidence = wire.Evidence(sources=tuple(reversed(found.values())))
        self._warnings += evidence.problems
        sources = list(evidence.sources)
        citations = place(evidence.marks, text, event.raw_text if event.raw_text != text else None)
        if sources or citations:
            shown.append(ChatEvent("citations", citations=citations, sources=sources, data=event.data))
        self.signal_id = event.signal_id or self.signal_id
        rest, thought, _ = self._thinking.finish([event.thinking] if event.thinking else [])
        if rest:
            shown.append(ChatEvent("thinking", rest, data=event.data))
        self.phase = Phase.COMPLETED
        self.reply = Reply(
            message=text,
            citations=citations,
            sources=sources,
            usage=event.usage,
            thinking=thought or None,
            tool_activity=[*self._tools.values(), *event.tools],
            follow_up_questions=event.follow_up_questions,
            call_to_actions=event.call_to_actions,
            artifacts=event.artifacts,
            session_id=self.session_id,
            signal_id=self.signal_id,
            finish_reason=event.finish_reason,
            warnings=list(self._warnings),
            skipped_index_ids=event.skipped_index_ids,
        )
        shown.append(ChatEvent("done", reply=self.reply, signal_id=self.signal_id, data=event.data))
        return shown

    def _on_failed(self, event: wire.Failed) -> list[ChatEvent]:
        self.phase = Phase.FAILED
        self.signal_id = event.signal_id or self.signal_id
        raise AgentTurnError(
            f"The agent reported that the turn failed: {event.message or 'it gave no reason'}",
            session_id=self.session_id,
            signal_id=self.signal_id,
            phase=self.phase,
            partial_text=self.partial_text,
        )

    def _on_warned(self, event: wire.Warned) -> list[ChatEvent]:
        self._warnings.append(event.message)
        return [ChatEvent("warning", message=event.message, data=event.data)]

    def _on_undecodable(self, event: wire.Undecodable) -> list[ChatEvent]:
        self._text.lose()
        return self._on_warned(wire.Warned(f"An event of type {event.type!r} could not be read.", event.data))
