"""Dividing text into sentences, and passages into the units that may be quoted: sentences, list items, code blocks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from meibel_integrations.local.answerers.prose import is_prose, render
from meibel_integrations.local.store.documents import HEADING_SEPARATOR

_END = re.compile(
    r"(?:[.!?]++[\"'\u201d\u2019)\]*_`]*(?=\s|$)|[\u3002\uff01\uff1f]+[\u300d\u300f\u201d\u2019\uff09]*)\s*"
)
_ABBREVIATION = re.compile(
    r"(?:^|[\s(\[\"'])(?:[A-Za-z]|e\.g|i\.e|etc|cf|vs|viz|resp|approx|ca|al|Dr|Mr|Mrs|Ms|Prof|Sr|Jr|St|Inc|Ltd|Co|Corp"
    r"|Fig|Eq|Sec|Ch|Vol|No|Nr|pp?|ed|eds|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec|U\.S|U\.K|a\.m|p\.m|Ph\.D)\.$",
)
_OPENS_SENTENCE = re.compile(r"[\"'\u201c\u2018(\[*_`:<]*[^\sa-z]")

_FENCE = re.compile(r"^\s*(`{3,}|~{3,})")
_ITEM = re.compile(r"^\s*(?:[-*+•]|\d{1,3}[.)]|[a-z]\)|#\.)\s+\S")
_FIELD = re.compile(r"^\s*:[A-Za-z][^:`\n]{0,80}:\s+\S.* .")  # ":Exit code 0: All tests passed"
_NAME = re.compile(r"^\s*[A-Za-z0-9_.~:/<>-]+(?:\(\))?\s*$")  # a single name, as in an autosummary or a toctree
_INNER_SIGN = re.compile(r"[_~:/<>.]")
_RULE = re.compile(r"^\s*([!-/:-@\[-`{-~])\1{2,}\s*$")
_TABLE = re.compile(r"^\s*(?:\||\+[-=+]+\+?\s*$|={3,}(?: +={2,})+)")
_DIRECTIVE = re.compile(r"^\s*(?:\.\.(?:\s|$)|:[\w-]+:(?:\s|$)|\.\. )")
_CODE_DIRECTIVE = re.compile(
    r"^\s*\.\. *(?:code-block|code|sourcecode|parsed-literal|console|doctest|testcode|ipython|prompt|math|"
    r"productionlist)::"
)
# Directives whose content is prose that belongs to the text; the prose after the colons may be a part of it.
_PROSE_DIRECTIVE = re.compile(
    r"^\s*\.\. *(?:note|warning|tip|important|caution|hint|attention|danger|error|admonition|topic|sidebar|rubric|"
    r"version(?:added|changed|removed)|deprecated(?:-removed)?|tabs?|tab-set|tab-item|glossary|container|only|details|dropdown|"
    r"pull-quote|epigraph|highlights|(?:\w+:)?(?:function|class|method|data|attribute|property|exception|decorator|option|"
    r"module|envvar|confval|setting|fixture|staticmethod|classmethod|describe|cmdoption|program))::",
)
_ADMONITION = re.compile(r"^\s*\.\. *(?:note|warning|tip|important|caution|hint|attention|danger|error):: *(?=\S)")
_CODE_SIGN = re.compile(r"[\w\])][(\[=]|[{}=;]|->|\w_\w|^\s*(?:\$|>>>|#)", re.MULTILINE)
_HASH_HEADING = re.compile(r"^ {0,3}#{1,6}\s")
_MARKUP_LINE = re.compile(r"^\s*(?:</?[A-Za-z!][^>]*>\s*)+$|^\s*\{[%#{].*[%#}]\}\s*$|^\s*:::|^\s*!!!|^\s*///")

UnitKind = Literal["sentence", "item", "code", "other"]


@dataclass(frozen=True, slots=True)
class Unit:
    """A quotable piece of a passage. Units with the same ``paragraph`` stand together."""

    kind: UnitKind
    text: str
    paragraph: int
    defines: str = ""  # the term whose definition this is the beginning of

    @property
    def quote(self) -> str:
        """The text as it is quoted: markup taken off and white space normalised in prose, nothing changed in code."""
        if self.kind == "code":
            return self.text.strip("\n")
        shown = " ".join(render(self.text).split())
        return f"{render(self.defines)}: {shown}" if self.defines else shown

    @property
    def is_prose(self) -> bool:
        return self.kind in ("sentence", "item") and is_prose(self.text)

    @property
    def asks(self) -> bool:
        return self.kind in ("sentence", "item") and self.text.rstrip(" \n\"'\u201d\u2019)*_`").endswith(
            ("?", "\uff1f")
        )


def split_sentences(text: str) -> list[str]:
    """The sentences of a paragraph, each with the white space that follows it: joined they are the text again."""
    sentences: list[str] = []
    start = 0
    for match in _END.finditer(text):
        after = match.end()
        if after < len(text) and not _is_boundary(text, start, match):
            continue
        sentences.append(text[start:after])
        start = after
    if start < len(text):
        sentences.append(text[start:])
    return sentences


def _is_boundary(text: str, start: int, match: re.Match[str]) -> bool:
    if match[0][0] in "\u3002\uff01\uff1f":
        return True
    if text[match.start()] == "." and _ABBREVIATION.search(text[max(start, match.start() - 12) : match.start() + 1]):
        return False
    return _OPENS_SENTENCE.match(text, match.end()) is not None


def units(text: str, heading: str = "") -> list[Unit]:
    """The quotable units of a passage, in order. Headings, rules, bare directives and lists of links are left out."""
    found: list[Unit] = []
    after_colon = False
    in_code = -1  # the indentation of the directive or paragraph that introduced code
    dropping = -1  # the indentation of a directive whose content is no text: toctree, autosummary, image, a comment
    for number, block in enumerate(_blocks(text)):
        kind = _kind_of(block)
        indent = len(block[0]) - len(block[0].lstrip())
        if dropping >= 0 and indent > dropping and block[0].strip():
            continue
        dropping = -1
        if kind in ("sentence", "definition") and in_code >= 0 and indent > in_code:
            kind = "code"
        elif kind in ("sentence", "definition") and after_colon and indent >= 2:
            kind = "code"
            in_code = max(indent - 1, 0)
        elif block[0].strip():
            in_code = -1
        if kind == "directive":
            in_code = indent if _CODE_DIRECTIVE.match(block[0]) else -1
            if in_code < 0 and block[0].lstrip().startswith("..") and not _PROSE_DIRECTIVE.match(block[0]):
                outside = [i for i, line in enumerate(block) if i and len(line) - len(line.lstrip()) <= indent]
                block = [] if not outside else _behind_directive(block[outside[0] :])
                dropping = -1 if outside else indent
            else:
                said = _ADMONITION.match(block[0]) is not None
                block = ["\n".join(_behind_directive(block))] if said else _behind_directive(block)
            kind = "code" if in_code >= 0 else _kind_of(block) if block else "sentence"
        body = "\n".join(block)
        after_colon = body.rstrip().endswith(":") and kind != "code"
        found.extend(_units_of(kind, body, block, number, heading))
        if after_colon and kind == "sentence":
            in_code = indent if body.rstrip().endswith("::") else -1
    return found


def listed_names(text: str) -> list[str]:
    """The lines of a passage that are a name each, wherever they stand: what an autosummary or a toctree lists."""
    return [
        line
        for line in text.split("\n")
        if _NAME.match(line) and _INNER_SIGN.search(line.strip(" .")) and not _RULE.match(line)
    ]


def _units_of(kind: str, body: str, block: list[str], number: int, heading: str) -> Iterator[Unit]:
    if not body.strip():
        return
    if kind == "code":
        yield Unit("code", body, number)
    elif kind in ("item", "field"):
        yield from (Unit("item", item, number) for item in _items(block, _ITEM if kind == "item" else _FIELD))
    elif kind == "definition":
        for term, meaning in _definitions(block):
            for i, sentence in enumerate(split_sentences(meaning)):
                yield Unit("sentence", sentence, number, "" if i else term)
    elif kind in ("other", "names"):
        yield Unit("other", body, number)
    elif not _is_heading(body, heading):
        yield from (Unit("sentence", s, number) for s in split_sentences(body) if any(map(str.isalnum, s)))


def _blocks(text: str) -> Iterator[list[str]]:
    """Paragraphs as lists of lines; a fenced block is one, whatever is inside; headings and rules are dropped."""
    block: list[str] = []
    fence = ""
    lines = text.split("\n")
    for i, line in enumerate(lines):
        if fence:
            block.append(line)
            if line.strip().startswith(fence) and not line.strip().strip(fence[0]):
                yield block
                block, fence = [], ""
            continue
        opening = _FENCE.match(line)
        if opening and not (block and _underlines(line, block[-1])):
            if block:
                yield block
            block, fence = [line], opening[1]
        elif not line.strip() or _HASH_HEADING.match(line) or _MARKUP_LINE.match(line):
            if block:
                yield block
            block = []
        elif _RULE.match(line):
            if block and not _is_table_rule(lines, i):
                block.pop()  # the heading that this line underlines
            if block:
                yield block
            block = []
        elif _DIRECTIVE.match(line) and line.lstrip().startswith("..") and block:
            yield block
            block = [line]
        else:
            block.append(line)
    if block:
        yield block


def _underlines(line: str, before: str) -> bool:
    """Whether a row of tildes is the rule below a heading rather than the beginning of code."""
    rule = line.strip()
    return set(rule) == {"~"} and before.strip() != "" and len(rule) >= len(before.strip()) - 2


def _is_table_rule(lines: list[str], i: int) -> bool:
    return i > 0 and len(lines[i].strip()) > 3 * len(lines[i - 1].strip()) + 20


def _kind_of(block: list[str]) -> str:
    first = block[0]
    if _FENCE.match(first) or first.lstrip().startswith((">>> ", "$ ")):
        return "code"
    if _FIELD.match(first):
        return "field"
    if _DIRECTIVE.match(first):
        return "directive"
    if _TABLE.match(first):
        return "other"
    if _ITEM.match(first):
        return "item"
    if _looks_like_code(block):
        return "code"
    if len(block) > 1 and _is_definition(block):
        return "definition"
    names = all(_NAME.match(line) for line in block) and (len(block) > 1 or _INNER_SIGN.search(first.strip(" .")))
    return "names" if names else "sentence"


def _is_definition(block: list[str]) -> bool:
    """A term on a line of its own and its meaning indented below, as in a glossary."""
    indents = [len(line) - len(line.lstrip()) for line in block]
    first = block[0].strip()
    return (
        indents[1] >= indents[0] + 2
        and min(indents) == indents[0]
        and len(first) <= 60
        and first[-1] not in ".,;:!?"
        and first[0].isalpha()
    )


def _definitions(block: list[str]) -> Iterator[tuple[str, str]]:
    """The terms of a definition list with what stands below each."""
    least = len(block[0]) - len(block[0].lstrip())
    term, meaning = "", list[str]()
    for line in block:
        if len(line) - len(line.lstrip()) <= least:
            if meaning:
                yield term, "\n".join(meaning)
            term, meaning = line.strip(), []
        else:
            meaning.append(line)
    if meaning:
        yield term, "\n".join(meaning)


def _looks_like_code(block: list[str]) -> bool:
    """Grammar, or an indented paragraph that has the signs of a program and not the end of a sentence."""
    body = "\n".join(block)
    if "::=" in body:
        return True
    indented = all(line.startswith(("  ", "\t")) for line in block)
    return indented and not body.rstrip().endswith((".", "?", "!", ":")) and _CODE_SIGN.search(body) is not None


def _behind_directive(block: list[str]) -> list[str]:
    """What follows ``.. note::`` and its options; labels, targets and comments leave nothing."""
    first = [_ADMONITION.sub("", block[0])] if _ADMONITION.match(block[0]) else []
    return first + [line for line in block if not _DIRECTIVE.match(line)]


def _items(block: list[str], begins: re.Pattern[str]) -> Iterator[str]:
    item: list[str] = []
    for line in block:
        if begins.match(line) and item:
            yield "\n".join(item)
            item = []
        item.append(line)
    if item:
        yield "\n".join(item)


def _is_heading(body: str, heading: str) -> bool:
    return bool(heading) and body.strip().rstrip("¶# ") == heading.rsplit(HEADING_SEPARATOR, 1)[-1]
