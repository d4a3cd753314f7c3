"""Answers of hosted agents for other providers' models.

Other providers' request builders know their own content blocks and few more: a server tool's block or a citation
without a url is sent on as it is, which their service refuses, or breaks the builder itself. As plain text, everybody
takes it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage

from meibel_integrations.langchain.chat_models import ChatLlamaCloud, ChatMeibel
from meibel_integrations.rendering.citations import as_text

__all__ = ["portable_messages"]

_OURS = (ChatMeibel.provider, ChatLlamaCloud.provider)


def portable_messages(messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    """The same messages in a form that every other provider's model accepts.

    Each answer of a hosted agent becomes plain text: what the agent thought and did, where that was asked for, the
    answer with its citations as ``[1]``, and its sources. Messages of others stay as they are.
    """
    return [_portable(message) if _is_ours(message) else message for message in messages]


def _is_ours(message: BaseMessage) -> bool:
    return isinstance(message, AIMessage) and message.response_metadata.get("model_provider") in _OURS


def _portable(message: BaseMessage) -> AIMessage:
    assert isinstance(message, AIMessage)
    told = [line for block in message.content_blocks if (line := _in_words(block))]
    told.append(as_text(message))
    text = "\n\n".join(part for part in told if part.strip())
    return AIMessage(text or "[no answer]", id=message.id, name=message.name)


def _in_words(block: Any) -> str | None:
    """What a block says besides the answer's text."""
    kind = block["type"]
    if kind == "reasoning":
        return f"[thought: {block.get('reasoning', '')}]"
    if kind == "server_tool_call":
        return f"[called {block.get('name')}({_json(block.get('args'))})]"
    if kind == "server_tool_result":
        return f"[{block.get('status', 'success')}: {_json(block.get('output'))}]"
    return None if kind == "text" else f"[{kind}: {_json(block.get('value', block))}]"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
