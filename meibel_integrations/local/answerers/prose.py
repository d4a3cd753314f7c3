"""Prose as it is read: markup of reStructuredText and Markdown taken off, and what is running prose told from lists.

The words stay the document's own; only marks around them go.
"""

from __future__ import annotations

import re

# Each pattern is anchored by a literal character and its repetitions are bounded, so hostile text stays linear.
_LABELLED_ROLE = re.compile(r":[A-Za-z][\w:.+-]{0,40}:`([^`<>]{1,300}?)\s{0,8}<[^`<>]{1,300}>`")
_ROLE = re.compile(r":[A-Za-z][\w:.+-]{0,40}:`([~!]?)<?([^`<>]{1,300})>?`")
_LABELLED_LINK = re.compile(r"(?<!`)`([^`<>]{1,300}?)\s{0,8}<[^`<>]{1,500}>`_{0,2}")
_REFERENCE = re.compile(r"(?<!`)`([^`<>\n]{1,200}(?:\n[^`<>\n]{1,200})?)`_{1,2}(?!\w)")
_FOOTNOTE = re.compile(r"\s?\[(?:#[\w-]{0,40}|\d{1,3}|\*)\]_(?!\w)")
_WORD_REFERENCE = re.compile(r"(?<![\w`_])([A-Z][\w.-]{1,60}[A-Za-z0-9])__?(?![\w`(])(?=[\s.,;:)!?]|$)")
_SUBSTITUTION = re.compile(r"(?<![\w|`])\|([A-Za-z][\w -]{0,40})\|_{0,2}(?![\w|`])")
_LITERAL = re.compile(r"(?<!`)``(?!`)([^`\n]{1,300}(?:\n[^`\n]{1,300})?)``(?!`)")
_IMAGE = re.compile(r"!\[([^\]\[]{0,300})\](?:\([^()\s]{0,500}(?:\s\"[^\"]{0,300}\")?\)|\[[^\]\[]{0,100}\])")
_LINK = re.compile(r"(?<![\w\])])\[([^\]\[]{1,300})\](?:\([^()\s]{0,500}(?:\s\"[^\"]{0,300}\")?\)|\[[^\]\[]{0,100}\])")
_JOINT = re.compile(r"(?<=[`*\w|)])\\ ?(?=[^\w\\]|[a-z])|\\$")
_FIELD = re.compile(r"^\s*:([A-Za-z][^:`\n]{0,80}):(?=\s)")
_CODE_FOLLOWS = re.compile(r"\s?::\s*$")

_LINKS = re.compile(
    r":[A-Za-z][\w:.+-]{0,40}:`[^`]{0,600}`|`[^`<>]{1,300}<[^`<>]{1,500}>`_{0,2}|!?\[[^\]\[]{0,300}\]\([^()]{0,500}\)"
    r"|(?<!`)`[^`<>\n]{1,200}`_{1,2}|https?://\S{1,500}|<https?:[^<>\s]{1,500}>"
)
_WORD = re.compile(r"[^\W\d_]{2,}")
_PLAIN_WORD = re.compile(r"(?<![\w.`/_-])[^\W\d_]{2,}(?:['\u2019-][^\W\d_]+)?(?![\w`/_(=]|\.\w)")
_SMALL_WORD = re.compile(r"(?<![\w`./-])[a-z\u00df-\u00ff]{2,}(?![\w`./_-]\w)")
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]")
_ENDS = re.compile(r"[.!?:;\u3002\uff01\uff1f\u2026][\"'\u201d\u2019)\]*_`\u300d]*$")
_NOTICE = re.compile(
    r"^\W*(?:copyright\b|\(c\)\s|\u00a9|SPDX-|all rights reserved|licen[sc]ed under\b|permission is hereby granted)"
    r"|coding[:=]\s*[\w-]+\W*$",
    re.IGNORECASE,
)
_FILE = re.compile(r"[^\s()]+\.[A-Za-z]{1,4}")
_TREE = re.compile(r"[│├└]")
_LISTED = re.compile(r"^\s*(?:[-*+•]|\d{1,3}[.)]|[a-z]\)|#\.)\s+")


def render(text: str) -> str:
    """Prose without its markup: roles and links show their text, a field list its names, ``::`` a plain colon."""
    if "`" in text:
        text = _LABELLED_ROLE.sub(r"\1", text)
        text = _ROLE.sub(_role_text, text)
        text = _LABELLED_LINK.sub(r"\1", text)
        text = _REFERENCE.sub(r"\1", text)
        text = _LITERAL.sub(r"`\1`", text)
    if "]" in text:
        text = _LINK.sub(r"\1", _IMAGE.sub(r"\1", _FOOTNOTE.sub("", text)))
    if "|" in text:
        text = _SUBSTITUTION.sub(r"\1", text)
    if "\\" in text:
        text = _JOINT.sub("", text)
    if "_" in text:
        text = _WORD_REFERENCE.sub(r"\1", text)
    text = _FIELD.sub(r"\1:", text)
    return _CODE_FOLLOWS.sub(":", text)


def _role_text(match: re.Match[str]) -> str:
    """``~package.module.Name`` is shown as its last part, as Sphinx shows it."""
    return match[2].rsplit(".", 1)[-1] if match[1] == "~" else match[2]


def is_prose(text: str) -> bool:
    """Whether a unit's text is something a reader would call a sentence: not names, links, files or a notice alone."""
    body = _LISTED.sub("", text.strip())
    if _NOTICE.search(body) or _TREE.search(body) or _lists_files(body):
        return False
    if len(_UNSPACED.findall(body)) >= 4:
        return True
    bare = _LINKS.sub(" ", body)
    if len(_PLAIN_WORD.findall(bare)) < 3 and bare.strip() != body.strip():
        return False  # a link and hardly anything else
    shown = render(body)
    plain = _PLAIN_WORD.findall(shown)
    if len(plain) < 3:
        return False
    if _ENDS.search(shown.rstrip()):
        return True
    # A line without an end is prose when it is long, and most of its words are not names.
    return len(plain) >= 7 and 2 * len(_SMALL_WORD.findall(shown)) > len(_WORD.findall(shown))


def _lists_files(text: str) -> bool:
    names = text.split()
    return len(names) >= 3 and all(_FILE.fullmatch(name) for name in names)
