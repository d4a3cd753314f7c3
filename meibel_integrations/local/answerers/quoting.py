"""The default answerer: it finds the sentences that answer a question and quotes them, with citations.

Everything it says beyond a short lead-in stands in a document, and where nothing was found it says that.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from meibel_integrations.local.answerers.evidence import Evidence, find_evidence, telling_terms
from meibel_integrations.local.answerers.followup import is_pleasantry
from meibel_integrations.local.answerers.interface import Question
from meibel_integrations.local.answerers.prose import render
from meibel_integrations.local.answerers.quotes import Quote, choose_quotes
from meibel_integrations.local.search.analysis import terms
from meibel_integrations.local.search.passages import Passage, Search
from meibel_integrations.local.store.steps import (
    AnswerCitation,
    AnswerSource,
    Delta,
    Done,
    Status,
    Step,
    Thinking,
    ToolCall,
    ToolResult,
)

_MAXIMUM_SOURCES = 5
_PER_DOCUMENT = 2  # passages of one document among the sources, beyond those that are quoted
_READ = 10_000  # characters of a question that are looked at
_SNIPPET = 500
_RELATED = 0.6  # an uncited passage is listed when it scores at least this share of the best
_PIECE = re.compile(r"\s*\S+\s*(?=\s|$)|\s+")
_RESULTS_SHOWN = 10
_NOTHING_TO_LOOK_UP = "There is nothing to look up in that. Ask me anything about the documents."
_TOKEN = re.compile(r"\w+|[^\w\s]")


class QuotingAnswerer:
    """Answers with quotations from the agent's documents."""

    computes = True

    def answer(self, question: Question) -> Iterator[Step]:
        """The steps of an answer: searches, the text in small pieces, sources and citations."""
        if not question.uploaded_document_ids and is_pleasantry(question.text):
            for piece in _PIECE.findall(_NOTHING_TO_LOOK_UP):
                yield Delta(piece)
            yield Done(usage=_usage([question.text], _NOTHING_TO_LOOK_UP))
            return
        yield Status("Searching the documents")
        recorder = _Recorder(question.search, _whole if question.whole_passages else _hit)
        evidence = find_evidence(replace(question, search=recorder, text=question.text[:_READ]))
        yield from recorder.steps
        seen = (
            " ".join(turn.text for turn in question.history if turn.role == "assistant") if evidence.continued else ""
        )
        quotes = choose_quotes(evidence, question.text, seen)
        if question.include_thinking:
            yield Thinking(_thoughts(evidence, quotes))
        yield Status("Writing the answer")
        sources = _sources(evidence, quotes)
        text, citations = _compose(question.text, evidence, quotes, sources)
        for piece in _PIECE.findall(text):
            yield Delta(piece)
        read = [question.text, *(p.text for p in recorder.passages.values())]
        if evidence.continued:
            read += [turn.text for turn in question.history]
        yield Done(
            sources=tuple(_source(passage, quotes) for passage in sources),
            citations=citations,
            usage=_usage(read, text),
        )


@dataclass(slots=True)
class _Recorder:
    """A search that writes down what was looked for and found, as the steps of a tool."""

    search: Search
    shown: Callable[[Passage], dict[str, Any]]
    steps: list[Step] = field(default_factory=list)
    passages: dict[tuple[str, int], Passage] = field(default_factory=dict)
    calls: int = 0

    def __call__(self, query: str, *, limit: int = 10, document_ids: Sequence[str] | None = None) -> list[Passage]:
        self.calls += 1
        call_id = f"search-{self.calls}"
        arguments: dict[str, Any] = {"query": query, "limit": limit}
        if document_ids is not None:
            arguments["document_ids"] = list(document_ids)
        found = self.search(query, limit=limit, document_ids=document_ids)
        self.passages.update({(passage.document_id, passage.start): passage for passage in found})
        self.steps.append(ToolCall(call_id, "search", arguments))
        self.steps.append(ToolResult(call_id, "search", [self.shown(passage) for passage in found[:_RESULTS_SHOWN]]))
        return found


def _hit(passage: Passage) -> dict[str, Any]:
    return {**_found(passage), "snippet": _shorten(passage.text, 0)}


