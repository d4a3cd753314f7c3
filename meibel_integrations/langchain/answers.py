"""One answer on its way to LangChain: from a turn's events to chunks, or to one message.

Both ways give the same message. What occurs once in an answer - metadata, usage, citations - rides on the last chunk
alone, as merging chunks concatenates texts and lists, and adds up numbers.
"""

from __future__ import annotations

from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from meibel_integrations.conversation.run import ConversationRun
from meibel_integrations.langchain.messages import THINKING, TOOL_ACTIVITY
from meibel_integrations.models import ChatEvent, ContentEvent, DoneEvent, ToolActivity, Usage

__all__ = ["Answer"]


class Answer:
    """Collects one answer: :meth:`chunk` for each event of a stream, or :meth:`take` and at the end :meth:`result`."""

    def __init__(self, run: ConversationRun, provider: str, model_name: str) -> None:
        self.run = run
        self._provider = provider
        self._model_name = model_name
        self._tools: list[dict[str, Any]] = []

    def chunk(self, event: ChatEvent) -> ChatGenerationChunk | None:
        """The chunk for an event, ``None`` if the event is not for the message."""
        if isinstance(event, ContentEvent):
            return self._chunk(event.delta, {})
        if isinstance(event, DoneEvent):
            message = AIMessageChunk(
                content="",
                response_metadata=self._metadata(),
                usage_metadata=self._usage(),
                chunk_position="last",
            )
            return ChatGenerationChunk(message=message)
        extra = self._extra(event)
        return self._chunk("", extra) if extra else None

    def take(self, event: ChatEvent) -> None:
        """Takes an event of a turn whose whole answer is wanted."""
        self._tools += self._extra(event).get(TOOL_ACTIVITY, [])

    def result(self) -> ChatResult:
        """The whole answer."""
        result = self.run.result
        assert result is not None
        extra: dict[str, Any] = {TOOL_ACTIVITY: self._tools} if self._tools else {}
        if self.run.options.include_thinking and result.reply.thinking:
            extra[THINKING] = result.reply.thinking
        message = AIMessage(
            content=result.reply.message,
            additional_kwargs=extra,
            response_metadata=self._metadata(),
            usage_metadata=self._usage(),
        )
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _chunk(self, content: str, extra: dict[str, Any]) -> ChatGenerationChunk:
        message = AIMessageChunk(
            content=content, additional_kwargs=extra, response_metadata={"model_provider": self._provider}
        )
        return ChatGenerationChunk(message=message)

    def _extra(self, event: ChatEvent) -> dict[str, Any]:
        options = self.run.options
        if event.type == "thinking" and options.include_thinking:
            return {THINKING: event.delta}
        if event.tool is not None and options.include_tool_activity:
            return {TOOL_ACTIVITY: [_tool_json(event.tool, returned=event.type == "tool_result")]}
        return {}

    def _metadata(self) -> dict[str, Any]:
        result = self.run.result
        assert result is not None
        return {"model_provider": self._provider, "model_name": self._model_name, **result.metadata()}

    def _usage(self) -> UsageMetadata | None:
        assert self.run.result is not None
        usage: Usage | None = self.run.result.reply.usage
        if usage is None:
            return None
        told = UsageMetadata(
            input_tokens=usage.input_tokens, output_tokens=usage.output_tokens, total_tokens=usage.total_tokens
        )
        cached = usage.details.get("cached_tokens")
        if isinstance(cached, int):
            told["input_token_details"] = {"cache_read": cached}
        return told


def _tool_json(tool: ToolActivity, *, returned: bool) -> dict[str, Any]:
    who = {"id": tool.id, "name": tool.name, "timestamp": tool.timestamp}
    if returned:
        return {"kind": "result", **who, "output": tool.result, "is_error": tool.is_error}
    return {"kind": "call", **who, "args": tool.arguments}
