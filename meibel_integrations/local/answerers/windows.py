"""Choosing what to quote: the few sentences of the found passages that come closest to answering.

Constants were chosen on the open part of ``benchmarks/answers.py``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from meibel_integrations.local.answerers.reading import Reading
from meibel_integrations.local.answerers.units import Unit, units
from meibel_integrations.local.search.passages import Passage, Search
from meibel_integrations.local.search.words import stems, stems_of

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
_LEANS = 0.2
_TOPIC = 0.3  # in the document that the conversation is about

_LEANING = re.compile(
    r"\W*(?:it|its|this|that|these|those|they|he|she|such|however|therefore|also|instead|then)\b", re.IGNORECASE
)
_TYPES = (
    (re.compile(r"\bwhen\b|\b(?:what|which)\s+(?:year|date|day)\b", re.I), re.compile(r"\b1\d{3}\b|\b20\d\d\b")),
    (
        re.compile(r"\bhow\s+(?:many|much|long|old|far|big|large|high|tall|often)\b", re.I),
        re.compile(r"\d|\b(?:two|three|four|five|six|seven|eight|nine|ten|\w+teen|\w{3,5}ty|hundred|once|twice)\b"),
    ),
    (re.compile(r"\bwho(?:se|m)?\b", re.I), re.compile(r"(?<=[a-z,] )[A-Z][a-z]+")),
)
_MEANS = (
    r"\W{0,3}(?:\([^()]{1,40}\)\W*)?\s*\b(?:is|are|refers?\s+to|means?|lets?|provides?|allows?|describes?|defines?"
    r"|represents?)\b"
)


@dataclass(frozen=True, slots=True)
class Quote:
    """Words of one passage, as they will stand in the answer."""

    passage: Passage
    text: str


@dataclass(frozen=True, slots=True)
class _Window:
    passage: Passage
    units: list[Unit]
    start: int
    end: int
    score: float = 0.0

    @property
    def text(self) -> str:
        return " ".join(unit.text for unit in self.units[self.start : self.end])

    @property
    def read(self) -> str:
        """What is read: the text, the question that the document asks before it, and the block that it announces."""
        before = self.units[self.start - 1].text if self.start and self.units[self.start - 1].asks else ""
        return " ".join([before, self.text, *(unit.text for unit in _announced(self))]).strip()


def choose(reading: Reading, passages: Sequence[Passage], search: Search) -> list[Quote]:
    """At most three quotations, the best first; the others come close to it."""
    considered = _considered(passages)
    windows = [window for passage in considered for window in _windows(passage)]
    if not windows:
        return _beginning(considered)
    scored = _scored(reading, windows, considered, search)
    scored.sort(key=lambda window: -window.score)
    chosen: list[_Window] = []
    length = 0
    for window in scored:
        if len(chosen) == _QUOTES or window.score < _CLOSE * scored[0].score:
            break
        if any(_overlap(window, other) or window.text in other.text for other in chosen) or (
            chosen and length + len(window.text) > _QUOTED
        ):
            continue
        chosen.append(window)
        length += len(window.text)
    order = list(dict.fromkeys(window.passage.document_id for window in chosen))
    chosen[1:] = sorted(chosen[1:], key=lambda w: (order.index(w.passage.document_id), w.passage.start, w.start))
    return [Quote(window.passage, _quoted(window)) for window in chosen]


def is_asked_for(asked: str, text: str) -> bool:
    """Whether a text has the kind of thing that is asked for: a year, a number, a name."""
    wanted = next((answer for asks, answer in _TYPES if asks.search(asked)), None)
    return wanted is not None and wanted.search(text) is not None


def opening(passages: Sequence[Passage]) -> list[Quote]:
    """The first sentences of a document, for a question about the whole of it."""
    for passage in passages:
        prose = [unit for unit in units(passage.text, passage.heading) if unit.is_prose]
        if prose:
            return [Quote(passage, " ".join(unit.text for unit in prose[:3]))]
    return _beginning(passages)


def _considered(passages: Sequence[Passage]) -> list[Passage]:
    documents = list(dict.fromkeys(passage.document_id for passage in passages))[:_DOCUMENTS]
    return [passage for passage in passages if passage.document_id in documents][:_PASSAGES]


def _beginning(passages: Sequence[Passage]) -> list[Quote]:
    """Where there is no prose: the first lines of the best passage."""
    return [Quote(passage, "\n".join(passage.text.strip("\n").split("\n")[:14])) for passage in passages[:1]]


def _windows(passage: Passage) -> Iterator[_Window]:
    found = units(passage.text, passage.heading)
    for start, unit in enumerate(found):
        if not unit.is_prose:
            if unit.kind in ("table", "code") and not (start and found[start - 1].leads_on):
                yield _Window(passage, found, start, start + 1)
            continue
        length = 0
        for end in range(start + 1, min(start + 4, len(found) + 1)):
            last = found[end - 1]
            length += len(last.text)
            if end > start + 1 and (length > _WINDOW or last.block != unit.block or not last.is_prose):
                break
            yield _Window(passage, found, start, end)


def _scored(reading: Reading, windows: Sequence[_Window], passages: Sequence[Passage], search: Search) -> list[_Window]:
    own = search.weigh(reading.asked)
    weights = {stem: _EARLIER * weight for stem, weight in search.weigh(reading.query).items()} | own
    headings = stems_of([f"{passage.title} {passage.heading}" for passage in passages])
    about = {id(p): _share(weights, heading) for p, heading in zip(passages, headings, strict=True)}
    rank = {id(passage): rank for rank, passage in enumerate(passages)}
    texts = [window.read[:_WINDOW] for window in windows]
    near = search.similarity(reading.query, texts)
    defines = _definition(reading.term) if reading.term else None
    scored: list[_Window] = []
    for i, (window, words) in enumerate(zip(windows, stems_of(texts), strict=True)):
        covered = _share(weights, words)
        score = covered + _MEANING * (near[i] if near else covered)
        score += _TOPIC * (reading.leans and window.passage.document_id == passages[0].document_id)
        score += _HEADING * about[id(window.passage)] + _FIRST / (1 + rank[id(window.passage)])
        score += _ANNOUNCES * bool(_announced(window)) + _TYPE * is_asked_for(reading.asked, texts[i])
        fragment = texts[i][0].islower() or (window.start > 0 and _LEANING.match(texts[i]) is not None)
        score -= _LEANS * (fragment and window.units[window.start].kind == "text")
        if defines and defines.match(texts[i]):
            score += 0.6 + 0.6 * (
                set(stems(window.passage.title)) == set(stems(reading.term))
                or window.units[window.start].kind == "definition"
            )
        scored.append(_Window(window.passage, window.units, window.start, window.end, score))
    return scored


def _share(weights: dict[str, float], words: Sequence[str]) -> float:
    """The weighted share of the question that some words have."""
    return sum(weights[stem] for stem in weights.keys() & set(words)) / (sum(weights.values()) or 1.0)


def _definition(term: str) -> re.Pattern[str]:
    """Sentences of the form "a term is", and entries of a glossary."""
    name = r"[\W_]+".join(re.escape(word.rstrip("s")) + "(?:e?s)?" for word in term.split())
    return re.compile(rf"\W*(?:(?:an?|the|each|every)\s+)?\W*{name}(?:{_MEANS}|: )", re.IGNORECASE)


def _overlap(one: _Window, other: _Window) -> bool:
    return one.passage is other.passage and one.start < other.end + 1 and other.start < one.end + 1


def _announced(window: _Window) -> list[Unit]:
    """The list, table, definitions or code that the window's last sentence leads to with its colon."""
    following = window.units[window.end :]
    if not following or following[0].kind == "text" or not window.units[window.end - 1].leads_on:
        return []
    kind = following[0].kind
    block: list[Unit] = []
    for unit in following:
        if unit.kind != kind or sum(len(each.text) for each in block) + len(unit.text) > _BLOCK:
            break
        block.append(unit)
        if kind in ("table", "code"):
            break
    return block


def _quoted(window: _Window) -> str:
    """The window as it stands in the answer: sentences in a row, everything else on lines of its own."""
    text = ""
    before: Unit | None = None
    for unit in [*window.units[window.start : window.end], *_announced(window)]:
        if before is not None:
            together = unit.kind == "text" and before.block == unit.block
            text += " " if together else "\n" if before.kind == unit.kind else "\n\n"
        text += unit.text[:_BLOCK]
        before = unit
    return text
