"""One turn, streamed or whole: acceptance, events, and every way it can end but recovery."""

from __future__ import annotations

from typing import Any

import pytest

from meibel_integrations import errors
from meibel_integrations.models import ChatMessageRequest, DoneEvent
from meibel_integrations.protocol.commands import Accepted, Finish, Read, Send
from meibel_integrations.protocol.requests import FilePart
from meibel_integrations.protocol.turn import check_turn, send_turn
from tests.support.playing import HI, SERVICE, Answer, answer, play, stream, turn
from tests.support.wire_turns import TEXT, v2_turn


def test_without_time_for_another_attempt_the_last_ones_error_stands() -> None:
    busy = answer({"message": "busy"}, 429)
    ran = turn(busy, busy, busy, total=0.1)
    assert isinstance(ran.error, errors.RateLimitError)
    assert len(ran.sent) == 2
    ran = turn(errors.NotSentError("x"), total=0)
    assert isinstance(ran.error, errors.NotSentError)


@pytest.mark.parametrize("body", [None, {}, {"error": "x"}, {"response": {"message": None}}], ids=str)
def test_an_answer_without_a_text_is_none(body: Any) -> None:
    flow = send_turn(SERVICE, HI)
    ran = play(flow, answer(body))
    assert isinstance(ran.error, errors.ProtocolError)
    assert [r.method for r in ran.sent] == ["POST", "GET"], "it was looked for"


def test_a_turn_that_is_answered_whole() -> None:
    ran = play(send_turn(SERVICE, HI), answer({"message": "yo"}))
    assert ran.result.reply.message == "yo"


@pytest.mark.parametrize("failure", [errors.ReadTimeoutError("quiet"), answer({"message": "oops"}, 502)])
def test_a_turn_that_may_have_run_is_never_sent_again(failure: Any) -> None:
    for ran in (play(send_turn(SERVICE, HI), failure), turn(failure)):
        assert isinstance(ran.error, errors.TurnOutcomeUnknown)
        assert ran.error.session_id == "s-1"
        assert ran.error.cause is not None
        assert [r.method for r in ran.sent] == ["POST", "GET"]


def test_a_turn_that_never_arrived_is_sent_again() -> None:
    ran = turn(errors.NotSentError("x"), stream(*v2_turn()))
    assert isinstance(ran.result, DoneEvent)
    assert len(ran.sent) == 2


def test_a_turn_that_never_arrives_is_told_as_such() -> None:
    ran = turn(*[errors.NotSentError("x")] * 3)
    assert isinstance(ran.error, errors.NotSentError)
    ran = play(send_turn(SERVICE, HI), *[errors.NotSentError("x")] * 3)
    assert isinstance(ran.error, errors.NotSentError)


@pytest.mark.parametrize("message", ["", "  \n", "\ud800"])
def test_a_message_that_cannot_be_sent_is_refused(message: str) -> None:
    with pytest.raises(errors.InvalidInputError):
        check_turn(SERVICE, ChatMessageRequest.model_construct(user_message=message))


def test_acceptance_is_told_before_anything_is_read() -> None:
    ran = turn(stream(*v2_turn()))
    assert [type(c) for c in ran.commands[:3]] == [Send, Accepted, Read]
    assert ran.result.reply.message == TEXT


def test_the_connection_is_given_up_before_the_last_event_is_shown() -> None:
    ran = turn(stream(*v2_turn(), b": more\n\n"))
    assert type(ran.commands[-1]) is Finish
    assert isinstance(ran.result, DoneEvent)
    assert not any(isinstance(event, DoneEvent) for event in ran.emitted), "the caller shows it, when it is noted"


def test_files_are_read_before_the_request() -> None:
    part = FilePart("file", "a", b"x")
    assert turn(stream(*v2_turn()), read_files=lambda: [part]).sent[0].files == (part,)


@pytest.mark.parametrize(
    "end",
    [
        [],
        [errors.ConnectionLostError("cut")],
        [errors.ReadTimeoutError("quiet")],
        [b"event: completion\ndata: {broken"],
    ],
)
def test_a_stream_that_ends_early_is_an_error_with_the_text_so_far(end: list[Any]) -> None:
    ran = turn(stream(*v2_turn()[:3], *end))
    error = ran.error
    assert isinstance(error, errors.StreamInterrupted)
    assert (error.partial_text, error.signal_id, error.session_id) == ("Revenue grew.", "sig-1", "s-1")
    assert "".join(e.delta for e in ran.emitted) == "Revenue grew."


def test_a_whole_completion_counts_even_without_its_blank_line() -> None:
    chunks = v2_turn()
    assert turn(stream(*chunks[:-1], chunks[-1].rstrip())).result.reply.message == TEXT


def test_a_held_back_text_still_comes_out_of_a_completion_without_its_blank_line() -> None:
    chunks = v2_turn()
    ran = turn(stream(chunks[0], chunks[-1].rstrip()))
    assert "".join(e.delta for e in ran.emitted) == TEXT


def test_only_an_event_stream_is_one() -> None:
    for kind in ({"content-type": "text/html"}, {}):
        ran = turn(Answer(200, kind, [b"<html>"]))
        assert isinstance(ran.error, errors.ProtocolError)
        assert "event stream" in str(ran.error)


def test_an_encoding_that_was_not_asked_for_interrupts() -> None:
    ran = turn(stream(*v2_turn(), **{"content-encoding": "br"}))
    assert isinstance(ran.error, errors.StreamInterrupted)
    assert "'br'" in str(ran.error)


def test_an_event_that_is_too_large_interrupts() -> None:
    ran = turn(stream(*v2_turn()[:2], *[b"data: " + bytes(1024 * 1024)] * 9))
    assert isinstance(ran.error, errors.StreamInterrupted)
    assert isinstance(ran.error.cause, errors.ResponseTooLargeError)
