"""Source code and data files: divided at top-level definitions where the language has them, titled by their path.

Each pattern looks at one line, and at no more of it than a definition needs: a file of any kind takes linear time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from meibel_integrations.local.documents.document import Extracted, Heading, sections_of

_DEFINITION = re.compile(
    r"^(?:(?P<decorator>@)"
    r"|(?P<line>(?:(?:export|default|pub(?:\([a-z]{1,20}\))?|public|private|protected|internal|static|async|abstract|"
    r"final|sealed|unsafe|extern|partial)[ \t]{1,8}){0,8}"
    r"(?:def|class|function|func|fn|struct|enum|interface|trait|impl|type|module|namespace|record|object|macro_rules!)"
    r"\b[^\n]{0,200}))",
    re.MULTILINE,
)
_PYTHON = re.compile(
    r"^(?P<indent>[ \t]{0,4})(?:(?P<decorator>@)"
    r"|(?P<line>(?:async[ \t]{1,8}def|def|class)[ \t]{1,8}\w[^\n]{0,200}))",
    re.MULTILINE,
)


def python(text: str, title: str) -> Extracted:
    """Python source: classes, their methods, and functions."""
    headings = [
        Heading(begin, match.start("line"), 2 if match["indent"] else 1, _name(match["line"]))
        for begin, match in _definitions(_PYTHON, text)
        if len(match["indent"].expandtabs(4)) <= 4
    ]
    return Extracted(text, title, sections_of(text, headings))


def source(text: str, title: str) -> Extracted:
    """Source code of another language: definitions that begin in the first column."""
    headings = [
        Heading(begin, match.start("line"), 1, _name(match["line"])) for begin, match in _definitions(_DEFINITION, text)
    ]
    return Extracted(text, title, sections_of(text, headings))


def data(text: str, title: str) -> Extracted:
    """CSV, JSON, YAML, logs: text without headings."""
    return Extracted(text, title, sections_of(text, []))


def _definitions(pattern: re.Pattern[str], text: str) -> Iterator[tuple[int, re.Match[str]]]:
    """Each definition, and where it begins: with the first of the decorators right above it."""
    begin = follows = -1
    for match in pattern.finditer(text):
        if match.start() != follows:
            begin = match.start()
        if match["decorator"]:
            follows = text.find("\n", match.end()) + 1
        else:
            yield begin, match
            follows = -1


def _name(line: str) -> str:
    head = line.split("(", 1)[0].split("{", 1)[0]
    return head.rstrip(" \t\r\f\v({:=")[:120]
