"""Words, as the index reads them. FTS5's own tokenizer says what a word and its stem are, so both sides agree.

Scripts that put no spaces between words are searched by pairs of characters, names such as C++ under a word of letters,
and a name such as ``DatabaseRouter`` under its parts, too: ingest writes these into an extra column of the index.
"""

from __future__ import annotations

import re
import sqlite3
import threading
import unicodedata
from collections.abc import Iterable, Sequence

UNSPACED = re.compile(r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]+")
_SIGNED = re.compile(r"(?<![\w+#])([A-Za-z])(\+\+|#)(?![\w+#])")  # C++, C#
_CAMEL_NAME = re.compile(r"\b[A-Za-z]*[a-z][A-Z]\w*")
_CAMEL_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_WORD = re.compile(r"[^\W_]+")
_TOKEN = re.compile(r"[\w@.+#/:=*&%$~'\u2019-]+")
_CODE = re.compile(r"\w[_.@#=*:]+\w|^(?:--?|__|@)\w|\w\(")
_APOSTROPHE = re.compile(r"['\u2019](?:s|t|re|ve|ll|d|m)?$", re.IGNORECASE)
# The "with" statement, a for loop: a small word that is the very subject.
_SUBJECT = re.compile(
    r"\b(\w{1,12})[\"'`\u201d\u2019]?\s+(?:statement|keyword|clause|loop|operator|expression)s?\b|[\"`\u201c](\w{1,12})[\"`\u201d]"
)
_ASKING = re.compile(r"\W*(?:wh\w+|how|more|so|and|but)\W*$", re.IGNORECASE)
_SMALL_WORDS = (
    "a about above after again against all also am an and another any are aren as at be because been before being "
    "below between both but by can cannot could did do does doing don done down during each either else ever every "
    "few for from further get gets give given go goes got had has have having he her here hers him his how i if in "
    "into is isn it its itself just kind let like lot make many may me might mine more most much must my myself "
    "need no nor not of off on once one only or other our out over own please possible same shall she should show "
    "so some something still such tell than that the their them then there these they thing this those through to "
    "too under until up us use used uses using very want was way we were what when where whether which while who "
    "whom whose why will with without work works would you your "
)
_SMALL = frozenset(_SMALL_WORDS.split())


class _Tokenizer:
    """FTS5's tokenizer, asked through a table in memory that forgets at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._db = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
        self._db.execute("CREATE VIRTUAL TABLE texts USING fts5 (text, content = '', tokenize = 'porter unicode61')")
        self._db.execute("CREATE VIRTUAL TABLE words USING fts5vocab (texts, 'instance')")

    def stems(self, texts: Sequence[str]) -> list[list[str]]:
        """The stems of each text, in order."""
        found: list[dict[int, str]] = [{} for _ in texts]
        with self._lock:
            self._db.execute("BEGIN")
            self._db.executemany("INSERT INTO texts (rowid, text) VALUES (?, ?)", enumerate(map(_spaced, texts)))
            for term, row, offset in self._db.execute("SELECT term, doc, offset FROM words"):
                found[row][offset] = term
            self._db.execute("ROLLBACK")
        return [[words[offset] for offset in sorted(words)] for words in found]


_tokenizer = _Tokenizer()
stems_of = _tokenizer.stems


def stems(text: str) -> list[str]:
    """The stems of a text's words, in order."""
    return stems_of([text])[0]


def content_words(text: str) -> dict[str, str]:
    """What a question asks about: its words without the small ones, as written, by their stems."""
    subjects = {name.lower() for match in _SUBJECT.finditer(text) for name in match.groups() if name}
    kept: list[str] = []
    tokens = _TOKEN.findall(_spaced(text))
    for token in tokens:
        parts = _WORD.findall(_APOSTROPHE.sub("", token.strip(".:'\u2019")))
        # A small word counts alone, and inside of a name: __init__, asyncio.wait_for, --all.
        named = (len(tokens) == 1 and not _ASKING.match(text)) or _CODE.search(token)
        kept += [part for part in parts if named or part.lower() in subjects or part.lower() not in _SMALL]
    found: dict[str, str] = {}
    for word, of_word in zip(kept, stems_of(kept), strict=True):
        found.update((stem, word) for stem in of_word if stem not in found)
    return found


def keyword_phrases(text: str) -> list[str]:
    """Small words that are the very subject, with what they are called ("with statement"): vectors mix these up."""
    return [match[0] for match in _SUBJECT.finditer(text) if match[1] and match[1].lower() in _SMALL]


def derived_words(text: str, heading: str) -> str:
    """Extra words under which a passage can be found."""
    signed = _SIGNED.findall(text) if "#" in text or "++" in text else []
    extra = [f"{letter}{_sign_name(sign)}" for letter, sign in signed]
    extra += [part for name in _CAMEL_NAME.findall(heading) for part in _CAMEL_PART.findall(name)]
    if not text.isascii():
        extra += [pair for run in UNSPACED.findall(unicodedata.normalize("NFKC", text)) for pair in _pairs(run)]
    return " ".join(dict.fromkeys(extra))


def _spaced(text: str) -> str:
    text = _SIGNED.sub(lambda match: f" {match[1]}{_sign_name(match[2])} ", text)
    return text if text.isascii() else UNSPACED.sub(lambda match: f" {' '.join(_pairs(match[0]))} ", text)


def _sign_name(sign: str) -> str:
    return "sharp" if sign == "#" else "plusplus"


def _pairs(run: str) -> Iterable[str]:
    return [run[i : i + 2] for i in range(max(len(run) - 1, 1))]
