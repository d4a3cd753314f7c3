"""Where in the user's text a citation belongs.

The wire gives citations as positions in ``message``, which may hold markers, or in ``clean_message``, which may not;
the documents do not say which of the two is counted, nor what a marker looks like. Both are handled by aligning the two
texts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import SequenceMatcher
from itertools import accumulate
from typing import NamedTuple

from meibel_integrations.models import Citation
from meibel_integrations.protocol.events import RawCitation

__all__ = ["map_citations", "only_markers_differ"]

_TOKEN = re.compile(r"\w+|\s+|.", re.DOTALL)
_BRACKETS = {"[": "]", "(": ")", "<": ">", "{": "}", "【": "】", "^": "^"}
_MAX_TOKENS = 20_000  # beyond this an alignment costs seconds, and positions are taken as they are


class Edit(NamedTuple):
    """From ``start`` to ``end`` the marked text has what the clean text has not; the clean text has ``added``
    characters there instead. A marker is an edit that adds nothing."""

    start: int
    end: int
    added: int = 0


def map_citations(raw: Iterable[RawCitation], text: str, marked: str | None) -> list[Citation]:
    """Maps the wire's citations onto the text that the user gets.

    Args:
        raw: the citations as the wire puts them.
        text: the text that the user gets, without markers.
        marked: the wire's text with markers, or ``None`` where it gave only one text.

    Returns:
        One citation for each, in the same order, inside ``0..len(text)``. Where nothing shows which text the
        positions count, they are assumed to count ``text``.
    """
    found = list(raw)
    edits: list[Edit] = []
    if marked is not None and marked != text and found:
        edits = _edits(marked, text)
        if not _counts_marked(found, edits, len(text)):
            edits = []

    def at(position: int) -> int:
        return min(max(_to_clean(position, edits), 0), len(text))

    return [Citation(source=c.source, start=at(c.start), end=max(at(c.start), at(c.end))) for c in found]


def only_markers_differ(marked: str, text: str) -> bool:
    """Whether ``text`` is ``marked`` with stretches in brackets left out, and nothing else changed."""
    edits = _edits(marked, text) if len(text) < len(marked) else []
    pieces = [marked[edit.start : edit.end].strip() for edit in edits]
    return bool(edits) and all(
        not edit.added and len(piece) > 1 and _BRACKETS.get(piece[0]) == piece[-1]
        for edit, piece in zip(edits, pieces, strict=True)
    )


def _edits(marked: str, text: str) -> list[Edit]:
    """What turns ``marked`` into ``text``, in order."""
    a, b = _TOKEN.findall(marked), _TOKEN.findall(text)
    a_at, b_at = _offsets(a), _offsets(b)
    runs = _left_over(a, b)
    if runs is not None:
        return [_slide(marked, a_at[first], a_at[last]) for first, last in runs]
    if len(a) + len(b) > _MAX_TOKENS:
        return []
    return [
        _slide(marked, a_at[i1], a_at[i2]) if tag == "delete" else Edit(a_at[i1], a_at[i2], b_at[j2] - b_at[j1])
        for tag, i1, i2, j1, j2 in SequenceMatcher(None, a, b, autojunk=False).get_opcodes()
        if tag != "equal"
    ]


def _offsets(tokens: list[str]) -> list[int]:
    return [0, *accumulate(len(token) for token in tokens)]


def _left_over(a: list[str], b: list[str]) -> list[tuple[int, int]] | None:
    """The runs of ``a`` that are left over when ``b`` is taken from it token by token, from the left; ``None`` if ``b``
    is not all in there, so that more than markers was changed."""
    runs: list[tuple[int, int]] = []
    taken = 0
    for i, token in enumerate(a):
        if taken < len(b) and token == b[taken]:
            taken += 1
        elif runs and runs[-1][1] == i:
            runs[-1] = (runs[-1][0], i + 1)
        else:
            runs.append((i, i + 1))
    return runs if taken == len(b) else None


def _slide(marked: str, start: int, end: int) -> Edit:
    """Moves a removed stretch within its ambiguity so that it is one bracketed marker, if it can be.

    Of ``see [1][note]`` and ``see [note]`` a diff may remove ``1][``; the marker is ``[1]``.
    """
    length = end - start
    first = start
    while first > 0 and marked[first - 1] == marked[first - 1 + length]:
        first -= 1
    last = start
    while last + length < len(marked) and marked[last] == marked[last + length]:
        last += 1
    for at in range(first, last + 1):
        piece = marked[at : at + length].strip()
        if len(piece) > 1 and _BRACKETS.get(piece[0]) == piece[-1]:
            return Edit(at, at + length)
    return Edit(start, end)


def _counts_marked(raw: list[RawCitation], edits: list[Edit], clean_length: int) -> bool:
    """Whether the positions count the marked text: one lies beyond the clean text, or more of them lie at markers there
    than lie where markers were in the clean text."""
    if any(c.end > clean_length for c in raw):
        return True
    markers = [edit for edit in edits if not edit.added]
    in_marked = {edge for edit in markers for edge in (edit.start, edit.end)}
    joints = {_to_clean(edit.start, edits) for edit in markers}
    return sum(c.end in in_marked for c in raw) > sum(c.end in joints for c in raw)


def _to_clean(position: int, edits: list[Edit]) -> int:
    shift = 0
    for start, end, added in edits:
        if position <= start:
            break
        if position < end:
            return start + shift + min(added, position - start)
        shift += added - (end - start)
    return position + shift
