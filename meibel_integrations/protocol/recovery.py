"""A turn whose answer did not arrive: found again in the session's history, or named as what it is.

The service has no idempotency key, so a turn in doubt is never simply sent again. It is looked for in the history: by
its signal where that is known, otherwise by its text behind the session's earlier turns. :func:`search` is the pure
verdict over one reading of the history; :class:`LostTurn` reads, waits and decides.

Evidence alone counts. Where the history does not tell this turn from another one the verdict is ``INDISTINCT`` and the
caller gets ``TurnOutcomeUnknown``: taking an older answer for a new one would be worse than an error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from meibel_integrations import errors
from meibel_integrations.config import RecoveryPolicy
from meibel_integrations.models import DoneEvent, Message
from meibel_integrations.protocol.accumulator import Phase, TurnAccumulator
from meibel_integrations.protocol.commands import NOW, Accepted, Emit, Flow, Sleep
from meibel_integrations.protocol.dialects.interface import Dialect
from meibel_integrations.protocol.events import Failed
from meibel_integrations.protocol.service import Service
from meibel_integrations.protocol.sessions import SessionHistory, read_session_history

__all__ = ["Finding", "LostTurn", "Verdict", "next_wait", "search"]

_FIRST_WAIT, _LONGEST_WAIT = 0.5, 5.0


class Verdict(Enum):
    """What became of a turn, as far as its session's history tells."""

    COMPLETE = "it is complete"
    FAILED = "it failed"
    RUNNING = "it is running"
    ABSENT = "its history does not show it"
    INDISTINCT = "its history does not tell this turn from another"
    UNREADABLE = "its history could not be read"


@dataclass(frozen=True, slots=True)
class Finding:
    """A verdict, with the ``answer`` of a complete turn or the ``reason`` of a failed one."""

    verdict: Verdict
    answer: Message | None = None
    reason: str = ""


def search(history: SessionHistory, *, text: str, signal_id: str | None, turns_before: int | None) -> Finding:
    """Looks for a turn in its session's history.

    Args:
        history: what it shows.
        text: the turn's message as it was sent.
        signal_id: the turn's signal, if it was known before the connection broke.
        turns_before: how many user turns the session had before, ``None`` if unknown.
    """
    messages, failures = history.messages, history.failures
    if signal_id is not None:
        if signal_id in failures:
            return Finding(Verdict.FAILED, reason=failures[signal_id])
        own = [message for message in messages if message.signal_id == signal_id]
        answer = next((message for message in own if message.role == "assistant"), None)
        if answer is not None:
            return Finding(Verdict.COMPLETE, answer)
        if own:
            return Finding(Verdict.RUNNING)
    return _by_text(messages, failures, text, turns_before)


def _by_text(messages: Sequence[Message], failures: Mapping[str, str], text: str, turns_before: int | None) -> Finding:
    asked = [i for i, message in enumerate(messages) if message.role == "user"]
    if turns_before is None:
        # Only a session that never heard this text tells anything without a number to count from.
        known = any(_same(messages[i].message, text) for i in asked)
        return Finding(Verdict.INDISTINCT if known else Verdict.ABSENT)
    new = [i for i in asked[turns_before:] if _same(messages[i].message, text)]
    if not new:
        return Finding(Verdict.ABSENT if len(asked) <= turns_before else Verdict.INDISTINCT)
    if len(new) > 1:
        return Finding(Verdict.INDISTINCT)
    at = new[0]
    named = messages[at].signal_id or f"#{asked.index(at)}"
    if named in failures:
        return Finding(Verdict.FAILED, reason=failures[named])
    answer = messages[at + 1] if at + 1 < len(messages) else None
    if answer is not None and answer.role == "assistant":
        return Finding(Verdict.COMPLETE, answer)
    return Finding(Verdict.RUNNING)


def _same(held: str, sent: str) -> bool:
    """Services may trim what they store."""
    return held.strip() == sent.strip()


def next_wait(waited: float | None) -> float:
    """The next wait between two looks at the history: doubling from half a second to five."""
    return _FIRST_WAIT if waited is None else min(waited * 2, _LONGEST_WAIT)


