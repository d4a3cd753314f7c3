"""The default answerer: it finds the sentences that answer a question and quotes them, with citations.

Everything it says beyond a short lead-in stands in a document, and where nothing was found it says that.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from meibel_integrations.local.answerers.interface import Question
from meibel_integrations.local.answerers.reading import Reading, is_pleasantry, read
from meibel_integrations.local.answerers.scripted import count_usage
from meibel_integrations.local.answerers.sources import as_source, look_up
from meibel_integrations.local.answerers.units import plain
from meibel_integrations.local.answerers.windows import Quote, choose, opening
from meibel_integrations.local.search.passages import Passage
from meibel_integrations.local.search.words import content_words, stems, stems_of
from meibel_integrations.local.store.documents import HEADING_SEPARATOR
from meibel_integrations.local.store.steps import AnswerCitation, Delta, Done, Status, Step, Thinking

_SOURCES = 5
_PER_DOCUMENT = 4  # passages of the document that a conversation is about
_ENOUGH = 0.5  # the share of a question that a document has to have to be asked before all others
_PIECE = re.compile(r"\s*\S+\s*(?=\s|$)|\s+")
_FILE_WORD = re.compile(
    r"(?:files?|documents?|pdf|attach\w*|upload\w*|summar\w*|tl;?dr|sent|says?|contents?)$", re.IGNORECASE
)
_FILE = re.compile(
    r"\b(?:(?:this|the|that|my)\s+(?:\w+\s+)?(?:files?|documents?|pdf)|attach\w*|upload\w*|summar(?:y|i[sz]e)|tl;?dr)\b",
    re.IGNORECASE,
)
_NOTHING_TO_LOOK_UP = "There is nothing to look up in that. Ask me anything about the documents."


@dataclass(frozen=True, slots=True)
class _Found:
    """``missing`` names what was asked for and the quoted document does not have."""

    quotes: Sequence[Quote] = ()
    passages: Sequence[Passage] = ()
    missing: str = ""


class QuotingAnswerer:
    """Answers with quotations from the agent's documents."""

    computes = True

    def answer(self, question: Question) -> Iterator[Step]:
        """The steps of an answer: searches, the text in small pieces, sources and citations."""
        if not question.uploaded_document_ids and is_pleasantry(question.text):
            yield from _said(question.text, _NOTHING_TO_LOOK_UP, Done())
            return
        yield Status("Searching the documents")
        searches: list[Step] = []
        reading = read(question.text, question.history)
        found = _find(question, reading, searches)
        yield from searches
        if question.include_thinking:
            yield Thinking(_thoughts(reading, found))
        yield Status("Writing the answer")
        text, done = _compose(reading, found)
        yield from _said(" ".join([question.text, *(passage.text for passage in found.passages)]), text, done)


def _said(read_text: str, text: str, done: Done) -> Iterator[Step]:
    yield from (Delta(piece) for piece in _PIECE.findall(text))
    yield Done(done.sources, done.citations, usage=count_usage(read_text, text))


def _find(question: Question, reading: Reading, searches: list[Step]) -> _Found:
    about_file = _FILE.search(reading.asked) is not None
    files = question.uploaded_document_ids or (question.earlier_document_ids if about_file else ())
    if files:
        found = _in_files(question, reading, files, searches, about_file=about_file)
        if found.quotes:
            return found
    own = content_words(reading.asked)
    if own.keys() & set(stems(reading.context)):
        given = Passage("", "the given context", "", reading.context, 1.0, 0, len(reading.context))
        return _Found(choose(reading, [given], question.search), [given])
    passages = look_up(question, reading.query, searches)
    cited = next((turn.document_ids[:1] for turn in reversed(question.history) if turn.document_ids), ())
    missing = ""
    if reading.leans and cited:
        # What answered the question before comes first: the conversation is about it.
        here = look_up(question, reading.query, searches, limit=_PER_DOCUMENT, document_ids=cited)
        passages = [*here, *(passage for passage in passages if passage.document_id not in cited)]
        if own and own.keys().isdisjoint(_words(passages)):
            passages, missing = here, ", ".join(own.values())
        if len(own.keys() & _words(here)) >= _ENOUGH * len(own):
            return _Found(choose(reading, here, question.search), passages)
    return _Found(choose(reading, passages, question.search), passages, missing)


def _words(passages: Sequence[Passage]) -> set[str]:
    return {stem for text in stems_of([passage.text for passage in passages]) for stem in text}


def _in_files(
    question: Question, reading: Reading, files: Sequence[str], searches: list[Step], *, about_file: bool
) -> _Found:
    """From files that were sent along, unless the question is plainly about something else."""
    asked = {s: word for s, word in content_words(reading.asked).items() if not _FILE_WORD.fullmatch(word)}
    passages = look_up(question, reading.query, searches, document_ids=files) if asked else []
    texts = stems_of([f"{passage.title} {passage.heading} {passage.text}" for passage in passages])
    share = max((len(asked.keys() & set(text)) / len(asked) for text in texts), default=0.0)
    if share >= _ENOUGH:
        return _Found(choose(reading, passages, question.search), passages)
    if asked and not about_file and question.search(reading.query):
        return _Found()
    first = look_up(question, "", searches, limit=3, document_ids=files[:1])
    return _Found(opening(first), first, missing=", ".join(asked.values()))


def _thoughts(reading: Reading, found: _Found) -> str:
    wanted = ", ".join(content_words(reading.query).values()) or "the document as a whole"
    titles = ", ".join(dict.fromkeys(_place(passage) for passage in found.passages))
    return f"Looking for: {wanted}. Passages found in {titles or 'no document'}. Quoting {len(found.quotes)} of them."


def _compose(reading: Reading, found: _Found) -> tuple[str, Done]:
    """The answer's text, with a citation right behind each quotation."""
    if not found.quotes:
        wanted = list(dict.fromkeys(word[:60] for word in content_words(reading.asked).values()))[:5]
        about = f" about {', '.join(wanted)}." if wanted else ": the question names nothing to look for."
        return f"I found nothing in the documents{about}", Done()
    sources = _sources(found)
    parts: list[str] = []
    citations: list[AnswerCitation] = []
    place = ""
    for quote in found.quotes:
        if _place(quote.passage) != place:
            place = _place(quote.passage)
            nothing = f"I found nothing about {found.missing} in {place}. What it says:"
            parts.append(nothing if found.missing else f"From {place}:")
        parts.append(quote.text)
        if quote in sources:
            citations.append(AnswerCitation(len("\n\n".join(parts)), (sources.index(quote),)))
    listed = tuple(as_source(source.passage, source.text) for source in sources)
    return "\n\n".join(parts), Done(listed, tuple(citations))


def _sources(found: _Found) -> list[Quote]:
    """The best documents, each by what is quoted of it, or by its best passage."""
    order = list(dict.fromkeys(p.document_id for p in found.passages if p.document_id))
    listed = [quote for quote in found.quotes if quote.passage.document_id]
    for document in order[:_SOURCES]:
        if document not in {quote.passage.document_id for quote in listed}:
            listed.append(Quote(next(p for p in found.passages if p.document_id == document), ""))
    return sorted(listed, key=lambda source: order.index(source.passage.document_id))


def _place(passage: Passage) -> str:
    """The document's title and the section's, in quotation marks that differ from those inside them."""
    title, section = plain(passage.title), plain(passage.heading.rsplit(HEADING_SEPARATOR, 1)[-1])
    if not passage.document_id:
        return title
    return f"\u201c{title}\u201d" if section in ("", title) else f"\u201c{title}\u201d, \u201c{section}\u201d"
