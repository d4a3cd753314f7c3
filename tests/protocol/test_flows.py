"""Flows, driven by a list of results: no socket, no event loop, no time."""

from __future__ import annotations

import json
from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest

from meibel_integrations import errors
from meibel_integrations.config import RetryPolicy
from meibel_integrations.models import ChatMessageRequest, Reply, Session
from meibel_integrations.protocol import flows
from meibel_integrations.protocol.agents import AgentRef
from meibel_integrations.protocol.dialects.meibel import MeibelDialect
from meibel_integrations.protocol.flows import Emit, Finish, Head, Now, Random, Read, Send, Sleep
from meibel_integrations.protocol.requests import FilePart, Request

from .turns import TEXT, v2_turn

DIALECT, POLICY = MeibelDialect(), RetryPolicy()
NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
GET = Request("GET", "/x", repeatable=True)
STREAM = {"content-type": "text/event-stream; charset=utf-8"}


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    chunks: list[bytes | Exception]


class Ran(NamedTuple):
    result: Any
    error: BaseException | None
    emitted: list[Any]
    commands: list[Any]

    @property
    def sent(self) -> list[Request]:
        return [c.request for c in self.commands if isinstance(c, Send)]

    @property
    def slept(self) -> list[float]:
        return [c.seconds for c in self.commands if isinstance(c, Sleep)]


def answer(body: Any, status: int = 200, **headers: str) -> Answer:
    return Answer(status, {"content-type": "application/json", **headers}, [json.dumps(body).encode()])


def stream(*chunks: bytes | Exception, **headers: str) -> Answer:
    return Answer(200, {**STREAM, **headers}, list(chunks))


def play(flow: Generator[Any, Any, Any], *answers: Answer | Exception, total: float | None = None) -> Ran:
    """Runs a flow against these answers, one for each request; further requests get a 404. From ``total`` seconds on
    every wait fails."""
    waiting, body = list(answers), list[bytes | Exception]()
    emitted: list[Any] = []
    commands: list[Any] = []
    result: Any = None
    now = NOW
    while True:
        try:
            command = flow.throw(result) if isinstance(result, Exception) else flow.send(result)
        except StopIteration as stop:
            return Ran(stop.value, None, emitted, commands)
        except errors.MeibelIntegrationError as error:
            return Ran(None, error, emitted, commands)
        commands.append(command)
        result = None
        match command:
            case Send():
                found = waiting.pop(0) if waiting else answer({"message": "no such session"}, 404)
                if isinstance(found, Exception):
                    result = found
                else:
                    result, body = Head(found.status, found.headers), list(found.chunks)
            case Read():
                result = body.pop(0) if body else b""
            case Emit(item):
                emitted.append(item)
            case Now():
                result = now
            case Sleep(seconds) if total is not None and now - NOW >= timedelta(seconds=total):
                result = errors.TotalTimeoutError("too long")
            case Sleep(seconds):
                now += timedelta(seconds=seconds)
            case Random():
                result = 0.0
            case flows.Call(function):
                result = function()
            case Finish():
                pass


def turn(*answers: Answer | Exception, total: float | None = None, **options: Any) -> Ran:
    body = ChatMessageRequest(user_message="hi")
    return play(flows.stream_turn(DIALECT, POLICY, "s-1", body, **options), *answers, total=total)


def test_without_time_for_another_attempt_the_last_ones_error_stands() -> None:
    busy = answer({"message": "busy"}, 429)
    ran = turn(busy, busy, busy, total=0.1)
    assert isinstance(ran.error, errors.RateLimitError)
    assert len(ran.sent) == 2
    ran = turn(errors.NotSentError("x"), total=0)
    assert isinstance(ran.error, errors.NotSentError)


@pytest.mark.parametrize("body", [None, {}, {"error": "x"}, {"response": {"message": None}}], ids=str)
def test_an_answer_without_a_text_is_none(body: Any) -> None:
    flow = flows.send_turn(DIALECT, POLICY, "s-1", ChatMessageRequest(user_message="hi"))
    ran = play(flow, answer(body))
    assert isinstance(ran.error, errors.ProtocolError)
    assert [r.method for r in ran.sent] == ["POST", "GET"], "it was looked for"


