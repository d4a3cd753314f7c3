"""Where the answer to a question should come from: which passages, of which documents, given the conversation."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from meibel_integrations.local.answerers.base import Passage, Question, Search
from meibel_integrations.local.answerers.followup import Reading, read_question
from meibel_integrations.local.ingest.document import HEADING_SEPARATOR
from meibel_integrations.local.retrieval.analysis import Term, stems, terms
from meibel_integrations.local.store.documents import UPLOAD_URL_PREFIX

_LIMIT = 10
_READ = 2000  # characters of a question in which a file may be mentioned
_WHOLE_DOCUMENT = 200
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
        hits = self._search(self._text, limit=_LIMIT)
        if hits and _DEFINITION.match(self._text) and _title_covers(hits[0], self._own) >= 0.5:
            # What a thing is, its document says first.
            opening = self._search("", limit=1, document_ids=[hits[0].document_id])
            known = {(hit.document_id, hit.start) for hit in hits}
            hits[1:1] = [
                replace(passage, score=hits[0].score)
                for passage in opening
                if (passage.document_id, passage.start) not in known
            ]
        return Evidence(tuple(hits), self._own)

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
        nearest = self._search(self._topic, limit=_LIMIT, document_ids=[document_id])
        nearest = nearest or self._search("", limit=_LIMIT, document_ids=[document_id])
        return Evidence(tuple(nearest), both, missing=_names(telling_terms(self._own)), continued=True)

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
        place = passages[-1:] if at_end else passages[:1]
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


def _names(wanted: Sequence[Term]) -> str:
    return ", ".join(dict.fromkeys(term.surface for term in wanted[:4]))
