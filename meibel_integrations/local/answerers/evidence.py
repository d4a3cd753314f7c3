"""Where the answer to a question should come from: which passages, of which documents, given the conversation."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from meibel_integrations.local.answerers.followup import Reading, read_question
from meibel_integrations.local.answerers.interface import Question
from meibel_integrations.local.search.analysis import Term, stems, terms, words
from meibel_integrations.local.search.passages import Passage, Search
from meibel_integrations.local.store.documents import HEADING_SEPARATOR, UPLOAD_URL_PREFIX

_LIMIT = 10
_READ = 2000  # characters of a question in which a file may be mentioned
_WHOLE_DOCUMENT = 200
_LONGEST_ENDING = 3  # letters that a form of a word may have more than the word
_ABOUT_THE_FILE = re.compile(
    r"\b(?:files?|documents?|attach(?:ed|ment)s?|upload(?:ed|s)?|pdf|summari[sz]e|summary|tl;?dr|contents?)\b",
    re.IGNORECASE,
)
_EARLIER_UPLOAD = re.compile(
    r"\b(?:i|we|my|our)\b[^.?!]*\b(?:upload\w*|attach\w*|sent|shared|gave)\b|\b(?:uploaded|attached)\b|\battachment\b"
    r"|\b(?:the|that|this|my)\s+(?:file|document|pdf|upload)\b",
    re.IGNORECASE,
)
_DEFINITION = re.compile(r"^\W*what(?:'s|\s+(?:is|are|was|were|does|do))\b", re.IGNORECASE)
_WHAT_IS = re.compile(
    r"^\W*(?:(?:what|who)(?:'s|\u2019s|\s+(?:is|are|was|were))|define|explain|what\s+do(?:es)?(?=.*\bmean))\s+"
    r"(?:(?:an?|the)\s+)?[\"'`\u201c]?(?P<term>[\w.@+#-]+(?:\s+[\w.@+#-]+){0,2}?)[\"'`\u201d]?(?:\s+mean)?(?:\s+in\s+\w+)?\W*$",
    re.IGNORECASE,
)
_GLOSSARY = re.compile(r"glossary|terminology|definitions", re.IGNORECASE)
_DEFINITION_LIMIT = 24
_SAYS_SOMETHING = 120  # characters
# words that a title adds to its subject
_TITLE_EXTRAS = frozenset(
    stems("reference overview introduction intro guide basics tutorial about manual using concepts")
)
_FULL_QUESTION = re.compile(
    r"\b(?:what|how|who|where|when|which|why)\b(?!\s+(?:about|if|else)\b).*"
    r"\b(?:is|are|was|were|do|does|did|can|could|should|must|will|would|has|have)\b",
    re.IGNORECASE | re.DOTALL,
)
_END = re.compile(r"\b(?:end|ends|ended|ending|finish\w*|conclu\w+|finally|outcome)\b", re.IGNORECASE)
_BEGIN = re.compile(r"\b(?:begin|begins|began|beginning|start|starts|started|opening)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Evidence:
    """Passages to answer from, best first. ``terms`` are what sentences are chosen by; ``missing`` names what the
    question asks about and the passages do not have; ``seen`` is what earlier answers said already."""

    passages: tuple[Passage, ...] = ()
    terms: tuple[Term, ...] = ()
    missing: str = ""
    in_order: bool = False
    at_end: bool = False
    continued: bool = False
    defined: str = ""  # the term, when the question asks what it is


def find_evidence(question: Question) -> Evidence:
    """Search as the question and its conversation demand."""
    reading = read_question(question.text, question.history)
    own = tuple(terms(question.text))
    finder = _Finder(question.search, question.text, own, reading)
    uploads = question.uploaded_document_ids or _earlier_uploads(question)
    if uploads:
        found = finder.in_uploads(uploads, asked_about=_ABOUT_THE_FILE.search(question.text) is not None)
        if found is not None:
            return found
    if reading.kind == "continues":
        return finder.continued()
    if reading.kind == "perhaps":
        return finder.perhaps_continued()
    return finder.anew()


def covered(passage: Passage, wanted: Sequence[Term]) -> float:
    """The share of the telling terms that a passage, its heading or its title has."""
    telling = telling_terms(wanted)
    if not telling:
        return 0.0
    present = set(stems(f"{passage.title} {passage.heading} {passage.text}"))
    return sum(_has(present, term) for term in telling) / len(telling)


def telling_terms(wanted: Sequence[Term]) -> list[Term]:
    """The terms that say what is asked about, as far as there are any."""
    return (
        [term for term in wanted if not term.weak and not term.generic]
        or [term for term in wanted if not term.weak]
        or list(wanted)
    )


def _has(present: set[str], term: Term) -> bool:
    return present.issuperset(term.stems) or bool(term.parts and present.issuperset(term.parts))


def _earlier_uploads(question: Question) -> tuple[str, ...]:
    """The uploads of earlier turns, when the question speaks of a file that was sent."""
    if not _EARLIER_UPLOAD.search(question.text[:_READ]):
        return ()
    earlier = [i for turn in reversed(question.history) for i in turn.document_ids]
    probe = [question.text, *(turn.text for turn in reversed(question.history) if turn.role == "user")]
    ids: dict[str, None] = {}
    for passage in question.search("", limit=_WHOLE_DOCUMENT, document_ids=earlier) if earlier else ():
        if passage.url.startswith(UPLOAD_URL_PREFIX):
            ids[passage.document_id] = None
    for text in probe[:4]:
        for passage in question.search(text, limit=30):
            if passage.url.startswith(UPLOAD_URL_PREFIX):
                ids[passage.document_id] = None
    return tuple(ids)


class _Finder:
    """The searches behind ``find_evidence``."""

    def __init__(self, search: Search, text: str, own: tuple[Term, ...], reading: Reading) -> None:
        self._search = search
        self._text = text
        self._own = own
        self._reading = reading
        self._topic = f"{reading.topic} {text}"

    def anew(self) -> Evidence:
        """A question that stands by itself."""
        defined = _defined_term(self._text)
        hits = self._search(self._text, limit=_DEFINITION_LIMIT if defined else _LIMIT)
        titled = [hit.document_id for hit in hits if defined and is_titled(hit.title, defined)]
        if titled:
            hits.sort(key=lambda hit: hit.document_id not in titled)
        if hits and _DEFINITION.match(self._text) and (titled or _title_covers(hits[0], self._own) >= 0.5):
            # What a thing is, its document says first.
            for document_id in list(dict.fromkeys(titled))[:2] or [hits[0].document_id]:
                at = next(i for i, hit in enumerate(hits) if hit.document_id == document_id)
                self._insert(hits, self._opening(document_id), at + (0 if titled else 1))
        if hits and defined:
            glossaries = dict.fromkeys(
                hit.document_id
                for hit in self._search("glossary", limit=5)
                if _GLOSSARY.search(f"{hit.title} {hit.url}")
            )
            if glossaries:
                entry = re.compile(rf"^\W*{re.escape(defined)}s?\W*$", re.IGNORECASE | re.MULTILINE)
                around = self._search(defined, limit=_WHOLE_DOCUMENT, document_ids=list(glossaries))
                entries = [passage for passage in around if entry.search(passage.text)][:2]
                self._insert(hits, entries, sum(hit.document_id == hits[0].document_id for hit in hits))
        return Evidence(tuple(hits), self._own, defined=defined)

    def _opening(self, document_id: str) -> list[Passage]:
        """The first passages of a document, up to one that says something."""
        opening = self._search("", limit=4, document_ids=[document_id])
        telling = next((i for i, passage in enumerate(opening) if len(passage.text) >= _SAYS_SOMETHING), 0)
        return opening[: telling + 1]

    def _insert(self, hits: list[Passage], more: Sequence[Passage], at: int) -> None:
        best = max(hit.score for hit in hits)
        before = {(hit.document_id, hit.start) for hit in hits[:at]}
        new = [replace(hit, score=best) for hit in more if (hit.document_id, hit.start) not in before]
        known = {(hit.document_id, hit.start) for hit in new}
        hits[at:] = [*new, *(hit for hit in hits[at:] if (hit.document_id, hit.start) not in known)]

    def in_uploads(self, ids: Sequence[str], *, asked_about: bool) -> Evidence | None:
        """From the uploaded files, unless the question is plainly about something else."""
        content = tuple(term for term in self._own if not _ABOUT_THE_FILE.search(term.surface))
        hits = self._search(self._topic if self._reading.topic else self._text, limit=_LIMIT, document_ids=ids)
        matching = self._by_own_terms(hits, content, 0.5)
        if matching:
            return Evidence(tuple(matching), content)
        if asked_about or not [term for term in content if not term.weak]:
            opening = self._search("", limit=3, document_ids=ids)
            telling = [term for term in telling_terms(content) if not term.weak]
            return Evidence(tuple(opening), content, missing=_names(telling), in_order=True) if opening else None
        elsewhere = self._search(self._text, limit=_LIMIT)
        if elsewhere or not hits:
            return None
        return Evidence(tuple(hits), content, missing=_names(telling_terms(content)))

    def perhaps_continued(self) -> Evidence:
        """An afterthought: the earlier documents have the say when they speak of it, the whole collection else."""
        hits = self._search(self._text, limit=_LIMIT)
        ids = self._reading.document_ids
        stands_alone = _FULL_QUESTION.search(self._text) is not None
        if ids and not (stands_alone and hits and _is_subject(hits[0], self._own)):
            for document_id in ids[:2]:
                here = self._search(self._topic, limit=_LIMIT, document_ids=[document_id])
                matching = self._by_own_terms(here, self._own, 1.0)
                if matching:
                    return Evidence(tuple(matching), self._own, continued=True)
        return Evidence(tuple(hits), self._own) if hits else self.continued()

    def continued(self) -> Evidence:
        """A question that leans on the ones before it is answered from what answered those."""
        ids = self._reading.document_ids
        both = tuple(terms(self._topic))
        if not ids:
            return Evidence(tuple(self._search(self._topic, limit=_LIMIT)), both, continued=True)
        positional = self._by_position(ids[0])
        if self._reading.more or not self._own:
            hits = self._search(self._topic, limit=_LIMIT, document_ids=ids[:1])
            hits = hits or self._search("", limit=_LIMIT, document_ids=ids[:1])
            return Evidence(tuple(hits), both, continued=True)
        for rank, document_id in enumerate(ids):
            here = self._search(self._topic, limit=_LIMIT, document_ids=[document_id])
            matching = self._by_own_terms(here, self._own, 0.3)
            if rank:  # only a later source's own subject outweighs the first source
                matching = [passage for passage in matching if _is_subject(passage, self._own)]
            if matching:
                return Evidence(tuple(matching), self._own, continued=True)
            if positional is not None:
                return positional
        return self._beyond(ids[0], both)

    def _beyond(self, document_id: str, both: tuple[Term, ...]) -> Evidence:
        """Nothing in the earlier documents has the question's own words: look around, then say what is missing."""
        around = self._by_own_terms(self._search(self._topic, limit=_LIMIT), self._own, 1.0)
        around = [
            passage
            for passage in around
            if _is_subject(passage, self._own) and covered(passage, terms(self._reading.topic)) >= 0.5
        ]
        if around:
            return Evidence(tuple(around), self._own, continued=True)
        related = self._by_related_words(document_id)
        if related is not None:
            return related
        nearest = self._search(self._topic, limit=_LIMIT, document_ids=[document_id])
        nearest = nearest or self._search("", limit=_LIMIT, document_ids=[document_id])
        return Evidence(tuple(nearest), both, missing=_names(telling_terms(self._own)), continued=True)

    def _by_related_words(self, document_id: str) -> Evidence | None:
        """Where the document has the question's word in a form that stemming does not reach: undo and undone."""
        telling = [term for term in telling_terms(self._own) if not term.weak and len(term.stems) == 1]
        passages = self._search("", limit=_WHOLE_DOCUMENT, document_ids=[document_id])
        for term in telling:
            beginning = _beginning(term.words[0])
            if not beginning:
                continue
            kin = {word for passage in passages for word in words(passage.text) if word.startswith(beginning)}
            kin = {word for word in kin if len(word) <= len(term.words[0]) + _LONGEST_ENDING}
            found = [passage for passage in passages if not kin.isdisjoint(words(passage.text))]
            if found:
                others = tuple(other for other in self._own if other != term)
                related = tuple(found_term for word in sorted(kin) for found_term in terms(word))
                return Evidence(tuple(found), related + others, continued=True)
        return None

    def _by_position(self, document_id: str) -> Evidence | None:
        """ "How does it end?" asks for a place in the document even where it does not use that word."""
        at_end = _END.search(self._text) is not None
        if not at_end and not _BEGIN.search(self._text):
            return None
        passages = self._search("", limit=_WHOLE_DOCUMENT, document_ids=[document_id])
        others = [
            term for term in telling_terms(self._own) if not (_END.search(term.surface) or _BEGIN.search(term.surface))
        ]
        if not passages or [term for term in others if not term.weak]:
            return None
        place = passages[-3:] if at_end else passages[:3]
        return Evidence(tuple(place), self._own, in_order=True, at_end=at_end, continued=True)

    def _by_own_terms(self, hits: Sequence[Passage], own: Sequence[Term], minimum: float) -> list[Passage]:
        """The hits that have the question's own words, those with most of them first."""
        shares = [(covered(passage, own), passage) for passage in hits]
        kept = [(share, passage) for share, passage in shares if share >= minimum and share > 0]
        kept.sort(key=lambda pair: -pair[0])
        return [passage for _, passage in kept]


