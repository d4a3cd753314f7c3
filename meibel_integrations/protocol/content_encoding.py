"""Undoing a response's content encoding with a limit on what comes out.

Requests ask for ``identity``, so this is for intermediaries that compress all the same. A few kilobytes of gzip can
hold gigabytes: output is produced in bounded pieces.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from meibel_integrations.errors import ProtocolError

__all__ = ["Decoder"]

_PIECE = 64 * 1024
_WINDOW_BITS = {"gzip": 31, "x-gzip": 31, "deflate": 15}


class Decoder:
    """Decodes one response body.

    Raises:
        ProtocolError: an encoding that was not asked for and is not known, or a body that is broken.
    """

    def __init__(self, content_encoding: str | None) -> None:
        name = (content_encoding or "identity").strip().lower()
        self._inflate = None
        if name in _WINDOW_BITS:
            self._inflate = zlib.decompressobj(_WINDOW_BITS[name])
        elif name != "identity":
            raise ProtocolError(f"The response is encoded as {name!r}, which was not asked for.")

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The decoded bytes of a chunk, in pieces of at most 64 KiB if it was compressed."""
        if self._inflate is None:
            yield chunk
            return
        # What follows the end of the compressed data is not ours.
        while chunk and not self._inflate.eof:
            try:
                piece = self._inflate.decompress(chunk, _PIECE)
            except zlib.error as error:
                raise ProtocolError(f"The compressed response is broken: {error}") from error
            chunk = self._inflate.unconsumed_tail
            if piece:
                yield piece

    def close(self) -> None:
        """Ends the body.

        Raises:
            ProtocolError: it was cut off.
        """
        if self._inflate is not None and not self._inflate.eof:
            raise ProtocolError("The compressed response is cut off.")
