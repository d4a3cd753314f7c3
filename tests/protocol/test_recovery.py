"""Finding a turn again whose answer did not arrive: the table, and the flow that walks it."""

from __future__ import annotations

from typing import Any

import pytest

from meibel_integrations import errors
from meibel_integrations.config import RecoveryPolicy
from meibel_integrations.models import Message
from meibel_integrations.protocol.commands import Accepted
from meibel_integrations.protocol.recovery import Verdict, next_wait, search
from meibel_integrations.protocol.sessions import SessionHistory
from tests.support.playing import Answer, Ran, answer, stream, turn
from tests.support.wire_turns import TEXT, v2_event, v2_turn

CONNECTED = v2_turn()[0]
LOST = errors.ConnectionLostError("cut")


def user(text: str, signal: str | None = None) -> Message:
    return Message(role="user", message=text, signal_id=signal)


def agent(text: str, signal: str | None = None) -> Message:
    return Message(role="assistant", message=text, signal_id=signal)


OLD = [user("hi", "s0"), agent("old", "s0")]


@pytest.mark.parametrize(
    ("history", "signal", "before", "verdict"),
    [
        # by signal, whatever else is there
        ([*OLD, user("hi", "s1"), agent("new", "s1")], "s1", None, Verdict.COMPLETE),
        ([*OLD, user("hi", "s1")], "s1", None, Verdict.RUNNING),
        ([*OLD, user("hi", "s1"), agent("new", "s1")], "s1", 0, Verdict.COMPLETE),
        # a signal that the history does not know: by text behind the baseline
        ([*OLD, user("hi", "x"), agent("new", "x")], "s1", 1, Verdict.COMPLETE),
        ([*OLD, user("hi"), agent("new")], None, 1, Verdict.COMPLETE),
        ([*OLD, user(" hi\n"), agent("new")], None, 1, Verdict.COMPLETE),
        ([*OLD, user("hi")], None, 1, Verdict.RUNNING),
        (OLD, None, 1, Verdict.ABSENT),
        ([], None, 0, Verdict.ABSENT),
        # somebody else's turn
        ([*OLD, user("other"), agent("theirs")], None, 1, Verdict.INDISTINCT),
        ([*OLD, user("hi"), agent("one"), user("hi"), agent("two")], None, 1, Verdict.INDISTINCT),
        ([*OLD, user("hi"), user("other")], None, 1, Verdict.RUNNING),
        # nothing to count from
        (OLD, None, None, Verdict.INDISTINCT),
        ([user("else"), agent("x")], None, None, Verdict.ABSENT),
        ([], None, None, Verdict.ABSENT),
    ],
)
def test_what_a_history_says_of_a_turn(
    history: list[Message], signal: str | None, before: int | None, verdict: Verdict
) -> None:
    found = search(SessionHistory(history, {}), text="hi", signal_id=signal, turns_before=before)
    assert found.verdict is verdict
    assert (found.answer.message if found.answer else None) == ("new" if verdict is Verdict.COMPLETE else None)


@pytest.mark.parametrize("signal", ["s1", None])
def test_a_failed_turn_is_told_by_its_signal(signal: str | None) -> None:
    told = SessionHistory([*OLD, user("hi", "s1")], {"s1": "no disk"})
    found = search(told, text="hi", signal_id=signal, turns_before=1)
    assert (found.verdict, found.reason) == (Verdict.FAILED, "no disk")


def test_waits_double_up_to_five_seconds() -> None:
    waits = [next_wait(None)]
    while len(waits) < 6:
        waits.append(next_wait(waits[-1]))
    assert waits == [0.5, 1, 2, 4, 5, 5]


@pytest.mark.parametrize("wrong", [{"on_ambiguous": "guess"}, {"grace": -1}, {"deadline": -1}])
def test_wrong_settings_are_told(wrong: dict[str, Any]) -> None:
    with pytest.raises(errors.ConfigurationError):
        RecoveryPolicy(**wrong)


# The flow


def history(*messages: dict[str, Any], **more: Any) -> Answer:
    return answer({"messages": list(messages), **more})


def held(text: str, reply: str | None = None, signal: str = "sig-1") -> list[dict[str, Any]]:
    items = [{"type": "user", "message": text, "signal_id": signal}]
    return items if reply is None else [*items, {"type": "assistant", "message": reply, "signal_id": signal}]


def ask(*answers: Answer | Exception, total: float | None = None, **recovery: Any) -> Ran:
    return turn(*answers, total=total, turns_before=0, recovery=RecoveryPolicy(**recovery))


def text_of(ran: Ran) -> str:
    return "".join(e.delta for e in ran.emitted if e.type == "content")


@pytest.mark.parametrize(
    "failure",
    [
        LOST,
        errors.ReadTimeoutError("quiet"),
        answer({}, 502),
        stream(CONNECTED, LOST),
        stream(*v2_turn()[:3], LOST),
        stream(*v2_turn()[:3]),
        stream(*v2_turn()[:3], b"data: " + bytes(9 * 1024 * 1024)),
        Answer(200, {"content-type": "text/html"}, [b"<html>"]),
    ],
    ids=["lost", "silent", "502", "after connected", "in the text", "early end", "too large", "html"],
)
def test_an_answer_that_was_lost_is_delivered_from_the_history(failure: Any) -> None:
    ran = ask(failure, history(*held("hi", TEXT)))
    assert ran.error is None
    assert [r.method for r in ran.sent] == ["POST", "GET"]
    assert (ran.result.reply.message, ran.result.reply.recovered, ran.result.reply.signal_id) == (TEXT, True, "sig-1")
    assert text_of(ran) == TEXT
    assert any(isinstance(command, Accepted) for command in ran.commands)


