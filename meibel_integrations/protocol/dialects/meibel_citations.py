"""Meibel's sources and citations, in every form that its documents show.

v2: ``citations: [{position, source_ids}]`` next to ``sources: [{source_id, title, …}]``. Guide: a list of citations
whose items' fields are not documented; items that carry a source's fields are sources, and cite at their position if
they have one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meibel_integrations.models import Source
from meibel_integrations.protocol.events import RawCitation, References
from meibel_integrations.protocol.lenient_json import integer, mappings, number, sequence, text

__all__ = ["read_references"]

_KNOWN = frozenset(
    {"title", "url", "snippet", "data_element_id", "relevance_score", "score", "source_id", "tool_name"}
    | {"position", "start", "end", "start_index", "end_index"}
)
_SOURCE_FIELDS = ("title", "url", "snippet", "data_element_id")


def read_references(data: Mapping[str, Any]) -> References:
    """Reads ``sources`` and ``citations`` of a payload.

    A citation of a source that is not listed is left out and named in ``problems``. Where no source has a
    ``source_id``, ids are taken for indexes from 0 (assumed, not documented).
    """
    sources = [_source(item) for item in mappings(data.get("sources"))]
    by_id = {s.source_id: i for i, s in enumerate(sources) if s.source_id is not None}
    if sources and not by_id:
        by_id = {str(i): i for i in range(len(sources))}
    known = {_identity(s): i for i, s in enumerate(sources)}
    citations: list[RawCitation] = []
    problems: list[str] = []
    for item in sequence(data.get("citations")):
        if isinstance(item, str) and item:
            item = {"url": item, "title": item} if item.startswith(("http://", "https://")) else {"title": item}
        if not isinstance(item, dict):
            continue
        indexes = _named(item, by_id, problems)
        if indexes is None:
            source = _source(item)
            index = known.setdefault(_identity(source), len(sources))
            if index == len(sources):
                sources.append(source)
            indexes = [index]
        start, end = _span(item)
        if start is not None and end is not None:
            citations += [RawCitation(index, start, end) for index in indexes]
    citations.sort(key=lambda c: (c.start, c.end, c.source))
    return References(tuple(sources), tuple(citations), tuple(problems))


def _named(item: Mapping[str, Any], by_id: Mapping[str, int], problems: list[str]) -> list[int] | None:
    """The sources that a citation names by id, or ``None`` if it describes its source itself."""
    ids = item.get("source_ids")
    if not isinstance(ids, list):
        if any(isinstance(item.get(field), str) for field in _SOURCE_FIELDS):
            return None
        ids = [item.get("source_id")]
    indexes = []
    for raw in ids:
        index = by_id.get(text(raw) or "")
        if index is None:
            problems.append(f"A citation names the source {raw!r}, which the answer does not list.")
        else:
            indexes.append(index)
    return indexes


def _span(item: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """The wire documents one ``position``; a start and an end are read where they are given."""
    position = integer(item.get("position"))
    start = _either(integer(item.get("start")), integer(item.get("start_index")), position)
    end = _either(integer(item.get("end")), integer(item.get("end_index")), position)
    return _either(start, end), _either(end, start)


def _either(*values: int | None) -> int | None:
    return next((value for value in values if value is not None), None)


def _source(item: Mapping[str, Any]) -> Source:
    return Source(
        title=text(item.get("title")) or "",
        url=text(item.get("url")),
        snippet=text(item.get("snippet")),
        score=_score(item),
        data_element_id=text(item.get("data_element_id")),
        source_id=text(item.get("source_id")),
        tool_name=text(item.get("tool_name")),
        metadata={key: value for key, value in item.items() if key not in _KNOWN},
    )


def _score(item: Mapping[str, Any]) -> float | None:
    score = number(item.get("relevance_score"))
    return number(item.get("score")) if score is None else score


def _identity(source: Source) -> tuple[str | None, ...]:
    return source.source_id, source.data_element_id, source.url, source.title, source.snippet
