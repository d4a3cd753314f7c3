"""Passages as units that can be quoted: sentences, list items, tables, code, entries of a definition list.

The words stay the document's own. Only the marks of Markdown and reStructuredText around them go.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from meibel_integrations.local.store.documents import HEADING_SEPARATOR

Kind = Literal["text", "item", "definition", "table", "code"]

_ENDING = re.compile(
    r"(?:[.!?]++[\"'\u201d\u2019)\]*_`]*(?=\s+[\"'\u201c(\[*_`:<]*[^\sa-z])|[\u3002\uff01\uff1f]+[\u300d\u201d]*)\s*"
)
_ABBREVIATION = re.compile(
    r"(?:^|[\s(])(?:[A-Za-z]|e\.g|i\.e|etc|cf|vs|resp|approx|Dr|Mr|Mrs|Ms|St|Inc|Fig|No|U\.S)\.$"
)
_FENCE = re.compile(r"^\s*(```+|~~~+)")
_ITEM = re.compile(r"^(\s*)(?:[-*+\u2022]|\d{1,3}[.)]|\(?[a-z]\))\s+(?=\S)")
_TABLE = re.compile(r"^\s*(?:\|.*\||\+[-=+]+\+|={3,}(?: +={2,})+)\s*$|\t.*\t")
_RULE = re.compile(r"^\s*([!-/:-@\[-`{-~])\1{2,}\s*$")
_HASH = re.compile(r"^ {0,3}#{1,6}\s")
_DIRECTIVE = re.compile(r"^\s*\.\.(?:\s+([\w:-]+)::|\s|$)")
_SHOWS_CODE = re.compile(r"code|sourcecode|literal|console|doctest|prompt|math|productionlist")
_SHOWS_TEXT = re.compile(
    r"note|warning|tip|important|caution|hint|attention|danger|admonition|glossary|version|deprecated|seealso"
)
_CODE_START = re.compile(r"^\s*(?:>>> |\$ |(?:import|from|def|class|pip|async def) [\w.]+|@\w)")
_SIGNATURE = re.compile(r"^\s*[\w. ]{1,60}\(.{0,80}\)\s*$")
_CODE_SIGN = re.compile(r"[\w\])][(\[=]|[{}=;<>]|->|\w_\w|::=")
_MARKUP = (
    (re.compile(r":[A-Za-z][\w:.+-]{0,40}:`[~!]?([^`<>]{1,300}?)(?:\s*<[^`<>]{1,300}>)?`"), r"\1"),  # :role:`text`
    (re.compile(r"(?<!`)`([^`<>\n]{1,200}?)(?:\s<[^`<>]{1,500}>)?`_{1,2}(?!\w)"), r"\1"),  # `text <link>`_
    (re.compile(r"(?<!`)``(?!`)([^`]{1,300})``(?!`)"), r"`\1`"),
    (re.compile(r"!?\[([^\]\[]{0,300})\]\([^()\s]{0,500}(?:\s\"[^\"]{0,300}\")?\)"), r"\1"),  # [text](link)
    (re.compile(r"\s?\[(?:#[\w-]{0,40}|\d{1,3}|\*)\]_(?!\w)"), ""),  # footnotes
    (re.compile(r"^(\s*[-*+]\s+)\[[ xX]\]\s"), r"\1"),
    (re.compile(r"</?(?:a|b|i|p|em|strong|code|img|br|div|span|sup|sub)\b[^<>]{0,500}>"), ""),
    (re.compile(r"\*\*([^*\n]{1,300})\*\*"), r"\1"),
    (re.compile(r"\s?::\s*$"), ":"),
)
_PLAIN_WORD = re.compile(r"(?<![\w.`/_-])[^\W\d_]{2,}(?:['\u2019-][^\W\d_]+)?(?![\w`/_(=]|\.\w)")
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]{4}")
_NOTICE = re.compile(
    r"^\W*(?:copyright\b|\(c\)\s|\u00a9|SPDX-|all rights reserved|for more\b|see\b)|https?://\S+$", re.IGNORECASE
)
_LONGEST = 600  # characters of a sentence


@dataclass(frozen=True, slots=True)
class Unit:
    """A quotable piece. Units of one ``block`` stand together; ``announced`` is a block that a colon leads to."""

    kind: Kind
    text: str
    block: int

    @property
    def asks(self) -> bool:
        return self.text.rstrip("\"'*_)").endswith(("?", "\uff1f"))

    @property
    def leads_on(self) -> bool:
        return self.text.rstrip("`*").endswith((":", ","))

    @property
    def is_prose(self) -> bool:
        """Whether a reader would call it a sentence: no label, heading, list of names or notice, and no question."""
        if self.kind in ("table", "code") or len(self.text) > _LONGEST or _NOTICE.search(self.text):
            return False
        if self.asks:
            return False
        words = len(_PLAIN_WORD.findall(self.text))
        ended = self.text.rstrip("\"'\u201d\u2019)*_`")[-1:] in ".!:;\u3002\uff01\u2026"
        return words >= (3 if ended else 6) or _UNSPACED.search(self.text) is not None


def plain(text: str) -> str:
    """Prose without its markup, on one line."""
    text = " ".join(text.split())
    for pattern, shown in _MARKUP:
        text = pattern.sub(shown, text)
    return text


def units(text: str, heading: str = "") -> list[Unit]:
    """The units of a passage, in order. Headings, rules and directives without text are left out."""
    found: list[Unit] = []
    last = heading.rsplit(HEADING_SEPARATOR, 1)[-1]
    for number, (kind, lines) in enumerate(_blocks(textwrap.dedent(text).split("\n"))):
        body = "\n".join(lines)
        if kind in ("code", "table"):
            found.append(Unit(kind, textwrap.dedent(body).strip("\n"), number))
        elif kind == "definition":
            for i, sentence in enumerate(sentences(plain(" ".join(lines[1:])))):
                found.append(
                    Unit("text", sentence, number) if i else Unit(kind, f"{plain(lines[0])}: {sentence}", number)
                )
        elif kind == "item":
            found.append(Unit(kind, plain(body), number))
        elif plain(body).strip("\u00b6# ") not in ("", last):
            found += [Unit("text", sentence, number) for sentence in sentences(plain(body))]
    return [unit for unit in found if unit.text.strip()]


def sentences(text: str) -> Iterator[str]:
    """The sentences of a paragraph."""
    start = 0
    for match in _ENDING.finditer(text):
        if text[match.start()] != "." or not _ABBREVIATION.search(
            text[max(start, match.start() - 12) : match.start() + 1]
        ):
            yield text[start : match.end()].strip()
            start = match.end()
    if text[start:].strip():
        yield text[start:].strip()


def _blocks(lines: list[str]) -> Iterator[tuple[Kind, list[str]]]:
    """Paragraphs with what they are. A block of code may have empty lines; each item of a list is a block."""
    at = 0
    announced = -1  # the indentation of a line with a colon at its end: what stands deeper may be code
    while at < len(lines):
        line, indent = lines[at], _indent(lines[at])
        deeper = _deeper(lines, at + 1, indent)
        paragraph = _paragraph(lines, at)
        said = False
        if fence := _FENCE.match(line):
            end = next((i for i in range(at + 1, len(lines)) if lines[i].strip().startswith(fence[1])), len(lines))
            yield "code", lines[at + 1 : end]
            at = min(end + 1, len(lines))
        elif not line.strip() or _RULE.match(line) or _HASH.match(line):
            at += 1
            continue
        elif directive := _DIRECTIVE.match(line):
            body = [each for each in lines[at + 1 : deeper] if not each.strip().startswith(":")]
            if _SHOWS_CODE.search(directive[1] or ""):
                yield "code", body
            elif _SHOWS_TEXT.match(directive[1] or ""):
                yield from _blocks(textwrap.dedent("\n".join(body)).split("\n"))
            at = deeper
        elif indent > announced >= 0 and not _ITEM.match(line) and _is_code(lines[at:paragraph]):
            at, begin = _deeper(lines, at, announced), at
            yield "code", lines[begin:at]
        elif _CODE_START.match(line):
            yield "code", lines[at:paragraph]
            at = paragraph
        elif (
            paragraph - at == 1 and paragraph < len(lines) and _RULE.match(lines[paragraph]) and not _TABLE.match(line)
        ):
            at = paragraph + 1  # a heading, and the rule below it
        elif _is_term(line) and (first := next((i for i in range(at + 1, deeper) if lines[i].strip()), 0)):
            end = min(_paragraph(lines, first), deeper)
            yield "definition", [line, *lines[first:end]]
            at, said = end, True
        else:
            kind: Kind = "table" if _TABLE.match(line) else "item" if _ITEM.match(line) else "text"
            yield kind, lines[at:paragraph]
            at, said = paragraph, True
        announced = indent if said and lines[at - 1].rstrip().endswith((":", ",")) else -1


def _paragraph(lines: list[str], at: int) -> int:
    """Where the paragraph ends: at an empty line, the next item of a list, a fence, or the rule below a heading."""
    table = _TABLE.match(lines[at])
    for end in range(at + 1, len(lines)):
        line = lines[end]
        if not line.strip() or _ITEM.match(line) or _FENCE.match(line) or (_RULE.match(line) and not table):
            return end
    return len(lines)


def _deeper(lines: list[str], at: int, indent: int) -> int:
    """Where the lines end that stand deeper than an indentation."""
    return next((i for i in range(at, len(lines)) if lines[i].strip() and _indent(lines[i]) <= indent), len(lines))


def _is_code(lines: list[str]) -> bool:
    return _CODE_START.match(lines[0]) is not None or _CODE_SIGN.search("\n".join(lines)) is not None


def _is_term(line: str) -> bool:
    """Whether a line looks like the head of a definition: a few words or a signature, and no sentence."""
    short = len(line.split()) <= 5 or _SIGNATURE.match(line)
    return bool(short) and line.rstrip()[-1] not in ".,;:!?" and not _ITEM.match(line) and line.strip()[0] != "["


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())
