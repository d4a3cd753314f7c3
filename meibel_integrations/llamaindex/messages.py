"""LlamaIndex chat messages in, LlamaIndex chat messages out.

An answer is one text block, so that ``message.content`` is exactly the answer; thinking and citations are blocks of
their own beside it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from llama_index.core.base.llms.types import (
    CachePoint,
    ChatMessage,
    CitationBlock,
    ContentBlock,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)
from llama_index.core.tools import ToolOutput

from meibel_integrations.conversation.messages import NeutralMessage, Role
from meibel_integrations.errors import InvalidInputError
from meibel_integrations.models import Reply, ToolActivity

__all__ = ["answer_message", "to_chat_messages", "to_neutral", "tool_outputs"]

_ROLES: dict[MessageRole, Role] = {
    MessageRole.SYSTEM: "system",
    MessageRole.DEVELOPER: "system",
    MessageRole.USER: "user",
    MessageRole.ASSISTANT: "assistant",
    MessageRole.CHATBOT: "assistant",
    MessageRole.MODEL: "assistant",
    MessageRole.FUNCTION: "tool",
    MessageRole.TOOL: "tool",
}
_MESSAGE_ROLES: dict[Role, MessageRole] = {
    "system": MessageRole.SYSTEM,
    "user": MessageRole.USER,
    "assistant": MessageRole.ASSISTANT,
    "tool": MessageRole.TOOL,
}


def to_neutral(messages: Sequence[ChatMessage]) -> list[NeutralMessage]:
    """A message list as neutral messages.

    Raises:
        InvalidInputError: something in the list is not a chat message, or holds more than text.
    """
    found = []
    for message in messages:
        if not isinstance(message, ChatMessage):
            raise InvalidInputError(f"chat_history must hold ChatMessage objects, not {type(message).__name__}.")
        name = message.additional_kwargs.get("name")
        found.append(NeutralMessage(_ROLES[message.role], _text(message), name if isinstance(name, str) else None))
    return found


def to_chat_messages(messages: Iterable[NeutralMessage]) -> list[ChatMessage]:
    """Neutral messages as chat messages; :func:`to_neutral` reads them back as they were."""
    return [
        ChatMessage(
            role=_MESSAGE_ROLES[message.role],
            blocks=[TextBlock(text=message.text)],
            additional_kwargs={} if message.name is None else {"name": message.name},
        )
        for message in messages
    ]


def _text(message: ChatMessage) -> str:
    """A message's text. What an agent said besides its text is told in words or left out; what a user shows besides
    text would be lost, and is refused."""
    lines = []
    for block in message.blocks:
        if isinstance(block, TextBlock):
            lines.append(block.text)
        elif isinstance(block, ToolCallBlock):
            given = block.tool_kwargs
            arguments = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False, default=str)
            lines.append(f"[called {block.tool_name}({arguments})]")
        elif not isinstance(block, ThinkingBlock | CitationBlock | CachePoint):
            raise InvalidInputError(
                f"A {message.role.value} message holds a block of type {block.block_type!r}; a hosted agent's turn "
                "takes text. Files can be sent with MeibelClient.sessions.send_chat_message_stream(files=[…])."
            )
    return "\n".join(lines)


def answer_message(reply: Reply, *, thinking: bool) -> ChatMessage:
    """An answer as a message: its thinking (if asked for), its text, and a citation block for each place that a
    source supports, with the place in characters of the text."""
    blocks: list[ContentBlock] = []
    if thinking and reply.thinking:
        blocks.append(ThinkingBlock(content=reply.thinking))
    blocks.append(TextBlock(text=reply.message))
    for citation in reply.citations:
        if not 0 <= citation.source < len(reply.sources):
            continue
        source = reply.sources[citation.source]
        blocks.append(
            CitationBlock(
                cited_content=TextBlock(text=source.snippet or source.title),
                source=source.url or source.data_element_id or source.source_id or "",
                title=source.title or source.url or source.data_element_id or "Source",
                additional_location_info={
                    "source_index": citation.source,
                    "start": citation.start,
                    "end": citation.end,
                },
            )
        )
    return ChatMessage(role=MessageRole.ASSISTANT, blocks=blocks)


def tool_outputs(activity: Iterable[ToolActivity]) -> list[ToolOutput]:
    """The agent's own tool calls, as LlamaIndex lists the tools behind an answer."""
    return [
        ToolOutput(
            tool_name=tool.name or "tool",
            content=_result_text(tool.result),
            raw_input=dict(tool.arguments),
            raw_output=tool.result,
            is_error=tool.is_error,
        )
        for tool in activity
    ]


def _result_text(result: Any) -> str:
    if result is None or isinstance(result, str):
        return result or ""
    return json.dumps(result, ensure_ascii=False, default=str)
