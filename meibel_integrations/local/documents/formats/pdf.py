"""PDF through the optional ``pypdf``, in a child process with limits: a hostile file harms nothing but itself."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

from meibel_integrations.local.documents.document import Extracted, Section
from meibel_integrations.local.documents.reading import UnreadableError

_SECONDS = 60
_WORKER = str(Path(__file__).with_name("pdf_worker.py"))


def pdf(content: bytes) -> Extracted:
    """The text of a PDF, one section per page.

    Raises:
        UnreadableError: pypdf is missing, or the file is encrypted, broken, or without text.
    """
    if importlib.util.find_spec("pypdf") is None:
        raise UnreadableError("reading PDF needs pypdf: pip install 'meibel-integrations[pdf]'")
    try:
        done = subprocess.run(  # noqa: S603 - our own module, no shell
            [sys.executable, "-P", _WORKER], input=content, capture_output=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise UnreadableError(f"a PDF that could not be read within {_SECONDS} seconds") from None
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        raise UnreadableError("a broken PDF, or one that needs too much memory") from None
    if "error" in answer:
        raise UnreadableError(answer["error"])
    return assemble(answer["title"], answer["pages"])


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
