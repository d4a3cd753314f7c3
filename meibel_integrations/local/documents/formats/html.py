"""HTML: the text that a reader of the page sees, without scripts, styles and navigation.

Tags are cut with regular expressions rather than with ``html.parser``, which alone would be slower than all the rest
of ingest together. Nothing here ever becomes markup again, so the forgiving reading is safe.
"""

from __future__ import annotations

import re
from html import unescape

from meibel_integrations.local.documents.document import Extracted, Heading, sections_of

# Every repetition is bounded or possessive: hostile pages must not take quadratic time.
_TAG = r"""[^<>"']*+(?:(?:"[^"]{0,4000}"|'[^']{0,4000}')[^<>"']*+)*+>"""
_DROPPED = re.compile(
    r"<!--.*?(?:-->|\Z)"
    r"|<(?P<tag>script|style|template|noscript|svg|iframe|object)\b[^<>]{0,4000}+>.*?(?:</(?P=tag)\s*>|\Z)"
    r"|<a\b[^<>]{0,300}class=\"[^\"<>]{0,100}\b(?:headerlink|anchor-link)\b[^\"<>]{0,100}\"[^<>]{0,300}>.{0,200}?</a>"
    r"|<[!?][^<>]{0,4000}+>",
    re.DOTALL | re.IGNORECASE,
)
_INLINE = re.compile(
    r"</?(?:a|abbr|acronym|b|bdi|bdo|big|button|cite|code|data|del|dfn|em|font|i|img|input|ins|kbd|label|mark|meta|"
    r"link|q|s|samp|small|span|strike|strong|sub|sup|time|tt|u|var|wbr)(?=[\s/>])" + _TAG,
    re.IGNORECASE,
)
_ANY_TAG = re.compile(r"(<[a-zA-Z/]" + _TAG + ")")
_TITLE = re.compile(r"<title\b[^<>]{0,300}+>(.{0,2000}?)</title", re.DOTALL | re.IGNORECASE)
_MAIN = re.compile(
    r"<(?P<tag>main|article)\b[^<>]*>|<(?P<tag2>[a-z]+)\b[^<>]{0,500}\brole=[\"']?main\b[^<>]*>", re.IGNORECASE
)
_NAME = re.compile(r"</?([a-zA-Z][a-zA-Z0-9-]*)")
_FURNITURE = re.compile(
    r"\brole=[\"']?(?:navigation|search|banner|contentinfo)\b"
    r"|\bclass=[\"'][^\"']*\b(?:sidebar|sphinxsidebar|breadcrumbs?|navbar|toc-drawer|skip-link|pagination|footer)\b"
    r"|\bhidden\b(?=[\s>])",
    re.IGNORECASE,
)
_FURNITURE_TAGS = frozenset({"nav", "footer", "aside", "select", "form", "head"})
_VOID = frozenset({"br", "hr", "col", "source", "track", "area", "base", "embed", "param"})
_SPACE = re.compile(r"[ \t\n\r\f]+")
_CELLS = frozenset({"td", "th"})
_MINIMUM_MAIN = 200


def html(source: str) -> Extracted:
    """The visible text of a page; code stays in fences, each block is a paragraph."""
    named = _TITLE.search(source)
    title = _words(named[1]) if named else ""
    cleaned = _INLINE.sub("", _DROPPED.sub("", source))
    main = _MAIN.search(cleaned)
    page = _Page()
    if main:
        page.read(cleaned, main.start(), only=(main["tag"] or main["tag2"]).lower())
    if page.length < _MINIMUM_MAIN:
        whole = _Page()
        whole.read(cleaned, 0)
        if whole.length > 2 * page.length:
            page = whole
    text = "".join(page.parts)
    first = next((heading.text for heading in page.headings), "")
    return Extracted(text, title or first, sections_of(text, page.headings), page.blocks)


class _Page:
    """The text under construction."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.length = 0
        self.headings: list[Heading] = []
        self.blocks: list[tuple[int, int]] = []
        self._line: list[str] = []  # the paragraph being read
        self._pre = 0
        self._heading = 0

    def read(self, source: str, start: int, only: str = "") -> None:
        """Read from ``start``; with ``only``, stop where the element that begins there ends."""
        skip_tag, skip_depth, depth = "", 0, 0
        for i, piece in enumerate(_ANY_TAG.split(source[start:] if start else source)):
            if not i % 2:
                if piece and not skip_depth:
                    self._line.append(piece)
                continue
            name_match = _NAME.match(piece)
            name = name_match[1].lower() if name_match else ""
            closing = piece[1] == "/"
            if skip_depth:
                if name == skip_tag:
                    skip_depth += -1 if closing else 1
                continue
            if only and name == only:
                depth += -1 if closing else 1
                if depth <= 0:
                    break
            elif not closing and name not in _VOID and (name in _FURNITURE_TAGS or _FURNITURE.search(piece)):
                self._break()
                skip_tag, skip_depth = name, 1
                continue
            self._tag(name, closing)
        self._break()

    def _tag(self, name: str, closing: bool) -> None:
        if name in _CELLS:
            self._line.append("\t" if closing else "")
        elif name == "br":
            self._line.append("\n" if self._pre else " ")
        elif name == "pre":
            self._break()
            self._pre = 0 if closing else 1
        elif not self._pre:
            self._break()
            if len(name) == 2 and name[0] == "h" and name[1].isdigit():
                self._heading = 0 if closing else int(name[1])

    def _break(self) -> None:
        """End the paragraph that is being read."""
        if not self._line:
            return
        raw = unescape("".join(self._line))
        self._line.clear()
        if self._pre:
            code = raw.replace("\t", "    ").strip("\n").rstrip()
            if code.strip():
                start = self._append(f"```\n{code}\n```")
                self.blocks.append((start, self.length))
            return
        paragraph = _SPACE.sub(" ", raw).strip()
        if not paragraph:
            return
        start = self._append(paragraph)
        if self._heading:
            self.headings.append(Heading(start, self.length, self._heading, paragraph.rstrip("¶# ")))

    def _append(self, paragraph: str) -> int:
        if self.parts:
            self.parts.append("\n\n")
            self.length += 2
        start = self.length
        self.parts.append(paragraph)
        self.length += len(paragraph)
        return start


def _words(fragment: str) -> str:
    return _SPACE.sub(" ", unescape(re.sub(r"<[^<>]*>", "", fragment))).strip()
