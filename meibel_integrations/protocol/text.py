"""The answer's text while it grows, whatever the pieces mean.

``partial_response`` is documented as "an incremental response" and nothing says whether that is the new text (a delta)
or everything so far (a snapshot). :class:`TextAccumulator` lets out only what is right under both readings until one of
them is decided, by the first of these that speaks:

1. the caller's ``partials="delta"`` or ``"snapshot"``;
2. what earlier completions of the same service and agent proved (:class:`ProvenReading`);
3. the piece's own word (``disposition``), where it names a reading;
4. two strict extensions in a row, the newest of at least eight characters that are not white space: snapshots;
   a piece that does not begin with its predecessor: deltas.

The laws: the text shown live equals the completion's for every list of snapshots, and for every list of deltas that
does not imitate snapshots twice in a row. The completion arbitrates what is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

__all__ = ["BLOCK_SEPARATOR", "Partials", "PartialsReading", "ProvenReading", "TextAccumulator", "TextEnd"]

Partials = Literal["auto", "delta", "snapshot"]
PartialsReading = Literal["delta", "snapshot"]

BLOCK_SEPARATOR = "\n\n"
"""What stands between two blocks of one answer."""

_EXTENSIONS = 2
_MIN_EVIDENCE = 8


@dataclass(slots=True)
class ProvenReading:
    """What earlier turns of a service and agent proved its pieces to be; a turn that proves it anew changes it."""

    reading: PartialsReading | None = None


class TextEnd(NamedTuple):
    """How a text ended.

    Attributes:
        rest: what is still to show.
        text: the whole text.
        agreed: whether ``text`` is what was shown and ``rest``, but for white space at the edges.
    """

    rest: str
    text: str
    agreed: bool


class TextAccumulator:
    """Folds pieces of a text into the new characters to show.

    A snapshot extends the one before, so a piece that does not begin with its predecessor can only be a delta, or,
    behind a tool call, the first snapshot of a new block. While both readings are possible, every piece of a block is a
    prefix of the newest one, so their lengths are enough to rebuild the sum of deltas: memory stays proportional to the
    text.

    Attributes:
        lost: a piece was lost on the way (:meth:`lose`), so that only the completion can tell the rest.
        proven: the reading that this text proved, ``None`` if it could be either.
    """

    def __init__(self, partials: Partials = "auto", proven: PartialsReading | None = None) -> None:
        self._fixed = partials != "auto"
        # Deltas need no head start: the second piece decides for them, and a wrong one could not be taken back.
        assumed: PartialsReading | None = "snapshot" if proven == "snapshot" else None
        self._reading: PartialsReading | None = assumed if partials == "auto" else partials
        self._length = 0
        self._pieces: list[str] = []
        # Of pieces that may be snapshots: the newest of the block, and what came before the block in both readings.
        self._newest = ""
        self._sum_before = ""
        self._blocks_before = ""
        self._lengths: list[int] = []  # of the block's pieces while undecided, each a prefix of the newest
        self._extensions = 0  # strict ones in a row
        self._diverged = False  # the readings differ at self._length, and will for good
        self._after_tool = False  # the next snapshot may begin a block
        # Of deltas whose block is repeated whole.
        self._block: int | None = None  # where the block of the last deltas began
        self._closed = False  # a block has ended, so that the next text begins a new one
        self._corrections: list[tuple[int, int, str]] = []  # from, to, the right text
        self.lost = False
        self.proven: PartialsReading | None = None

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
        wholes that follow are found in what was shown, one after the other. A whole that contradicts its deltas
        corrects them, in the text and not in what was shown; an empty one corrects nothing.
        """
        if self._block is None:
            shown = self.delta(text)
        else:
            begun = self.text[self._block :]
            if len(begun) > len(text) and begun.startswith(text):
                self._block += len(text)
                return ""
            shown = ""
            if text.startswith(begun) and not self.lost:
                shown = self._emit(text[len(begun) :])
            elif text.strip():
                self._corrections.append((self._block, self._length, text))
        self._block, self._closed = None, True
        return shown

    def partial(self, text: str, named: PartialsReading | None = None) -> str:
        """Takes text that is either, and returns what to show. ``named`` is what the piece itself says that it is."""
        if self._reading == "delta":
            return "" if self.lost else self._emit(text)
        if self._reading is None and named is not None and text:
            if named == "delta":
                return "" if self.lost else self._emit(self._settle_delta() + text)
            self._reading, self._fixed = "snapshot", True
        if not text:
            return ""
        return self._snapshot(text) if self._reading == "snapshot" else self._either(text)

    def after_tool(self) -> None:
        """Notes that the agent used a tool: a snapshot that follows may begin a new block."""
        self._after_tool = True

    def lose(self) -> None:
        """Notes that a piece could not be read: nothing more is let out before the completion."""
        self.lost = True

    def finish(self, candidates: Sequence[str]) -> TextEnd:
        """Ends the text.

        Args:
            candidates: the forms of the whole text that the completion offers, the preferred one first. Empty ones
                say nothing if there was text.
        """
        shown = self.text
        given = [candidate for candidate in candidates if candidate.strip()] or ([] if shown.strip() else candidates)
        for candidate in given:
            if candidate.startswith(shown):
                return self._proving(TextEnd(candidate[len(shown) :], candidate, True))
        for candidate in given:
            if candidate.strip() == shown.strip():
                return self._proving(TextEnd("", candidate, True))
            begun = shown.lstrip()
            if begun and candidate.lstrip().startswith(begun):
                return self._proving(TextEnd(candidate.lstrip()[len(begun) :], candidate, True))
        if given:
            return self._proving(TextEnd("", given[0], False))
        rest = "" if self._reading else self._undecided_rest()
        text = shown
        for start, end, right in reversed(self._corrections):
            text = text[:start] + right + text[end:]
        return TextEnd(rest, text + rest, text.strip() == shown.strip())

    def _either(self, text: str) -> str:
        """Takes a piece while both readings are possible."""
        if self.lost:
            return ""
        if self._newest and not text.startswith(self._newest):
            if not self._after_tool:
                self.proven = "delta"
                return self._emit(self._settle_delta() + text)
            self._sum_before = self._sum()
            self._blocks_before += self._newest + BLOCK_SEPARATOR
            self._lengths, self._extensions = [], 0
        elif self._newest.strip() and len(text) > len(self._newest):
            self._extensions += 1
        self._after_tool = False
        self._newest = text
        self._lengths.append(len(text))
        if self._extensions >= _EXTENSIONS and len("".join(text.split())) >= _MIN_EVIDENCE:
            self._reading = "snapshot"
            return self._emit((self._blocks_before + text)[self._length :])
        if self._diverged or len(self._blocks_before) + len(text) == self._length:
            return ""
        blocks, total = self._blocks_before + text, self._sum()
        agreed = _common_length(blocks, total)
        self._diverged = agreed < min(len(blocks), len(total))
        return self._emit(blocks[self._length : agreed])

    def _snapshot(self, text: str) -> str:
        """Takes a piece that is everything so far of its block."""
        newest, after_tool, self._after_tool = self._newest, self._after_tool, False
        if text.startswith(newest):
            self._extensions += bool(newest.strip()) and len(text) > len(newest)
            self._newest = text
            return self._emit(text[len(newest) :])
        sure = self._fixed or self._extensions >= _EXTENSIONS
        if not after_tool and not sure:
            # What was proven before is not so any more: these are deltas.
            self._reading = self.proven = "delta"
            return self._emit(text)
        restarted = self._extensions >= _EXTENSIONS and len(text) < len(newest) and text[0] != newest[0]
        if after_tool or restarted:
            self._blocks_before += newest + BLOCK_SEPARATOR
            self._newest = text
            return self._emit(BLOCK_SEPARATOR + text)
        if len(text) <= len(newest):
            return ""
        # It also changes what was shown, which cannot be taken back; what it adds is its end.
        self._newest = text
        return self._emit(text[len(newest) :])

    def _proving(self, end: TextEnd) -> TextEnd:
        """Notes what the completion proves of the pieces. Deltas were proven by the first that was no extension."""
        if self._reading != "delta" and not self._fixed and self._extensions:
            whole = end.text.strip()
            if whole in (self._newest.strip(), (self._blocks_before + self._newest).strip()):
                self.proven = "snapshot"
        return end

    def _undecided_rest(self) -> str:
        """No completion to ask: pieces that grew are taken for snapshots, pieces that only repeat for deltas.

        Assumed, not documented; the readings differ only for texts that begin with their own beginning.
        """
        return ((self._blocks_before + self._newest) if self._extensions else self._sum())[self._length :]

    def _sum(self) -> str:
        return self._sum_before + "".join(self._newest[:n] for n in self._lengths)

    def _settle_delta(self) -> str:
        """Decides for deltas and returns the text that was held back."""
        held = self._sum()[self._length :]
        self._reading = "delta"
        self._newest = self._sum_before = self._blocks_before = ""
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
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), len(b))