def _is_subject(passage: Passage, wanted: Sequence[Term]) -> bool:
    """Whether a passage's title or last heading is what the question asks about."""
    named = replace(passage, text="", heading=passage.heading.rsplit(HEADING_SEPARATOR, 1)[-1])
    return covered(named, wanted) >= 1.0


def _title_covers(passage: Passage, wanted: Sequence[Term]) -> float:
    return covered(replace(passage, text="", heading=""), wanted)


def is_titled(title: str, term: str) -> bool:
    """Whether a document is about a term by its title: "Spiders", "Deferred Reference"."""
    named = {s for found in terms(title) for s in found.stems} - _TITLE_EXTRAS
    return bool(named) and named == {s for found in terms(term) for s in found.stems}


def _beginning(word: str) -> str:
    """What a word shares with its irregular forms, if it is long enough to say anything."""
    return word[: max(4, len(word) - 3)] if len(word) >= 4 and word.isalpha() else ""


def _defined_term(text: str) -> str:
    """The term whose meaning is asked for: "What is a tween?"."""
    match = _WHAT_IS.match(text[:_READ])
    if match is None or not any(not term.weak for term in terms(match["term"])):
        return ""
    return match["term"].strip(".")


def _names(wanted: Sequence[Term]) -> str:
    return ", ".join(dict.fromkeys(term.surface for term in wanted[:4]))
