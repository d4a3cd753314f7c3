"""The child process that reads one PDF: bytes on standard input, JSON on standard output.

Run as a file by itself (with ``-P``: ``html.py`` next to it must not hide the standard one).
It limits its own memory and time before it looks at the file.
"""

from __future__ import annotations

import io
import json
import sys
from typing import Any

_MEMORY = 1 << 30
_CPU_SECONDS = 50
_MAXIMUM_PAGES = 5000
_MAXIMUM_CHARACTERS = 20_000_000


def limit_resources() -> None:
    """Cap memory and processor time where the platform can."""
    try:
        import resource
    except ImportError:  # Windows: the parent's clock is the only limit
        return
    for kind, amount in ((resource.RLIMIT_AS, _MEMORY), (resource.RLIMIT_CPU, _CPU_SECONDS)):
        _, hard = resource.getrlimit(kind)
        ceiling = amount if hard == resource.RLIM_INFINITY else min(amount, hard)
        try:
            resource.setrlimit(kind, (ceiling, hard))
        except (ValueError, OSError):  # macOS refuses RLIMIT_AS
            continue


def read_pdf(content: bytes) -> dict[str, Any]:
    """``{title, pages}``, or ``{error}`` with a reason for the user."""
    from pypdf import PdfReader
    from pypdf.errors import PyPdfError

    try:
        reader = PdfReader(io.BytesIO(content))
        if reader.is_encrypted and not reader.decrypt(""):
            return {"error": "an encrypted PDF; remove its password first"}
        title = reader.metadata.title if reader.metadata is not None else None
        pages: list[str] = []
        length = 0
        for page in reader.pages[:_MAXIMUM_PAGES]:
            text = page.extract_text().replace("\0", "")
            pages.append(text)
            length += len(text)
            if length > _MAXIMUM_CHARACTERS:
                break
    except MemoryError:
        return {"error": "a PDF that needs too much memory to read"}
    except (PyPdfError, OSError, ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        # pypdf meets malformed objects wherever it looks, and says so in many ways
        kind = "an encrypted PDF" if "crypt" in str(error).lower() else "a broken PDF"
        return {"error": f"{kind} ({type(error).__name__})"}
    clean = [page.encode("utf-8", "replace").decode("utf-8") for page in pages]
    return {"title": title.strip() if isinstance(title, str) else "", "pages": clean}


def main() -> None:
    """Read one PDF from standard input."""
    limit_resources()
    answer = read_pdf(sys.stdin.buffer.read())
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main()
