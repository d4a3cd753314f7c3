"""An answer's sources as LangChain's documents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_core.documents import Document
from langchain_core.messages import AIMessage, ToolMessage

__all__ = ["documents_of", "source_documents"]


def documents_of(message: AIMessage | ToolMessage) -> list[Document]:
    """The sources of a hosted agent's answer, or of its tool's message, as documents.

    A ``ToolMessage``'s own ``artifact`` has them, too, but LangGraph's checkpointers give those back as plain dicts.
    """
    if "sources" in message.response_metadata:
        return source_documents(message.response_metadata)
    found = getattr(message, "artifact", None) or ()
    return [each if isinstance(each, Document) else Document.model_validate(each) for each in found]


def source_documents(metadata: Mapping[str, Any]) -> list[Document]:
    """One document per source of an answer, in the service's order.

    ``page_content`` is the source's own words. ``metadata`` has ``title``, ``source`` (its address, or what else names
    it), ``url``, ``score``, ``data_element_id``, ``origin``, and ``citations``: where the answer cites it, as
    ``{start, end}``.
    """
    places: dict[int, list[dict[str, Any]]] = {}
    for citation in metadata.get("citations") or ():
        places.setdefault(citation["source"], []).append({"start": citation["start"], "end": citation["end"]})
    return [_document(source, places.get(at, [])) for at, source in enumerate(metadata.get("sources") or ())]


def _document(source: Mapping[str, Any], places: list[dict[str, Any]]) -> Document:
    known = {name: source.get(name) for name in ("url", "score", "data_element_id", "source_id", "origin")}
    title = source.get("title") or source.get("url") or source.get("data_element_id") or "Source"
    return Document(
        id=source.get("source_id") or source.get("data_element_id"),
        page_content=source.get("snippet") or "",
        metadata={
            **(source.get("metadata") or {}),
            "title": title,
            "source": source.get("url") or source.get("data_element_id") or title,
            **known,
            "citations": places,
        },
    )
