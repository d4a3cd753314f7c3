"""How many turns a client's sessions have had: what tells a turn whose answer got lost from an earlier, equal one."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock

from meibel_integrations.models import Message, Reply
from meibel_integrations.protocol import flows

__all__ = ["Baselines"]

_MAX_SESSIONS = 10_000


class Baselines:
    """Counts the user turns of the sessions that a client opened, read or used; thread-safe, bounded.

    A session that somebody else used in between has more turns than are counted here; a turn is then not found again,
    which is an error and never a wrong answer.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._counts: OrderedDict[str, int] = OrderedDict()

    def opened(self, session_id: str) -> None:
        """A new session has had none."""
        self._set(session_id, 0)

    def read(self, session_id: str, messages: Sequence[Message]) -> None:
        """A history tells the number, unless a turn is running."""
        talk = [m.role for m in messages if m.role in ("user", "assistant")]
        if not talk or talk[-1] == "assistant":
            self._set(session_id, talk.count("user"))

    def begin(self, session_id: str) -> int | None:
        """The number before a turn that is about to be sent; unknown from then on until it is :meth:`settled`."""
        with self._lock:
            return self._counts.pop(session_id, None)

    def settled(self, session_id: str, baseline: int | None) -> None:
        """The turn that began at this baseline is complete."""
        if baseline is not None:
            self._set(session_id, baseline + 1)

    def settle(self, session_id: str, baseline: int | None, reply: Reply) -> flows.Flow[Reply]:
        """:meth:`settled` as a streamed turn's last step."""
        self.settled(session_id, baseline)
        return reply
        yield  # a flow that commands nothing

    def _set(self, session_id: str, count: int) -> None:
        with self._lock:
            self._counts[session_id] = count
            self._counts.move_to_end(session_id)
            while len(self._counts) > _MAX_SESSIONS:
                self._counts.popitem(last=False)
