"""Where the words of a source stand in its document."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from meibel_integrations.local.store.inspection import StoredPassage

_ELLIPSIS = "…"


@dataclass(frozen=True, slots=True)
class Place:
    """``start`` and ``end`` count characters of the document's text, as a passage's own do."""

    ordinal: int
    start: int
    end: int


def find_quotation(passages: Sequence[StoredPassage], quotation: str) -> Place | None:
    """The first passage that contains the quotation; white space, and an ellipsis at its edges, may differ."""
    words = quotation.strip().removeprefix(_ELLIPSIS).removesuffix(_ELLIPSIS).split()
    if not words:
        return None
    pattern = re.compile(r"\s+".join(map(re.escape, words)))
    for passage in passages:
        match = pattern.search(passage.text)
        if match is not None:
            return Place(passage.ordinal, passage.start + match.start(), passage.start + match.end())
    return None
