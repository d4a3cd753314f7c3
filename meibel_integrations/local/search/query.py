"""FTS5 expressions. No text of a user ever gets into one except as a quoted string of letters and digits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from meibel_integrations.local.search.analysis import Term
from meibel_integrations.local.store.documents import scope_token

_SEARCHED = "{title heading body extra}"


def phrase(words: Iterable[str]) -> str:
    """Words next to each other, as a quoted FTS5 string."""
    return '"' + " ".join(words).replace('"', " ").replace("\0", " ") + '"'


def match_any(terms: Sequence[Term], scopes: Sequence[int]) -> str:
    """Passages of the scopes that contain at least one of the terms (or a part of a compound name)."""
    phrases: dict[str, None] = {}
    for term in terms:
        phrases[phrase(term.words)] = None
        phrases.update(dict.fromkeys(phrase([part]) for part in term.parts))
    return f"{_within(scopes)} AND {_SEARCHED} : ({' OR '.join(phrases)})"


def match_term(words: Sequence[str], scopes: Sequence[int]) -> str:
    """Passages of the scopes that contain the words next to each other."""
    return f"{_within(scopes)} AND {_SEARCHED} : {phrase(words)}"


def match_everything(scopes: Sequence[int]) -> str:
    """All passages of the scopes."""
    return _within(scopes)


def _within(scopes: Sequence[int]) -> str:
    return "scope : (" + " OR ".join(phrase([scope_token(scope)]) for scope in scopes) + ")"
