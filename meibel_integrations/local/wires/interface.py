"""What the service sends: the interface of its wires.

A wire turns stored sessions, turns and steps into bytes and JSON, and knows nothing of HTTP or the database. Both
dialects of Meibel carry the same information: the answer's text, its citations with positions, its sources, its usage.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from meibel_integrations.local.store.sessions import SessionRow
from meibel_integrations.local.store.turn_log import FileRow, StepBatch, TurnRow
from meibel_integrations.local.turns.live_turn import Shown

DialectName = Literal["v2", "guide"]


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """A session with everything that happened in it."""

    session: SessionRow
    turns: Sequence[TurnRow]
    steps: Mapping[int, Sequence[StepBatch]]
    files: Sequence[FileRow]


class StreamWire(Protocol):
    """How a turn is streamed."""

    def opening(self, turn: TurnRow) -> bytes:
        """What a stream begins with."""
        ...

    def steps(self, batch: StepBatch, shown: Shown) -> bytes:
        """Events of a stretch of the event log."""
        ...

    def closing(self, turn: TurnRow, number: int, shown: Shown) -> bytes:
        """What a stream ends with; ``number`` follows the last step's."""
        ...

    def failure(self, signal_id: str, message: str) -> bytes:
        """The event that says that the turn, or the wait for it, failed."""
        ...


class Wire(StreamWire, Protocol):
    """One dialect of the Meibel routes."""

    def created(self, session: SessionRow) -> dict[str, Any]:
        """The answer to creating a session."""
        ...

    def reference(self, signal_id: str) -> dict[str, Any]:
        """How an error answer names its turn, where the dialect can."""
        ...

    def whole(self, turn: TurnRow, batches: Sequence[StepBatch], shown: Shown) -> dict[str, Any]:
        """The answer of ``/chat``."""
        ...

    def history(self, record: SessionRecord) -> Any: ...

    def details(self, record: SessionRecord) -> dict[str, Any]: ...
