"""Opening a file without being led elsewhere, and turning its bytes into text or a clear reason why not."""

from __future__ import annotations

import codecs
import os
import stat
from pathlib import Path, PurePath

_BINARY_SUFFIXES = frozenset(
    """
    .7z .a .avi .avif .bin .bmp .bz2 .class .dat .db .deb .dll .dmg .doc .dylib .eot .epub .exe .flac .gif .gmo
    .gz .ico .icns .jar .jpeg .jpg .lz4 .mkv .mo .mov .mp3 .mp4 .npy .npz .o .odp .ods .odt .ogg .otf .parquet .pickle
    .pkl .png .ppt .pptx .psd .rar .rpm .so .sqlite .sqlite3 .tar .tgz .tif .tiff .ttf .wasm .wav .webm .webp .whl .woff
    .woff2 .xls .xlsx .xz .zip .zst
    """.split()  # noqa: SIM905 - a table to read
)
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_OPEN_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)  # a pipe that took the file's place must not block
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)


class UnreadableError(Exception):
    """The content cannot be ingested; the text is a one-line reason for the user."""


def looks_binary(path: PurePath) -> bool:
    """Whether the name alone tells that there is no text inside."""
    return path.suffix.lower() in _BINARY_SUFFIXES


def read_file(path: Path, root: Path | None, max_bytes: int) -> bytes:
    """The bytes of a regular file that really lies below ``root``, at most ``max_bytes`` of them.

    Raises:
        UnreadableError: it is too large, not a regular file, no longer there, or not where it seemed to be.
    """
    try:
        real = os.path.realpath(path, strict=True)
        if root is not None and not real.startswith(os.path.join(root, "")):
            raise UnreadableError("a symbolic link that leads out of the folder; copy the file in")
        descriptor = os.open(real, _OPEN_FLAGS)
    except PermissionError:
        raise UnreadableError("no permission to read it") from None
    except (OSError, RuntimeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise UnreadableError(f"cannot be opened ({reason})") from None
    with os.fdopen(descriptor, "rb") as file:
        info = os.fstat(descriptor)
        if not stat.S_ISREG(info.st_mode):
            raise UnreadableError("not a regular file (a socket, pipe or device)")
        if info.st_size > max_bytes:
            raise UnreadableError(too_large(info.st_size, max_bytes))
        try:
            content = file.read(max_bytes + 1)
        except OSError as error:
            raise UnreadableError(f"cannot be read ({error.strerror})") from None
    if len(content) > max_bytes:
        raise UnreadableError(too_large(len(content), max_bytes))
    return content


def too_large(size: int, max_bytes: int) -> str:
    """The reason given for a file over the cap."""
    return f"larger than the limit ({_megabytes(size)} of at most {_megabytes(max_bytes)}); split it or raise the limit"


def _megabytes(size: int) -> str:
    return f"{size / (1024 * 1024):.1f} MB" if size >= 100 * 1024 else f"{size} bytes"


def decode(content: bytes) -> str:
    """Text from UTF-8, or from UTF-16/32 that says so with a byte order mark; line ends become ``\\n``.

    Raises:
        UnreadableError: it is binary, or in another encoding.
    """
    for bom, encoding in _BOMS:
        if content.startswith(bom):
            return _decode_as(content[len(bom) :], encoding)
    if b"\0" in content:
        raise UnreadableError("a binary file, not text")
    return _decode_as(content, "utf-8")


def _decode_as(content: bytes, encoding: str) -> str:
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding == "utf-8" and not _mostly_text(content):
            raise UnreadableError("a binary file, not text") from None
        name = encoding[:6].removesuffix("-").upper()
        raise UnreadableError(
            f"not {name} (at byte {error.start}); convert it to UTF-8, for example with iconv"
        ) from None
    if "\0" in text:
        raise UnreadableError("a binary file, not text")
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text


def _mostly_text(content: bytes) -> bool:
    """Another encoding of text has hardly any control characters; a compressed or compiled file has many."""
    sample = content[:4096]
    controls = sum(byte < 32 and byte not in b"\t\n\r\f\x1b" for byte in sample)
    return controls * 50 < len(sample)
