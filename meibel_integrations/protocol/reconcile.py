"""What a session's history says of a turn whose answer did not arrive: pure, over what the history shows.

The service has no idempotency key. A turn is found again by its signal, or by its text behind the session's earlier
turns; where neither is certain it is not found, as taking an older answer for a new one would be worse than an error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from meibel_integrations.errors import ConfigurationError
from meibel_integrations.models import Message

__all__ = ["Found", "OnAmbiguous", "Recovery", "next_wait", "search"]

OnAmbiguous = Literal["raise", "resend_once"]

_FIRST_WAIT, _LONGEST_WAIT = 0.5, 5.0


@dataclass(frozen=True, slots=True)
class Recovery:
    """How hard to look for a turn whose answer did not arrive. Times are in seconds.

    Attributes:
        grace: how long a turn may stay invisible in the history before it counts as absent, and the history
            unreadable before it is given up.
        deadline: how long to wait for a turn that is still running.
        on_ambiguous: what to do about a turn that is absent: ``"raise"``, or ``"resend_once"``, which may repeat it if
            it was merely late.
        baseline: how many user turns the session had before this one, ``None`` if unknown.
    """

    grace: float = 5.0
    deadline: float = 120.0
    on_ambiguous: OnAmbiguous = "raise"
    baseline: int | None = None

    def __post_init__(self) -> None:
        if self.on_ambiguous not in ("raise", "resend_once"):
            raise ConfigurationError(f"on_ambiguous must be 'raise' or 'resend_once', not {self.on_ambiguous!r}")
        if self.grace < 0 or self.deadline < 0:
            raise ConfigurationError("reconcile_grace and reconcile_deadline are seconds from 0 up.")


@dataclass(frozen=True, slots=True)
class Found:
    """What became of a turn. ``answer`` is set when it is complete, ``reason`` when it failed; ``"hidden"``: the
    history cannot be read at present."""

    state: Literal["complete", "failed", "running", "absent", "unclear", "hidden"]
    answer: Message | None = None
    reason: str = ""


def search(
    history: Sequence[Message],
    failures: Mapping[str, str],
    *,
    text: str,
    signal_id: str | None,
    baseline: int | None,
) -> Found:
    """Looks for a turn in its session's history.

    Args:
        history: the user and assistant messages in order.
        failures: the reasons of turns that failed, where the service tells, by signal or place (``#0``).
        text: the turn's message as it was sent.
        signal_id: the turn's signal, if it was known before the connection broke.
        baseline: how many user turns the session had before, ``None`` if unknown.

    Returns:
        ``"unclear"`` if the turn may be there but cannot be told from an earlier or another one.
    """
    if signal_id is not None:
        if signal_id in failures:
            return Found("failed", reason=failures[signal_id])
        own = [i for i, message in enumerate(history) if message.signal_id == signal_id]
        for i in own:
            if history[i].role == "assistant":
                return Found("complete", history[i])
        if own:
            return Found("running")
    return _by_text(history, failures, text, baseline)


def _by_text(history: Sequence[Message], failures: Mapping[str, str], text: str, baseline: int | None) -> Found:
    asked = [i for i, message in enumerate(history) if message.role == "user"]
    if baseline is None:
        # Only a session that never heard this text tells anything without a number to count from.
        return Found("unclear" if any(_same(history[i].message, text) for i in asked) else "absent")
    new = [i for i in asked[baseline:] if _same(history[i].message, text)]
    if not new:
        return Found("absent" if len(asked) <= baseline else "unclear")
    if len(new) > 1:
        return Found("unclear")
    at = new[0]
    named = history[at].signal_id or f"#{asked.index(at)}"
    if named in failures:
        return Found("failed", reason=failures[named])
    answer = history[at + 1] if at + 1 < len(history) else None
    if answer is not None and answer.role == "assistant":
        return Found("complete", answer)
    return Found("running")


def _same(held: str, sent: str) -> bool:
    """Services may trim what they store."""
    return held == sent or held.strip() == sent.strip()


def next_wait(waited: float | None) -> float:
    """The next wait between two looks at the history: doubling from half a second to five."""
    return _FIRST_WAIT if waited is None else min(waited * 2, _LONGEST_WAIT)
