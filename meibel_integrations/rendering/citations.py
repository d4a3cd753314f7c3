"""An answer with its sources as text for terminals, as Markdown and as HTML.

Pure functions over an answer's text, citations and sources. Passages of one document share a number; numbers follow the
order in which the answer cites. Nothing of an answer is taken as markup: it is shown as the characters that it has.

Example:
    ::

        page = as_html(client.sessions.send_chat_message(session_id, user_message="…"))
        page = as_html(ChatMeibel(agent_id="agent_123").invoke("…"))
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from meibel_integrations.models import Citation, Reply, Source
from meibel_integrations.rendering.safety import printable, safe_url

__all__ = [
    "Answer",
    "CitedText",
    "Footnote",
    "MessageLike",
    "as_html",
    "as_markdown",
    "as_text",
    "footnotes",
    "sources_as_text",
]

_PLACE_CHARS = 60
_REL = "noopener noreferrer nofollow"


@dataclass(frozen=True, slots=True)
class CitedText:
    """What there is to show of an answer."""

    text: str
    citations: Sequence[Citation] = ()
    sources: Sequence[Source] = ()

    @classmethod
    def from_reply(cls, reply: Reply) -> Self:
        return cls(reply.message, reply.citations, reply.sources)

    @classmethod
    def from_metadata(cls, text: str, metadata: Mapping[str, Any]) -> Self:
        """From the metadata that the framework adapters put beside an answer: plain dicts."""
        return cls(
            text,
            [Citation.model_validate(citation) for citation in metadata.get("citations") or ()],
            [Source.model_validate(source) for source in metadata.get("sources") or ()],
        )


class MessageLike(Protocol):
    """A framework's message with an answer, such as LangChain's ``AIMessage``."""

    @property
    def text(self) -> str: ...

    @property
    def response_metadata(self) -> Mapping[str, Any]: ...


Answer = CitedText | Reply | MessageLike


def _cited_text(answer: Answer) -> CitedText:
    if isinstance(answer, CitedText):
        return answer
    if isinstance(answer, Reply):
        return CitedText.from_reply(answer)
    return CitedText.from_metadata(str(answer.text), answer.response_metadata)


@dataclass(slots=True)
class Footnote:
    """One document under its number, and the places ``(start, end)`` of the answer that cite it."""

    number: int
    title: str
    url: str | None
    places: list[tuple[int, int]] = field(default_factory=list)


def footnotes(answer: Answer) -> list[Footnote]:
    """The answer's documents: the cited ones in the order of the answer, then those that were only found."""
    answer = _cited_text(answer)
    notes: dict[object, Footnote] = {}
    keys = [_identity(source, at) for at, source in enumerate(answer.sources)]
    limit = len(answer.text)
    places: dict[object, list[tuple[int, int]]] = {}
    for citation in sorted(answer.citations, key=lambda citation: citation.end):
        if 0 <= citation.source < len(keys):
            start, end = (min(max(position, 0), limit) for position in (citation.start, citation.end))
            places.setdefault(keys[citation.source], []).append((min(start, end), end))
    for key in [*places, *keys]:
        if key not in notes:
            source = answer.sources[keys.index(key)]
            title = source.title or source.url or source.data_element_id or "untitled"
            notes[key] = Footnote(len(notes) + 1, title, source.url, list(dict.fromkeys(places.get(key, []))))
    return list(notes.values())


def as_text(answer: Answer) -> str:
    """The answer with ``[1]`` where it cites, and its sources below."""
    answer = _cited_text(answer)
    notes = footnotes(answer)
    text = _with_marks(answer.text, notes, printable, lambda note: f"[{note.number}]", before=" ")
    return "\n\n".join(part for part in (text, _source_lines(answer, notes, places=False)) if part)


def sources_as_text(answer: Answer) -> str:
    """The numbered sources with the words that each one stands behind, for an answer that is on the screen already."""
    answer = _cited_text(answer)
    return _source_lines(answer, footnotes(answer), places=True)


def as_markdown(answer: Answer, *, local: bool = False) -> str:
    """CommonMark that shows the answer's own characters and layout. ``local`` makes links of ``file:`` URLs, too."""
    answer = _cited_text(answer)
    notes = footnotes(answer)

    def link(note: Footnote, label: str) -> str:
        url = safe_url(note.url, local=local)
        return label if url is None else f"[{label}](<{url.replace('&', '&amp;')}>)"

    text = _with_marks(
        answer.text,
        notes,
        lambda piece: _markdown_escape(printable(piece)),
        lambda note: link(note, f"\\[{note.number}\\]"),
    )
    lines = [f"{note.number}. {link(note, _markdown_escape(_one_line(note.title)))}" for note in notes]
    return "\n\n".join(part for part in (_markdown_layout(text), "\n".join(lines)) if part)


