"""One computation at a time, and none before the service has answered those who are waiting for their stream.

Python runs one thread at a time. With 200 answers being computed, the event loop would get every 200th turn, and
nobody's stream would begin before all answers were there. Taking turns costs no answer any time, and the loop competes
with one thread only.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

_LONGEST_WAIT = 0.1  # seconds that a computation lets turns begin before it: under steady load it must go on, too


class ComputeGate:
    """What a thread passes through to compute. One that is inside may enter again."""

    def __init__(self) -> None:
        self._inside = threading.RLock()
        self._quiet = threading.Event()
        self._quiet.set()
        self._beginning = 0

    @contextmanager
    def beginning(self) -> Iterator[None]:
        """A turn is beginning. In the event loop only."""
        self._beginning += 1
        self._quiet.clear()
        try:
            yield
        finally:
            self._beginning -= 1
            if not self._beginning:
                self._quiet.set()

    @contextmanager
    def computing(self) -> Iterator[None]:
        """A thread computes."""
        with self._inside:
            self._quiet.wait(_LONGEST_WAIT)
            yield
