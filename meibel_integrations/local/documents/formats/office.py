"""PDF, Word documents and notebooks, each by an optional library.

These readers believe what a file says about itself, so a hostile file can make them use any amount of time and memory.
They run in a child process only: see ``reader_process``.
"""

from __future__ import annotations

import importlib.util
import io
import zipfile
from typing import Any

from meibel_integrations.local.documents.document import Extracted, Section
from meibel_integrations.local.documents.reading import UnreadableError, decode

_MAXIMUM_PAGES = 5000
_MAXIMUM_CHARACTERS = 20_000_000
_MAXIMUM_UNPACKED = 50_000_000


def pdf(content: bytes) -> Extracted:
    """The text of a PDF, one section per page.

    Raises:
        UnreadableError: pypdf is missing, or the file is encrypted, broken, or without text.
    """
    _require("pypdf", "PDF", "pdf")
    from pypdf import PdfReader
    from pypdf.errors import PyPdfError

    try:
        reader = PdfReader(io.BytesIO(content))
        if reader.is_encrypted and not reader.decrypt(""):
            raise UnreadableError("an encrypted PDF; remove its password first")
        title = reader.metadata.title if reader.metadata is not None else None
        pages: list[str] = []
        length = 0
        for page in reader.pages[:_MAXIMUM_PAGES]:
            pages.append(page.extract_text().replace("\0", "").encode("utf-8", "replace").decode())
            length += len(pages[-1])
            if length > _MAXIMUM_CHARACTERS:
                break
    except (PyPdfError, OSError, ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        # pypdf meets malformed objects wherever it looks, and says so in many ways
        kind = "an encrypted PDF" if "crypt" in str(error).lower() else "a broken PDF"
        raise UnreadableError(f"{kind} ({type(error).__name__})") from None
    return assemble(title.strip() if isinstance(title, str) else "", pages)


def assemble(title: str, pages: list[str]) -> Extracted:
    """One text from the pages of a document."""
    parts: list[str] = []
    sections: list[Section] = []
    at = 0
    for number, page in enumerate(pages, 1):
        text = page.strip()
        if not text:
            continue
        if parts:
            parts.append("\n\n")
            at += 2
        sections.append(Section(at, at + len(text), f"Page {number}"))
        parts.append(text)
        at += len(text)
    if not parts:
        raise UnreadableError("a PDF without text (scanned pages?); recognise its text first")
    return Extracted("".join(parts), title, sections)


def docx(content: bytes) -> Extracted:
    """The text of a Word document: headings, lists and tables as the HTML reader shows them.

    Raises:
        UnreadableError: mammoth is missing, or the file is broken.
    """
    _require("mammoth", "Word documents", "docx")
    import mammoth

    from meibel_integrations.local.documents.formats.html import html

    try:
        with zipfile.ZipFile(io.BytesIO(content)) as packed:
            unpacked = sum(info.file_size for info in packed.infolist())
        if unpacked > _MAXIMUM_UNPACKED:
            raise UnreadableError(f"it unpacks to {unpacked // 1_000_000} MB; at most 50 are read")
        page = mammoth.convert_to_html(io.BytesIO(content), convert_image=mammoth.images.img_element(lambda _: {}))
    except UnreadableError:
        raise
    except Exception as error:  # noqa: BLE001
        # mammoth leaves the errors of zipfile, the XML parser and its own reading as they come
        raise UnreadableError(f"a broken Word document ({type(error).__name__})") from None
    return html(page.value)


def notebook(content: bytes) -> Extracted:
    """A notebook: its texts as Markdown, its code in fences, what the code printed left out.

    Raises:
        UnreadableError: nbformat is missing, or the file is no notebook.
    """
    _require("nbformat", "notebooks", "notebooks")
    import nbformat

    from meibel_integrations.local.documents.formats.markup import markdown

    try:
        read: Any = nbformat.reads(decode(content), as_version=4)  # type: ignore[no-untyped-call]
        language = str(read.metadata.get("kernelspec", {}).get("language", ""))
        cells = [(str(cell.cell_type), str(cell.source)) for cell in read.cells]
    except (nbformat.reader.NotJSONError, ValueError, AttributeError, KeyError, TypeError, RecursionError) as error:
        raise UnreadableError(f"not a notebook ({type(error).__name__})") from None
    return markdown("\n\n".join(_cell(kind, text.strip(), language) for kind, text in cells if text.strip()))


def _cell(kind: str, text: str, language: str) -> str:
    if kind != "code":
        return text
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}{language}\n{text}\n{fence}"


def _require(library: str, what: str, extra: str) -> None:
    if importlib.util.find_spec(library) is None:
        raise UnreadableError(f"reading {what} needs {library}: pip install 'meibel-integrations[{extra}]'")
