"""Words that the documents do not know, read as the word that was probably meant."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from meibel_integrations.local.search.words import stems
from meibel_integrations.local.store import documents

_LONG = 8  # letters from which two mistakes are forgiven
_SHORT = 4  # letters up to which only a swap is


def correct(conn: sqlite3.Connection, scopes: Sequence[int], stem: str) -> str | None:
    """The known word that is nearest to an unknown one; of several the most frequent."""
    if not stem.isalpha():
        return None
    short, allowed = len(stem) <= _SHORT, 2 if len(stem) >= _LONG else 1
    near = [
        (mistakes, -passages, word)
        for word, passages in documents.words_like(conn, scopes, stem, 0 if short else allowed)
        if (not short or sorted(word) == sorted(stem)) and (mistakes := distance(stem, word, allowed)) <= allowed
    ]
    # The index stems what it is asked for, and a stem that is stemmed again may be another word.
    return next((word for _, _, word in sorted(near)[:1] if stems(word) == [word]), None)


def distance(one: str, other: str, limit: int) -> int:
    """How many letters differ, where two neighbours that changed places are one mistake. Above ``limit`` it stops."""
    if len(set(one) ^ set(other)) > 2 * limit:
        return limit + 1
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        earlier, before, row = before, row, [i]
        for j, b in enumerate(other, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a != b))
            if i > 1 and j > 1 and a == other[j - 2] and one[i - 2] == b:
                cost = min(cost, earlier[j - 2] + 1)
            row.append(cost)
        if min(row) > limit:
            return limit + 1
    return row[-1]
