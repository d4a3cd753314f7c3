"""When a request is sent again: pure decisions, no clock and no dice of its own.

A turn is repeated only if it provably never arrived. What may be repeated anyway (reads, opening a session) is
retried after ambiguous failures, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from meibel_integrations.config import RetryPolicy
from meibel_integrations.errors import MeibelIntegrationError, NotSentError, RateLimitError, ServerError, TransportError
from meibel_integrations.protocol.lenient_json import mapping, number

__all__ = ["backoff", "retry_after", "wait_before_retry"]


_YEAR_2001 = 1e9


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


def retry_after(headers: Mapping[str, str], now: datetime, body: Any = None) -> float | None:
    """The wait that the service asks for, in seconds: ``retry-after-ms``, ``Retry-After`` as seconds or a date, the
    body's ``retry_after``, or ``X-RateLimit-Reset``, which is documented as epoch seconds."""
    milliseconds = _wait(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    raw = headers.get("retry-after")
    seconds = _wait(raw)
    if seconds is None and raw is not None:
        seconds = _until_date(raw, now)
    if seconds is not None:
        return seconds
    for place in (body, mapping(body).get("error"), mapping(body).get("detail")):
        seconds = _wait(mapping(place).get("retry_after"))
        if seconds is not None:
            return seconds
    reset = _wait(headers.get("x-ratelimit-reset"))
    if reset is None or reset < _YEAR_2001:  # some services count the seconds from now
        return reset
    return max(reset - now.timestamp(), 0.0)


def _until_date(raw: str, now: datetime) -> float | None:
    try:
        date = parsedate_to_datetime(raw)
    except ValueError:
        return None
    date = date.replace(tzinfo=UTC) if date.tzinfo is None else date
    return max((date - now).total_seconds(), 0.0)


def _wait(raw: Any) -> float | None:
    found = number(raw)
    return found if found is not None and found >= 0 else None
