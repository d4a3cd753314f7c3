"""An answer's standard content blocks: what LangChain reads as ``message.content_blocks``.

An answer's ``content`` is a plain ``str``. What else belongs to it is where the standard looks for it, through a
translator that is registered with LangChain under the provider's name: thinking as reasoning blocks, tools as server
tool blocks, sources as annotations of the text block.

Thinking and tools are kept in the order in which they arrived, as a list of entries in ``additional_kwargs``. Each
entry has an index of its own, which is also its block's: merging chunks joins the pieces of one thought and never
mixes two calls. An entry of type ``text`` marks where the text began.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages import content as blocks
from langchain_core.messages.block_translators import register_translator

__all__ = ["ACTIVITY", "register"]

ACTIVITY = "activity"
"""The key of ``additional_kwargs`` with the entries of what the agent thought and did."""
_TEXT_INDEX = "lc_text"


def register(provider: str) -> None:
    """Teaches LangChain to read the standard content blocks of this provider's messages."""
    register_translator(provider, _content_blocks, _content_blocks)


def _content_blocks(message: AIMessage | AIMessageChunk) -> list[blocks.ContentBlock]:
    """The blocks of a message or of a piece of one, in order of arrival."""
    found: list[dict[str, Any]] = []
    text = _text_block(message)
    for entry in message.additional_kwargs.get(ACTIVITY, ()):
        if entry["type"] != "text":
            found.append(_activity_block(entry))
        elif text is not None:
            found.append(text)
            text = None
    if text is not None:
        found.append(text)
    if not found and not isinstance(message, AIMessageChunk):
        found.append({"type": "text", "text": "", "index": _TEXT_INDEX})
    return cast("list[blocks.ContentBlock]", found)


def _text_block(message: AIMessage) -> dict[str, Any] | None:
    text, annotations = str(message.text), _annotations(message.response_metadata)
    if not text and not annotations:
        return None
    block: dict[str, Any] = {"type": "text", "text": text, "index": _TEXT_INDEX}
    if annotations:
        block["annotations"] = annotations
    return block


def _activity_block(entry: Mapping[str, Any]) -> dict[str, Any]:
    if entry["type"] == "thinking":
        return {"type": "reasoning", "reasoning": entry["thinking"], "index": entry["index"]}
    if entry["type"] == "tool_result":
        block = {
            "type": "server_tool_result",
            "tool_call_id": entry["id"],
            "status": "error" if entry.get("is_error") else "success",
            "output": entry.get("output"),
            "index": entry["index"],
        }
    else:
        block = {
            "type": "server_tool_call",
            "id": entry["id"],
            "name": entry.get("name") or "",
            "args": entry.get("args") or {},
            "index": entry["index"],
        }
    if entry.get("timestamp"):
        block["extras"] = {"timestamp": entry["timestamp"]}
    return block


def _annotations(metadata: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One standard citation per (place, source), then one without a place for each source that is not cited: readers
    look at nothing else. ``extras`` has what the standard has no field for; its ``origin`` tells the two apart."""
    sources = metadata.get("sources") or []
    found, cited = [], set()
    for citation in metadata.get("citations") or []:
        index = citation.get("source")
        if isinstance(index, int) and 0 <= index < len(sources):
            cited.add(index)
            place = {"start_index": citation.get("start"), "end_index": citation.get("end")}
            found.append(_annotation(sources[index], index, "cited", place))
    for index, source in enumerate(sources):
        if index not in cited:
            origin = "retrieved" if source.get("origin") == "retrieved" else "uncited"
            found.append(_annotation(source, index, origin, {}))
    return found


def _annotation(source: Mapping[str, Any], index: int, origin: str, place: Mapping[str, Any]) -> dict[str, Any]:
    """``title`` is always set: readers skip citations with neither a title nor a url."""
    annotation: dict[str, Any] = {
        "type": "citation",
        "title": source.get("title") or source.get("url") or source.get("data_element_id") or "Source",
        **place,
    }
    if source.get("url"):
        annotation["url"] = source["url"]
    if source.get("snippet"):
        annotation["cited_text"] = source["snippet"]
    extras = {key: source[key] for key in ("source_id", "data_element_id", "score") if source.get(key) is not None}
    annotation["extras"] = {"source_index": index, "origin": origin, **extras}
    return annotation
