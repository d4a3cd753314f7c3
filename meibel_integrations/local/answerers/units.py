"""Passages as units that can be quoted: sentences, list items, tables, code, entries of a definition list.

The words stay the document's own. Only the marks of Markdown and reStructuredText around them go.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from meibel_integrations.local.search.words import UNSPACED
from meibel_integrations.local.store.documents import HEADING_SEPARATOR

Kind = Literal["text", "item", "definition", "table", "code"]

_SENTENCE_END = re.compile(
    r"(?<!\be\.g)(?<!\bi\.e)(?<!\betc)(?<!\bcf)(?<!\b[A-Z])[.!?]++[\"'\u201d\u2019)\]*_`]*"
    r"\s+(?=[\"'\u201c(\[*_`:<]*[^\sa-z])|(?<=[\u3002\uff01\uff1f])(?![\u300d\u201d\u3002\uff01\uff1f]|$)"
)
_FENCE = re.compile(r"\s*(```+|~~~+)")
_ITEM = re.compile(r"\s*(?:[-*+\u2022]|\d{1,3}[.)]|\(?[a-z]\))\s+(?=\S)")
_TABLE = re.compile(r"\s*(?:\|.*\||\+[-=+]+\+|={3,}(?: +={2,})+)\s*$|.*\t.*\t")
_RULE = re.compile(r"\s*([!-/:-@\[-`{-~])\1{2,}\s*$")
_HASH = re.compile(r" {0,3}#{1,6}\s")
_DIRECTIVE = re.compile(r"\s*\.\.(?:\s+([\w:-]+)::|\s|$)")
_SHOWS_CODE = re.compile(r"code|sourcecode|literal|console|doctest|prompt|math|productionlist")
_SHOWS_TEXT = re.compile(
    r"note|warning|tip|important|caution|hint|attention|danger|admonition|glossary|version|depr|see"
)
_CODE_START = re.compile(r"\s*(?:>>> |\$ |(?:import|from|def|class|pip|async def) [\w.]+|@\w)")
_CODE_SIGN = re.compile(r"[\w\])][(\[=]|[{}=;<>]|->|\w_\w")
_MARKUP = (
    (re.compile(r":[A-Za-z][\w:.+-]{0,40}:`[~!]?([^`<>]{1,300}?)(?:\s*<[^`<>]{1,300}>)?`"), r"\1"),  # :role:`text`
    (re.compile(r"(?<!`)`([^`<>\n]{1,200}?)(?:\s<[^`<>]{1,500}>)?`_{1,2}(?!\w)"), r"\1"),  # `text <link>`_
    (re.compile(r"(?<!`)``(?!`)([^`]{1,300})``(?!`)"), r"`\1`"),
    (re.compile(r"!?\[([^\]\[]{0,300})\]\([^()\s]{0,500}(?:\s\"[^\"]{0,300}\")?\)"), r"\1"),  # [text](link)
    (re.compile(r"</?(?:a|b|i|p|em|strong|code|img|br|div|span|sup|sub)\b[^<>]{0,500}>"), ""),
    (re.compile(r"\*\*([^*\n]{1,300})\*\*"), r"\1"),
    (re.compile(r"\s?::\s*$"), ":"),
)
_PLAIN_WORD = re.compile(r"(?<![\w.`/_-])[^\W\d_]{2,}(?:['\u2019-][^\W\d_]+)?(?![\w`/_(=]|\.\w)")
_LONGEST = 600  # characters of a sentence


@dataclass(frozen=True, slots=True)
class Unit:
    """A quotable piece. Units of one ``block`` stand together."""

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
        """Whether a reader would call it a sentence that says something: no label, list of names, or question."""
        end = self.text.rstrip("\"'\u201d\u2019)*_`")[-1:]
        if self.kind in ("table", "code") or len(self.text) > _LONGEST or self.asks:
            return False
        enough = 3 if end in ".!:;\u3002\uff01\u2026" else 6
        return len(_PLAIN_WORD.findall(self.text)) >= enough or UNSPACED.search(self.text) is not None


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
        if kind in ("code", "table"):
            pieces = [textwrap.dedent("\n".join(lines)).strip("\n")]
        elif kind == "definition":
            pieces = _sentences(f"{plain(lines[0])}: {plain(' '.join(lines[1:]))}")
        else:
            shown = plain(" ".join(lines))
            pieces = [shown] if kind == "item" else _sentences(shown) if shown.strip("\u00b6# ") != last else []
        for i, piece in enumerate(pieces):
            if piece.strip():
                found.append(Unit("text" if kind == "definition" and i else kind, piece, number))
    return found


def _sentences(text: str) -> list[str]:
    """The sentences of a paragraph."""
    ends = [match.end() for match in _SENTENCE_END.finditer(text)]
    return [text[start:end].strip() for start, end in zip([0, *ends], [*ends, len(text)], strict=True)]


def _blocks(lines: list[str]) -> Iterator[tuple[Kind, list[str]]]:
    """Paragraphs with what they are. A block of code may have empty lines; each item of a list is a block."""
    at = 0
    announced = -1  # the indentation of a line with a colon at its end: what stands deeper may be code
    while at < len(lines):
        line, indent = lines[at], _indent(lines[at])
        begin, at = at, at + 1
        if not line.strip() or (_RULE.match(line) and not _TABLE.match(line)) or _HASH.match(line):
            continue
        paragraph, deeper = _paragraph(lines, begin), _deeper(lines, at, indent)
        kind: Kind = "text"
        if fence := _FENCE.match(line):
            end = next((i for i in range(at, len(lines)) if lines[i].strip().startswith(fence[1])), len(lines))
            yield "code", lines[at:end]
            at = end + 1
        elif directive := _DIRECTIVE.match(line):
            body = [each for each in lines[at:deeper] if not each.strip().startswith(":")]
            if _SHOWS_CODE.search(directive[1] or ""):
                yield "code", body
            elif _SHOWS_TEXT.match(directive[1] or ""):
                yield from _blocks(textwrap.dedent("\n".join(body)).split("\n"))
            at = deeper
        elif _CODE_START.match(line) or (indent > announced >= 0 and _is_code(lines[begin:paragraph])):
            at = _deeper(lines, begin, announced) if indent > announced >= 0 else paragraph
            yield "code", lines[begin:at]
        elif paragraph == at < len(lines) and _RULE.match(lines[at]) and not _TABLE.match(line):
            at += 1  # a heading, and the rule below it
        else:
            kind = "table" if _TABLE.match(line) else "item" if _ITEM.match(line) else "text"
            body_begin = next((i for i in range(at, deeper) if lines[i].strip()), 0)
            if kind == "text" and body_begin and _is_term(line):
                kind, at = "definition", min(_paragraph(lines, body_begin), deeper)
            else:
                at = paragraph
            yield kind, [each for each in lines[begin:at] if each.strip()]
            announced = indent if lines[at - 1].rstrip().endswith((":", ",")) else -1
            continue
        announced = -1


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
    return not _ITEM.match(lines[0]) and _CODE_SIGN.search("\n".join(lines)) is not None


def _is_term(line: str) -> bool:
    """Whether a line looks like the head of a definition: a few words or a signature, and no sentence."""
    short = len(line.split()) <= 5 or (line.rstrip().endswith(")") and len(line) < 140)
    return short and line.rstrip()[-1] not in ".,;:!?" and line.strip()[0] != "["


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())