def as_html(answer: Answer, *, local: bool = False) -> str:
    """An HTML fragment without any markup from outside. ``local`` makes links of ``file:`` URLs, too."""
    answer = _cited_text(answer)
    notes = footnotes(answer)

    def link(note: Footnote, label: str) -> str:
        url = safe_url(note.url, local=local)
        return label if url is None else f'<a href="{html.escape(url)}" rel="{_REL}">{label}</a>'

    def escape(text: str) -> str:
        return html.escape(printable(text))

    text = _with_marks(answer.text, notes, escape, lambda note: f"<sup>{link(note, f'[{note.number}]')}</sup>")
    items = "".join(f"<li>{link(note, escape(_one_line(note.title)))}</li>" for note in notes)
    body = "".join(f"<p>{_html_layout(paragraph)}</p>" for paragraph in _paragraphs(text))
    return f'<div class="meibel-answer">{body}{f"<ol>{items}</ol>" if items else ""}</div>'


def _identity(source: Source, at: int) -> object:
    """What tells one document from another; a source that names none is a document of its own."""
    return source.url or source.data_element_id or at


def _with_marks(
    text: str,
    notes: Sequence[Footnote],
    escape: Callable[[str], str],
    mark: Callable[[Footnote], str],
    before: str = "",
) -> str:
    """The text with a mark at the end of each place; the pieces are escaped apart, so that no offset moves."""
    at: dict[int, list[Footnote]] = {}
    for note in notes:
        for end in dict.fromkeys(end for _, end in note.places):
            at.setdefault(end, []).append(note)
    pieces: list[str] = []
    done = 0
    for end in sorted(at):
        # behind the words, not behind the line break or spaces that a citation may include
        place = max(done, len(text[:end].rstrip()))
        pieces += [escape(text[done:place]), before if place else "", *(mark(note) for note in at[end])]
        done = place
    return "".join([*pieces, escape(text[done:])])


def _source_lines(answer: CitedText, notes: Sequence[Footnote], *, places: bool) -> str:
    lines: list[str] = []
    some_cited = any(note.places for note in notes)
    for note in notes:
        title, url = _one_line(note.title), _one_line(note.url or "")
        address = f" - {url}" if url and url != title else ""
        remark = " (found, not cited)" if some_cited and not note.places else ""
        lines.append(f"[{note.number}] {title}{address}{remark}")
        if places:
            lines += [f"    cited {_place(answer.text, start, end)}" for start, end in note.places]
    return "\n".join(lines)


def _place(text: str, start: int, end: int) -> str:
    """A place in words: what is cited, or what stands before a citation that is a single position."""
    # a position alone: as much of its paragraph as helps to find it
    words = _one_line(text[start:end] if start < end else text[:end].rstrip().rpartition("\n\n")[2])
    if not words:
        return "at the beginning"
    if len(words) > _PLACE_CHARS:
        tail = words[-_PLACE_CHARS:]
        words = "…" + (tail.partition(" ")[2] or tail)
    return f"for “{words}”" if start < end else f"after “{words}”"


def _one_line(text: str) -> str:
    return " ".join(printable(text).split())


def _paragraphs(text: str) -> list[str]:
    return [part for part in re.split(r"\n(?:[ \t]*\n)+", text.strip("\n")) if part.strip()]


def _hold_indent(line: str, space: str) -> str:
    """Indentation that is neither dropped nor taken for a code block."""
    rest = line.lstrip(" \t")
    return space * len(line[: len(line) - len(rest)].expandtabs(4)) + rest


def _html_layout(paragraph: str) -> str:
    return "<br>\n".join(_hold_indent(line, "&nbsp;") for line in paragraph.split("\n"))


# Markdown

_ALWAYS = r"[\\`*_{}\[\]()<>#|~&$@!^]"
_SOMETIMES = r"^[ \t]*[-+=]|(?<=[0-9wW])\.|:(?=//)"  # list and heading lines, "1." and "www.", "https://"
_SPECIAL = re.compile(f"({_ALWAYS})|({_SOMETIMES})", re.MULTILINE)


def _markdown_escape(text: str) -> str:
    """Text (printable already) that CommonMark, and GitHub's dialect with its bare links, shows as it is."""

    def escape(found: re.Match[str]) -> str:
        whole = found[0]
        return f"{whole[:-1]}\\{whole[-1]}"

    return _SPECIAL.sub(escape, text)


def _markdown_layout(text: str) -> str:
    """Every line stays a line: hard breaks within paragraphs, blank lines between them."""
    return "\n\n".join(
        "\\\n".join(_hold_indent(line, "&nbsp;").rstrip(" \t") for line in paragraph.split("\n"))
        for paragraph in _paragraphs(text)
    )
