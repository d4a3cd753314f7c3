from __future__ import annotations

from datetime import UTC, datetime

import pytest

from meibel_integrations import errors
from meibel_integrations.config import RetryPolicy
from meibel_integrations.protocol.retry import backoff, retry_after, wait_before_retry

POLICY = RetryPolicy(max_retries=2)
NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)


def wait(error: errors.MeibelIntegrationError, *, attempt: int = 0, repeatable: bool = False) -> float | None:
    return wait_before_retry(error, attempt=attempt, policy=POLICY, repeatable=repeatable, jitter=0.0)


def api(kind: type[errors.APIError], status: int) -> errors.APIError:
    return kind("refused", status_code=status)


def throttled(seconds: float | None) -> errors.RateLimitError:
    error = errors.RateLimitError("slow down", status_code=429)
    error.retry_after = seconds
    return error


@pytest.mark.parametrize(
    ("error", "turn", "read"),
    [
        (errors.NotSentError("x"), 0.5, 0.5),
        (errors.ConnectionLostError("x"), None, 0.5),
        (errors.ReadTimeoutError("x"), None, 0.5),
        (errors.ProtocolError("x"), None, None),
        (api(errors.ServerError, 503), None, 0.5),
        (api(errors.InvalidRequestError, 422), None, None),
        (api(errors.AuthenticationError, 401), None, None),
        (throttled(7.0), 7.0, 7.0),
        (throttled(61.0), None, None),
        (throttled(None), 0.5, 0.5),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_a_turn_is_repeated_only_if_it_never_arrived(
    error: errors.MeibelIntegrationError, turn: float | None, read: float | None
) -> None:
    assert wait(error) == turn
    assert wait(error, repeatable=True) == read


def test_the_number_of_retries_is_limited() -> None:
    assert wait(errors.NotSentError("x"), attempt=1) == 1.0
    assert wait(errors.NotSentError("x"), attempt=2) is None
    assert wait(throttled(1.0), attempt=2) is None


def test_waits_double_up_to_the_cap_and_jitter_takes_up_to_a_quarter() -> None:
    assert [backoff(n, POLICY, 0.0) for n in range(6)] == [0.5, 1, 2, 4, 8, 8]
    assert backoff(0, POLICY, 0.999) == pytest.approx(0.375, abs=1e-3)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "Sun, 22 Nov 2026 10:00:05 GMT"}, 5.0),
        ({"retry-after": "Sun, 22 Nov 2026 10:00:05 -0000"}, 5.0),
        ({"retry-after": "Sun, 22 Nov 2026 09:00:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "nan"}, None),
        ({}, None),
    ],
)
def test_the_services_wait_is_read_in_every_form(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, NOW) == seconds
