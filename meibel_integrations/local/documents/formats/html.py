"""HTML: the text that a reader of the page sees, without scripts, styles and navigation.

lxml parses, forgivingly and with a limit to how deep elements may lie in each other. The tree is walked once by
``_Writer``, which writes lists, tables and code as Markdown would and lets a definition follow its term, so that later
readers see the shape, too.
"""

from __future__ import annotations

import re
from typing import Any

from lxml import etree

from meibel_integrations.local.documents.document import Extracted, Heading, sections_of

_DROPPED_TAGS = frozenset(
    {"script", "style", "template", "noscript", "svg", "iframe", "object", "head", "title"}
    | {"nav", "footer", "aside", "select", "form"}
)
_FURNITURE_ROLES = ("navigation", "search", "banner", "contentinfo")
_FURNITURE_CLASSES = (
    *("sidebar", "sphinxsidebar", "breadcrumb", "breadcrumbs", "navbar", "toc-drawer", "skip-link", "pagination"),
    *("footer", "headerlink", "anchor-link", "doc-anchor"),
)
# What the reader of a page does not see, or sees on every page of the site.
_FURNITURE = etree.XPath(
    "//*[@hidden]"
    + "".join(f" | //*[@role='{role}']" for role in _FURNITURE_ROLES)
    + " | //*[@class]["
    + " or ".join(f"contains(concat(' ', @class, ' '), ' {name} ')" for name in _FURNITURE_CLASSES)
    + "]"
)
_INLINE = frozenset(
    """
    a abbr acronym b bdi bdo big button cite code data del dfn em font i img input ins kbd label mark meta link q s samp
    small span strike strong sub sup time tt u var wbr
    """.split()  # noqa: SIM905 - a table to read
)
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
# A table that holds these lays out a page; its cells are read as paragraphs.
_LAYOUT = ("table", *_HEADINGS, "pre")
_SPACE = re.compile(r"\s+")
_BETWEEN_TITLES = re.compile(r"\s+[-\u2013\u2014|\u00b7:\u00bb]+\s+")
_MINIMUM_MAIN = 200
_DEEPEST_LIST = 8


def html(source: str) -> Extracted:
    """The visible text of a page; code stays in fences, each block is a paragraph."""
    parser = etree.HTMLParser(encoding="utf-8", huge_tree=True, remove_comments=True, remove_pis=True)
    page = etree.fromstring(source.encode(), parser) if source.strip() else None
    if page is None:
        return Extracted("")
    named = page.find(".//title")
    title = _words("".join(named.itertext())) if named is not None else ""
    main = page.find(".//main")
    for other in (".//article", ".//*[@role='main']"):
        main = page.find(other) if main is None else main
    furniture = frozenset(_FURNITURE(page))
    writer = _Writer().write(page if main is None else main, furniture)
    if main is not None and writer.length < _MINIMUM_MAIN:
        everything = _Writer().write(page, furniture)
        if everything.length > 2 * writer.length:
            writer = everything
    text = "".join(writer.parts)
    return Extracted(text, _own_title(title, writer.headings), sections_of(text, writer.headings), writer.blocks)


def _own_title(title: str, headings: list[Heading]) -> str:
    """The title without the site's name: the part of it that the page's topmost heading says, too."""
    top = min(headings, key=lambda heading: heading.level, default=None)
    if top is None or not top.text:
        return title
    heading = top.text.casefold()
    if not title or title.casefold().startswith(heading):
        return top.text
    return next((part for part in _BETWEEN_TITLES.split(title) if part and part.casefold() in heading), title)


