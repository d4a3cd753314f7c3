"""Choosing what to quote: the few sentences of the found passages that come closest to answering.

Constants were chosen on the open part of ``benchmarks/answers.py``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from meibel_integrations.local.answerers.reading import Reading
from meibel_integrations.local.answerers.units import Unit, units
from meibel_integrations.local.search.passages import Passage, Search
from meibel_integrations.local.search.words import stems_of

_PASSAGES = 10
_DOCUMENTS = 3
_WINDOW = 300  # characters
_QUOTES = 3
_QUOTED = 700  # characters of all quotations, beyond a first one that is longer
_CLOSE = 0.75
_BLOCK = 1200
_EARLIER = 0.5  # what words of earlier questions count
# What a window earns. Without an embedding model, words count for meaning, too.
_MEANING = 2.0
_HEADING = 0.35
_FIRST = 0.3
_ANNOUNCES = 0.1
_TYPE = 0.3
_DEFINES = 0.6
_TOPIC = 0.3  # in the document that the conversation is about

_NUMBER = r"\d|\b(?:two|three|four|five|six|seven|eight|nine|ten|\w+teen|\w{3,5}ty|hundred|once|twice)\b"
_TYPES = (
    (re.compile(r"\bwhen\b|\b(?:what|which)\s+(?:year|date|day)\b", re.I), re.compile(r"\b1\d{3}\b|\b20\d\d\b")),
    (re.compile(r"\bhow\s+(?:many|much|long|old|far|big|large|high|tall|often)\b", re.I), re.compile(_NUMBER)),
    (re.compile(r"\bwho(?:se|m)?\b", re.I), re.compile(r"(?<=[a-z,] )[A-Z][a-z]+")),
)
_MEANS = (
    r"\W{0,3}(?:\([^()]{1,40}\)\W*)?\s*\b(?:is|are|refers?\s+to|means?|lets?|provides?|allows?|describes?|defines?"
    r"|represents?)\b"
)


@dataclass(frozen=True, slots=True)
class Quote:
    """Words of one passage, as they will stand in the answer: its units from ``start`` to before ``end``.

    ``asked`` is the question that the document asks before them.
    """

    passage: Passage
    text: str
    start: int = 0
    end: int = 0
    announces: bool = False
    defines: bool = False
    asked: str = ""


def choose(reading: Reading, passages: Sequence[Passage], search: Search) -> list[Quote]:
    """At most three quotations, the best first; the others come close to it."""
    documents = list(dict.fromkeys(passage.document_id for passage in passages))[:_DOCUMENTS]
    passages = [passage for passage in passages if passage.document_id in documents][:_PASSAGES]
    quotes = [quote for passage in passages for quote in _windows(passage)]
    if not quotes:
        return _first_lines(passages)
    scores = _scores(reading, quotes, passages, search)
    order = sorted(range(len(quotes)), key=lambda i: -scores[i])
    chosen: list[Quote] = []
    for i in order:
        quote = quotes[i]
        if len(chosen) == _QUOTES or scores[i] < _CLOSE * scores[order[0]]:
            break
        fits = sum(len(other.text) for other in [*chosen, quote]) <= _QUOTED
        if not chosen or (fits and not any(_repeats(quote, other) for other in chosen)):
            chosen.append(quote)
    places = list(dict.fromkeys(quote.passage.document_id for quote in chosen))
    return sorted(chosen, key=lambda quote: places.index(quote.passage.document_id))


def opening(passages: Sequence[Passage]) -> list[Quote]:
    """The first sentences of a document, for a question about the whole of it."""
    for passage in passages:
        if prose := [unit.text for unit in units(passage.text, passage.heading) if unit.is_prose]:
            return [Quote(passage, " ".join(prose[:3]))]
    return _first_lines(passages)


def _first_lines(passages: Sequence[Passage]) -> list[Quote]:
    return [Quote(passage, "\n".join(passage.text.strip("\n").split("\n")[:14])) for passage in passages[:1]]


def _windows(passage: Passage) -> Iterator[Quote]:
    """One to three sentences of a paragraph, with the block that they announce; and blocks that nothing announces."""
    found = units(passage.text, passage.heading)
    for start, unit in enumerate(found):
        for end in range(start + 1, min(start + 3, len(found)) + 1):
            window = found[start:end]
            if any(each.block != unit.block or not each.is_prose for each in window):
                alone = unit.kind in ("table", "code") and not (start and found[start - 1].leads_on)
                if alone and end == start + 1:
                    yield Quote(passage, _joined(window), start, end)
                break
            if end > start + 1 and sum(len(each.text) for each in window) > _WINDOW:
                break
            block = _announced(window[-1], found[end:])
            text = _joined([*window, *block])
            asked = found[start - 1].text if start and found[start - 1].asks else ""
            yield Quote(passage, text, start, end + len(block), bool(block), unit.kind == "definition", asked)


def _announced(last: Unit, following: Sequence[Unit]) -> list[Unit]:
    """The list, table, definitions or code that a sentence leads to with its colon."""
    block: list[Unit] = []
    for unit in following if last.leads_on else ():
        full = sum(len(each.text) for each in [*block, unit]) > _BLOCK
        if unit.kind == "text" or unit.kind != following[0].kind or full:
            break
        block.append(unit)
        if unit.kind in ("table", "code"):
            break
    return block


def _joined(found: Sequence[Unit]) -> str:
    """Units as they stand in the answer: sentences in a row, everything else on lines of its own."""
    text = found[0].text[:_BLOCK]
    for before, unit in pairwise(found):
        row = unit.kind == "text" and before.block == unit.block
        text += (" " if row else "\n" if before.kind == unit.kind else "\n\n") + unit.text
    return text


def _repeats(one: Quote, other: Quote) -> bool:
    return one.text in other.text or (
        one.passage is other.passage and one.start <= other.end and other.start <= one.end
    )


def _scores(reading: Reading, quotes: Sequence[Quote], passages: Sequence[Passage], search: Search) -> list[float]:
    weights = {stem: _EARLIER * weight for stem, weight in search.weigh(reading.query).items()}
    weights |= search.weigh(reading.asked)
    texts = [f"{quote.asked} {quote.text}".strip()[:_WINDOW] for quote in quotes]
    covered = [_share(weights, words) for words in stems_of(texts)]
    near = search.similarity(reading.query, texts) or covered
    if reading.leans and (own := search.similarity(reading.asked, texts)):
        near = own  # what a follow-up asks is in its own words; the earlier ones only found the place
    headings = stems_of([f"{passage.title} {passage.heading}" for passage in passages])
    of_passage = {
        id(passage): _HEADING * _share(weights, heading)
        + _FIRST / (1 + rank)
        + _TOPIC * (reading.leans and passage.document_id == passages[0].document_id)
        for rank, (passage, heading) in enumerate(zip(passages, headings, strict=True))
    }
    wanted = next((answer for asks, answer in _TYPES if asks.search(reading.asked)), None)
    defines = _definition(reading.term) if reading.term else None
    scores: list[float] = []
    for quote, text, words, meaning in zip(quotes, texts, covered, near, strict=True):
        score = of_passage[id(quote.passage)] + words + _MEANING * meaning + _ANNOUNCES * quote.announces
        if wanted and wanted.search(text):
            score += _TYPE
        if defines and defines.match(text):
            titled = quote.passage.title.casefold().rstrip("s") == reading.term.casefold().rstrip("s")
            score += _DEFINES * (2 if titled or quote.defines else 1)
        scores.append(score)
    return scores


def _share(weights: dict[str, float], words: Sequence[str]) -> float:
    """The weighted share of the question that some words have."""
    return sum(weights[stem] for stem in weights.keys() & set(words)) / (sum(weights.values()) or 1.0)


def _definition(term: str) -> re.Pattern[str]:
    """Sentences of the form "a term is", and entries of a glossary."""
    name = r"[\W_]+".join(re.escape(word.rstrip("s")) + "(?:e?s)?" for word in term.split())
    return re.compile(rf"\W*(?:(?:an?|the|each|every)\s+)?\W*{name}(?:{_MEANS}|: )", re.IGNORECASE)
