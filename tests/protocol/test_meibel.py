"""What is sent to Meibel, and how its answers read, in each documented form."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given

from meibel_integrations.errors import InvalidInputError, ProtocolError
from meibel_integrations.models import ChatMessageRequest, CreateSessionRequest
from meibel_integrations.protocol import events
from meibel_integrations.protocol.agents import AgentRef
from meibel_integrations.protocol.dialects.interface import TurnRequest
from meibel_integrations.protocol.dialects.meibel import MeibelDialect
from meibel_integrations.protocol.dialects.meibel_citations import read_references
from meibel_integrations.protocol.requests import FilePart
from meibel_integrations.protocol.sse import SSEEvent

from .test_lenient_json import JSON

DIALECT = MeibelDialect()
TEN = datetime(2026, 11, 22, 10, tzinfo=UTC)


def test_sessions_are_opened_by_id_or_by_name() -> None:
    by_id = DIALECT.create_session(AgentRef("a/1"), None)
    assert (by_id.method, by_id.path, by_id.json) == ("POST", "/agents/a%2F1/sessions", None)
    options = CreateSessionRequest(prompt="p")
    by_name = DIALECT.create_session(AgentRef(name="né"), options)
    assert (by_name.path, by_name.json) == ("/agents/name/n%C3%A9/sessions", {"prompt": "p"})


@pytest.mark.parametrize("bad", ["", "  ", ".", "..", 7, None])
def test_an_id_that_cannot_be_part_of_a_path_is_refused(bad: Any) -> None:
    with pytest.raises(InvalidInputError, match="session_id"):
        DIALECT.get_history(bad)


def test_no_id_can_name_another_route() -> None:
    assert DIALECT.get_session("../agents/x?y=1#z").path == "/sessions/..%2Fagents%2Fx%3Fy%3D1%23z"


def test_a_streamed_turn_is_a_form_with_lower_case_booleans() -> None:
    body = ChatMessageRequest(user_message="hi", timeout_seconds=9, include_thinking=True, include_tool_activity=False)
    part = FilePart("file", "a.txt", b"x")
    request = DIALECT.stream_turn(TurnRequest("s", body, files=(part,)))
    assert (request.path, request.accept, request.repeatable) == ("/sessions/s/chat/stream", "text/event-stream", False)
    assert dict(request.form) == {
        "user_message": "hi",
        "timeout_seconds": "9",
        "include_thinking": "true",
        "include_tool_activity": "false",
    }
    assert request.files == (part,)
    assert "content" not in repr(part)


def test_a_whole_turn_is_json() -> None:
    request = DIALECT.send_turn(TurnRequest("s", ChatMessageRequest(user_message="hi")))
    assert (request.path, request.json, request.repeatable) == ("/sessions/s/chat", {"user_message": "hi"}, False)


def test_tools_of_a_whole_answer_are_read() -> None:
    items = [{"tool_id": "t", "tool_name": "n", "arguments": {"q": 1}, "result": {"r": 2}}, {"tool_id": "u"}]
    done = DIALECT.read_answer({"response": {"message": "m"}, "tool_activity": items})
    assert [(t.id, t.name, t.arguments, t.result) for t in done.tools] == [
        ("t", "n", {"q": 1}, {"r": 2}),
        ("u", None, {}, None),
    ]


def test_lists_ask_for_pages_and_filters() -> None:
    assert DIALECT.key_header("k") == {"Meibel-API-Key": "k"}
    request = DIALECT.list_sessions("a", "50", 25, status="FAILED")
    assert request.query == (("offset", "50"), ("limit", "25"), ("status", "FAILED"))


@pytest.mark.parametrize(
    ("body", "session_id", "created_at"),
    [
        ({"session_id": "s"}, "s", None),
        ({"id": "s", "agent_id": "a", "created_at": "2026-11-22T10:00:00Z"}, "s", TEN),
        ({"session_id": "s", "status": "RUNNING", "start_time": "2026-11-22T10:00:00Z"}, "s", TEN),
        ({"id": "s", "messages": [{"role": "user"}, {"role": "user", "timestamp": "2026-11-22T10:00:00Z"}]}, "s", TEN),
    ],
)
def test_a_session_reads_the_same_in_every_form(body: Any, session_id: str, created_at: datetime | None) -> None:
    session = DIALECT.read_session(body, AgentRef("a"))
    assert (session.id, session.agent_id, session.created_at) == (session_id, "a", created_at)


@pytest.mark.parametrize("body", [None, [], {}, {"session_id": ""}, {"id": None}])
def test_a_session_without_an_id_is_no_session(body: Any) -> None:
    with pytest.raises(ProtocolError, match="session_id"):
        DIALECT.read_session(body)


@pytest.mark.parametrize(
    ("items", "roles"),
    [
        ([{"role": "user"}, {"role": "assistant"}], ["user", "assistant"]),
        ([{"type": "user_message"}, {"type": "assistant_message"}], ["user", "assistant"]),
        ([{"type": "USER"}, {"type": "agent"}], ["user", "assistant"]),
        ([{"type": "tool_call"}, {"type": "tool_result"}], ["tool_call", "tool_result"]),
        ([{"type": "brand_new"}, 7, None, {}, {"role": "user"}], ["user"]),
    ],
)
def test_the_history_reads_the_same_in_every_form(items: list[Any], roles: list[str]) -> None:
    for body in (items, {"agent_id": "a", "messages": items}):
        assert [m.role for m in DIALECT.read_history(body)] == roles


def test_a_history_item_keeps_its_fields() -> None:
    item = {
        "type": "tool_call",
        "timestamp": "2026-11-22T10:00:00Z",
        "signal_id": "sig",
        "tool_id": "t",
        "tool_name": "search",
        "arguments": {"q": 1},
        "result": "r",
    }
    (message,) = DIALECT.read_history([item])
    assert message.extra == {}
    assert message.model_dump(exclude={"role", "message", "timestamp", "extra"}).items() <= item.items()
    assert message.timestamp == TEN


def test_the_status_tells_whether_a_session_has_ended() -> None:
    assert [DIALECT.has_ended({"status": s}) for s in ("RUNNING", "completed", "TERMINATED", None, 3)] == [
        False,
        True,
        True,
        False,
        False,
    ]
    assert not DIALECT.has_ended(None)


@pytest.mark.parametrize(
    ("usage", "total"),
    [
        ([{"input_tokens": 1, "output_tokens": 1}, {"input_tokens": 2, "output_tokens": 3}, None], 5),
        ({"input_tokens": 1, "output_tokens": 1}, 2),
        ([], None),
        (None, None),
    ],
)
def test_the_last_turns_usage_is_the_last_entry(usage: Any, total: int | None) -> None:
    found = DIALECT.read_last_usage({"token_usage": usage})
    assert (found.total_tokens if found else None) == total


# References


def test_source_ids_name_sources() -> None:
    evidence = read_references(
        {
            "sources": [{"source_id": 7, "title": "A", "page": 3}, {"source_id": "8", "title": "B", "score": 0.5}],
            "citations": [{"position": 5, "source_ids": [8, 7]}, {"position": 2, "source_ids": [9]}],
        }
    )
    assert [(m.source, m.end) for m in evidence.citations] == [(0, 5), (1, 5)]
    assert evidence.sources[0].metadata == {"page": 3}
    assert evidence.sources[1].score == 0.5
    assert evidence.problems == ("A citation names the source 9, which the answer does not list.",)


def test_without_source_ids_the_order_counts() -> None:
    evidence = read_references(
        {"sources": [{"title": "A"}, {"title": "B"}], "citations": [{"position": 1, "source_ids": [1]}]}
    )
    assert [(m.source, m.end) for m in evidence.citations] == [(1, 1)]


def test_citations_that_describe_their_source_are_merged() -> None:
    item = {"title": "A", "url": "https://x.test", "position": 1}
    evidence = read_references(
        {"citations": [item, {**item, "position": 4}, {"title": "B"}, "https://y.test", "C", 7, ""]}
    )
    assert [s.title for s in evidence.sources] == ["A", "B", "https://y.test", "C"]
    assert evidence.sources[2].url == "https://y.test"
    assert [(m.source, m.start) for m in evidence.citations] == [(0, 1), (0, 4)]


@pytest.mark.parametrize(
    ("where", "span"),
    [
        ({"start": 1, "end": 4}, (1, 4)),
        ({"start_index": 1, "end_index": 4}, (1, 4)),
        ({"position": 4}, (4, 4)),
        ({"end": 4}, (4, 4)),
        ({"start": 1, "position": 4}, (1, 4)),
    ],
)
def test_spans_are_read_where_they_are_given(where: Any, span: tuple[int, int]) -> None:
    evidence = read_references({"citations": [{"source_id": 1, **where}], "sources": [{"source_id": 1, "title": "A"}]})
    assert [(m.start, m.end) for m in evidence.citations] == [span]


# Events


@pytest.mark.parametrize(
    ("data", "text", "reading"),
    [
        ('{"type": "content", "delta": "x"}', "x", "delta"),
        ('{"type": "content", "text": "x"}', "x", "delta"),
        ('{"type": "content", "content": "x"}', "x", "partial"),
        ('{"type": "message", "content": "x"}', "x", "partial"),
        ('{"type": "content"}', "", "partial"),
        ('{"type": "partial_response", "data": {"message": "x [1]", "clean_message": "x"}}', "x", "partial"),
        ('{"type": "partial_response", "data": {"message": "x", "clean_message": null}}', "x", "partial"),
    ],
)
def test_text_is_found_in_each_form(data: str, text: str, reading: str) -> None:
    event = DIALECT.decode(SSEEvent("message", data))
    assert isinstance(event, events.TextReceived)
    assert (event.text, event.reading) == (text, reading)


def test_the_events_field_wins_over_the_payloads_type() -> None:
    event = DIALECT.decode(SSEEvent("partial_response", '{"type": "text", "data": {"message": "x"}}'))
    assert isinstance(event, events.TextReceived)


@pytest.mark.parametrize(
    "data", ['{"message": "m"}', '{"error": {"message": "m"}}', '{"data": {"detail": "m"}}', '{"content": "m"}']
)
def test_an_errors_words_are_found(data: str) -> None:
    event = DIALECT.decode(SSEEvent("error", data))
    assert isinstance(event, events.Failed)
    assert event.message == "m"


def test_the_completion_keeps_everything_that_rides_on_it() -> None:
    data = (
        '{"data": {"message": "m [1]", "clean_message": "m", "follow_up_questions": ["q", 1],'
        ' "call_to_actions": [{"label": "l", "action": "a", "action_data": {"x": 1}}, {"action_data": 1}, 3],'
        ' "artifacts": [{"artifact_id": "i", "filename": "f", "mime_type": "t", "size_bytes": "4"}]},'
        ' "signal_id": "sig", "usage": {"input_tokens": 1, "output_tokens": 2}, "finish_reason": "length"}'
    )
    event = DIALECT.decode(SSEEvent("completion", data))
    assert isinstance(event, events.Completed)
    assert event.texts == ("m", "m [1]")
    assert (event.raw_text, event.signal_id, event.finish_reason) == ("m [1]", "sig", "length")
    assert event.follow_up_questions == ["q"]
    assert [a.action_data for a in event.call_to_actions] == [{"x": 1}, None]
    assert event.artifacts[0].size_bytes == 4
    assert event.usage is not None


def test_warnings_and_thinking_without_text() -> None:
    warned = DIALECT.decode(SSEEvent("warning", '{"message": "m"}'))
    assert isinstance(warned, events.Warned)
    assert warned.message == "m"
    assert isinstance(DIALECT.decode(SSEEvent("thinking", "{}")), events.Unknown)


@given(JSON)
def test_no_payload_of_any_kind_breaks_the_decoder(value: Any) -> None:
    for kind in (
        "connected",
        "status",
        "partial_response",
        "completion",
        "citations",
        "tool_call",
        "tool_result",
        "error",
    ):
        for payload in (
            value,
            {"data": value},
            {"citations": value, "sources": value, "content": value, "message": value},
        ):
            assert isinstance(DIALECT.decode(SSEEvent(kind, json.dumps(payload))), events.TurnEvent)


def test_agents_are_asked_for_and_read() -> None:
    request = DIALECT.list_agents("50", 25)
    assert (request.path, request.query) == ("/agents", (("offset", "50"), ("limit", "25")))
    assert DIALECT.get_agent("a/b").path == "/agents/a%2Fb"
    page = DIALECT.read_agents({"data": [{"agent_id": "a", "name": "docs"}, {"id": "b"}]}, None)
    assert [(agent.id, agent.name) for agent in page.items] == [("a", "docs"), ("b", "")]
    with pytest.raises(ProtocolError, match="names no agent"):
        DIALECT.read_agent({"name": "docs"})


def test_an_answer_in_too_many_wrappers_is_read_as_far_as_they_are_opened() -> None:
    inner: dict[str, Any] = {"message": "deep"}
    for _ in range(40):
        inner = {"data": inner}
    assert isinstance(DIALECT.decode(SSEEvent("completion", json.dumps(inner), "")), events.Completed)


def test_a_completion_with_an_error_is_a_failure_with_its_words() -> None:
    failed = DIALECT.decode(SSEEvent("completion", json.dumps({"data": {"error": "out of tokens"}}), ""))
    assert isinstance(failed, events.Failed)
    assert failed.message == "out of tokens"


def test_a_mark_of_the_end_that_has_the_answer_is_a_completion() -> None:
    ended = DIALECT.decode(SSEEvent("stream_complete", json.dumps({"message": "whole"}), ""))
    assert isinstance(ended, events.Completed)
    assert ended.texts == ("whole",)


def test_markers_go_where_the_plain_text_shows_what_they_are() -> None:
    done = DIALECT.read_answer({"response": {"message": "Blue [1]."}, "assistant_response": "Blue."})
    assert done.texts[0] == "Blue."
