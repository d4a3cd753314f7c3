"""Where in the user's text a citation belongs.

The wire gives citations as positions in ``message``, which may hold markers, or in ``clean_message``, which may not;
the documents do not say which of the two is counted, nor what a marker looks like. Both are handled by aligning the two
texts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from difflib import SequenceMatcher

from meibel_integrations.models import Citation
from meibel_integrations.protocol.events import Mark

__all__ = ["place"]

_TOKEN = re.compile(r"\w+|\s+|.", re.DOTALL)
_BRACKETS = {"[": "]", "(": ")", "<": ">", "{": "}", "【": "】", "^": "^"}
_MAX_TOKENS = 20_000  # beyond this an alignment costs seconds, and positions are taken as they are

Removed = tuple[int, int]
"""A stretch ``[start, end)`` of the marked text that the clean text does not have."""


def place(marks: Iterable[Mark], text: str, marked: str | None) -> list[Citation]:
    """Maps marks onto the text that the user gets.

    Args:
        marks: the citations as the wire puts them.
        text: the text that the user gets, without markers.
        marked: the wire's text with markers, or ``None`` where it gave only one text.

    Returns:
        One citation per mark, in the same order, inside ``0..len(text)``. Where nothing shows which text the
        positions count, they are assumed to count ``text``.
    """
    marks = list(marks)
    to_text: Callable[[int], int] = int
    if marked is not None and marked != text and marks:
        removed = _removed(marked, text)
        if removed and _counts_marked(marks, removed, len(text)):
            to_text = _mapping(removed)
    limit = len(text)

    def at(position: int) -> int:
        return min(max(to_text(position), 0), limit)

    return [Citation(source=m.source, start=at(m.start), end=max(at(m.start), at(m.end))) for m in marks]


def _removed(marked: str, text: str) -> list[Removed]:
    """The markers: what has to be taken out of ``marked`` to get ``text``. Empty if that is not how they differ."""
    a, b = _TOKEN.findall(marked), _TOKEN.findall(text)
    if len(a) + len(b) > _MAX_TOKENS:
        return []
    starts = [0]
    for token in a:
        starts.append(starts[-1] + len(token))
    return [
        _slide(marked, starts[i1], starts[i2])
        for tag, i1, i2, _, _ in SequenceMatcher(None, a, b, autojunk=False).get_opcodes()
        if tag in ("delete", "replace")
    ]


def _slide(marked: str, start: int, end: int) -> Removed:
    """Moves a removed stretch within its ambiguity so that it is one bracketed marker, if it can be.

    Of ``see [1][note]`` and ``see [note]`` a diff may remove ``1][``; the marker is ``[1]``.
    """
    first = start
    while first > 0 and marked[first - 1] == marked[first - 1 + end - start]:
        first -= 1
    last = start
    while last + end - start < len(marked) and marked[last] == marked[last + end - start]:
        last += 1
    for at in range(first, last + 1):
        piece = marked[at : at + end - start].strip()
        if len(piece) > 1 and _BRACKETS.get(piece[0]) == piece[-1]:
            return at, at + end - start
    return start, end


def _counts_marked(marks: list[Mark], removed: list[Removed], clean_length: int) -> bool:
    if any(m.end > clean_length for m in marks):
        return True
    in_marked = {edge for stretch in removed for edge in stretch}
    joints: set[int] = set()
    gone = 0
    for start, end in removed:
        joints.add(start - gone)
        gone += end - start
    return sum(m.end in in_marked for m in marks) > sum(m.end in joints for m in marks)


def _mapping(removed: list[Removed]) -> Callable[[int], int]:
    def to_clean(position: int) -> int:
        gone = 0
        for start, end in removed:
            if position <= start:
                break
            gone += min(position, end) - start
        return position - gone

    return to_clean
