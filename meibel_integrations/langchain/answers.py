"""One answer on its way to LangChain: from a turn's events to chunks, or to one message.

Both ways give the same message. What occurs once in an answer - metadata, usage, citations - rides on the last chunk
alone, as merging chunks concatenates texts and lists, and adds up numbers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from meibel_integrations.conversation.messages import NeutralMessage, digest
from meibel_integrations.conversation.options import RunOptions
from meibel_integrations.conversation.results import ANCHOR_FIELDS, RunResult
from meibel_integrations.langchain.blocks import ACTIVITY
from meibel_integrations.models import ChatEvent, ContentEvent, ThinkingEvent, ToolActivity
from meibel_integrations.protocol.commands import Flow

__all__ = ["Answer", "Run", "without_anchor"]


class Run(Protocol):
    """A call that answers."""

    @property
    def options(self) -> RunOptions: ...

    @property
    def result(self) -> RunResult | None: ...

    def flow(self) -> Flow[RunResult]: ...


class Answer:
    """Collects one answer: :meth:`chunk` for each event of a stream and then :meth:`last`, or :meth:`take` for each
    event and then :meth:`result`.

    Args:
        run: the call.
        provider, model_name: for the message's metadata.
        form: makes of the whole text what the message says instead; the text is held back until the end.
        reports: whether what the agent does is told as custom events, too.
    """

    def __init__(
        self,
        run: Run,
        provider: str,
        model_name: str,
        form: Callable[[str], str] | None = None,
        *,
        reports: bool = False,
    ) -> None:
        self.run = run
        self.reports = reports
        self._provider = provider
        self._model_name = model_name
        self._form = form
        options = run.options
        self._thinking, self._tools = options.include_thinking, options.include_tool_activity
        self._marks_text = self._thinking or self._tools
        self._index = -1
        self._in_thought = False
        self._open_calls: list[tuple[str | None, str | None, str]] = []
        self._entries: list[dict[str, Any]] = []

    def chunk(self, event: ChatEvent) -> ChatGenerationChunk | None:
        """The chunk for an event, ``None`` if the event is not for the message."""
        if isinstance(event, ContentEvent):
            if self._form is not None:
                return None
            extra = {ACTIVITY: [self._text_mark()]} if self._marks_text else {}
            return self._chunk(event.delta, extra)
        entry = self._entry(event)
        return None if entry is None else self._chunk("", {ACTIVITY: [entry]})

    def last(self) -> ChatGenerationChunk:
        """The chunk that ends the answer."""
        message = AIMessageChunk(
            content="" if self._form is None else self._text(),
            response_metadata=self._metadata(),
            usage_metadata=self._usage(),
            chunk_position="last",
        )
        return ChatGenerationChunk(message=message)

    def take(self, event: ChatEvent) -> None:
        """Takes an event of a turn whose whole answer is wanted."""
        if isinstance(event, ContentEvent):
            if self._marks_text and self._form is None:
                self._entries.append(self._text_mark())
            return
        entry = self._entry(event)
        if entry is None:
            return
        if self._entries and self._entries[-1]["index"] == entry["index"]:
            self._entries[-1]["thinking"] += entry["thinking"]
        else:
            self._entries.append(entry)

    def result(self) -> ChatResult:
        """The whole answer."""
        message = AIMessage(
            content=self._text(),
            additional_kwargs={ACTIVITY: self._entries} if self._entries else {},
            response_metadata=self._metadata(),
            usage_metadata=self._usage(),
        )
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _chunk(self, content: str, extra: dict[str, Any]) -> ChatGenerationChunk:
        message = AIMessageChunk(
            content=content, additional_kwargs=extra, response_metadata={"model_provider": self._provider}
        )
        return ChatGenerationChunk(message=message)

    # What the agent thought and did

    def _entry(self, event: ChatEvent) -> dict[str, Any] | None:
        if isinstance(event, ThinkingEvent):
            if not self._thinking:
                return None
            if not self._in_thought:
                self._index += 1
                self._in_thought = True
            return {"type": "thinking", "thinking": event.delta, "index": f"lc_{self._index}"}
        if event.tool is None or not self._tools:
            return None
        self._in_thought = False
        self._index += 1
        return self._tool_entry(event.tool, returned=event.type == "tool_result")

    def _tool_entry(self, tool: ToolActivity, *, returned: bool) -> dict[str, Any]:
        """A call or a result. A call that the service gives no id gets one, so that its result can name it."""
        index = f"lc_{self._index}"
        if not returned:
            call_id = tool.id or f"call_{self._index}"
            self._open_calls.append((tool.id, tool.name, call_id))
            entry: dict[str, Any] = {"type": "tool_call", "id": call_id, "name": tool.name, "args": tool.arguments}
        else:
            asked = next((c for c in self._open_calls if c[0] == tool.id and tool.name in (None, c[1])), None)
            if asked is not None:
                self._open_calls.remove(asked)
            call_id = tool.id or (asked[2] if asked is not None else f"call_{self._index}")
            entry = {"type": "tool_result", "id": call_id, "name": tool.name, "output": tool.result}
            entry["is_error"] = tool.is_error
        return {**entry, "timestamp": tool.timestamp, "index": index}

    def _text_mark(self) -> dict[str, Any]:
        """Marks where the text begins; an answer has one text, so the mark is made once."""
        self._marks_text = False
        self._in_thought = False
        self._index += 1
        return {"type": "text", "index": f"lc_{self._index}"}

    # What occurs once

    @property
    def _result(self) -> RunResult:
        result = self.run.result
        assert result is not None
        return result

    def _text(self) -> str:
        text = self._result.reply.message
        return text if self._form is None else self._form(text)

    def _metadata(self) -> dict[str, Any]:
        result = self._result
        text = self._text()
        if text != result.reply.message:  # the session holds the one, the caller's list the other
            received = digest(NeutralMessage("assistant", text))
            answers = (received, *result.lineage.answers)
            result = dataclasses.replace(result, lineage=dataclasses.replace(result.lineage, answers=answers))
        found = {"model_provider": self._provider, "model_name": self._model_name, **result.metadata()}
        if result.reply.usage is not None and result.reply.usage.details:
            found["token_usage"] = dict(result.reply.usage.details)
        return found

    def _usage(self) -> UsageMetadata | None:
        usage = self._result.reply.usage
        if usage is None:
            return None
        told = UsageMetadata(
            input_tokens=usage.input_tokens, output_tokens=usage.output_tokens, total_tokens=usage.total_tokens
        )
        cached = usage.details.get("cached_tokens")
        if isinstance(cached, int):
            told["input_token_details"] = {"cache_read": cached}
        return told


def without_anchor(message: AIMessage) -> AIMessage:
    """An answer that no later call goes on behind."""
    metadata = {**message.response_metadata, **dict.fromkeys(ANCHOR_FIELDS)}
    return message.model_copy(update={"response_metadata": metadata})
