"""Markdown, reStructuredText and plain text: headings are found, the text itself stays as it is."""

from __future__ import annotations

import re

from meibel_integrations.local.documents.document import Extracted, Heading, sections_of

_FRONT_MATTER = re.compile(r"\A(---|\+\+\+)[ \t]*\n(.*?)^\1[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_FRONT_TITLE = re.compile(r"""^title[ \t]*[:=][ \t]*(?P<quote>["']?)(?P<title>.+?)(?P=quote)[ \t]*$""", re.MULTILINE)
_MARKDOWN = re.compile(
    r"^ {0,3}(?P<fence>`{3,}|~{3,})[^\n]*$"
    r"|^ {0,3}(?P<hashes>#{1,6})[ \t]+(?P<atx>[^\n]*)$"
    r"|^(?P<setext>[^\s#>|`~-][^\n]*)\n {0,3}(?P<underline>={2,}|-{2,})[ \t]*$",
    re.MULTILINE,
)
_UNDERLINED = re.compile(
    r"^(?:(?P<over>[!-/:-@\[-`{-~])(?P=over){2,}[ \t]*\n(?=[ \t]*\S))?"
    r"(?P<indent>[ \t]*)(?P<title>\S[^\n]*)\n"
    r"(?P<under>[!-/:-@\[-`{-~])(?P=under){2,}[ \t]*$",
    re.MULTILINE,
)
_LINK = re.compile(r"!?\[([^\]\[]*)\]\([^()\s]*(?:\s+\"[^\"]*\")?\)")
_LONGEST_HEADING = 400
_CLOSING_HASHES = re.compile(r"(?<=\s)#+$|^#+$")
_ANCHOR = re.compile(r"\s*\{\s*[#.:][^{}]*\}\s*$")
_HTML_TAG = re.compile(r"</?[A-Za-z][^<>]*>")
_EMPHASIS = re.compile(r"(\*\*|__|\*)(?=\S)(.+?)(?<=\S)\1")
_ROLE = re.compile(r":[a-zA-Z][\w:.+-]*:`(?:[^`<]*<)?[~!]?([^`<>]+)>?`")
_RST_REFERENCE = re.compile(r"`([^`<]+?)(?:\s*<[^`>]*>)?`_{0,2}")


def plain_heading(text: str) -> str:
    """A heading's words without the marks of Markdown or reStructuredText."""
    text = _CLOSING_HASHES.sub("", text[:_LONGEST_HEADING].rstrip())
    text = _ROLE.sub(r"\1", text)
    text = _LINK.sub(r"\1", _HTML_TAG.sub("", _ANCHOR.sub("", text)))
    text = _EMPHASIS.sub(r"\2", _RST_REFERENCE.sub(r"\1", text.replace("``", "`")))
    return " ".join(text.replace("`", "").split())


def markdown(text: str) -> Extracted:
    """Markdown with ATX and underlined headings; fenced code is never divided; front matter may give the title."""
    title = ""
    begin = 0
    front = _FRONT_MATTER.match(text)
    if front:
        begin = front.end()
        named = _FRONT_TITLE.search(front[2])
        title = named["title"].strip() if named else ""
    headings: list[Heading] = []
    blocks: list[tuple[int, int]] = []
    fence: re.Match[str] | None = None
    for match in _MARKDOWN.finditer(text, begin):
        mark = match["fence"]
        if fence is not None:
            if mark and mark.startswith(fence["fence"]) and not match[0].strip().strip(mark[0]):
                blocks.append((fence.start(), match.end()))
                fence = None
        elif mark:
            fence = match
        elif match["hashes"]:
            headings.append(Heading(match.start(), match.end(), len(match["hashes"]), plain_heading(match["atx"])))
        else:
            level = 1 if match["underline"][0] == "=" else 2
            headings.append(Heading(match.start(), match.end(), level, plain_heading(match["setext"])))
    if fence is not None:
        blocks.append((fence.start(), len(text)))
    return Extracted(text, title or _first(headings), sections_of(text, headings, begin), blocks)


def underlined(text: str) -> Extracted:
    """reStructuredText or plain text whose headings are underlined. The order of first use tells the levels."""
    headings: list[Heading] = []
    styles: list[tuple[str, bool]] = []
    for match in _UNDERLINED.finditer(text):
        title = match["title"].rstrip()
        rule = match[0][match.end("title") - match.start() :].strip()
        over = match["over"] is not None and match["over"] == match["under"]
        if len(rule) < min(len(title), 40) - 2 or (match["indent"] and not over) or not any(map(str.isalnum, title)):
            continue
        style = (match["under"], over)
        if style not in styles:
            styles.append(style)
        start = match.start() if over else match.start("indent")
        headings.append(Heading(start, match.end(), styles.index(style) + 1, plain_heading(title)))
    return Extracted(text, _first(headings), sections_of(text, headings))


def _first(headings: list[Heading]) -> str:
    return next((heading.text for heading in headings if heading.text), "")
