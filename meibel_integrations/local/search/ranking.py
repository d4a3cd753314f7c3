"""The second stage of a search: put the candidates that FTS5 found into the order a reader would.

FTS5's bm25 is fast and sees one passage at a time. Here a passage also gains from its document: from a title that is
the question's subject, from a file name, from other passages of the same document that fit. Change logs, indexes and
tests mention everything and explain little, so they stand back unless they are asked for.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import PurePath

from meibel_integrations.local.search.analysis import Term, split_identifier, stems, words
from meibel_integrations.local.search.stemming import stem
from meibel_integrations.local.search.stopwords import STOP_WORDS
from meibel_integrations.local.store.documents import HEADING_SEPARATOR, PassageRow

_SATURATION = 1.2
_TYPICAL_LENGTH = 180  # stems in an average passage
_TITLE_WEIGHT = 1.0
_HEADING_WEIGHT = 0.7
_NAME_WEIGHT = 0.5
_SUBJECT_WEIGHT = 1.1  # a title or heading that consists of the question's words
_EXACT_HEADING = 0.8  # the share of the question that a heading has to say, and nothing else
_EXACT_HEADING_WEIGHT = 0.6
_NEARNESS_WEIGHT = 0.5
_ADJACENCY_WEIGHT = 1.0
_WEAK_FACTOR = 0.3
_GENERIC_WORD_FACTOR = 0.7
_ENOUGH = 0.5  # share of the question's subject that a relevant passage covers
_PART_FACTOR = 0.5  # the parts of a compound name were found, but not the name
_SIBLINGS = (0.22, 0.1)
_DENSITY = 0.04  # a little for every e-fold of matching passages
_NEAR = 4
_OTHER_FORM_FACTOR = 0.85  # "atom" where "atomic" was asked for
# What mentions everything and explains little, by how far it stands back.
_BACKGROUND = (
    (
        0.62,
        re.compile(
            r"(?:^|[/._-])(?:releases?|release[-_]?notes|changelogs?|changes|history|news|what[-_]?s[-_]?new|"
            r"deprecated|legacy|obsolete|roadmap)(?=[/._-]|$)"
            r"|(?:^|[/_-])v?\d+\.\d+(?:\.\d+)*(?:\.[a-z]+)?$",  # a file named after a version, not the folder of one
            re.IGNORECASE,
        ),
    ),
    (
        0.72,
        re.compile(
            r"(?:^|[/._-])(?:genindex|py-modindex|search|_modules|locale|glossary|credits|contributors|authors|"
            r"licen[sc]e|contents|_sources)(?=[/._-]|$)",
            re.IGNORECASE,
        ),
    ),
    (
        0.5,
        re.compile(r"(?:^|[/._-])(?:tests?|fixtures|testdata|conftest|benchmarks?|bench)(?=[/._-]|$)", re.IGNORECASE),
    ),
    (0.6, re.compile(r"\.(?:py|pyi|js|ts|tsx|c|h|cc|cpp|go|rs|java|rb|php|css|po|pot|json|ya?ml|toml|cfg|ini)$")),
)
_ASKED_FOR = 0.6  # milder ones do not stand back when the question names them
_ENDING = re.compile(r"(?:ations?|ies|ing|ings|ed|ers?|es|s|e|y)$")
_STOP_STEMS = frozenset(map(stem, STOP_WORDS))


@dataclass(frozen=True, slots=True)
class Ranked:
    """A candidate with its score (about 0 to 1) and the share of the question's weight that it covers."""

    row: PassageRow
    score: float
    coverage: float
    relevant: bool  # it covers enough of what the question is about


def term_weights(terms: Sequence[Term], counts: Mapping[tuple[str, ...], int], total: int) -> dict[Term, float]:
    """How much each term tells: rare ones more. A term that occurs nowhere weighs like a very rare one."""
    ceiling = math.log(1 + (total + 0.5) / 1.5)
    weights: dict[Term, float] = {}
    for term in terms:
        count = counts.get(term.stems, 0)
        idf = min(math.log(1 + (total - count + 0.5) / (count + 0.5)), ceiling) if total else 1.0
        factor = _WEAK_FACTOR if term.weak else _GENERIC_WORD_FACTOR if term.generic else 1.0
        weights[term] = max(idf, 0.05) * factor
    return weights


