"""How text becomes terms: the one place that knows what a word, an identifier and a stop word are.

Both sides use it: ingest to add derived words to the index, search to read a question and to rank passages. Words
are folded as SQLite's ``unicode61`` folds them (lower case, no diacritics). Scripts that do not put spaces between
words are searched by pairs of characters, which ingest writes into an extra column of the index.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from meibel_integrations.local.search.stemming import stem
from meibel_integrations.local.search.stopwords import GENERIC_WORDS, KEYWORDS, STOP_WORDS, WEAK_WORDS

_WORD = re.compile(r"[^\W_]+")
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]+")
# asyncio.gather, foo_bar, --dry-run, on_delete=CASCADE, C++, C#, app/models.py, @property, 3.12
_RAW = re.compile(r"[\w@.+#/:=*&%$~-]+")
_CAMEL = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
# the with statement, a "for" loop, `in`: a stop word that is the very subject
_KEYWORD_USE = re.compile(
    r"\b(\w+)[\"'`\u201d\u2019]?\s+(?:statement|keyword|clause|loop|block|operator|expression|condition|tag|directive)s?\b"
    r"|[\"`\u201c](\w+)[\"`\u201d]",
    re.IGNORECASE,
)
_LANGUAGE = re.compile(r"(?<![\w+#])([a-z])(\+\+|#)(?![\w+#])", re.IGNORECASE)
_LANGUAGE_NAMES = {"++": "plusplus", "#": "sharp"}


def fold(text: str) -> str:
    """Lower case without diacritics."""
    text = text.lower()
    if text.isascii():
        return text
    return "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))


def words(text: str) -> list[str]:
    """The folded words of a text, in order; unspaced scripts give overlapping pairs of characters.

    Names like C++ follow at the end, as the words under which they are indexed.
    """
    if text.isascii():
        return _WORD.findall(text.lower()) + _language_names(text)
    found: list[str] = []
    for word in _WORD.findall(fold(text)):
        if _UNSPACED.search(word):
            found.extend(_pairs(word))
        else:
            found.append(word)
    return found + _language_names(text)


def stems(text: str) -> list[str]:
    """The stems of a text's words, in order."""
    return [stem(word) for word in words(text)]


def _pairs(run: str) -> Iterator[str]:
    if len(run) == 1:
        yield run
    for i in range(len(run) - 1):
        yield run[i : i + 2]


def derived_words(text: str) -> str:
    """Extra words under which a passage can be found: pairs of unspaced characters, names of languages like C++."""
    extra = _language_names(text)
    if not text.isascii():
        for run in _UNSPACED.findall(unicodedata.normalize("NFKC", text)):
            extra.extend(_pairs(run))
    return " ".join(extra)


def split_identifier(name: str) -> list[str]:
    """The words inside a name: ``DatabaseRouter`` and ``database_router`` both give database and router."""
    return [part.lower() for word in _WORD.findall(name) for part in _CAMEL.findall(word)]


def _language_names(text: str) -> list[str]:
    names: set[str] = set()
    for mark, name in _LANGUAGE_NAMES.items():
        at = text.find(mark)
        while at >= 0:
            match = _LANGUAGE.match(text, at - 1) if at else None
            if match:
                names.add(match[1].lower() + name)
            at = text.find(mark, at + len(mark))
    return sorted(names)


@dataclass(frozen=True, slots=True)
class Term:
    """Something that a question asks about.

    ``stems`` has several entries for an identifier such as ``asyncio.gather``, which is looked up as a phrase;
    ``parts`` are the words inside a compound name, a weaker way of matching it. ``weak`` terms (time, way, work)
    never make a match by themselves, ``generic`` ones (create, configure, run) only when there are no others.
    """

    surface: str
    words: tuple[str, ...]
    stems: tuple[str, ...]
    parts: tuple[str, ...] = ()
    weak: bool = False
    generic: bool = False

    @property
    def is_name(self) -> bool:
        return bool(self.parts)


def terms(text: str) -> list[Term]:
    """The content terms of a question, in order, without repetition and without stop words."""
    found: dict[tuple[str, ...], Term] = {}
    keywords = {name for m in _KEYWORD_USE.finditer(text) if (name := (m[1] or m[2]).lower()) in KEYWORDS}
    for raw in _RAW.findall(text):
        if raw.lower() in keywords:
            found.setdefault((stem(raw.lower()),), Term(raw, (raw.lower(),), (stem(raw.lower()),)))
            continue
        for term in _terms_of(raw.rstrip(".:/")):
            found.setdefault(term.stems, term)
    return list(found.values())


def _terms_of(raw: str) -> Iterator[Term]:
    language = _LANGUAGE.fullmatch(raw)
    if language:
        name = f"{language[1].lower()}{_LANGUAGE_NAMES[language[2]]}"
        yield Term(raw, (name,), (stem(name),))
        return
    parts = words(raw)
    if not parts:
        return
    if _UNSPACED.search(raw):
        for pair in parts:
            yield Term(pair, (pair,), (stem(pair),))
        return
    if len(parts) == 1:
        word = parts[0]
        if word not in STOP_WORDS or _looks_like_a_name(raw):
            inner = split_identifier(raw)
            compound = tuple(map(stem, inner)) if len(inner) > 1 and not raw.isupper() else ()
            yield Term(raw, (word,), (stem(word),), compound, _is_weak(word), word in GENERIC_WORDS)
        return
    if _is_prose(raw):
        for word in parts:
            if word not in STOP_WORDS:
                yield Term(word, (word,), (stem(word),), (), _is_weak(word), word in GENERIC_WORDS)
        return
    yield Term(raw, tuple(parts), tuple(map(stem, parts)), tuple(stem(p) for p in parts if p not in STOP_WORDS))


def _is_weak(word: str) -> bool:
    return word in WEAK_WORDS or (word.isdigit() and len(word) < 3)


def _looks_like_a_name(raw: str) -> bool:
    """``__init__``, ``--all`` and ``@not`` are names although the word inside is a stop word."""
    return raw.startswith(("__", "--", "@"))


def _is_prose(raw: str) -> bool:
    """Words joined by nothing but a slash or a hyphen: ``and/or``, ``multi-table`` but not ``--dry-run``."""
    return not raw.startswith("-") and set(re.sub(r"\w", "", raw)) <= {"/", "-"} and "_" not in raw
