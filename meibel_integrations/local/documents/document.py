"""What extraction produces: a document's readable text, its title, and where its sections and code blocks are."""

from __future__ import annotations

from dataclasses import dataclass, field

from meibel_integrations.local.store.documents import HEADING_SEPARATOR


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading in the text: the line(s) ``[start, end)`` that make it, its level (1 is the topmost) and words."""

    start: int
    end: int
    level: int
    text: str


@dataclass(frozen=True, slots=True)
class Section:
    """A stretch ``[start, end)`` of the text, and the path of headings above it."""

    start: int
    end: int
    heading: str


@dataclass(frozen=True, slots=True)
class Extracted:
    """A document as search and citations see it. All offsets count characters of ``text``."""

    text: str
    title: str = ""
    sections: list[Section] = field(default_factory=list)
    blocks: list[tuple[int, int]] = field(default_factory=list)


def sections_of(text: str, headings: list[Heading], start: int = 0) -> list[Section]:
    """Divide ``text[start:]`` at the headings. A heading with nothing below it goes with the section that follows."""
    sections: list[Section] = []
    path: list[Heading] = []
    begin = start
    body = start  # where the current section's own text begins, behind its heading
    name = ""
    for heading in headings:
        if text[body : heading.start].strip():
            sections.append(Section(begin, heading.start, name))
            begin = heading.start
        while path and path[-1].level >= heading.level:
            path.pop()
        path.append(heading)
        name = HEADING_SEPARATOR.join(h.text for h in path if h.text)
        body = heading.end
    if text[begin:].strip():
        sections.append(Section(begin, len(text), name))
    return sections
