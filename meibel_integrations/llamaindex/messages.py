"""LlamaIndex chat messages in, LlamaIndex chat messages out.

An answer is one text block, so that ``message.content`` is exactly the answer; thinking and citations are blocks of
their own beside it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from llama_index.core.base.llms.types import (
    CachePoint,
    ChatMessage,
    CitationBlock,
    ContentBlock,
    DocumentBlock,
    ImageBlock,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)
from llama_index.core.tools import ToolOutput

from meibel_integrations.client.inputs import File
from meibel_integrations.conversation.messages import Anchor, NeutralMessage, Role, digest, read_entries
from meibel_integrations.errors import InvalidInputError
from meibel_integrations.ledgers.interface import head_marker
from meibel_integrations.models import Message, Reply, ToolActivity
from meibel_integrations.protocol.agents import AgentRef

__all__ = [
    "ANCHOR",
    "anchor_json",
    "answer_message",
    "as_file",
    "to_chat_messages",
    "to_neutral",
    "tool_outputs",
    "with_files",
]

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
_ANSWERS = frozenset(role for role, ours in _ROLES.items() if ours == "assistant")
_MESSAGE_ROLES: dict[Role, MessageRole] = {
    "system": MessageRole.SYSTEM,
    "user": MessageRole.USER,
    "assistant": MessageRole.ASSISTANT,
    "tool": MessageRole.TOOL,
}


ANCHOR = "anchor"
"""Where an answer's ``additional_kwargs`` name its session: in plain JSON, so that stores and servers carry it."""


def to_neutral(
    messages: Sequence[ChatMessage], *, provider: str | None = None, agent: AgentRef | None = None
) -> list[NeutralMessage]:
    """A message list as neutral messages; answers of this provider and agent carry their anchor.

    Raises:
        InvalidInputError: something in the list is not a chat message, or holds more than text.
    """
    found = []
    newest = max((i for i, each in enumerate(messages) if getattr(each, "role", "") in _ANSWERS), default=-1)
    for at, message in enumerate(messages):
        if not isinstance(message, ChatMessage):
            raise InvalidInputError(f"chat_history must hold ChatMessage objects, not {type(message).__name__}.")
        role, name = _ROLES[message.role], message.additional_kwargs.get("name")
        told = message.additional_kwargs.get(ANCHOR)
        anchor = None
        if provider is not None and role == "assistant" and isinstance(told, Mapping):
            anchor = Anchor.from_metadata(told, provider=provider, agent=agent)
        # Our own answers go without a name: frameworks set it afterwards, which is no edit.
        name = name if isinstance(name, str) and anchor is None else None
        found.append(NeutralMessage(role, _text(message, answered=at < newest), name, anchor))
    return found


def to_chat_messages(
    history: Iterable[Message],
    session_id: str,
    *,
    provider: str,
    agent: AgentRef,
    sources: Mapping[str, list[dict[str, Any]]] | None = None,
) -> list[ChatMessage]:
    """A session's history as it was written. ``additional_kwargs`` have each message's ``timestamp`` and ``signal_id``
    where the service tells them, and an answer's anchor and, where they are known, its ``sources``.

    Args:
        sources: the sources of answers by session and marker.
    """
    found = []
    turn, entry_before = 0, None
    for message, entry in read_entries(history):
        if entry.role == "user" and entry is not entry_before and message.role != "system":
            turn, entry_before = turn + 1, entry
        told = {
            "name": message.name,
            "timestamp": None if entry.timestamp is None else entry.timestamp.isoformat(),
            "signal_id": entry.signal_id,
        }
        extra: dict[str, Any] = {key: value for key, value in told.items() if value is not None}
        if entry.role == "assistant":
            marker = head_marker(entry.signal_id, turn, digest(message))
            extra[ANCHOR] = anchor_json(provider, agent, session_id, entry.signal_id, marker=marker)
            if sources and (known := sources.get(f"{session_id} {marker}")):
                extra["sources"] = known
        blocks: list[ContentBlock] = [TextBlock(text=message.text)]
        found.append(ChatMessage(role=_MESSAGE_ROLES[message.role], blocks=blocks, additional_kwargs=extra))
    return found


def anchor_json(
    provider: str, agent: AgentRef, session_id: str | None, signal_id: str | None, **more: Any
) -> dict[str, Any]:
    """What ``Anchor.from_metadata`` reads."""
    told = {"model_provider": provider, **agent.to_json(), "session_id": session_id, "signal_id": signal_id, **more}
    return {key: value for key, value in told.items() if value is not None}


def _text(message: ChatMessage, *, answered: bool) -> str:
    """A message's text. What an agent said besides its text is told in words or left out. What else a message holds is
    named where it was answered before, and refused where it would be lost on the question."""
    lines = []
    for block in message.blocks:
        if isinstance(block, TextBlock):
            lines.append(block.text)
        elif isinstance(block, ToolCallBlock):
            given = block.tool_kwargs
            arguments = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False, default=str)
            lines.append(f"[called {block.tool_name}({arguments})]")
        elif isinstance(block, ThinkingBlock | CitationBlock | CachePoint):
            continue
        elif answered:
            lines.append(f"[{block.block_type}]")
        else:
            raise InvalidInputError(
                f"A {message.role.value} message holds a block of type {block.block_type!r}; a hosted agent's turn "
                "takes text. Files go along with the message: files=[path, ImageBlock(…), DocumentBlock(…)]."
            )
    return "\n".join(lines)


def with_files(message: ChatMessage) -> tuple[ChatMessage, list[File]]:
    """A message without its images and documents, and these as files."""
    files = [as_file(block) for block in message.blocks if isinstance(block, ImageBlock | DocumentBlock)]
    if not files:
        return message, []
    rest = [block for block in message.blocks if not isinstance(block, ImageBlock | DocumentBlock)]
    return message.model_copy(update={"blocks": rest}), files


def as_file(given: Any) -> File:
    """A file as the clients take it; images and documents are named bytes or paths.

    Raises:
        InvalidInputError: the block is an address, which would have to be fetched first.
    """
    if not isinstance(given, ImageBlock | DocumentBlock):
        return given  # type: ignore[no-any-return]
    if given.path is not None:
        return str(given.path)
    if given.url is not None:
        raise InvalidInputError(f"Fetch {str(given.url)!r:.200} first, and send its bytes: files=[(name, bytes)].")
    if isinstance(given, ImageBlock):
        kind = (given.image_mimetype or "image/png").rpartition("/")[2]
        return f"image.{kind}", given.resolve_image().read()
    return given.title or "document", given.resolve_document().read()


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
