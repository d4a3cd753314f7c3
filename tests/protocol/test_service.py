"""Requests in general: retries, errors, limits."""

from __future__ import annotations

import gzip

import pytest

from meibel_integrations import errors
from meibel_integrations.config import RetryPolicy
from meibel_integrations.protocol.commands import Finish
from meibel_integrations.protocol.dialects.meibel import MeibelDialect
from meibel_integrations.protocol.requests import Request
from meibel_integrations.protocol.service import Service
from tests.support.playing import GET, SERVICE, Answer, answer, play


def test_an_answer_is_read_and_its_connection_given_up() -> None:
    ran = play(SERVICE.fetch(GET), answer({"a": 1}))
    assert ran.result == {"a": 1}
    assert isinstance(ran.commands[-1], Finish)


def test_an_empty_answer_is_none() -> None:
    assert play(SERVICE.fetch(GET), Answer(204, {}, [])).result is None


def test_an_answer_that_is_not_json_is_named() -> None:
    ran = play(SERVICE.fetch(GET), Answer(200, {"content-type": "text/html"}, [b"<html>"]))
    assert isinstance(ran.error, errors.ProtocolError)
    assert "text/html" in str(ran.error)


def test_an_answer_that_is_cut_off_is_none_even_if_it_reads_as_one() -> None:
    """The checksum at the end is missing: what came before it may be anything."""
    ran = play(SERVICE.fetch(GET), Answer(200, {"content-encoding": "gzip"}, [gzip.compress(b"7")[:-8]]))
    assert isinstance(ran.error, errors.ProtocolError)


def test_an_endless_answer_is_refused() -> None:
    piece = bytes(1024 * 1024)
    ran = play(SERVICE.fetch(GET), Answer(200, {}, [piece] * 65))
    assert isinstance(ran.error, errors.ResponseTooLargeError)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, errors.InvalidRequestError),
        (401, errors.AuthenticationError),
        (403, errors.PermissionDeniedError),
        (404, errors.NotFoundError),
        (409, errors.ConflictError),
        (422, errors.InvalidRequestError),
        (500, errors.ServerError),
        (503, errors.ServerError),
    ],
)
def test_every_status_has_its_error_with_the_services_words(status: int, kind: type[errors.APIError]) -> None:
    body = {"error": {"message": "the service's words", "code": "c7", "request_id": "r7"}}
    ran = play(SERVICE.fetch(Request("POST", "/x", session_id="s-1")), answer(body, status))
    error = ran.error
    assert type(error) is kind
    assert "the service's words" in str(error)
    assert (error.status_code, error.server_message, error.code, error.request_id, error.session_id) == (
        status,
        "the service's words",
        "c7",
        "r7",
        "s-1",
    )


def test_an_error_page_without_words_is_named_by_its_type() -> None:
    ran = play(
        SERVICE.fetch(Request("POST", "/x")),
        Answer(502, {"content-type": "text/html"}, [errors.ConnectionLostError("gone")]),
    )
    assert "no message (text/html)" in str(ran.error)


def test_a_redirect_is_not_followed() -> None:
    ran = play(SERVICE.fetch(GET), Answer(302, {"location": "https://elsewhere.test"}, []))
    assert isinstance(ran.error, errors.RedirectError)
    assert len(ran.sent) == 1


def test_reads_are_retried_with_growing_waits() -> None:
    ran = play(SERVICE.fetch(GET), errors.ConnectionLostError("x"), answer({}, 503), answer([7]))
    assert ran.result == [7]
    assert ran.slept == [0.5, 1.0]


def test_a_throttled_request_waits_as_long_as_asked() -> None:
    ran = play(SERVICE.fetch(Request("POST", "/x")), answer({}, 429, **{"retry-after": "7"}), answer(1))
    assert (ran.result, ran.slept) == (1, [7.0])


def test_a_wait_that_is_too_long_is_told() -> None:
    ran = play(SERVICE.fetch(GET), answer({"message": "slow down"}, 429, **{"retry-after": "999"}))
    assert isinstance(ran.error, errors.RateLimitError)
    assert ran.error.retry_after == 999


def test_a_wrong_key_and_an_address_without_its_version_are_named_once() -> None:
    where = Service(MeibelDialect(), RetryPolicy(), "https://api.example.test")
    error = play(where.fetch(GET), answer({"message": "no such route"}, 404)).error
    assert str(error) == (
        "GET /x was refused with 404: no such route. The base_url https://api.example.test does not end in /v2, "
        "as the service's own does: that may be why."
    )
    right = Service(MeibelDialect(), RetryPolicy(), "https://api.example.test/v2")
    assert str(play(right.fetch(GET), answer({"message": "no session"}, 404)).error).endswith("no session")
    error = play(right.fetch(GET), answer({"message": "who?"}, 401)).error
    assert str(error) == "GET /x was refused with 401: who? Check the API key."