def rank(
    rows: Sequence[PassageRow], weights: Mapping[Term, float], found: Mapping[str, int] | None = None
) -> list[Ranked]:
    """The candidates, best first. ``found`` says how many passages of each document matched the query at all."""
    total = sum(weights.values()) or 1.0
    asked = {s for term in weights for s in (*term.stems, *term.parts)}
    documents: dict[str, _Names] = {}
    scored: list[tuple[float, Ranked]] = []
    for row in rows:
        names = documents.get(row.document_id)
        if names is None:
            names = documents[row.document_id] = _Names.of(row, asked)
        scored.append(_score(row, names, weights, total))
    best: dict[str, list[float]] = defaultdict(list)
    for score, ranked in scored:
        best[ranked.row.document_id].append(score)
    bonus = {
        document: sum(share * value for share, value in zip(_SIBLINGS, sorted(scores)[::-1][1:], strict=False))
        + _DENSITY * math.log(max(found.get(document, 1) if found else 1, 1)) * max(scores)
        for document, scores in best.items()
    }
    result = [
        Ranked(r.row, round(math.tanh((score + bonus[r.row.document_id]) / (2.2 * total)), 4), r.coverage, r.relevant)
        for score, r in scored
    ]
    result.sort(key=lambda r: (-r.score, r.row.document_id, r.row.ordinal))
    return result


@dataclass(frozen=True, slots=True)
class _Names:
    """What a document's title and path say."""

    title: frozenset[str]
    words: frozenset[str]  # of the title, as they are written
    path: frozenset[str]
    subject: float
    factor: float

    @classmethod
    def of(cls, row: PassageRow, asked: set[str]) -> _Names:
        title = _title_stems(row.title)
        tail = PurePath(row.path.removeprefix("pydoc:"))
        name = {stem(part) for part in split_identifier(" ".join((tail.parent.name, tail.stem)))}
        where = "/".join(tail.parts[-4:])
        factor = 1.0
        for share, pattern in _BACKGROUND:
            found = pattern.search(where)
            if found and (share <= _ASKED_FOR or not asked & set(stems(found[0]))):
                factor = min(factor, share)
        return cls(
            frozenset(title),
            frozenset(words(row.title)),
            frozenset(name),
            _share(_subject(title, asked), asked),
            factor,
        )


def _title_stems(text: str) -> set[str]:
    """The stems of a title, without the site's name behind a dash: ``Sessions — Flask Documentation (3.1)``."""
    head = re.split(r"\s+[\u2014\u2013|\u00b7]\s+", text, maxsplit=1)[0]
    return set(stems(head)) | {stem(part) for part in split_identifier(head)}


def _subject(title: set[str], asked: set[str]) -> set[str]:
    """The words of a title that count: its stop words only if they were asked for (the "with" statement)."""
    return (title - (_STOP_STEMS - asked)) or title


def _share(subject: set[str], asked: set[str]) -> float:
    return len(subject & asked) / len(subject) if subject else 0.0


def _score(row: PassageRow, names: _Names, weights: Mapping[Term, float], total: float) -> tuple[float, Ranked]:
    plain = words(row.text)
    body = [stem(word) for word in plain]
    counts = Counter(body)
    exact = set(plain) | names.words
    heading_words = words(row.heading)
    heading = {stem(word) for word in heading_words}
    named_as = names.words.union(heading_words)
    asked = {s for term in weights for s in (*term.stems, *term.parts)}
    last_heading = _subject(_title_stems(row.heading.rsplit(HEADING_SEPARATOR, 1)[-1]), asked) if heading else set()
    damping = _SATURATION * (0.4 + 0.6 * len(body) / _TYPICAL_LENGTH)
    evidence = _Evidence()
    score = subject = inner_subject = 0.0
    for term, weight in weights.items():
        frequency, share = _frequency(term, counts, body)
        in_title = names.title.issuperset(term.stems)
        in_heading = heading.issuperset(term.stems)
        in_name = names.path.issuperset(term.stems)
        if not (frequency or in_title or in_heading or in_name):
            continue
        share = 1.0 if in_title or in_heading else share or 0.8
        same = exact.issuperset(term.words) or _has_number(term, exact)
        if not same:
            share *= _OTHER_FORM_FACTOR
        evidence.add(term, weight * share, (in_title or in_heading) and _is_inflected(term, named_as))
        score += weight * share * frequency / (frequency + damping)
        # What is to be done counts like what it is to be done with where something is named after it.
        naming = weight / _GENERIC_WORD_FACTOR if term.generic else weight * (1.0 if same else _OTHER_FORM_FACTOR)
        in_full = _TITLE_WEIGHT * ((0.4 + 0.6 * names.subject) if term.generic else 1.0)
        score += naming * (in_full * in_title + _HEADING_WEIGHT * in_heading * share + _NAME_WEIGHT * in_name)
        subject += naming * in_title
        inner_subject += naming * last_heading.issuperset(term.stems)
    doing = {s for term in weights if term.generic for s in term.stems}
    score += _SUBJECT_WEIGHT * max(subject * names.subject, 0.8 * inner_subject * _share(last_heading, asked))
    if (
        inner_subject >= _EXACT_HEADING * total
        and _share(last_heading, asked) == 1.0
        and not doing.isdisjoint(last_heading)
    ):
        score += _EXACT_HEADING_WEIGHT * total
    score += _nearness(body, weights)
    coverage = evidence.matched / total
    relevant = evidence.suffices(weights)
    return score * (0.35 + 0.65 * coverage) * names.factor, Ranked(row, 0.0, coverage, relevant)


