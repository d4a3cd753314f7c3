"""How much of a long answer is on the screen before its completion, on wires of deltas and of snapshots."""

from __future__ import annotations

import sys
from itertools import accumulate
from typing import get_args

from meibel_integrations.protocol.text import Partials, TextAccumulator

WORDS = "The lake feeds the river, and the river ends in the sea; it rains, and the lake is full again. "
ANSWER = (WORDS * 40)[:3_000]
PIECE = 12


def share_shown(pieces: list[str], partials: Partials, *, proven: bool) -> tuple[int, bool]:
    """Characters that were shown before the completion, and whether all that was shown is the answer."""
    text = TextAccumulator(partials, "snapshot" if proven else None)
    live = "".join(map(text.partial, pieces))
    end = text.finish([ANSWER])
    return len(live), live + end.rest == ANSWER


def main() -> None:
    deltas = [ANSWER[at : at + PIECE] for at in range(0, len(ANSWER), PIECE)][:-1]
    wires = {"deltas": deltas, "snapshots": list(accumulate(deltas))}
    sys.stdout.write(f"share of {len(ANSWER):,} characters shown live (the last {PIECE} come with the completion)\n")
    for name, pieces in wires.items():
        for partials in get_args(Partials):
            for proven in (False, True) if partials == "auto" else (False,):
                shown, right = share_shown(pieces, partials, proven=proven)
                label = f"{name} x {partials}{' (snapshots proven before)' if proven else ''}"
                said = f"{shown / len(ANSWER):7.1%}" if right else f"{shown:,} characters, not the answer's"
                sys.stdout.write(f"  {label:<45} {said}\n")


if __name__ == "__main__":
    main()
