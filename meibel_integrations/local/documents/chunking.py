"""Cutting a document into passages for retrieval: by section, then paragraph, then sentence, then word.

The law that citations rest on: ``text[passage.start:passage.end] == passage.text``.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator

from meibel_integrations.local.documents.document import Extracted
from meibel_integrations.local.search.analysis import derived_words, split_identifier
from meibel_integrations.local.store.documents import PassageRecord

TARGET = 1100  # characters: a passage is closed when it has grown this long
MAXIMUM = 2200  # a passage is never longer
_CODE_MAXIMUM = 4400  # unless it holds a block of code that would have to be cut

_GAP = re.compile(r"\n[ \t]*+\n(?:[ \t]*+\n)*+")
_LINE = re.compile(r"\n")
_SENTENCE = re.compile(r"[.!?\u3002\uff01\uff1f][\"')\]]*\s|[\u3002\uff01\uff1f]")
_SPACE = re.compile(r"\s")
_CAMEL_NAME = re.compile(r"\b[A-Za-z]*[a-z][A-Z]\w*")


def chunk(document: Extracted) -> Iterator[PassageRecord]:
    """The passages of a document, in order, without overlap."""
    text = document.text
    for section in document.sections:
        extra = _names_in(section.heading)
        for start, end in _pieces(text, section.start, section.end, document.blocks):
            start, end = _trim(text, start, end)
            if start < end:
                body = text[start:end]
                derived = derived_words(body)
                yield PassageRecord(start, end, section.heading, body, f"{extra} {derived}".strip())


def _names_in(heading: str) -> str:
    """The words inside compound names of a heading, so that ``DatabaseRouter`` is found as database router."""
    return " ".join(part for name in _CAMEL_NAME.findall(heading) for part in split_identifier(name))


def _pieces(text: str, start: int, end: int, blocks: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
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
            limit = _CODE_MAXIMUM if _holds_block(blocks, begin, paragraph_end) else MAXIMUM
            yield from _split_long(text, begin, paragraph_end, limit)
            begin = paragraph_end
        elif grown >= TARGET and not _continues(text, paragraph_end, end):
            yield begin, paragraph_end
            begin = paragraph_end
        at = paragraph_end
    if begin < end:
        yield begin, end


def _paragraph_ends(text: str, start: int, end: int, blocks: list[tuple[int, int]]) -> Iterator[int]:
    starts = [block[0] for block in blocks]
    for gap in _GAP.finditer(text, start, end):
        at = gap.end()
        block = bisect_right(starts, gap.start()) - 1
        if block < 0 or gap.start() >= blocks[block][1]:
            yield at


def _continues(text: str, at: int, end: int) -> bool:
    """An indented paragraph (a literal block, the body of a list item) belongs to what stands before it."""
    return at < end and text[at] in " \t"


def _holds_block(blocks: list[tuple[int, int]], start: int, end: int) -> bool:
    return any(start <= a and b <= end for a, b in blocks)


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