# Requests in general


def test_an_answer_is_read_and_its_connection_given_up() -> None:
    ran = play(flows.fetch(GET, POLICY), answer({"a": 1}))
    assert ran.result == {"a": 1}
    assert isinstance(ran.commands[-1], Finish)


def test_an_empty_answer_is_none() -> None:
    assert play(flows.fetch(GET, POLICY), Answer(204, {}, [])).result is None


def test_an_answer_that_is_not_json_is_named() -> None:
    ran = play(flows.fetch(GET, POLICY), Answer(200, {"content-type": "text/html"}, [b"<html>"]))
    assert isinstance(ran.error, errors.ProtocolError)
    assert "text/html" in str(ran.error)


def test_an_endless_answer_is_refused() -> None:
    piece = bytes(1024 * 1024)
    ran = play(flows.fetch(GET, POLICY), Answer(200, {}, [piece] * 65))
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
    ran = play(flows.fetch(Request("POST", "/x", session_id="s-1"), POLICY), answer(body, status))
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
        flows.fetch(Request("POST", "/x"), POLICY),
        Answer(502, {"content-type": "text/html"}, [errors.ConnectionLostError("gone")]),
    )
    assert "no message (text/html)" in str(ran.error)


def test_a_redirect_is_not_followed() -> None:
    ran = play(flows.fetch(GET, POLICY), Answer(302, {"location": "https://elsewhere.test"}, []))
    assert isinstance(ran.error, errors.RedirectError)
    assert len(ran.sent) == 1


def test_reads_are_retried_with_growing_waits() -> None:
    ran = play(flows.fetch(GET, POLICY), errors.ConnectionLostError("x"), answer({}, 503), answer([7]))
    assert ran.result == [7]
    assert ran.slept == [0.5, 1.0]


def test_a_throttled_request_waits_as_long_as_asked() -> None:
    ran = play(flows.fetch(Request("POST", "/x"), POLICY), answer({}, 429, **{"retry-after": "7"}), answer(1))
    assert (ran.result, ran.slept) == (1, [7.0])


def test_a_wait_that_is_too_long_is_told() -> None:
    ran = play(flows.fetch(GET, POLICY), answer({"message": "slow down"}, 429, **{"retry-after": "999"}))
    assert isinstance(ran.error, errors.RateLimitError)
    assert ran.error.retry_after == 999


# Sessions


@pytest.mark.parametrize("agent", [AgentRef(), AgentRef("a", "b")])
def test_an_agent_is_named_by_one_of_two(agent: AgentRef) -> None:
    assert isinstance(play(flows.create_session(DIALECT, POLICY, agent)).error, errors.InvalidInputError)


def test_a_session_is_created() -> None:
    ran = play(flows.create_session(DIALECT, POLICY, AgentRef("a")), answer({"session_id": "s"}))
    assert ran.result == Session(id="s", agent_id="a")


def page(ids: list[str], total: int | None) -> Answer:
    return answer({"data": [{"session_id": i} for i in ids], "total": total, "offset": 0, "limit": 2})


@pytest.mark.parametrize(
    "pages",
    [
        [page(["a", "b"], 3), page(["c"], 3)],
        [page(["a", "b"], None), page(["c"], None), page([], None)],
        [page(["a", "b", "c"], 99), page(["a", "b", "c"], 99)],  # a service that ignores the offset
        [answer([{"id": "a"}, {"id": "b"}, {"id": "c"}]), answer([])],
    ],
)
def test_all_pages_are_listed_once(pages: list[Answer]) -> None:
    ran = play(flows.list_sessions(DIALECT, POLICY, "agent", page_size=2), *pages)
    assert [s.id for s in ran.emitted] == ["a", "b", "c"]
    assert ran.result == 3


def test_details_are_of_the_session_that_was_asked_for() -> None:
    ran = play(flows.get_session(DIALECT, POLICY, "s"), answer({"agent_id": "a", "status": "RUNNING", "messages": []}))
    assert (ran.result.id, ran.result.status) == ("s", "RUNNING")


