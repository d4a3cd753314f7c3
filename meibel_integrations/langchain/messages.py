"""LangChain messages as the neutral ones that a conversation is planned from.

What is not text is attached: it rides along as a file where it belongs to the new question, and is told by a
placeholder anywhere else. So whatever an answered turn once carried, it never hinders a new one.
"""

from __future__ import annotations

import base64
import binascii
import json
import mimetypes
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)

from meibel_integrations.conversation.messages import Anchor, Attachment, NeutralMessage, Role
from meibel_integrations.errors import InvalidInputError
from meibel_integrations.protocol.agents import AgentRef

__all__ = ["to_neutral"]

_CHAT_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "ai": "assistant",
    "tool": "tool",
}
_MEDIA = ("image", "audio", "video", "file")
_TOLD_IN_WORDS = ("text", "reasoning", "tool_call", "invalid_tool_call", "tool_call_chunk")


def to_neutral(messages: Sequence[BaseMessage], *, provider: str, agent: AgentRef | None) -> list[NeutralMessage]:
    """A message list as neutral messages; answers of this agent carry their anchor.

    Raises:
        InvalidInputError: a message that is not answered yet is of a kind that cannot be sent, or is a tool message
            that answers no call in the list.
    """
    answered = max((i for i, message in enumerate(messages) if isinstance(message, AIMessage)), default=-1)
    calls: set[str | None] = set()
    found = []
    for at, message in enumerate(messages):
        if isinstance(message, AIMessage):
            anchor = Anchor.from_metadata(message.response_metadata, provider=provider, agent=agent)
            calls.update(call["id"] for call in (*message.tool_calls, *message.invalid_tool_calls))
            # Our own answers go without a name: frameworks set it afterwards, which is no edit.
            name = None if anchor is not None else message.name
            attached = () if anchor is not None else _attachments(message, only=_MEDIA)
            found.append(NeutralMessage("assistant", _answer_text(message), name, anchor, attached))
            continue
        if isinstance(message, ToolMessage) and message.tool_call_id not in calls and at > answered:
            raise InvalidInputError(
                f"A tool message answers the call {message.tool_call_id!r}, which no message of the list made."
            )
        role = _role(message)
        if role is None:
            if at > answered:
                raise InvalidInputError(f"A message of type {message.type!r} cannot be sent to a hosted agent.")
            role = "user"
        name = None if role == "system" else message.name
        found.append(NeutralMessage(role, str(message.text), name, attachments=_attachments(message)))
    return found


def _role(message: BaseMessage) -> Role | None:
    if isinstance(message, HumanMessage):
        return "user"
    if isinstance(message, SystemMessage):
        return "system"
    if isinstance(message, ToolMessage | FunctionMessage):
        return "tool"
    return _CHAT_ROLES.get(message.role.lower()) if isinstance(message, ChatMessage) else None


def _answer_text(message: AIMessage) -> str:
    """An answer's text, whichever form its content has; calls of tools are told in words."""
    lines = [str(message.text)] if message.text else []
    lines += [
        f"[called {call['name']}({json.dumps(call['args'], ensure_ascii=False, default=str)})]"
        for call in (*message.tool_calls, *message.invalid_tool_calls)
    ]
    return "\n".join(lines)


def _attachments(message: BaseMessage, *, only: Sequence[str] = ()) -> tuple[Attachment, ...]:
    """What a message holds besides text; ``only`` names the kinds that count."""
    if isinstance(message.content, str):
        return ()
    found: list[Attachment] = []
    try:
        blocks = message.content_blocks
    except (AttributeError, KeyError, TypeError, ValueError):  # blocks of others that LangChain itself cannot read
        return () if only else (Attachment("block", problem="The message holds blocks that cannot be read."),)
    for block in blocks:
        kind = block["type"]
        if kind in _TOLD_IN_WORDS or (only and kind not in only):
            continue
        found.append(_attachment(block, len(found) + 1))
    return tuple(found)


def _attachment(block: Mapping[str, Any], number: int) -> Attachment:
    kind = str(block["type"])
    if kind == "non_standard":
        value = block.get("value") or {}
        kind = str(value.get("type") or "block") if isinstance(value, Mapping) else "block"
        return Attachment(
            kind, problem=f"A block of type {kind!r} cannot be sent: a hosted agent takes text and files."
        )
    name = _file_name(block, kind, number)
    if kind == "text-plain" and block.get("text"):
        return Attachment("file", name, str(block["text"]).encode())
    if block.get("base64"):
        try:
            return Attachment(kind, name, base64.b64decode(block["base64"], validate=True))
        except (binascii.Error, ValueError):
            return Attachment(kind, problem=f"The {kind} block's data is not valid base64.")
    if block.get("url"):
        why = "this package fetches nothing from addresses in messages. Download it and pass its data as base64"
    elif block.get("file_id"):
        why = "a file id belongs to the provider that gave it. Pass the file's data as base64"
    else:
        why = "it holds no base64 data"
    return Attachment(kind, problem=f"The {kind} block cannot be sent: {why}, or use files=[path].")


def _file_name(block: Mapping[str, Any], kind: str, number: int) -> str:
    extras = block.get("extras") or {}
    for given in (block, extras):
        for key in ("filename", "file_name", "name", "title"):
            if isinstance(given.get(key), str) and given[key].strip():
                return str(given[key])
    mime = block.get("mime_type") or ("text/plain" if kind == "text-plain" else "")
    return f"{kind}-{number}{mimetypes.guess_extension(mime) or ''}"
