"""Source code and data files: divided at top-level definitions where the language has them, titled by their path."""

from __future__ import annotations

import re

from meibel_integrations.local.documents.document import Extracted, Heading, sections_of

_DEFINITION = re.compile(
    r"^(?:@[^\n]*\n)*"
    r"(?P<line>(?:(?:export|default|pub(?:\([a-z]+\))?|public|private|protected|internal|static|async|abstract|final|"
    r"sealed|unsafe|extern|partial)[ \t]+)*"
    r"(?:def|class|function|func|fn|struct|enum|interface|trait|impl|type|module|namespace|record|object|macro_rules!)"
    r"\b[^\n]*)",
    re.MULTILINE,
)
_PYTHON = re.compile(
    r"^(?P<indent>[ \t]*)(?:@[^\n]*\n[ \t]*)*(?P<line>(?:async[ \t]+def|def|class)[ \t]+\w[^\n]*)", re.MULTILINE
)
_SIGNATURE_END = re.compile(r"[\s({:=]*$")


def python(text: str, title: str) -> Extracted:
    """Python source: classes, their methods, and functions."""
    headings: list[Heading] = []
    for match in _PYTHON.finditer(text):
        indent = len(match["indent"].expandtabs(4))
        if indent <= 4:
            headings.append(Heading(match.start(), match.start("line"), 1 + (indent > 0), _name(match["line"])))
    return Extracted(text, title, sections_of(text, headings))


def source(text: str, title: str) -> Extracted:
    """Source code of another language: definitions that begin in the first column."""
    headings = [Heading(m.start(), m.start("line"), 1, _name(m["line"])) for m in _DEFINITION.finditer(text)]
    return Extracted(text, title, sections_of(text, headings))


def data(text: str, title: str) -> Extracted:
    """CSV, JSON, YAML, logs: text without headings."""
    return Extracted(text, title, sections_of(text, []))


def _name(line: str) -> str:
    head = line.split("(", 1)[0].split("{", 1)[0]
    return _SIGNATURE_END.sub("", head)[:120]
