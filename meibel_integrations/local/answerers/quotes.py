"""Choosing what to quote: the few sentences of the found passages that come closest to answering."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from meibel_integrations.local.answerers.evidence import Evidence, is_titled
from meibel_integrations.local.answerers.prose import render
from meibel_integrations.local.answerers.sentences import Unit, listed_names, units
from meibel_integrations.local.search.analysis import Term, stems
from meibel_integrations.local.search.passages import Passage
from meibel_integrations.local.store.documents import HEADING_SEPARATOR

_DOCUMENTS = 4  # of how many documents the sentences are compared
_CLOSE_ENOUGH = 0.6  # a later document is considered when it scores at least this share of the best
_LATER_DOCUMENT = 0.05
_MARGIN = 0.6  # by how much sentences of a later document must be better
_NO_SENTENCE = 0.3  # what names, links and notices count, compared with a sentence
_DEFINITION_BONUS = 0.6
_SHOWN_BONUS = 0.2
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
_BEFORE_TERM = r"^\W*(?:(?:in|at|for|within)\s[^,.]{1,40},\s)?(?:(?:an?|the|each|every)\s+)?\W*"
_AFTER_TERM = (
    r"\W{0,4}(?:\([^()]{1,40}\)\W*|\bobjects?\s+|\bcallables?\s+|,[^,]{1,60},\s+)?"
    r"\b(?:is|are|refers?\s+to|means?|lets?|provides?|allows?|describes?|defines?|represents?|stands?\s+for|acts?\s+as|"
    r"consists?\s+of)\b"
    r"(?!\s+(?:not|also|then|only|still|already|called|now|\w{2,}ed)\b)"
)


@dataclass(frozen=True, slots=True)
class Quote:
    """Words of one passage, as they will stand in the answer."""

    passage: Passage
    text: str
    source: str = ""  # the same words as the document has them, with its markup


@dataclass(slots=True)
class _Candidate:
    passage: Passage
    units: list[Unit]
    at: int
    score: float
    prose: bool
    defining: int  # 2 for an entry of a glossary or in the document that the term is the title of


def choose_quotes(evidence: Evidence, asked: str, seen: str) -> list[Quote]:
    """At most five sentences, mostly of the best document. ``seen`` is the text of earlier answers: what stands
    there is not quoted again while there is something else."""
    if not evidence.passages:
        return []
    documents = _by_document(evidence.passages)
    if evidence.in_order:
        return _in_order(documents[0], at_end=evidence.at_end)
    defines = _Definition.of(evidence.defined) if evidence.defined else None
    already = " ".join(seen.split())
    wants_code = re.match(r"\W*(?:and\s+|but\s+)?how\b", asked, re.IGNORECASE) is not None
    best: list[_Candidate] = []
    best_score = 0.0
    top = max(passage.score for passage in evidence.passages)
    # A document that has only names, links or code to show makes room for the next one that has sentences, and one
    # that merely uses a word for the one that says what it means.
    for rank, close in enumerate(documents[:_DOCUMENTS]):
        weights = _weights(evidence.terms, close)
        found = sorted(_candidates(close, weights, defines, shows=wants_code), key=lambda c: -c.score)
        found = [c for c in found if not already or c.units[c.at].quote not in already] or found
        if not found or (rank and evidence.missing):
            continue
        relative = close[0].score / top if top > 0 else 1.0
        score = found[0].score * relative - (_LATER_DOCUMENT if rank else 0.0)
        if rank and relative < _CLOSE_ENOUGH and not found[0].defining:
            continue
        if not best or score > best_score + _margin(best[0], found[0]):
            best, best_score = found, score
    if not best:
        return next((quotes for close in documents if (quotes := _fallback(close[0], evidence.terms))), [])
    return _quotes(best, wants_code=wants_code)


def _margin(best: _Candidate, other: _Candidate) -> float:
    """How much better a sentence of a later document has to be."""
    better = other.defining > best.defining or (other.prose and not best.prose)
    return 0.0 if better else _MARGIN


def _by_document(passages: Sequence[Passage]) -> list[list[Passage]]:
    """The passages of each document, the best document first."""
    documents: dict[str, list[Passage]] = {}
    for passage in passages:
        documents.setdefault(passage.document_id, []).append(passage)
    return [close[:_PASSAGES] for close in documents.values()]


def _quotes(chosen: Sequence[_Candidate], *, wants_code: bool) -> list[Quote]:
    quotes: list[Quote] = []
    used: set[tuple[int, int]] = set()
    budget = _SENTENCES
    for candidate in chosen:
        if budget <= 0 or len(quotes) == 2 or candidate.score < 0.62 * chosen[0].score:
            break
        if quotes and not candidate.prose:
            continue
        key = candidate.passage.start
        if (key, candidate.at) in used:
            continue
        start, end = _run(candidate, min(budget, _RUN_SENTENCES))
        used.update((key, i) for i in range(start - 1, end + 1))
        run = candidate.units[start:end]
        budget -= len(run)
        follower = _block_after(candidate.units, end, wants_code=wants_code)
        quotes.append(_quote(candidate.passage, [*run, *follower]))
    return quotes


def _quote(passage: Passage, run: Sequence[Unit]) -> Quote:
    source = " ".join(f"{unit.defines} {unit.text}".strip() for unit in run)
    return Quote(passage, _join(run), source)


def _weights(wanted: Sequence[Term], passages: Sequence[Passage]) -> dict[Term, float]:
    """Terms that not every passage has tell sentences apart better."""
    texts = [set(stems(passage.text)) for passage in passages]
    weights: dict[Term, float] = {}
    for term in wanted:
        having = sum(text.issuperset(term.stems) for text in texts)
        base = 0.3 if term.weak else 0.7 if term.generic else 1.0
        weights[term] = base * (1.0 + 0.5 * (1 - having / len(texts)))
    return weights


def _candidates(
    passages: Sequence[Passage], weights: dict[Term, float], defines: _Definition | None, *, shows: bool
) -> Iterator[_Candidate]:
    total = sum(weights.values()) or 1.0
    for rank, passage in enumerate(passages):
        opening = 0.2 if passage.start < _OPENING else 0.0
        found = units(passage.text, passage.heading)
        named = set(stems(f"{passage.title} {passage.heading.rsplit(HEADING_SEPARATOR, 1)[-1]}"))
        about = sum(w for term, w in weights.items() if named.issuperset(term.stems)) / total
        prose = 0
        asked = 0.0  # how well the question in front of this sentence fits
        for at, unit in enumerate(found):
            if unit.kind not in ("sentence", "item"):
                continue
            score = _score(unit, weights, total)
            if unit.asks:
                asked = score
                continue
            defining = defines.strength(unit, passage.title) if defines is not None else 0
            # The first sentence under a heading that names the subject says what the subject is.
            score += about * (max(0.45 - 0.15 * prose, 0.0) + opening) + 0.12 / (1 + rank) + 0.6 * asked
            score += _DEFINITION_BONUS * defining
            if shows and at + 1 < len(found) and found[at + 1].kind == "code" and unit.quote.endswith(":"):
                score += _SHOWN_BONUS  # how it is done is shown right behind
            asked = 0.0
            sound = unit.is_prose
            if sound:
                prose += 1
            else:
                score *= _NO_SENTENCE
            yield _Candidate(passage, found, at, score, sound, defining)


@dataclass(frozen=True, slots=True)
class _Definition:
    """Knows the sentences that say what a term means."""

    term: str
    stems: tuple[str, ...]
    pattern: re.Pattern[str]

    @classmethod
    def of(cls, term: str) -> _Definition:
        """Sentences of the form "<term> is", "a <term> refers to", "in testing, <terms> provide"."""
        parts = [re.escape(word) for word in term.split()]
        name = r"[\W_]+".join([*parts[:-1], _any_number(parts[-1])])
        pattern = re.compile(rf"{_BEFORE_TERM}{name}{_AFTER_TERM}", re.IGNORECASE)
        return cls(term, tuple(stems(term)), pattern)

    def strength(self, unit: Unit, title: str) -> int:
        if unit.defines:
            return 2 if tuple(stems(render(unit.defines))) == self.stems else 0
        if unit.kind != "sentence" or not self.pattern.match(unit.quote):
            return 0
        return 2 if is_titled(title, self.term) else 1


def _any_number(word: str) -> str:
    """A word in the singular or the plural."""
    single = word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word
    if single.endswith("ie"):
        single = f"{single[:-2]}y"
    return rf"{single[:-1]}(?:y|ies)" if single.endswith("y") else rf"{single}(?:e?s)?"


def _score(unit: Unit, weights: dict[Term, float], total: float) -> float:
    quote = unit.quote
    present = set(stems(quote))
    matched = [
        (weight, term)
        for term, weight in weights.items()
        if present.issuperset(term.stems) or (term.parts and present.issuperset(term.parts))
    ]
    score = sum(weight for weight, _ in matched) / total
    if matched and _DEFINES.search(quote):
        score += 0.15
    if matched and any(quote.lower().lstrip("\"'`*_ atheAn").startswith(t.surface.lower()) for _, t in matched):
        score += 0.08
    if len(quote) < 30:
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
    if (
        budget > 1
        and at > 0
        and found[at - 1].paragraph == paragraph
        and _LEANS.match(found[at].quote)
        and not found[at - 1].asks
    ):
        start -= 1
    length = sum(len(unit.quote) for unit in found[start:end])
    while end < len(found) and end - start < budget and found[end].paragraph == paragraph and not found[end].asks:
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
        block: list[Unit] = []
        length = 0
        for unit in found[end:]:
            length += len(unit.text)
            if unit.kind != "code" or length > _BLOCK_CHARACTERS:
                break
            block.append(unit)
        return block
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
    ordered = list(reversed(passages)) if at_end else list(passages)
    for sound in (True, False):
        for passage in ordered:
            prose = [
                unit
                for unit in units(passage.text, passage.heading)
                if unit.kind in ("sentence", "item") and (unit.is_prose or not sound)
            ]
            if prose:
                return [_quote(passage, prose[-_RUN_SENTENCES:] if at_end else prose[:_RUN_SENTENCES])]
    return _fallback(ordered[0], ())


def _fallback(passage: Passage, wanted: Sequence[Term]) -> list[Quote]:
    """Lines of a passage that has no prose (code, a table), from where the question's words stand."""
    shown = [unit for unit in units(passage.text, passage.heading) if unit.kind in ("code", "other")]
    lines = "\n\n".join(unit.text.strip("\n") for unit in shown).split("\n")
    asked = {s for term in wanted for s in term.stems}
    if not shown:  # a list of names: those that the question's words are in
        lines = [line.strip() for line in listed_names(passage.text) if asked & set(stems(line))]
    if not lines:
        return []
    start = max(range(len(lines)), key=lambda i: (len(asked & set(stems(lines[i]))), -i)) if shown else 0
    start = max(start - 1, 0)
    text = "\n".join(lines[start : start + _CODE_LINES]).strip("\n")[:_BLOCK_CHARACTERS].rstrip()
    return [Quote(passage, text, text)] if text.strip() else []
