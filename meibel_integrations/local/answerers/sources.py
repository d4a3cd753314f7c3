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
    names = ("document_id", "title", "url", "score")
    more = ("text", "start", "end", "ordinal") if question.whole_passages else ()
    hits = [{name: getattr(passage, name) for name in (*names, *more)} for passage in found[:_SHOWN]]
    if not more:
        hits = [{**hit, "snippet": shorten(passage.text)} for hit, passage in zip(hits, found, strict=False)]
    steps += [ToolCall(call_id, "search", arguments), ToolResult(call_id, "search", hits)]
    return found


def as_source(passage: Passage, quoted: str = "") -> AnswerSource:
    """A passage as a source; its snippet holds what was quoted from it."""
    snippet = shorten(passage.text, quoted)
    return AnswerSource(passage.title, passage.url, snippet, passage.score, passage.document_id)


def shorten(text: str, quoted: str = "") -> str:
    """About 500 characters of a passage, from a little before the quoted words on."""
    room = max(_SNIPPET, len(quoted) * 3 // 2 + 100)
    words = [re.escape(word.rstrip(":")) for word in quoted.split()[:4]]
    match = re.search(r"\W+".join(words), text)
    at = match.start() if match else 0
    start = text.rfind(" ", 0, max(at - 50, 0)) + 1 if at + len(quoted) + 50 > room else 0
    end = text.rfind(" ", start, start + room) if start + room < len(text) else len(text)
    return ("\u2026 " if start else "") + text[start:end].strip() + (" \u2026" if end < len(text) else "")
