"""The Porter stemmer, so that ranking in Python sees words as SQLite's ``porter`` tokenizer does.

The algorithm is M. F. Porter's "An algorithm for suffix stripping" (1980).
"""

from __future__ import annotations

import re
from functools import lru_cache

_VOWEL = re.compile(r"[aeiou]|(?<=[^aeiou])y")
_MEASURE = re.compile(r"v+c+")
# a consonant-vowel-consonant ending whose last letter is not w, x or y keeps its final e: hop(e), fil(e)
_SHORT = re.compile(r"[^aeiou](?:[aeiou]|(?<!^)y)[^aeiouwxy]$")

_STEP_2 = {
    "ational": "ate", "tional": "tion", "enci": "ence", "anci": "ance", "izer": "ize", "abli": "able", "bli": "ble",
    "alli": "al", "entli": "ent", "eli": "e", "ousli": "ous", "ization": "ize", "ation": "ate", "ator": "ate",
    "alism": "al", "iveness": "ive", "fulness": "ful", "ousness": "ous", "aliti": "al", "iviti": "ive",
    "biliti": "ble", "logi": "log",
}  # fmt: skip
_STEP_3 = {"icate": "ic", "ative": "", "alize": "al", "iciti": "ic", "ical": "ic", "ful": "", "ness": ""}
_STEP_4 = dict.fromkeys(
    ["al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ion", "ou", "ism", "ate", "iti",
     "ous", "ive", "ize"],
    "",
)  # fmt: skip


def _longest_first(table: dict[str, str]) -> re.Pattern[str]:
    return re.compile("(?:" + "|".join(sorted(table, key=len, reverse=True)) + ")$")


_STEP_2_END, _STEP_3_END, _STEP_4_END = map(_longest_first, (_STEP_2, _STEP_3, _STEP_4))


def _measure(stem: str) -> int:
    """The number of vowel-consonant sequences in ``stem``."""
    shape = "".join(
        "v" if letter in "aeiou" or (letter == "y" and i and stem[i - 1] not in "aeiou") else "c"
        for i, letter in enumerate(stem)
    )
    return len(_MEASURE.findall(shape))


def _has_vowel(stem: str) -> bool:
    return _VOWEL.search(stem) is not None


def _plurals_and_participles(word: str) -> str:
    if word.endswith(("sses", "ies")):
        word = word[:-2]
    elif word.endswith("s") and not word.endswith("ss"):
        word = word[:-1]
    if word.endswith("eed"):
        return word[:-1] if _measure(word[:-3]) > 0 else word
    for ending in ("ed", "ing"):
        if word.endswith(ending):
            return _repair(word[: -len(ending)]) if _has_vowel(word[: -len(ending)]) else word
    return word


def _repair(stem: str) -> str:
    """Put back what the removal of -ed or -ing took: conflat(e), hop(p), fil(e)."""
    if stem.endswith(("at", "bl", "iz")):
        return stem + "e"
    if len(stem) > 1 and stem[-1] == stem[-2] and stem[-1] not in "aeioulsz":
        return stem[:-1]
    if _measure(stem) == 1 and _SHORT.search(stem):
        return stem + "e"
    return stem


def _replace(word: str, endings: re.Pattern[str], table: dict[str, str], minimum: int) -> str:
    match = endings.search(word)
    if match is None:
        return word
    stem = word[: match.start()]
    if _measure(stem) <= minimum or (match[0] == "ion" and not stem.endswith(("s", "t"))):
        return word
    return stem + table[match[0]]


@lru_cache(maxsize=1 << 16)
def stem(word: str) -> str:
    """The stem of a lower-case word; anything that is not a plain word is returned as it is."""
    if len(word) < 3 or not word.isascii():
        return word
    word = _plurals_and_participles(word)
    if word.endswith("y") and _has_vowel(word[:-1]):
        word = word[:-1] + "i"
    word = _replace(word, _STEP_2_END, _STEP_2, 0)
    word = _replace(word, _STEP_3_END, _STEP_3, 0)
    word = _replace(word, _STEP_4_END, _STEP_4, 1)
    if word.endswith("e"):
        short = word[:-1]
        measure = _measure(short)
        if measure > 1 or (measure == 1 and not _SHORT.search(short)):
            word = short
    if word.endswith("ll") and _measure(word[:-1]) > 1:
        word = word[:-1]
    return word
