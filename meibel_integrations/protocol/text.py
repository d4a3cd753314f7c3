"""The answer's text while it grows, whatever the pieces mean.

``partial_response`` is documented as "an incremental response" and nothing says whether that is the new text (a delta)
or everything so far (a snapshot). :class:`TextAccumulator` lets out only what is right under both readings, until a
piece excludes one of them; the completion arbitrates what is left. For any list of deltas and for any list of
snapshots the emitted text equals the completion's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

__all__ = ["BLOCK_SEPARATOR", "Partials", "TextAccumulator"]

Partials = Literal["auto", "delta", "snapshot"]

BLOCK_SEPARATOR = "\n\n"
"""What stands between two blocks of one answer."""


class TextAccumulator:
    """Folds pieces of a text into the new characters to show.

    A snapshot extends the one before, so a piece that does not begin with its predecessor can only be a delta. The
    opposite is never certain: ``"a", "ab"`` may be the deltas of ``"aab"``. While both readings are possible, every
    piece is a prefix of the newest one, so their lengths are enough to rebuild the sum of deltas: memory stays
    proportional to the text.

    Attributes:
        lost: a piece was lost on the way (:meth:`lose`), so that only the completion can tell the rest.
    """

    def __init__(self, partials: Partials = "auto") -> None:
        self._reading: Literal["delta", "snapshot"] | None = None if partials == "auto" else partials
        self._length = 0
        self._pieces: list[str] = []
        self._newest = ""  # the newest piece while it may be a snapshot
        self._lengths: list[int] = []  # of all pieces so far, each a prefix of the newest
        self._diverged = False  # the readings differ at self._length, and will for good
        self._block: int | None = None  # where the block of the last deltas began
        self._closed = False  # a block has ended, so that the next text begins a new one
        self.lost = False

    @property
    def text(self) -> str:
        """What was let out so far."""
        return "".join(self._pieces)

    def delta(self, text: str) -> str:
        """Takes text that is known to be new, and returns what to show. Pieces before it count as new text, too."""
        if self.lost:
            return ""
        if self._reading is None:
            text = self._settle_delta() + text
        if self._block is None and text:
            if self._closed and self._length:
                self._emit(BLOCK_SEPARATOR)
                self._block = self._length
                self._emit(text)
                return BLOCK_SEPARATOR + text
            self._block = self._length
        return self._emit(text)

    def block(self, text: str) -> str:
        """Takes the whole of the block that the last deltas began, or of a new one, and returns what to show.

        Blocks are set apart by an empty line, unless their deltas came without a whole block in between: then the
        wholes that follow are found in what was shown, one after the other.
        """
        if self._block is None:
            shown = self.delta(text)
        else:
            begun = self.text[self._block :]
            if len(begun) > len(text) and begun.startswith(text):
                self._block += len(text)
                return ""
            shown = self._emit(text[len(begun) :]) if text.startswith(begun) and not self.lost else ""
        self._block, self._closed = None, True
        return shown

    def partial(self, text: str) -> str:
        """Takes text that is either, and returns what to show."""
        if self._reading == "delta":
            return "" if self.lost else self._emit(text)
        if self._reading == "snapshot":
            if len(text) <= self._length:
                return ""
            return self._emit(text[self._length :])
        if self.lost:
            return ""
        if not text.startswith(self._newest):
            held = self._settle_delta()
            return self._emit(held + text)
        self._newest = text
        self._lengths.append(len(text))
        if self._diverged or len(text) == self._length:
            return ""
        agreed = _common_length(text, self._sum())
        self._diverged = agreed < len(text)
        return self._emit(text[self._length : agreed])

    def lose(self) -> None:
        """Notes that a piece could not be read: nothing more is let out before the completion."""
        self.lost = True

    def finish(self, candidates: Sequence[str]) -> tuple[str, str, bool]:
        """Ends the text.

        Args:
            candidates: the forms of the whole text that the completion offers, the preferred one first; may be empty.

        Returns:
            ``(rest, text, agreed)``: what is still to show, the whole text, and whether what was shown before is
            how that text begins. If it is not, nothing more is shown and the completion's text stands.
        """
        shown = self.text
        for candidate in candidates:
            if candidate.startswith(shown):
                return candidate[len(shown) :], candidate, True
        if candidates:
            return "", candidates[0], False
        rest = "" if self._reading else self._undecided_rest()
        return rest, shown + rest, True

    def _undecided_rest(self) -> str:
        """No completion to ask: pieces that grew are taken for snapshots, pieces that only repeat for deltas.

        Assumed, not documented; the readings differ only for texts that begin with their own beginning.
        """
        grew = len(set(self._lengths)) > 1
        return (self._newest if grew else self._sum())[self._length :]

    def _sum(self) -> str:
        return "".join(self._newest[:n] for n in self._lengths)

    def _settle_delta(self) -> str:
        """Decides for deltas and returns the text that was held back."""
        held = self._sum()[self._length :] if self._lengths else ""
        self._reading = "delta"
        self._newest = ""
        self._lengths = []
        return held

    def _emit(self, text: str) -> str:
        if text:
            self._pieces.append(text)
            self._length += len(text)
        return text


def _common_length(a: str, b: str) -> int:
    if b.startswith(a):
        return len(a)
    return next(i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y)
