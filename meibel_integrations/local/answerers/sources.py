"""Searching while an answer is made, shown as the steps of a tool; and passages as the sources of the answer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from meibel_integrations.local.answerers.interface import Question
from meibel_integrations.local.search.passages import Passage
from meibel_integrations.local.store.steps import AnswerSource, Step, ToolCall, ToolResult

_SNIPPET = 500
_SHOWN = 10


def look_up(
    question: Question, query: str, steps: list[Step], *, limit: int = 20, document_ids: Sequence[str] | None = None
) -> list[Passage]:
    """Search, and write down what was looked for and found."""
    call_id = f"search-{len(steps) // 2 + 1}"
    arguments: dict[str, Any] = {"query": query, "limit": limit}
    if document_ids is not None:
        arguments["document_ids"] = list(document_ids)
    found = question.search(query, limit=limit, document_ids=document_ids)
    shown = [_hit(passage, whole=question.whole_passages) for passage in found[:_SHOWN]]
    steps += [ToolCall(call_id, "search", arguments), ToolResult(call_id, "search", shown)]
    return found


def _hit(passage: Passage, *, whole: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "document_id": passage.document_id,
        "title": passage.title,
        "url": passage.url,
        "score": passage.score,
    }
    if not whole:
        return {**shown, "snippet": shorten(passage.text)}
    return {**shown, "text": passage.text, "start": passage.start, "end": passage.end, "ordinal": passage.ordinal}


def as_source(passage: Passage, quoted: str = "") -> AnswerSource:
    """A passage as a source; its snippet holds what was quoted from it."""
    return AnswerSource(
        title=passage.title,
        url=passage.url,
        snippet=shorten(passage.text, quoted),
        score=passage.score,
        document_id=passage.document_id,
    )


def shorten(text: str, quoted: str = "") -> str:
    """About 500 characters of a passage, from a little before the quoted words on."""
    room = max(_SNIPPET, len(quoted) * 3 // 2 + 100)
    if len(text) <= room:
        return text
    words = quoted.split()
    match = re.search(r"\W+".join(re.escape(word.rstrip(":")) for word in words[:4]), text) if words else None
    at = match.start() if match else 0
    start = max(min(at - 50, len(text) - room), 0) if at + len(quoted) + 50 > room else 0
    if start:
        start = text.find(" ", start) + 1
    end = text.rfind(" ", start, start + room) if start + room < len(text) else len(text)
    return ("\u2026 " if start else "") + text[start:end].strip() + (" \u2026" if end < len(text) else "")
