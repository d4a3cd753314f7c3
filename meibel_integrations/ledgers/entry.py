"""Sessions in a ledger, as flows use them: each step is a command that a driver carries out.

:meth:`SessionEntry.record` is the frame around every turn, the clients' and the adapters': it settles what the turn's
end says of the session, and names what is done if its stream is left.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from pydantic import SecretStr

from meibel_integrations import errors
from meibel_integrations.ledgers import interface
from meibel_integrations.ledgers.interface import Change, Ledger, SessionState
from meibel_integrations.ledgers.marks import TurnMark, mark_turn
from meibel_integrations.models import DoneEvent
from meibel_integrations.protocol.commands import NOW, Call, Flow, Wait, WhenLeft
from meibel_integrations.protocol.text import PartialsReading, ProvenReading

__all__ = ["SessionBook", "SessionEntry"]

T = TypeVar("T")
_SALT = b"meibel-integrations ledger\0"


class SessionBook:
    """The sessions of one service and key. The key itself is not kept: a salted digest tells keys apart."""

    def __init__(self, ledger: Ledger, base_url: str, api_key: SecretStr) -> None:
        self.ledger = ledger
        digest = hashlib.sha256(_SALT + api_key.get_secret_value().encode()).hexdigest()[:16]
        self._scope = f"{base_url}|{digest}"

    def entry(self, session_id: str) -> SessionEntry:
        return SessionEntry(self.ledger, f"{self._scope}|{session_id}")

    def reading_partials(self, agent: str | None, turn: Callable[[ProvenReading], Flow[T]]) -> Flow[T]:
        """Runs a turn that is given what earlier turns of the agent proved its partial texts to be, and remembers what
        this one proves.

        Args:
            agent: a name for it; ``None`` where only its session is known.
        """
        ledger, key = self.ledger, f"{self._scope}|partials|{agent or ''}"
        word: str | None = yield Call(partial(ledger.recall, key), partial(ledger.arecall, key))
        before: PartialsReading | None = "delta" if word == "delta" else "snapshot" if word == "snapshot" else None
        proven = ProvenReading(before)
        result = yield from turn(proven)
        if proven.reading is not None and proven.reading != before:
            found = proven.reading
            yield Call(partial(ledger.remember, key, found), partial(ledger.aremember, key, found))
        return result


class SessionEntry:
    """One session."""

    def __init__(self, ledger: Ledger, key: str) -> None:
        self._ledger = ledger
        self._key = key

    def read(self) -> Flow[SessionState]:
        """What is known of the session."""
        return (yield from self._update(lambda state: (state, state)))

    def take(self, state: SessionState, text: str) -> Flow[TurnMark | None]:
        """Marks a turn as in flight; ``None`` if the state is not the given one any more.

        Args:
            text: a digest of what the turn carries.
        """
        mark = yield from self._mark(text)
        taken = yield from self._update(interface.take(mark, state.version))
        if not taken:
            return None
        yield WhenLeft(self._call(interface.abandon(mark)))
        return mark

    def open(self, text: str) -> Flow[TurnMark]:
        """Marks the first turn of a new session as in flight."""
        mark = yield from self._mark(text)
        yield from self._update(interface.open_session(mark))
        yield WhenLeft(self._call(interface.abandon(mark)))
        return mark

    def opened(self) -> Flow[None]:
        """The session is new, and no turn was sent yet."""
        yield from self._update(interface.open_session(None))

    def begin(self, text: str) -> Flow[tuple[TurnMark, int | None]]:
        """A turn that is sent whatever else is in flight. Returns its mark and how many user turns came before it,
        ``None`` if that is unknown, as it is while another turn is in flight."""
        state = yield from self.read()
        if state.mark is None:
            mark = yield from self.take(state, text)
            if mark is not None:
                return mark, state.turns
        crowding = yield from self._mark(text)
        yield from self._update(interface.crowd())
        return dataclasses.replace(crowding, alone=False), None

    def record(self, mark: TurnMark, turn: Flow[DoneEvent]) -> Flow[DoneEvent]:
        """Runs a turn. The caller settles one that is complete; one that failed is settled here."""
        try:
            return (yield from turn)
        except (errors.APIError, errors.NotSentError, errors.RedirectError, errors.InvalidInputError):
            yield from self.forget(mark)  # provably not run
            raise
        except errors.AgentTurnError:
            yield from self._end(interface.clear(mark, None))  # over, and without an answer
            raise
        except errors.MeibelIntegrationError:
            yield from self._end(interface.abandon(mark))
            raise

    def settle(self, mark: TurnMark, *, head: str, turns: int | None, instructions: str | None = None) -> Flow[None]:
        """The turn is complete."""
        yield from self._end(interface.settle(mark, head=head, turns=turns, instructions=instructions))

    def forget(self, mark: TurnMark) -> Flow[None]:
        """The turn provably did not run."""
        yield from self._end(interface.forget(mark))

    def clear(self, mark: TurnMark, turns: int | None) -> Flow[None]:
        """A turn, anybody's, is over."""
        yield from self._update(interface.clear(mark, turns))

    def count_turns(self, turns: int) -> Flow[None]:
        """The service's history shows this many user turns, none of them running."""
        yield from self._update(interface.count_turns(turns))

    def wait(self, state: SessionState, seconds: float) -> Flow[None]:
        """Waits until the session's state is not this one any more, at most that many seconds."""
        yield Wait(self._ledger.watch(self._key, state.version), seconds)

    def _mark(self, text: str) -> Flow[TurnMark]:
        if self._ledger.lease is None:
            return mark_turn(text)
        now: datetime = yield NOW
        return mark_turn(text, now.timestamp() + self._ledger.lease)

    def _end(self, change: Change[None]) -> Flow[None]:
        yield from self._update(change)
        yield WhenLeft(None)

    def _update(self, change: Change[T]) -> Flow[T]:
        result: T = yield self._call(change)
        return result

    def _call(self, change: Change[Any]) -> Call:
        return Call(partial(self._ledger.update, self._key, change), partial(self._ledger.aupdate, self._key, change))
