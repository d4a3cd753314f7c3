"""Sources out of what a retrieval tool returned.

The result of a tool of LlamaCloud's chat agent is not typed. What looks like the retrieval API's answer is read, as an
object, a list or JSON text, and so are the shapes that the SDK has for Index v2's other tools: ``find`` lists
``{file_id, file_name}``, ``grep`` lists ``{content, start_char, end_char}``, and ``read`` returns ``{content}``.
Anything else stays raw in the tool's result.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meibel_integrations.models import Source
from meibel_integrations.protocol.lenient_json import integer, mapping, mappings, number, parse, text

__all__ = ["read_retrieved"]

_LISTS = ("results", "items", "nodes", "retrieval_nodes")
_TITLES = ("title", "file_name", "filename", "name")
_NUMBERS = (
    "chunk_index",
    "chunk_start_char",
    "chunk_end_char",
    "chunk_token_count",
    "page_range_start",
    "page_range_end",
)
_URLS = ("url", "source_url", "web_url")


def read_retrieved(result: Any, *, tool_name: str | None, image: Mapping[str, Any] | None) -> list[Source]:
    """The passages of a tool's result as sources that were retrieved, not cited."""
    if isinstance(result, str):
        try:
            result = parse(result)
        except ValueError:
            return []
    if isinstance(result, dict):
        result = next((result[key] for key in _LISTS if isinstance(result.get(key), list)), [result])
    found = [_source(item, tool_name, image) for item in mappings(result)]
    return [source for source in found if source is not None]


def _source(item: Mapping[str, Any], tool_name: str | None, image: Mapping[str, Any] | None) -> Source | None:
    node = mapping(item.get("node"))
    passage = text(item.get("content")) or text(item.get("text")) or text(node.get("text"))
    metadata = {**mapping(node.get("metadata")), **mapping(item.get("metadata"))}
    fields = mapping(item.get("static_fields"))
    document = (
        text(fields.get("parsed_directory_file_id")) or text(item.get("file_id")) or text(metadata.get("file_id"))
    )
    title = _first(item, _TITLES) or _first(metadata, _TITLES)
    if passage is None and document is None:
        return None  # a title alone is what any tool may return
    score = number(item.get("rerank_score"))
    kept: dict[str, Any] = {
        key: value for key, value in metadata.items() if isinstance(value, str | int | float | bool | list)
    }
    for place, names in ((fields, _NUMBERS), (item, ("start_char", "end_char"))):
        for key in names:
            if (value := integer(place.get(key))) is not None:
                kept[key] = value
    attachments = fields.get("attachments")
    if isinstance(attachments, list) and attachments:
        kept["attachments"] = attachments
    if image is not None:
        kept["image_attachment"] = dict(image)
    return Source(
        title=title or document or "",
        url=_first(item, _URLS) or _first(metadata, _URLS),
        snippet=passage,
        score=number(item.get("score")) if score is None else score,
        data_element_id=document,
        tool_name=tool_name,
        origin="retrieved",
        metadata=kept,
    )


def _first(item: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    return next((found for name in names if (found := text(item.get(name)))), None)
