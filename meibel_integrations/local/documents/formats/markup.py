"""Markdown, reStructuredText, AsciiDoc and plain text: headings are found, the text itself stays as it is."""

from __future__ import annotations

import re

from meibel_integrations.local.documents.document import Extracted, Heading, sections_of

_FRONT_MATTER = re.compile(r"\A(---|\+\+\+)[ \t]*\n(.*?)^\1[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_FRONT_TITLE = re.compile(r"^title[ \t]{0,8}[:=](?P<title>[^\n]{1,400})", re.MULTILINE)
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
_ASCIIDOC_HINT = re.compile(
    r"^(?:\[\[[^\]\n]{1,80}\]\]|\[(?:verse|listing|source|quote|NOTE|TIP|WARNING|CAUTION|IMPORTANT)[^\]\n]{0,80}\]"
    r"|:[a-z][\w-]{0,40}:[^`\n]{0,200}\n\n?=|={1,5} \w)",
    re.MULTILINE,
)
_ASCIIDOC_TITLE = re.compile(r"(?P<signs>={1,6})[ \t]+(?P<title>\S.*)")
_ASCIIDOC_LINES = "=-~^+"  # below titles, topmost first
_LITERAL_BLOCKS = "-.+/"
_RUN = re.compile(r"([=\-~^+./])\1+")
_LINE = re.compile(r"[^\n]+")
_LINK = re.compile(r"!?\[([^\]\[]*)\]\([^()\s]*(?:\s+\"[^\"]*\")?\)")
_LONGEST_HEADING = 400
_HINTS_WITHIN = 50_000
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
        title = _unquoted(named["title"].strip()) if named else ""
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


def _unquoted(value: str) -> str:
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'" else value


def is_asciidoc(text: str) -> bool:
    """Whether a text of no telling name has the marks that only AsciiDoc has."""
    return _ASCIIDOC_HINT.search(text[:_HINTS_WITHIN]) is not None


def asciidoc(text: str) -> Extracted:
    """AsciiDoc: titles behind equals signs or above a line, none of them inside a listing."""
    headings: list[Heading] = []
    blocks: list[tuple[int, int]] = []
    fence, begin = "", 0
    above: re.Match[str] | None = None  # the line right above
    for line in _LINE.finditer(text):
        words = line[0].rstrip()
        if fence:
            if words == fence:
                blocks.append((begin, line.end()))
                fence = ""
        elif title := _ASCIIDOC_TITLE.fullmatch(words):
            headings.append(Heading(line.start(), line.end(), len(title["signs"]), plain_heading(title["title"])))
        elif _RUN.fullmatch(words):
            if above is not None and above.end() + 1 == line.start() and _is_title(above[0].rstrip(), words):
                level = _ASCIIDOC_LINES.index(words[0]) + 1
                headings.append(Heading(above.start(), line.end(), level, plain_heading(above[0])))
            elif len(words) >= 4 and words[0] in _LITERAL_BLOCKS:
                fence, begin = words, line.start()
        above = line
    if fence:
        blocks.append((begin, len(text)))
    return Extracted(text, _first(headings), sections_of(text, headings), blocks)


def _is_title(above: str, rule: str) -> bool:
    """AsciiDoc's own rule: the line below a title is as long as the title, give or take two."""
    return rule[0] in _ASCIIDOC_LINES and abs(len(above) - len(rule)) <= 2 and above[:1] not in "[." and above != rule


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