def test_a_turn_that_still_runs_is_waited_for() -> None:
    running = history(*held("hi"))
    ran = ask(stream(CONNECTED, LOST), running, running, running, history(*held("hi", TEXT)))
    assert ran.result.reply.message == TEXT
    assert ran.slept == [0.5, 1.0, 2.0]


@pytest.mark.parametrize("failure", [LOST, stream(CONNECTED, LOST)], ids=["lost", "cut"])
def test_a_history_that_cannot_be_read_for_a_while_is_asked_again(failure: Any) -> None:
    down: list[Answer | Exception] = [errors.NotSentError("down"), answer({}, 503), LOST]
    ran = ask(failure, *down, *down, history(*held("hi", TEXT)))
    assert (ran.result.reply.message, ran.result.reply.recovered) == (TEXT, True)
    assert [r.method for r in ran.sent].count("POST") == 1

    ran = ask(failure, *down * 9)
    assert isinstance(ran.error, errors.TurnOutcomeUnknown | errors.StreamInterrupted)
    assert sum(ran.slept) >= 5.0, "it was asked for as long as a turn may be absent"


def test_a_history_that_is_refused_is_not_asked_again() -> None:
    ran = ask(LOST, answer({}, 403))
    assert isinstance(ran.error, errors.TurnOutcomeUnknown)
    assert len(ran.sent) == 2


@pytest.mark.parametrize("seen", [held("hi"), []], ids=["running", "absent"])
def test_the_total_limit_ends_the_search_in_the_same_error(seen: Any) -> None:
    for failure, kind in ((LOST, errors.TurnOutcomeUnknown), (stream(CONNECTED, LOST), errors.StreamInterrupted)):
        ran = ask(failure, *[history(*seen)] * 9, total=1)
        assert type(ran.error) is kind
        ran = ask(failure, history(*seen), errors.TotalTimeoutError("too long"))
        assert type(ran.error) is kind


def test_a_turn_that_never_ends_is_given_up_at_the_deadline() -> None:
    ran = ask(stream(*v2_turn()[:3], LOST), *[history(*held("hi"))] * 9, deadline=0)
    assert isinstance(ran.error, errors.TurnOutcomeUnknown)
    assert "still running" in str(ran.error)
    assert (ran.error.partial_text, ran.error.signal_id, ran.error.cause) == ("Revenue grew.", "sig-1", LOST)


def test_a_turn_that_does_not_show_is_an_error() -> None:
    ran = ask(LOST, history(), grace=0)
    assert isinstance(ran.error, errors.TurnOutcomeUnknown)
    assert "does not show" in str(ran.error)
    assert len([r for r in ran.sent if r.method == "POST"]) == 1


def test_a_turn_that_does_not_show_is_sent_once_more_where_that_was_chosen() -> None:
    ran = ask(LOST, history(), stream(*v2_turn()), grace=0, on_ambiguous="resend_once")
    assert (ran.result.reply.message, ran.result.reply.recovered) == (TEXT, False)
    ran = ask(LOST, history(), LOST, history(), stream(*v2_turn()), grace=0, on_ambiguous="resend_once")
    assert isinstance(ran.error, errors.TurnOutcomeUnknown)
    assert [r.method for r in ran.sent] == ["POST", "GET", "POST", "GET"]


def test_a_turn_that_began_to_answer_is_never_sent_again() -> None:
    ran = ask(stream(*v2_turn()[:3], LOST), history(), stream(*v2_turn()), grace=0, on_ambiguous="resend_once")
    assert isinstance(ran.error, errors.TurnOutcomeUnknown)
    assert len(ran.sent) == 2


def test_a_turn_that_cannot_be_told_from_another_is_an_error() -> None:
    ran = ask(LOST, history(*held("else", "x", "s0")), on_ambiguous="resend_once")
    assert isinstance(ran.error, errors.TurnOutcomeUnknown)
    assert "does not tell" in str(ran.error)


def test_a_turn_that_failed_meanwhile_is_told_with_its_reason() -> None:
    failed = history(*held("hi"), failed_turns=[{"signal_id": "sig-1", "message": "no disk"}])
    ran = ask(stream(CONNECTED, LOST), failed)
    assert isinstance(ran.error, errors.AgentTurnError)
    assert "no disk" in str(ran.error)


def test_an_answer_that_began_otherwise_stands_with_a_warning() -> None:
    ran = ask(stream(*v2_turn()[:3], LOST), history(*held("hi", "Something else.")))
    assert ran.result.reply.message == "Something else."
    assert ran.result.reply.warnings


def test_sources_that_had_arrived_are_kept() -> None:
    data = {"message": "Reve", "sources": [{"source_id": 1, "title": "A"}]}
    ran = ask(stream(CONNECTED, v2_event("partial_response", data=data), LOST), history(*held("hi", TEXT)))
    assert [s.title for s in ran.result.reply.sources] == ["A"]


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (LOST, errors.TurnOutcomeUnknown),
        (stream(CONNECTED, LOST), errors.StreamInterrupted),
        (Answer(200, {"content-type": "text/html"}, []), errors.ProtocolError),
    ],
    ids=["lost", "cut", "html"],
)
def test_without_a_history_the_failure_itself_is_told(failure: Any, kind: type[Exception]) -> None:
    ran = ask(failure, Answer(200, {"content-type": "text/html"}, [b"<html>"]))
    assert type(ran.error) is kind


def test_a_reported_failure_and_a_redirect_are_not_looked_into() -> None:
    for failure in (stream(CONNECTED, v2_event("error", message="no")), Answer(307, {}, [])):
        ran = ask(failure)
        assert isinstance(ran.error, errors.AgentTurnError | errors.RedirectError)
        assert len(ran.sent) == 1
