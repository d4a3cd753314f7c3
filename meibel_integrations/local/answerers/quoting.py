"""Choosing what to quote: the few sentences of the found passages that come closest to answering."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from meibel_integrations.local.answerers.base import Passage
from meibel_integrations.local.answerers.evidence import Evidence
from meibel_integrations.local.answerers.sentences import Unit, units
from meibel_integrations.local.ingest.document import HEADING_SEPARATOR
from meibel_integrations.local.retrieval.analysis import Term, stems

_PASSAGES = 4  # how many passages of the best document are looked at closely
_SENTENCES = 5
_RUN_SENTENCES = 3
_RUN_CHARACTERS = 480
_BLOCK_CHARACTERS = 1200
_CODE_LINES = 14
_OPENING = 300  # a passage that begins so early is the document's introduction
_DEFINES = re.compile(
    r"\b(?:is|are|was|means?|refers? to|allows?|lets?|provides?|returns?|raises?|creates?|defines?|specif(?:y|ies)|"
    r"describes?|executes?|is used|are used|used to|causes?|serves?|contains?|consists?)\b"
)
_LEANS = re.compile(
    r"^\W*(?:it|this|that|these|those|they|he|she|such|however|therefore|also|instead|then)\b", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Quote:
    """Words of one passage, as they will stand in the answer."""

    passage: Passage
    text: str


@dataclass(slots=True)
class _Candidate:
    passage: Passage
    units: list[Unit]
    at: int
    score: float


def choose_quotes(evidence: Evidence, asked: str, seen: str) -> list[Quote]:
    """At most five sentences, mostly of the best document. ``seen`` is the text of earlier answers: what stands
    there is not quoted again while there is something else."""
    if not evidence.passages:
        return []
    first = evidence.passages[0].document_id
    close = [passage for passage in evidence.passages if passage.document_id == first][:_PASSAGES]
    if evidence.in_order:
        return _in_order(close, at_end=evidence.at_end)
    weights = _weights(evidence.terms, close)
    already = " ".join(seen.split())
    candidates = sorted(_candidates(close, weights), key=lambda c: -c.score)
    fresh = [c for c in candidates if not already or c.units[c.at].quote not in already]
    chosen = fresh or candidates
    quotes: list[Quote] = []
    used: set[tuple[str, int]] = set()
    budget = _SENTENCES
    wants_code = re.match(r"\W*(?:and\s+|but\s+)?how\b", asked, re.IGNORECASE) is not None
    for candidate in chosen:
        if budget <= 0 or len(quotes) == 2 or candidate.score < 0.62 * chosen[0].score:
            break
        key = (candidate.passage.document_id, candidate.passage.start)
        if (f"{key}", candidate.at) in used:
            continue
        start, end = _run(candidate, min(budget, _RUN_SENTENCES))
        used.update((f"{key}", i) for i in range(start - 1, end + 1))
        run = candidate.units[start:end]
        budget -= len(run)
        follower = _block_after(candidate.units, end, wants_code=wants_code)
        quotes.append(Quote(candidate.passage, _join([*run, *follower])))
    return quotes or _fallback(close[0], weights)


def _weights(wanted: Sequence[Term], passages: Sequence[Passage]) -> dict[Term, float]:
    """Terms that not every passage has tell sentences apart better."""
    texts = [set(stems(passage.text)) for passage in passages]
    weights: dict[Term, float] = {}
    for term in wanted:
        having = sum(text.issuperset(term.stems) for text in texts)
        base = 0.3 if term.weak else 0.7 if term.generic else 1.0
        weights[term] = base * (1.0 + 0.5 * (1 - having / len(texts)))
    return weights


def _candidates(passages: Sequence[Passage], weights: dict[Term, float]) -> Iterator[_Candidate]:
    total = sum(weights.values()) or 1.0
    for rank, passage in enumerate(passages):
        opening = 0.2 if passage.start < _OPENING else 0.0
        found = units(passage.text, passage.heading)
        named = set(stems(f"{passage.title} {passage.heading.rsplit(HEADING_SEPARATOR, 1)[-1]}"))
        about = sum(w for term, w in weights.items() if named.issuperset(term.stems)) / total
        prose = 0
        for at, unit in enumerate(found):
            if unit.kind not in ("sentence", "item"):
                continue
            score = _score(unit, weights, total)
            # The first sentence under a heading that names the subject says what the subject is.
            score += about * (max(0.45 - 0.15 * prose, 0.0) + opening) + 0.12 / (1 + rank)
            prose += 1
            yield _Candidate(passage, found, at, score)


def _score(unit: Unit, weights: dict[Term, float], total: float) -> float:
    present = set(stems(unit.text))
    matched = [
        (weight, term)
        for term, weight in weights.items()
        if present.issuperset(term.stems) or (term.parts and present.issuperset(term.parts))
    ]
    score = sum(weight for weight, _ in matched) / total
    quote = unit.quote
    if matched and _DEFINES.search(quote):
        score += 0.15
    if matched and any(quote.lower().lstrip("\"'`*_ atheAn").startswith(t.surface.lower()) for _, t in matched):
        score += 0.08
    if len(quote) < 30 or quote.endswith("?"):
        score *= 0.5
    elif len(quote) > 600:
        score *= 0.7
    return score


def _run(candidate: _Candidate, budget: int) -> tuple[int, int]:
    """The sentence with neighbours of its paragraph: the one before when it leans on it, then those that follow."""
    found, at = candidate.units, candidate.at
    start, end = at, at + 1
    if found[at].kind == "item":
        return start, end
    paragraph = found[at].paragraph
    if budget > 1 and at > 0 and found[at - 1].paragraph == paragraph and _LEANS.match(found[at].quote):
        start -= 1
    length = sum(len(unit.quote) for unit in found[start:end])
    while end < len(found) and end - start < budget and found[end].paragraph == paragraph:
        length += len(found[end].quote)
        if length > _RUN_CHARACTERS:
            break
        end += 1
    return start, end


def _block_after(found: list[Unit], end: int, *, wants_code: bool) -> list[Unit]:
    """The list or code that a quoted sentence announces with its colon, or that shows what was asked for."""
    if end >= len(found):
        return []
    announced = found[end - 1].quote.rstrip("`*").endswith(":")
    following = found[end]
    if following.kind == "code" and (announced or wants_code):
        return [following] if len(following.text) <= _BLOCK_CHARACTERS else []
    if following.kind == "item" and announced:
        items = [unit for unit in found[end:] if unit.kind == "item" and unit.paragraph - following.paragraph < 12]
        items = items[: next((i for i, unit in enumerate(found[end:]) if unit.kind != "item"), len(items))]
        return items if sum(len(unit.text) for unit in items) <= _BLOCK_CHARACTERS else items[:3]
    return []


def _join(run: Sequence[Unit]) -> str:
    """Sentences of a paragraph in a row, everything else on lines of its own."""
    text = ""
    before: Unit | None = None
    for unit in run:
        if before is not None:
            together = before.kind == unit.kind == "sentence" and before.paragraph == unit.paragraph
            text += " " if together else "\n" if before.kind == unit.kind == "item" else "\n\n"
        text += unit.quote
        before = unit
    return text


def _in_order(passages: Sequence[Passage], *, at_end: bool) -> list[Quote]:
    """The first (or last) sentences of what was found, when the question asks for a place rather than a word."""
    for passage in reversed(passages) if at_end else passages:
        prose = [unit for unit in units(passage.text, passage.heading) if unit.kind in ("sentence", "item")]
        if prose:
            return [Quote(passage, _join(prose[-_RUN_SENTENCES:] if at_end else prose[:_RUN_SENTENCES]))]
    return _fallback(passages[0], {})


def _fallback(passage: Passage, weights: dict[Term, float]) -> list[Quote]:
    """Lines of a passage that has no prose (code, a table), from where the question's words stand."""
    lines = passage.text.split("\n")
    wanted = {s for term in weights for s in term.stems}
    start = max(range(len(lines)), key=lambda i: (len(wanted & set(stems(lines[i]))), -i))
    start = max(start - 1, 0)
    text = "\n".join(lines[start : start + _CODE_LINES]).strip("\n")[:_BLOCK_CHARACTERS].rstrip()
    return [Quote(passage, text)] if text.strip() else []