class _Evidence:
    """What of a question a passage matched, and whether that makes it an answer."""

    def __init__(self) -> None:
        self.matched = 0.0
        self._terms: dict[Term, float] = {}
        self._named = False  # a term that says what the question is about stands in the title or heading

    def add(self, term: Term, weight: float, in_name: bool) -> None:
        self.matched += weight
        self._terms[term] = weight
        self._named = self._named or (in_name and not term.weak and not term.generic)

    def suffices(self, weights: Mapping[Term, float]) -> bool:
        """Common words alone never suffice; half of the subject does, if the passage is about it."""
        telling = [term for term in weights if not term.weak and not term.generic]
        if not telling:
            telling = [term for term in weights if not term.weak]
            return bool(telling) and all(term in self._terms for term in telling)
        found = [term for term in telling if term in self._terms]
        if not found:
            return False
        if self._named and len(found) >= _ENOUGH * len(telling):
            return True
        return sum(self._terms[term] for term in found) > _ENOUGH * 1.05 * sum(weights[term] for term in telling)


def _has_number(term: Term, present: set[str]) -> bool:
    """Whether the term stands there in the other number: router for routers."""
    return len(term.words) == 1 and not present.isdisjoint(
        (term.words[0] + "s", term.words[0] + "es", term.words[0].removesuffix("s"), term.words[0].removesuffix("es"))
    )


def _is_inflected(term: Term, present: frozenset[str]) -> bool:
    """Whether a name has the term itself or an inflection: caching for cache, but not capitalize for capital."""
    if len(term.words) > 1 or present.issuperset(term.words):
        return True
    return any(_base(word) == _base(term.words[0]) for word in present if word[:2] == term.words[0][:2])


def _base(word: str) -> str:
    """A word without the endings of number, tense, doer and doing."""
    base = _ENDING.sub("", word) if len(word) > 4 else word
    return base[:-1] if len(base) > 3 and base[-1] == base[-2] else base


def _frequency(term: Term, counts: Counter[str], body: list[str]) -> tuple[float, float]:
    """How often a passage has a term, and how much of the term that is: a name's scattered parts are half of it."""
    if len(term.stems) == 1:
        found = counts[term.stems[0]]
    else:
        found = min(counts[s] for s in term.stems)
        if found:
            found = _occurrences(term.stems, body)
    if found:
        return float(found), 1.0
    if term.parts and all(counts[part] for part in term.parts):
        return float(min(counts[part] for part in term.parts)), _PART_FACTOR
    return 0.0, 0.0


def _occurrences(sequence: tuple[str, ...], body: list[str]) -> int:
    length = len(sequence)
    return sum(tuple(body[i : i + length]) == sequence for i, s in enumerate(body) if s == sequence[0])


def _nearness(body: list[str], weights: Mapping[Term, float]) -> float:
    """The weight of neighbouring question terms that stand near each other in the passage too."""
    places: dict[str, list[int]] = defaultdict(list)
    wanted = {term.stems[0] for term in weights} | {term.stems[-1] for term in weights}
    for i, s in enumerate(body):
        if s in wanted:
            places[s].append(i)
    near = 0.0
    ordered = list(weights.items())
    for (first, a), (second, b) in pairwise(ordered):
        ends, starts = places[first.stems[-1]][:30], set(places[second.stems[0]][:60])
        if any(x + 1 in starts for x in ends):
            near += _ADJACENCY_WEIGHT * min(a, b)
        elif any(x + step in starts for x in ends for step in range(-_NEAR, _NEAR + 1) if step):
            near += _NEARNESS_WEIGHT * min(a, b)
    return near
