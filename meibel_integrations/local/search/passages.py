"""What a search is asked, and what it gives back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Passage:
    """A stretch of a document that retrieval returned. ``score`` is higher for better; ``start`` and ``end`` are
    character offsets into the document's extracted text, and ``ordinal`` counts the document's passages."""

    document_id: str
    title: str
    url: str
    text: str
    score: float
    start: int
    end: int
    heading: str = ""
    ordinal: int | None = None


class Search(Protocol):
    """Search over the documents of this agent and the files uploaded in this session."""

    def __call__(self, query: str, *, limit: int = 10, document_ids: Sequence[str] | None = None) -> list[Passage]:
        """Passages, those of the best document first; none when the documents have no answer.

        With ``document_ids`` only these are searched, whether they have an answer or not; with an empty query, too,
        they are given in reading order.
        """
        ...

    def weigh(self, query: str) -> dict[str, float]:
        """The stems of the words that a question asks about, misspelled ones corrected. A rare word weighs more."""
        ...

    def similarity(self, query: str, texts: Sequence[str]) -> list[float] | None:
        """How near texts are to a question in meaning (cosines), if there is an embedding model."""
        ...
