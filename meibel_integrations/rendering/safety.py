"""Making text and links from outside harmless to show: an answer quotes documents that nobody here wrote.

Pure functions that import nothing of the package, so that the command line starts fast.
"""

from __future__ import annotations

import re
from urllib.parse import quote

__all__ = ["printable", "safe_url"]

_LINE_ENDS = (0x0B, 0x0C, 0x85, 0x2028, 0x2029)
_BIDI = (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_HIDDEN = (*range(0x206A, 0x2070), *range(0xFFF9, 0xFFFC), *range(0xE0000, 0xE0080), 0xFEFF)
_TABLE: dict[int, str | None] = {
    **dict.fromkeys((n for n in range(0xA0) if (n < 0x20 or n > 0x7E) and chr(n) not in "\t\n"), None),
    **dict.fromkeys(_BIDI, None),
    **dict.fromkeys(_HIDDEN, None),
    **dict.fromkeys(_LINE_ENDS, "\n"),
    **dict.fromkeys(range(0xD800, 0xE000), "\N{REPLACEMENT CHARACTER}"),
}

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*):", re.IGNORECASE)
_WEB = frozenset({"http", "https", "mailto"})
_URL_SAFE = "!#$%&'*+,/:;=?@[]~"  # what else may hurt in HTML or Markdown is percent-encoded


def printable(text: str) -> str:
    """The text without what a terminal or a reader's eye could be tricked by.

    Control characters, bidirectional overrides and invisible tag characters go; every kind of line end becomes
    ``\\n``, except a carriage return, which goes. Character by character, so it may be used on the pieces of a stream.
    """
    # the usual text has none of them, and this test is much faster than a translation
    return text if text.isascii() and text.isprintable() else text.translate(_TABLE)


def safe_url(url: str | None, *, local: bool = False) -> str | None:
    """The URL in a form that can be put into a link, or ``None`` if it may not be one.

    Only ``http``, ``https`` and ``mailto`` pass; ``file`` too where the page is shown on the machine of its documents
    (``local``). Relative URLs do not pass: they would lead somewhere else on every page.
    """
    if not url:
        return None
    # browsers drop control characters anywhere in a URL, and so make "java\nscript:" whole again
    cleaned = "".join(character for character in url.strip() if character >= " " and character != "\x7f")
    found = _SCHEME.match(cleaned)
    if found is None or not (found[1].lower() in _WEB or (local and found[1].lower() == "file")):
        return None
    return quote(cleaned, safe=_URL_SAFE, errors="replace")
