"""One turn, folded: events of the wire in, the user's events and the whole reply out.

The accumulator is the only place that knows what a turn has told so far. Text grows in two ``TextAccumulator``s, the
answer's and the thinking's; sources, citations and tools are collected until the completion, as positions can be placed
only in the whole text. The completion arbitrates: what it says stands, and what the events before it said beyond that
is kept. :meth:`TurnAccumulator.recover` ends the turn with the answer from the session's history instead. A turn that
ends without any text is none: it is interrupted, so that it is looked for.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any

from meibel_integrations.errors import AgentTurnError, StreamInterrupted, TurnOutcomeUnknown
from meibel_integrations.models import (
    ChatEvent,
    CitationsEvent,
    ConnectedEvent,
    ContentEvent,
    DoneEvent,
    Message,
    Reply,
    StatusEvent,
    ThinkingEvent,
    ToolActivity,
    ToolCallEvent,
    ToolResultEvent,
    UnknownEvent,
    WarningEvent,
)
from meibel_integrations.protocol import events
from meibel_integrations.protocol.citations import map_citations
from meibel_integrations.protocol.lenient_json import whole_characters
from meibel_integrations.protocol.text import Partials, ProvenReading, TextAccumulator

__all__ = ["Phase", "TurnAccumulator"]

_MAX_SEQUENCES = 256
_HALF = re.compile("[\ud800-\udfff]")


class Phase(StrEnum):
    """How far a turn provably got. Later phases include the earlier ones."""

    NOT_SENT = "not_sent"
    SENT = "sent"
    ACCEPTED = "accepted"
    STREAMING = "streaming"
    COMPLETED = "completed"
    FAILED = "failed"


class _HalfPairs:
    """Joins halves of surrogate pairs that a service cut apart: ``half`` is what the texts so far end in."""

    def __init__(self) -> None:
        self.half = ""

    def join(self, text: str, reading: events.Reading) -> str:
        """The text with whole characters only. Half a pair at its end waits for the next text, which may begin with the
        other half; a delta's that never comes is shown as a character that is missing."""
        if not text:
            return text
        half, self.half = self.half, ""
        if "\udc00" <= text[0] <= "\udfff" or reading == "delta":
            text = half + text
        if not _HALF.search(text):
            return text
        if "\ud800" <= text[-1] <= "\udbff":
            text, self.half = text[:-1], text[-1]
        return whole_characters(text)