def test_tools_are_in_the_history_only_on_request() -> None:
    body = {"messages": [{"type": "user"}, {"type": "tool_call"}, {"type": "assistant"}]}
    assert len(play(flows.get_history(DIALECT, POLICY, "s"), answer(body)).result) == 2
    assert len(play(flows.get_history(DIALECT, POLICY, "s", include_tools=True), answer(body)).result) == 3


def test_status_and_usage_are_asked_of_the_details() -> None:
    body = {"status": "FAILED", "token_usage": [{"input_tokens": 1, "output_tokens": 2}]}
    assert play(flows.has_ended(DIALECT, POLICY, "s"), answer(body)).result is True
    assert play(flows.get_last_usage(DIALECT, POLICY, "s"), answer(body)).result.total_tokens == 3


# Turns


def test_a_turn_that_is_answered_whole() -> None:
    body = ChatMessageRequest(user_message="hi")
    ran = play(flows.send_turn(DIALECT, POLICY, "s", body), answer({"message": "yo"}))
    assert ran.result.message == "yo"


@pytest.mark.parametrize("failure", [errors.ReadTimeoutError("quiet"), answer({"message": "oops"}, 502)])
def test_a_turn_that_may_have_run_is_never_sent_again(failure: Any) -> None:
    body = ChatMessageRequest(user_message="hi")
    for ran in (play(flows.send_turn(DIALECT, POLICY, "s-1", body), failure), turn(failure)):
        assert isinstance(ran.error, errors.TurnOutcomeUnknown)
        assert ran.error.session_id == "s-1"
        assert ran.error.cause is not None
        assert [r.method for r in ran.sent] == ["POST", "GET"]


def test_a_turn_that_never_arrived_is_sent_again() -> None:
    ran = turn(errors.NotSentError("x"), stream(*v2_turn()))
    assert isinstance(ran.result, Reply)
    assert len(ran.sent) == 2


def test_a_turn_that_never_arrives_is_told_as_such() -> None:
    ran = turn(*[errors.NotSentError("x")] * 3)
    assert isinstance(ran.error, errors.NotSentError)
    ran = play(
        flows.send_turn(DIALECT, POLICY, "s", ChatMessageRequest(user_message="hi")), *[errors.NotSentError("x")] * 3
    )
    assert isinstance(ran.error, errors.NotSentError)


@pytest.mark.parametrize("message", ["", "  \n", "\ud800"])
def test_a_message_that_cannot_be_sent_is_not(message: str) -> None:
    ran = play(flows.stream_turn(DIALECT, POLICY, "s", ChatMessageRequest.model_construct(user_message=message)))
    assert isinstance(ran.error, errors.InvalidInputError)
    assert not ran.commands


def test_acceptance_is_told_before_anything_is_read() -> None:
    ran = turn(stream(*v2_turn()))
    assert ran.emitted[0] is flows.ACCEPTED
    assert [type(c) for c in ran.commands[:3]] == [Send, Emit, Read]
    assert ran.result.message == TEXT


def test_the_connection_is_given_up_before_the_last_event() -> None:
    ran = turn(stream(*v2_turn(), b": more\n\n"))
    assert [type(c) for c in ran.commands[-2:]] == [Finish, Emit]
    assert ran.emitted[-1].type == "done"


def test_what_settles_a_turn_runs_before_its_last_event() -> None:
    def settle(reply: Reply) -> flows.Flow[Reply]:
        yield Sleep(9)
        return reply.model_copy(update={"message": "settled"})

    ran = turn(stream(*v2_turn()), settle=settle)
    assert ran.slept == [9]
    assert ran.emitted[-1].reply.message == ran.result.message == "settled"


def test_files_are_read_before_the_request() -> None:
    part = FilePart("file", "a", b"x")
    assert turn(stream(*v2_turn()), files=lambda: [part]).sent[0].files == (part,)


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
    assert turn(stream(*chunks[:-1], chunks[-1].rstrip())).result.message == TEXT


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
