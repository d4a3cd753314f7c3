"""LangChain messages in, LangChain messages out.

An answer's ``content`` is a plain ``str``. What else belongs to it is where the standard looks for it: citations as
annotations of the text block, thinking as a reasoning block, tool activity as server tool blocks, all through a
translator that is registered with LangChain under the provider's name. The raw lists are in ``response_metadata``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, ChatMessage, HumanMessage, SystemMessage
from langchain_core.messages import content as blocks
from langchain_core.messages.block_translators import register_translator
from langchain_core.messages.tool import ToolMessage

from meibel_integrations.conversation.messages import Anchor, NeutralMessage, Role
from meibel_integrations.errors import InvalidInputError
from meibel_integrations.protocol.agents import AgentRef

__all__ = ["THINKING", "TOOL_ACTIVITY", "register", "to_neutral"]

THINKING = "reasoning_content"
TOOL_ACTIVITY = "tool_activity"

_CHAT_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "ai": "assistant",
    "tool": "tool",
}


def to_neutral(messages: Sequence[BaseMessage], *, provider: str, agent: AgentRef | None) -> list[NeutralMessage]:
    """A message list as neutral messages; answers of this agent carry their anchor.

    Raises:
        InvalidInputError: a message holds something that cannot be sent as text, or a tool message answers no call
            in the list.
    """
    calls: set[str] = set()
    found = []
    for message in messages:
        if isinstance(message, AIMessage):
            anchor = Anchor.from_metadata(message.response_metadata, provider=provider, agent=agent)
            calls.update(call["id"] for call in message.tool_calls if call["id"])
            # Our own answers go without a name: frameworks set it afterwards, which is no edit.
            name = None if anchor is not None else message.name
            found.append(NeutralMessage("assistant", _answer_text(message), name, anchor))
        elif isinstance(message, ToolMessage):
            if message.tool_call_id not in calls:
                raise InvalidInputError(
                    f"A tool message answers the call {message.tool_call_id!r}, which no message of the list made."
                )
            found.append(NeutralMessage("tool", _text(message), message.name))
        elif isinstance(message, SystemMessage):
            found.append(NeutralMessage("system", _text(message)))
        elif isinstance(message, HumanMessage):
            found.append(NeutralMessage("user", _text(message), message.name))
        elif isinstance(message, ChatMessage) and message.role.lower() in _CHAT_ROLES:
            found.append(NeutralMessage(_CHAT_ROLES[message.role.lower()], _text(message), message.name))
        else:
            raise InvalidInputError(f"A message of type {message.type!r} cannot be sent to a hosted agent.")
    return found


def _text(message: BaseMessage) -> str:
    """The text of a message that is only text."""
    if not isinstance(message.content, str):
        for block in message.content:
            kind = "text" if isinstance(block, str) else block.get("type")
            if kind != "text":
                raise InvalidInputError(
                    f"A {message.type} message holds a block of type {kind!r}; a hosted agent's turn takes text. "
                    "Files can be sent with MeibelClient.sessions.send_chat_message_stream(files=[…])."
                )
    return str(message.text)


def _answer_text(message: AIMessage) -> str:
    """An answer's text, whichever form its content has; calls of tools are told in words."""
    lines = [str(message.text)] if message.text else []
    lines += [
        f"[called {call['name']}({json.dumps(call['args'], ensure_ascii=False, default=str)})]"
        for call in message.tool_calls
    ]
    return "\n".join(lines)


def register(provider: str) -> None:
    """Teaches LangChain to read the standard content blocks of this provider's messages."""
    register_translator(provider, _content_blocks, _content_blocks)


def _content_blocks(message: AIMessage | AIMessageChunk) -> list[blocks.ContentBlock]:
    """The standard blocks of a message or of a piece of one: tools, reasoning, text with its citations.

    Every block but the text's has an index of its own, so that merging chunks never mixes two of them.
    """
    found: list[Any] = []
    for entry in message.additional_kwargs.get(TOOL_ACTIVITY, ()):
        found.append(_tool_block(entry, len(found)))
    thinking = message.additional_kwargs.get(THINKING)
    if thinking:
        found.append({"type": "reasoning", "reasoning": thinking, "index": "lc_thinking_0"})
    text = str(message.text)
    annotations = _annotations(message.response_metadata)
    if text or annotations or (not found and not isinstance(message, AIMessageChunk)):
        block: dict[str, Any] = {"type": "text", "text": text, "index": "lc_text_0"}
        if annotations:
            block["annotations"] = annotations
        found.append(block)
    return cast("list[blocks.ContentBlock]", found)


def _tool_block(entry: Mapping[str, Any], position: int) -> dict[str, Any]:
    call_id = entry.get("id") or f"tool-{position}"
    if entry.get("kind") == "result":
        return {
            "type": "server_tool_result",
            "tool_call_id": call_id,
            "status": "error" if entry.get("is_error") else "success",
            "output": entry.get("output"),
            "index": f"lc_tool_result_{call_id}",
        }
    return {
        "type": "server_tool_call",
        "id": call_id,
        "name": entry.get("name") or "",
        "args": entry.get("args") or {},
        "index": f"lc_tool_call_{call_id}",
    }


def _annotations(metadata: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One standard citation per (place, source). ``title`` is always set: readers skip citations with neither a title
    nor a url. What the standard has no field for is in ``extras``."""
    sources = metadata.get("sources") or []
    found = []
    for citation in metadata.get("citations") or []:
        index = citation.get("source")
        if not isinstance(index, int) or not 0 <= index < len(sources):
            continue
        source = sources[index]
        annotation: dict[str, Any] = {
            "type": "citation",
            "title": source.get("title") or source.get("url") or source.get("data_element_id") or "Source",
            "start_index": citation.get("start"),
            "end_index": citation.get("end"),
        }
        if source.get("url"):
            annotation["url"] = source["url"]
        if source.get("snippet"):
            annotation["cited_text"] = source["snippet"]
        extras = {key: source[key] for key in ("source_id", "data_element_id", "score") if source.get(key) is not None}
        annotation["extras"] = {"source_index": index, **extras}
        found.append(annotation)
    return found