class _Writer:
    """The text under construction."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.length = 0
        self.headings: list[Heading] = []
        self.blocks: list[tuple[int, int]] = []
        self._words: list[str] = []  # of the paragraph that is being read
        self._pre = False
        self._level = 0  # of the heading that is being read
        self._lists: list[int] = []  # the number of the next item of each open list; 0: without numbers
        self._prefix = ""  # what the next paragraph begins with: a list's mark, a definition's indentation
        self._near = False  # whether the next paragraph follows on the next line
        self._table: list[list[str]] | None = None
        self._has_head = False

    def write(self, root: Any, furniture: frozenset[Any]) -> _Writer:
        """Take in everything below an element but the furniture."""
        walk = etree.iterwalk(root, events=("start", "end"))
        dropped = None
        for event, element in walk:
            tag = element.tag
            if event == "start":
                if tag in _DROPPED_TAGS or (element in furniture and element is not root):
                    walk.skip_subtree()
                    dropped = element
                    continue
                if tag == "br":
                    self._words.append("\n" if self._pre else " ")
                elif tag not in _INLINE:
                    self._enter(tag, element)
                if text := element.text:
                    self._words.append(text)
                continue
            if element is dropped:
                dropped = None
            elif tag not in _INLINE and tag != "br":
                self._leave(tag)
            if (tail := element.tail) and element is not root:
                self._words.append(tail)
        self._end_paragraph()
        return self

    def _enter(self, tag: str, element: Any) -> None:
        if self._table is not None:
            self._enter_in_table(tag)
        elif not self._pre:
            self._end_paragraph()
            if tag == "pre":
                self._pre = True
            elif tag in _HEADINGS:
                self._level = _HEADINGS[tag]
            elif tag in ("ul", "ol"):
                self._lists.append(1 if tag == "ol" else 0)
            elif tag == "li":
                self._begin_item()
            elif tag == "dd":
                self._prefix, self._near = "    ", True
            elif tag == "table" and next(element.iterdescendants(*_LAYOUT), None) is None:
                self._table, self._has_head = [], False

    def _leave(self, tag: str) -> None:
        if self._table is not None:
            if tag in ("td", "th"):
                self._end_cell()
            elif tag == "table":
                self._end_table()
            else:
                self._words.append(" ")
        elif self._pre:
            if tag == "pre":
                self._end_code()
        else:
            self._end_paragraph()
            if tag in _HEADINGS:
                self._level = 0
            elif tag in ("ul", "ol") and self._lists:
                self._lists.pop()
                self._near = bool(self._lists)
            if tag in ("li", "dd"):
                self._prefix = ""

    # Lists

    def _begin_item(self) -> None:
        number = self._lists[-1] if self._lists else 0
        indent = "  " * min(max(len(self._lists) - 1, 0), _DEEPEST_LIST)
        self._prefix = f"{indent}{number}. " if number else f"{indent}- "
        if self._lists and number:
            self._lists[-1] += 1

    # Tables

    def _enter_in_table(self, tag: str) -> None:
        assert self._table is not None
        if tag == "tr":
            self._words.clear()
            self._table.append([])
        elif tag in ("td", "th"):
            self._words.clear()
            self._has_head |= tag == "th" and len(self._table) == 1
        else:
            self._words.append(" ")

    def _end_cell(self) -> None:
        assert self._table is not None
        if self._table:
            self._table[-1].append(_words("".join(self._words)).replace("|", "\\|"))
        self._words.clear()

    def _end_table(self) -> None:
        rows = [row for row in self._table or () if any(row)]
        self._table = None
        self._words.clear()
        lines = [f"| {' | '.join(row)} |" for row in rows]
        if self._has_head and lines:
            lines.insert(1, f"|{' --- |' * len(rows[0])}")
        if lines:
            self._append("\n".join(lines))

    # Paragraphs

    def _end_code(self) -> None:
        self._pre = False
        code = "".join(self._words).replace("\t", "    ").strip("\n").rstrip()
        self._words.clear()
        if code.strip():
            start = self._append(f"```\n{code}\n```")
            self.blocks.append((start, self.length))

    def _end_paragraph(self) -> None:
        paragraph = _words("".join(self._words))
        self._words.clear()
        if not paragraph:
            return
        if self._level:
            paragraph = paragraph.rstrip("¶§# ") or paragraph
        start = self._append(self._prefix + paragraph)
        if self._level:
            self.headings.append(Heading(start, self.length, self._level, paragraph))
        elif self._prefix:
            # What follows in the same item or list stands on the next line.
            self._near = self._prefix.lstrip()[:1] != ""
            self._prefix = ""

    def _append(self, paragraph: str) -> int:
        if self.parts:
            gap = "\n" if self._near else "\n\n"
            self.parts.append(gap)
            self.length += len(gap)
        self._near = False
        start = self.length
        self.parts.append(paragraph)
        self.length += len(paragraph)
        return start


def _words(text: str) -> str:
    return _SPACE.sub(" ", text).strip()