def _whole(passage: Passage) -> dict[str, Any]:
    place = {"start": passage.start, "end": passage.end, "ordinal": passage.ordinal}
    return {**_found(passage), "text": passage.text, **place}


def _found(passage: Passage) -> dict[str, Any]:
    return {
        "document_id": passage.document_id,
        "title": passage.title,
        "url": passage.url,
        "score": passage.score,
    }


def _thoughts(evidence: Evidence, quotes: Sequence[Quote]) -> str:
    wanted = ", ".join(term.surface for term in telling_terms(evidence.terms)) or "the document as a whole"
    if not quotes:
        return f"Looking for: {wanted}. No passage covers it."
    titles = ", ".join(dict.fromkeys(_titled(passage.title) for passage in evidence.passages))
    return f"Looking for: {wanted}. Passages found in {titles}. Quoting {len(quotes)} of them."


def _compose(
    asked: str, evidence: Evidence, quotes: Sequence[Quote], sources: Sequence[Passage]
) -> tuple[str, tuple[AnswerCitation, ...]]:
    """The answer's text, and a citation right behind each quotation."""
    if not quotes:
        return _nothing_found(asked), ()
    title = quotes[0].passage.title
    text = f"From {_titled(title)}:"
    if evidence.missing:
        text = f"I found nothing about {evidence.missing} in {_titled(title)}. What it says:"
    citations: list[AnswerCitation] = []
    for quote in quotes:
        if quote.passage.title != title:
            title = quote.passage.title
            text += f"\n\nFrom {_titled(title)}:"
        text += f"\n\n{quote.text}"
        citations.append(AnswerCitation(len(text), (sources.index(quote.passage),)))
    return text, tuple(citations)


def _titled(title: str) -> str:
    """A title in quotation marks that differ from those inside it."""
    return f"\u201c{render(title)}\u201d"


def _nothing_found(asked: str) -> str:
    wanted = [term.surface for term in telling_terms(terms(asked[:_READ]))][:5]
    if not wanted:
        return "I found nothing in the documents: the question names nothing to look for."
    return f"I found nothing in the documents about {', '.join(w[:60] for w in wanted)}."


def _sources(evidence: Evidence, quotes: Sequence[Quote]) -> list[Passage]:
    """The quoted passages, then others that came close; the best first."""
    if not quotes:
        return []
    listed = list(dict.fromkeys(quote.passage for quote in quotes))
    threshold = _RELATED * max(passage.score for passage in evidence.passages)
    for passage in evidence.passages:
        siblings = sum(other.document_id == passage.document_id for other in listed)
        if passage not in listed and passage.score >= threshold and siblings < _PER_DOCUMENT and not evidence.missing:
            listed.append(passage)
    return listed[:_MAXIMUM_SOURCES]


def _source(passage: Passage, quotes: Sequence[Quote]) -> AnswerSource:
    quote = next((quote for quote in quotes if quote.passage == passage), None)
    quoted = quote.source if quote is not None else ""
    opening = quoted.split(None, 4)[:4]
    match = re.search(r"\s+".join(map(re.escape, opening)), passage.text) if opening else None
    return AnswerSource(
        title=passage.title,
        url=passage.url,
        snippet=_shorten(passage.text, match.start() if match else 0, len(quoted)),
        score=passage.score,
        document_id=passage.document_id,
    )


def _shorten(text: str, at: int, length: int = 0) -> str:
    """About 500 characters of a passage, with the quoted ones in them."""
    room = max(_SNIPPET, length + 100)
    if len(text) <= room:
        return text
    start = 0 if at + length + 50 <= room else max(min(at - 50, len(text) - room), 0)
    if start:
        start = text.find(" ", start, at) + 1 or start
    end = start + room
    if end < len(text):
        end = max(text.rfind(" ", start, end), at + length)
    return ("… " if start else "") + text[start:end].strip() + (" …" if end < len(text) else "")


def _usage(read: Sequence[str], written: str) -> dict[str, int]:
    """Tokens, counted as words and punctuation marks."""
    taken = sum(len(_TOKEN.findall(text)) for text in read)
    given = len(_TOKEN.findall(written))
    return {"input_tokens": taken, "output_tokens": given, "total_tokens": taken + given}
