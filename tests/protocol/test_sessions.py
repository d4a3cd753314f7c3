"""Opening, listing and reading sessions."""

from __future__ import annotations

import pytest

from meibel_integrations import errors
from meibel_integrations.models import Session
from meibel_integrations.protocol.agents import AgentRef
from meibel_integrations.protocol.sessions import (
    create_session,
    get_history,
    get_last_usage,
    get_session,
    has_ended,
    paginate,
)
from tests.support.playing import SERVICE, Answer, answer, play


@pytest.mark.parametrize("agent", [AgentRef(), AgentRef("a", "b")])
def test_an_agent_is_named_by_one_of_two(agent: AgentRef) -> None:
    assert isinstance(play(create_session(SERVICE, agent)).error, errors.InvalidInputError)


def test_a_session_is_created() -> None:
    ran = play(create_session(SERVICE, AgentRef("a")), answer({"session_id": "s"}))
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
    dialect = SERVICE.dialect
    listing = paginate(
        SERVICE,
        lambda cursor: dialect.list_sessions("agent", cursor, 2),
        lambda body, cursor: dialect.read_sessions(body, cursor, AgentRef("agent")),
    )
    ran = play(listing, *pages)
    assert [s.id for s in ran.emitted] == ["a", "b", "c"]
    assert ran.result == 3


def test_details_are_of_the_session_that_was_asked_for() -> None:
    ran = play(get_session(SERVICE, "s"), answer({"agent_id": "a", "status": "RUNNING", "messages": []}))
    assert (ran.result.id, ran.result.status) == ("s", "RUNNING")


def test_tools_are_in_the_history_only_on_request() -> None:
    body = {"messages": [{"type": "user"}, {"type": "tool_call"}, {"type": "assistant"}]}
    assert len(play(get_history(SERVICE, "s"), answer(body)).result) == 2
    assert len(play(get_history(SERVICE, "s", include_tools=True), answer(body)).result) == 3


def test_status_and_usage_are_asked_of_the_details() -> None:
    body = {"status": "FAILED", "token_usage": [{"input_tokens": 1, "output_tokens": 2}]}
    assert play(has_ended(SERVICE, "s"), answer(body)).result is True
    assert play(get_last_usage(SERVICE, "s"), answer(body)).result.total_tokens == 3
