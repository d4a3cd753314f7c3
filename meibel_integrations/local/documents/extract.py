"""From a file's name and bytes to an ``Extracted`` document: which reader is for what."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import PurePath
from typing import Literal

from meibel_integrations.local.documents.document import Extracted
from meibel_integrations.local.documents.formats import markup, source
from meibel_integrations.local.documents.reading import UnreadableError, decode

# Part of every digest: raise it when extraction or chunking changes, and the next ingest renews all documents.
EXTRACTION_VERSION = 2

_MARKDOWN = frozenset({".md", ".markdown", ".mdown", ".mkd", ".mdx", ".qmd", ".rmd"})
_ASCIIDOC = frozenset({".adoc", ".asciidoc", ".asc"})
_HTML = frozenset({".html", ".htm", ".xhtml"})
_DATA = frozenset(
    {".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".yaml", ".yml", ".toml", ".ini", ".cfg", ".conf", ".xml", ".po"}
    | {".pot", ".log", ".lock", ".svg", ".properties", ".env", ".sql", ".css", ".scss", ".less", ".srt", ".vtt", ".tex"}
)
_PYTHON = frozenset({".py", ".pyi", ".pyx", ".pxd"})
_SOURCE = frozenset(
    """
    .c .cc .cpp .cs .cxx .dart .erl .ex .exs .f90 .fs .go .groovy .h .hh .hpp .hs .java .jl .js .jsx .kt .kts .lua .m
    .ml .mjs .mm .nim .php .pl .pm .proto .ps1 .r .rb .rs .scala .sh .bash .zsh .fish .swift .ts
    .tsx .vb .vue .zig .svelte
    """.split()  # noqa: SIM905 - a table to read
)
_MARKDOWN_HINT = re.compile(r"^#{1,6} \S|^```", re.MULTILINE)


def extract(name: str, content: bytes) -> Extracted:
    """Extract the text of a document. ``name`` is its path relative to what was ingested; its suffix decides.

    Raises:
        UnreadableError: there is no text to be had from it.
    """
    path = PurePath(name)
    kind = office_kind(name, content)
    if kind is not None:
        # Imported when needed, as each needs a library of its own.
        from meibel_integrations.local.documents.formats import office

        document = {"pdf": office.pdf, "docx": office.docx, "notebook": office.notebook}[kind](content)
    else:
        document = _reader(path.suffix.lower())(decode(content), path)
    if not document.text.strip():
        raise UnreadableError("there is no text in it" if content.strip() else "it is empty")
    if not document.title:
        document = Extracted(document.text, path.name, document.sections, document.blocks)
    return document


def office_kind(name: str, content: bytes) -> Literal["pdf", "docx", "notebook"] | None:
    """Which reader of ``formats.office`` a file needs; ``None``: it is text."""
    suffix = PurePath(name).suffix.lower()
    if suffix == ".pdf" or content.startswith(b"%PDF-"):
        return "pdf"
    if suffix == ".docx":
        return "docx"
    return "notebook" if suffix == ".ipynb" else None


def _reader(suffix: str) -> Callable[[str, PurePath], Extracted]:
    if suffix in _MARKDOWN:
        return lambda text, _: markup.markdown(text)
    if suffix in _HTML:
        return lambda text, _: _page(text)
    if suffix in _ASCIIDOC:
        return lambda text, _: markup.asciidoc(text)
    if suffix in _PYTHON:
        return lambda text, path: source.python(text, path.as_posix())
    if suffix in _SOURCE:
        return lambda text, path: source.source(text, path.as_posix())
    if suffix in _DATA:
        return lambda text, path: source.data(text, path.name)
    return lambda text, _: _prose(text)


def _page(text: str) -> Extracted:
    from meibel_integrations.local.documents.formats.html import html  # lxml is needed for nothing else

    return html(text)


def _prose(text: str) -> Extracted:
    """Plain text, which may be marked up either way whatever its name."""
    if markup.is_asciidoc(text):
        return markup.asciidoc(text)
    document = markup.underlined(text)
    if len(document.sections) <= 1 and not document.title and _MARKDOWN_HINT.search(text):
        return markup.markdown(text)
    return document