class TurnAccumulator:
    """The fold of one turn. Feed it wire events in order with :meth:`apply`; read ``reply`` once ``finished``.

    Events after the end are ignored. The events and the reply do not depend on the dialect that was spoken.

    Args:
        partials: what the caller says that partial texts are.
        proven: what earlier turns proved them to be; changed if this turn proves another reading.
    """

    def __init__(
        self, session_id: str | None, *, partials: Partials = "auto", proven: ProvenReading | None = None
    ) -> None:
        self.session_id = session_id
        self.signal_id: str | None = None
        self.phase = Phase.NOT_SENT
        self.reply: Reply | None = None
        self._proven = proven or ProvenReading()
        self._text = TextAccumulator(partials, self._proven.reading)
        self._thinking = TextAccumulator(partials)
        self._text_halves, self._thinking_halves = _HalfPairs(), _HalfPairs()
        self._sequences: dict[tuple[type, Any], Any] | None = {}
        self._references: events.References | None = None
        self._retrieved: list[events.References] = []
        self._tools: dict[str, ToolActivity] = {}
        self._warnings: list[str] = []
        self._handlers: dict[type, Callable[[Any], list[ChatEvent]]] = {
            events.TextReceived: self._on_text,
            events.Connected: self._on_connected,
            events.StatusChanged: lambda e: [StatusEvent(e.message, e.data)],
            events.ThinkingReceived: self._on_thinking,
            events.ToolCalled: self._on_tool_called,
            events.ToolReturned: self._on_tool_returned,
            events.Cited: self._on_cited,
            events.Completed: self._on_completed,
            events.Ended: self._on_ended,
            events.Failed: self._on_failed,
            events.Warned: self._on_warned,
            events.Undecodable: self._on_undecodable,
            events.Unknown: lambda e: [UnknownEvent(e.type, e.data)],
        }

    @property
    def finished(self) -> bool:
        """Whether the turn has ended, one way or the other."""
        return self.phase in (Phase.COMPLETED, Phase.FAILED)

    @property
    def partial_text(self) -> str:
        """The text that was let out so far."""
        return self._text.text

    def apply(self, event: events.TurnEvent) -> list[ChatEvent]:
        """Takes the next event of the wire and returns what the user sees of it.

        Raises:
            AgentTurnError: the agent reported that the turn failed.
        """
        if self.finished or (self._sequences is not None and self._repeats(event)):
            return []
        self.phase = Phase.STREAMING
        return self._handlers[type(event)](event)

    def recover(self, answer: Message, told: Sequence[events.TurnEvent] = ()) -> list[ChatEvent]:
        """Takes the answer from the session's history and ends the turn.

        What had arrived of sources and citations before the connection broke is kept.

        Args:
            told: what else the history tells of the turn, as the stream would have told it.
        """
        self.phase = Phase.STREAMING
        if not answer.message.strip():
            raise self.interrupted("the session's history shows an answer without text")
        shown: list[ChatEvent] = []
        end: events.Completed | None = None
        thinking = TextAccumulator()
        for event in told:
            if isinstance(event, events.Completed):
                end = event
            elif isinstance(event, events.ThinkingReceived):
                thinking.block(event.text) if event.reading == "block" else thinking.delta(event.text)
            elif isinstance(event, events.ToolCalled | events.ToolReturned) and not self._knows(event):
                shown += self._handlers[type(event)](event)
        thought = thinking.finish([]).text
        if end is None:
            end = events.Completed()
            missing = "token usage" if self._references or self._retrieved else "sources, citations or token usage"
            shown += self._on_warned(
                events.Warned(f"The answer was read back from the session's history, which tells no {missing} of it.")
            )
        shown += self._on_completed(
            dataclasses.replace(end, texts=(answer.message,), thinking=thought, signal_id=answer.signal_id)
        )
        done = shown[-1]
        assert isinstance(done, DoneEvent)
        self.reply = done.reply.model_copy(update={"recovered": True})
        return [*shown[:-1], dataclasses.replace(done, reply=self.reply)]

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

    def ended_early(self) -> TurnOutcomeUnknown:
        """The error for a stream that the service itself ended before the turn's answer was complete."""
        return TurnOutcomeUnknown(
            "The service ended the answer's stream without completing the answer.",
            session_id=self.session_id,
            signal_id=self.signal_id,
            phase=self.phase,
            partial_text=self.partial_text,
        )

    def _repeats(self, event: events.TurnEvent) -> bool:
        """Whether the event came before: one with the same sequence and the same content.

        That a sequence counts a turn's events is documented; that one may come twice is inferred. Where two different
        events have the same one it counts something else, and nothing is taken for a repetition any more.
        """
        data = event.data
        if type(data) is not dict:
            return False
        sequence = data.get("sequence")
        known = self._sequences
        if known is None or (type(sequence) is not str and type(sequence) is not int):
            return False
        key = (type(event), sequence)
        before = known.get(key)
        if before is None:
            known[key] = data
            if len(known) > _MAX_SEQUENCES:
                known.clear()  # what comes twice comes soon
            return False
        if before == data:
            return True
        self._sequences = None
        return False

    def _on_text(self, event: events.TextReceived) -> list[ChatEvent]:
        if event.references is not None:
            self._references = event.references
        grow = self._text
        text = event.text
        if not text.isascii() or self._text_halves.half:
            text = self._text_halves.join(text, event.reading)
        if event.reading == "delta":
            delta = grow.delta(text)
        elif event.reading == "partial":
            delta = grow.partial(text, event.named)
        else:
            delta = grow.block(text)
        return [ContentEvent(delta, event.data)] if delta else []

    def _on_connected(self, event: events.Connected) -> list[ChatEvent]:
        self.signal_id = event.signal_id or self.signal_id
        return [ConnectedEvent(self.signal_id, event.data)]

    def _on_thinking(self, event: events.ThinkingReceived) -> list[ChatEvent]:
        grow, text = self._thinking, self._thinking_halves.join(event.text, event.reading)
        delta = {"delta": grow.delta, "partial": grow.partial, "block": grow.block}[event.reading](text)
        return [ThinkingEvent(delta, event.data)] if delta else []

    def _knows(self, event: events.ToolCalled | events.ToolReturned) -> bool:
        """Whether this call, or its result, has arrived already."""
        tool = self._tools.get(event.id or "")
        return tool is not None and (isinstance(event, events.ToolCalled) or tool.result is not None)

    def _on_tool_called(self, event: events.ToolCalled) -> list[ChatEvent]:
        self._text.after_tool()
        self._thinking.after_tool()
        tool = ToolActivity(id=event.id, name=event.name, arguments=event.arguments, timestamp=event.timestamp)
        self._tools[event.id or f"#{len(self._tools)}"] = tool
        return [ToolCallEvent(tool, event.data)]

    def _on_tool_returned(self, event: events.ToolReturned) -> list[ChatEvent]:
        self._text.after_tool()
        self._thinking.after_tool()
        if event.references is not None:
            self._retrieved.append(event.references)
        called = self._tools.get(event.id) if event.id else None
        tool = ToolActivity(
            id=event.id,
            name=event.name or (called.name if called else None),
            arguments=called.arguments if called else event.arguments,
            result=event.result,
            is_error=event.is_error,
            timestamp=event.timestamp or (called.timestamp if called else None),
        )
        self._tools[event.id or f"#{len(self._tools)}"] = tool
        return [ToolResultEvent(tool, event.data, () if event.references is None else event.references.sources)]

    def _on_cited(self, event: events.Cited) -> list[ChatEvent]:
        # Told at the end, as positions can be placed only in the whole text.
        known = self._references
        if known is None:
            self._references = event.references
        else:
            offset = len(known.sources)
            more = tuple(events.RawCitation(c.source + offset, c.start, c.end) for c in event.references.citations)
            self._references = events.References(
                known.sources + event.references.sources,
                known.citations + more,
                known.problems + event.references.problems,
            )
        return []

    def _on_completed(self, event: events.Completed) -> list[ChatEvent]:
        if self._text.lost and not any(text.strip() for text in event.texts):
            raise self.interrupted("an event of it could not be read, and the end does not repeat the text")
        streamed = self.partial_text
        rest, text, agreed = self._text.finish(event.texts)
        if not text.strip() and not (event.artifacts or event.call_to_actions):
            raise self.interrupted("the answer holds no text")
        self._proven.reading = self._text.proven or self._proven.reading
        shown: list[ChatEvent] = []
        if rest:
            shown.append(ContentEvent(rest, event.data))
        if not agreed:
            shown += self._on_warned(
                events.Warned("The final answer differs from the text that was streamed before it.")
            )
        told = "\n".join(self._warnings)
        if not event.skipped_index_ids or not all(index_id in told for index_id in event.skipped_index_ids):
            for warning in event.warnings:
                shown += self._on_warned(events.Warned(warning))
        references = event.references or self._references or events.References()
        if not references.sources and self._retrieved:
            # a passage may be found again, with another score: the first one counts
            passages = [s for e in self._retrieved for s in e.sources]
            found = {(s.data_element_id, s.title, s.snippet): s for s in reversed(passages)}
            references = events.References(sources=tuple(reversed(found.values())))
        self._warnings += references.problems
        sources = list(references.sources)
        citations = map_citations(references.citations, text, event.raw_text if event.raw_text != text else None)
        if sources or citations:
            shown.append(CitationsEvent(citations, sources, event.data))
        self.signal_id = event.signal_id or self.signal_id
        rest, thought, _ = self._thinking.finish([event.thinking] if event.thinking else ())
        if rest:
            shown.append(ThinkingEvent(rest, event.data))
        self.phase = Phase.COMPLETED
        self.reply = Reply(
            message=text,
            citations=citations,
            sources=sources,
            usage=event.usage,
            thinking=thought or None,
            tool_activity=[*self._tools.values(), *(t for t in event.tools if t.id not in self._tools)],
            follow_up_questions=event.follow_up_questions,
            call_to_actions=event.call_to_actions,
            artifacts=event.artifacts,
            session_id=self.session_id,
            signal_id=self.signal_id,
            finish_reason=event.finish_reason,
            warnings=list(self._warnings),
            skipped_index_ids=event.skipped_index_ids,
            streamed_text=None if agreed else streamed,
            extra=event.extra,
        )
        shown.append(DoneEvent(self.reply, self.signal_id, event.data))
        return shown

    def _on_ended(self, event: events.Ended) -> list[ChatEvent]:
        raise self.ended_early()

    def _on_failed(self, event: events.Failed) -> list[ChatEvent]:
        self.phase = Phase.FAILED
        self.signal_id = event.signal_id or self.signal_id
        raise AgentTurnError(
            f"The agent reported that the turn failed: {event.message or 'it gave no reason'}",
            session_id=self.session_id,
            signal_id=self.signal_id,
            phase=self.phase,
            partial_text=self.partial_text,
        )

    def _on_warned(self, event: events.Warned) -> list[ChatEvent]:
        self._warnings.append(event.message)
        return [WarningEvent(event.message, event.data)]

    def _on_undecodable(self, event: events.Undecodable) -> list[ChatEvent]:
        self._text.lose()
        return self._on_warned(events.Warned(f"An event of type {event.type!r} could not be read.", event.data))
