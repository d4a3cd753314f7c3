"""Cutting a document into passages for retrieval: by section, then paragraph, then sentence, then word.

The law that citations rest on: ``text[passage.start:passage.end] == passage.text``.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator

from meibel_integrations.local.documents.document import Extracted
from meibel_integrations.local.search.words import derived_words
from meibel_integrations.local.store.documents import PassageRecord

TARGET = 1100  # characters: a passage is closed when it has grown this long
MAXIMUM = 2200  # a passage is never longer
_CODE_MAXIMUM = 4400  # unless it holds a block of code that would have to be cut

_GAP = re.compile(r"\n[ \t]*+\n(?:[ \t]*+\n)*+")
_LINE = re.compile(r"\n")
_SENTENCE = re.compile(r"[.!?\u3002\uff01\uff1f][\"')\]]*\s|[\u3002\uff01\uff1f]")
_SPACE = re.compile(r"\s")


def chunk(document: Extracted) -> Iterator[PassageRecord]:
    """The passages of a document, in order, without overlap."""
    text = document.text
    blocks = _Blocks(document.blocks)
    for section in document.sections:
        for start, end in _pieces(text, section.start, section.end, blocks):
            start, end = _trim(text, start, end)
            if start < end:
                body = text[start:end]
                yield PassageRecord(start, end, section.heading, body, derived_words(body, section.heading))


def _pieces(text: str, start: int, end: int, blocks: _Blocks) -> Iterator[tuple[int, int]]:
    if end - start <= MAXIMUM:
        yield start, end
        return
    begin = start
    at = start
    for paragraph_end in (*_paragraph_ends(text, start, end, blocks), end):
        grown = paragraph_end - begin
        if grown > MAXIMUM and at > begin:
            yield begin, at
            begin = at
            grown = paragraph_end - begin
        if grown > MAXIMUM:
            limit = _CODE_MAXIMUM if blocks.any_within(begin, paragraph_end) else MAXIMUM
            yield from _split_long(text, begin, paragraph_end, limit)
            begin = paragraph_end
        elif grown >= TARGET and not _continues(text, paragraph_end, end):
            yield begin, paragraph_end
            begin = paragraph_end
        at = paragraph_end
    if begin < end:
        yield begin, end


def _paragraph_ends(text: str, start: int, end: int, blocks: _Blocks) -> Iterator[int]:
    for gap in _GAP.finditer(text, start, end):
        if not blocks.cover(gap.start()):
            yield gap.end()


class _Blocks:
    """The blocks of code of a document, in order and without overlap."""

    def __init__(self, blocks: list[tuple[int, int]]) -> None:
        self._starts = [start for start, _ in blocks]
        self._ends = [end for _, end in blocks]

    def cover(self, place: int) -> bool:
        """Whether a place lies inside a block."""
        before = bisect_right(self._starts, place) - 1
        return before >= 0 and place < self._ends[before]

    def any_within(self, start: int, end: int) -> bool:
        """Whether a whole block lies between two places."""
        first = bisect_left(self._starts, start)
        return first < len(self._ends) and self._ends[first] <= end


def _continues(text: str, at: int, end: int) -> bool:
    """An indented paragraph (a literal block, the body of a list item) belongs to what stands before it."""
    return at < end and text[at] in " \t"


def _split_long(text: str, start: int, end: int, limit: int) -> Iterator[tuple[int, int]]:
    while end - start > limit:
        at = _last_break(text, start + TARGET // 2, start + MAXIMUM)
        yield start, at
        start = at
    yield start, end


def _last_break(text: str, low: int, high: int) -> int:
    """The best place to cut between ``low`` and ``high``: a line or a sentence, else a space, else anywhere."""
    for pattern in (_SENTENCE, _LINE, _SPACE):
        last = 0
        for match in pattern.finditer(text, low, high):
            last = match.end()
        if last:
            return last
    return high


def _trim(text: str, start: int, end: int) -> tuple[int, int]:
    """Without blank lines around it, but with the indentation of its first line."""
    body = text[start:end]
    end = start + len(body.rstrip())
    lead = len(body) - len(body.lstrip())
    line = body.rfind("\n", 0, lead) + 1
    return min(start + line, end), end
