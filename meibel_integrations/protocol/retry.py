"""When a request is sent again: pure decisions, no clock and no dice of its own.

A turn is repeated only if it provably never arrived. What may be repeated anyway (reads, opening a session) is
retried after ambiguous failures, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from meibel_integrations.config import RetryPolicy
from meibel_integrations.errors import MeibelIntegrationError, NotSentError, RateLimitError, ServerError, TransportError

__all__ = ["backoff", "retry_after", "wait_before_retry"]


def wait_before_retry(
    error: MeibelIntegrationError, *, attempt: int, policy: RetryPolicy, repeatable: bool, jitter: float
) -> float | None:
    """How long to wait before sending again, in seconds, or ``None`` if the error stands.

    Args:
        error: what the attempt ended in.
        attempt: how many retries there were before, from 0.
        policy: the client's settings.
        repeatable: whether sending the request twice does no harm.
        jitter: a random number in ``[0, 1)``.
    """
    if attempt >= policy.max_retries:
        return None
    if isinstance(error, RateLimitError):
        if error.retry_after is None:
            return backoff(attempt, policy, jitter)
        return error.retry_after if error.retry_after <= policy.max_retry_after else None
    if isinstance(error, NotSentError) or (repeatable and isinstance(error, TransportError | ServerError)):
        return backoff(attempt, policy, jitter)
    return None


def backoff(attempt: int, policy: RetryPolicy, jitter: float) -> float:
    """Doubling waits, less up to a quarter at random."""
    return float(min(policy.base * 2**attempt, policy.cap) * (1 - 0.25 * jitter))


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """The wait that the service asks for, in seconds: ``retry-after-ms``, or ``Retry-After`` as seconds or a date."""
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    raw = headers.get("retry-after")
    seconds = _number(raw)
    if seconds is not None or raw is None:
        return seconds
    try:
        date = parsedate_to_datetime(raw)
    except ValueError:
        return None
    date = date.replace(tzinfo=UTC) if date.tzinfo is None else date
    return max((date - now).total_seconds(), 0.0)


def _number(raw: str | None) -> float | None:
    try:
        found = float(raw or "")
    except ValueError:
        return None
    return found if 0 <= found < float("inf") else None
