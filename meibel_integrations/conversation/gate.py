"""One after the other: a gate that a single flow is inside of at a time, in threads and tasks alike."""

from __future__ import annotations

import math
from datetime import datetime

from meibel_integrations.ledgers import interface
from meibel_integrations.ledgers.interface import SessionState
from meibel_integrations.ledgers.marks import TurnMark
from meibel_integrations.ledgers.memory import MemoryLedger
from meibel_integrations.protocol.commands import NOW, Flow, Wait

__all__ = ["Gate"]

_KEY = "gate"
_PAUSE = 60.0


class Gate:
    """Whoever entered has to :meth:`leave`."""

    def __init__(self) -> None:
        self._ledger = MemoryLedger()
        self._entered = TurnMark("", "", "")

    def enter(self, patience: float = math.inf) -> Flow[bool]:
        """Waits until nobody is inside, at most ``patience`` seconds; the result is whether the caller is in."""
        started: datetime = yield NOW
        while True:
            state: SessionState = self._ledger.update(_KEY, lambda state: (state, state))
            if self._ledger.update(_KEY, interface.take(self._entered, state.version)):
                return True
            now: datetime = yield NOW
            left = patience - (now - started).total_seconds()
            if left <= 0:
                return False
            yield Wait(self._ledger.watch(_KEY, state.version), min(left, _PAUSE))

    def leave(self) -> None:
        """Lets the next one in."""
        self._ledger.update(_KEY, interface.forget(self._entered))