@dataclass(frozen=True, slots=True)
class LostTurn:
    """A turn that was, or may have been, accepted and whose end did not arrive.

    Attributes:
        turn: what had arrived of it.
        text: its message as it was sent.
        turns_before: how many user turns the session had before, ``None`` if unknown.
        error: what the attempt ended in.
    """

    turn: TurnAccumulator
    text: str
    turns_before: int | None
    error: errors.MeibelIntegrationError

    def find(self, service: Service[Dialect], policy: RecoveryPolicy, *, may_resend: bool) -> Flow[DoneEvent | None]:
        """Emits what of the answer was not shown yet and returns the last event; ``None`` to send the turn again.

        Raises:
            TurnOutcomeUnknown: the history does not show what became of the turn.
            AgentTurnError: the turn failed.
            StreamInterrupted, ProtocolError: what the attempt ended in, where there is no history to say more.
        """
        started: datetime = yield NOW
        wait: float | None = None
        while True:
            try:
                finding = yield from self._look(service)
            except errors.TotalTimeoutError:
                raise self._in_doubt(Verdict.UNREADABLE) from self.error
            verdict = finding.verdict
            if finding.answer is not None:
                return (yield from self._deliver(finding.answer))
            if verdict is Verdict.FAILED:
                self.turn.apply(Failed(finding.reason))
            if verdict is Verdict.INDISTINCT:
                raise self._in_doubt(verdict) from self.error
            now: datetime = yield NOW
            waited = (now - started).total_seconds()
            limit = policy.deadline if verdict is Verdict.RUNNING else min(policy.grace, policy.deadline)
            if waited >= limit:
                if verdict is Verdict.ABSENT and may_resend and not self.turn.partial_text:
                    return None
                raise self._in_doubt(verdict, waited) from self.error
            wait = next_wait(wait)
            try:
                yield Sleep(min(wait, max(limit - waited, 0.01)))
            except errors.TotalTimeoutError:
                raise self._in_doubt(Verdict.UNREADABLE) from self.error

    def _look(self, service: Service[Dialect]) -> Flow[Finding]:
        """What the history says of the turn now."""
        try:
            history = yield from read_session_history(service, self.turn.session_id or "")
        except errors.TotalTimeoutError:
            raise
        except (errors.TransportError, errors.ServerError):
            return Finding(Verdict.UNREADABLE)  # what broke the turn's connection may last a while
        except (errors.APIError, errors.ProtocolError):
            raise self._in_doubt(Verdict.UNREADABLE) from self.error
        return search(history, text=self.text, signal_id=self.turn.signal_id, turns_before=self.turns_before)

    def _deliver(self, answer: Message) -> Flow[DoneEvent]:
        if self.turn.phase in (Phase.NOT_SENT, Phase.SENT):
            yield Accepted()
        *before, done = self.turn.recover(answer)
        for shown in before:
            yield Emit(shown)
        assert isinstance(done, DoneEvent)
        return done

    def _in_doubt(self, verdict: Verdict, waited: float = 0.0) -> errors.MeibelIntegrationError:
        """The error for a turn of which nothing more can be found out. An answer that began to stream, and a response
        that was no answer, are told as that if there is no history to say more."""
        error, turn = self.error, self.turn
        if verdict is Verdict.UNREADABLE and isinstance(error, errors.StreamInterrupted | errors.ProtocolError):
            return error
        cause = error.cause if isinstance(error, errors.StreamInterrupted) and error.cause is not None else error
        if verdict is Verdict.RUNNING:
            said = f"The connection broke ({error}), and the turn is still running after {waited:.0f} s."
        else:
            said = f"The turn may or may not have run: {verdict.value}. ({error})"
        return errors.TurnOutcomeUnknown(
            f"{said} Read the session's history before sending the message again.",
            session_id=turn.session_id,
            signal_id=turn.signal_id,
            phase=turn.phase,
            partial_text=turn.partial_text,
            cause=cause,
        )
