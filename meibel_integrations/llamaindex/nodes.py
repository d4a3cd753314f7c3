"""An answer's sources as LlamaIndex nodes, fit for postprocessors, evaluators and vector stores."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote, urlsplit

from llama_index.core.schema import NodeRelationship, NodeWithScore, ObjectType, RelatedNodeInfo, TextNode

from meibel_integrations.models import Reply, Source

__all__ = ["add_nodes", "source_nodes"]

_FOR_PROGRAMS = ("data_element_id", "source_id", "session_id", "citation_index", "tool_name", "origin")


def source_nodes(reply: Reply) -> list[NodeWithScore]:
    """One node per source, in the order of ``reply.sources``, which ``metadata["citation_index"]`` counts from 0."""
    return [_node(index, source, reply.session_id) for index, source in enumerate(reply.sources)]


def add_nodes(nodes: list[NodeWithScore], sources: Iterable[Source], session_id: str | None) -> None:
    """Adds a node for each source that has none yet: a passage may be found again, with another score."""
    known = {(node.node_id, node.metadata["title"]) for node in nodes}
    for source in sources:
        node = _node(len(nodes), source, session_id)
        if (node.node_id, source.title) not in known:
            known.add((node.node_id, source.title))
            nodes.append(node)


def _node(index: int, source: Source, session_id: str | None) -> NodeWithScore:
    document = source.data_element_id or source.source_id or source.url
    # a judge that is shown an empty context sees nothing, so the title stands in for a missing snippet
    text = source.snippet or source.title
    named: dict[str, Any] = {
        "title": source.title,
        "url": source.url,
        "file_name": _file_name(source),
        "data_element_id": source.data_element_id,
        "source_id": source.source_id,
        "session_id": session_id,
        "citation_index": index,
        "tool_name": source.tool_name,
        "origin": source.origin,
    }
    # vector stores take flat values only
    more = {
        key: ", ".join(map(str, value)) if isinstance(value, list) else value
        for key, value in source.metadata.items()
        if isinstance(value, str | int | float | bool | list)
    }
    if "page_label" not in more and (page := _page_label(source)):
        more["page_label"] = page
    metadata = {**more, **named}
    unknown = {key for key, value in named.items() if value is None}
    node = TextNode(
        id_=f"{document or 'source'}:{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}",
        text=text,
        metadata=metadata,
        excluded_embed_metadata_keys=[key for key in metadata if key != "title"],
        excluded_llm_metadata_keys=[key for key in metadata if key in _FOR_PROGRAMS or key in unknown],
    )
    if document is not None:
        node.relationships[NodeRelationship.SOURCE] = RelatedNodeInfo(
            node_id=document,
            node_type=ObjectType.DOCUMENT,
            metadata={"title": source.title, "url": source.url},
        )
    score = source.score
    return NodeWithScore(node=node, score=None if score is None or math.isnan(score) else float(score))


def _page_label(source: Source) -> str | None:
    """What readers of LlamaIndex call so: the page, or the pages from the first to the last."""
    first, last = (source.metadata.get(f"page_range_{end}") for end in ("start", "end"))
    if first is None:
        return None
    return str(first) if last in (None, first) else f"{first}-{last}"


def _file_name(source: Source) -> str:
    """What readers of LlamaIndex call so: the last part of the address, else the title."""
    told = source.metadata.get("file_name")
    if isinstance(told, str) and told:
        return told
    return unquote(urlsplit(source.url or "").path.rpartition("/")[2]) or source.title
