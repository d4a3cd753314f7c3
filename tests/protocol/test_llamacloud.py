"""What is sent to LlamaCloud's chat, and how its answers read."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meibel_integrations import errors
from meibel_integrations.config import RecoveryPolicy, RetryPolicy
from meibel_integrations.errors import InvalidInputError, ProtocolError
from meibel_integrations.models import ChatEvent, ChatMessageRequest, Reply
from meibel_integrations.protocol import events
from meibel_integrations.protocol.agents import AgentRef, ChatSessionOptions
from meibel_integrations.protocol.dialects.interface import TurnRequest
from meibel_integrations.protocol.dialects.llamacloud import LlamaCloudDialect, checked_indexes
from meibel_integrations.protocol.requests import FilePart
from meibel_integrations.protocol.service import Service
from meibel_integrations.protocol.sessions import get_failures, get_session, paginate
from meibel_integrations.protocol.sse import SSEEvent
from meibel_integrations.protocol.turn import check_turn, stream_turn
from tests.support.playing import Ran, answer, play, stream
from tests.support.wire_turns import DELTAS, TEXT, cloud_event, cloud_turn, fold, texts

from .test_lenient_json import JSON

DIALECT = LlamaCloudDialect()
SERVICE = Service(DIALECT, RetryPolicy())
BODY = ChatMessageRequest(user_message="hi")
INDEX = AgentRef(index_ids=("i",))
PASSAGES = {"results": [{"content": "Revenue grew.", "score": 0.5, "metadata": {"title": "Q4"}}]}


def stop(**fields: Any) -> bytes:
    return cloud_event("stop", **{"is_error": False, "error": None, "usage": {}, **fields})


def read(*events: bytes) -> tuple[list[ChatEvent], Reply]:
    shown, reply = fold(events, dialect=DIALECT)
    assert reply is not None
    return shown, reply


# Requests


def test_sessions_are_bound_or_not() -> None:
    bound = DIALECT.create_session(AgentRef(index_ids=("i", "j")), ChatSessionOptions(shared_access="query"))
    assert (bound.method, bound.path) == ("POST", "/api/v1/chat")
    assert bound.json == {"index_ids": ["i", "j"], "shared_access": "query"}
    assert DIALECT.create_session(AgentRef(index_ids=("i",)), ChatSessionOptions(bound=False)).json == {}
    for nothing in (AgentRef(index_ids=()), AgentRef()):
        assert DIALECT.create_session(nothing).json == {}


def test_a_turn_names_its_indexes() -> None:
    turn = DIALECT.stream_turn(TurnRequest("s/1", BODY, INDEX))
    assert (turn.method, turn.path) == ("POST", "/api/v1/chat/s%2F1/messages/stream")
    assert turn.json == {"index_ids": ["i"], "prompt": "hi"}
    assert (turn.accept, turn.session_id, turn.repeatable) == ("text/event-stream", "s/1", False)
    assert DIALECT.stream_turn(TurnRequest("s", BODY, INDEX, require_all_indexes=True)).json == {
        "index_ids": ["i"],
        "prompt": "hi",
        "require_all_indexes": True,
    }
    assert DIALECT.stream_turn(TurnRequest("s", BODY)).json == {"index_ids": [], "prompt": "hi"}


def test_what_else_is_asked() -> None:
    asked = [
        DIALECT.get_session("s"),
        DIALECT.get_history("s"),
        DIALECT.get_summary("s"),
        DIALECT.delete_session("s"),
        DIALECT.list_sessions(None, 2),
        DIALECT.list_sessions("t", 2),
    ]
    assert [(r.method, r.path, r.query) for r in asked] == [
        ("GET", "/api/v1/chat/s", ()),
        ("GET", "/api/v1/chat/s", ()),
        ("GET", "/api/v1/chat/s/summary", ()),
        ("DELETE", "/api/v1/chat/s", ()),
        ("GET", "/api/v1/chat", (("page_size", "2"),)),
        ("GET", "/api/v1/chat", (("page_size", "2"), ("page_token", "t"))),
    ]
    assert all(r.repeatable for r in asked)


def test_organization_and_project_ride_on_every_call() -> None:
    scoped = LlamaCloudDialect("org", "proj")
    for request in (
        scoped.create_session(AgentRef(), None),
        scoped.list_sessions(None, 1),
        scoped.get_session("s"),
        scoped.get_summary("s"),
        scoped.delete_session("s"),
        scoped.stream_turn(TurnRequest("s", BODY)),
    ):
        assert request.query[:2] == (("organization_id", "org"), ("project_id", "proj"))
    assert LlamaCloudDialect(project_id="p").get_session("s").query == (("project_id", "p"),)


def test_the_key_is_a_bearer() -> None:
    assert DIALECT.key_header("k") == {"Authorization": "Bearer k"}


def test_files_and_bad_indexes_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="no files"):
        DIALECT.stream_turn(TurnRequest("s", BODY, files=(FilePart("file", "a.txt", b""),)))
    bad: list[Any] = [["i"] * 11, [""], [" "], [7]]
    for index_ids in bad:
        with pytest.raises(InvalidInputError):
            checked_indexes(index_ids)
    with pytest.raises(InvalidInputError, match="at most 10 indexes, not 11"):
        DIALECT.create_session(AgentRef(index_ids=("i",) * 11), None)


# Sessions and their history


def test_a_session() -> None:
    body = {
        "session_id": "s",
        "last_updated_at": "2026-11-22T10:00:00Z",
        "shared_access": "query",
        "generated_title": "Zebras",
        "index_ids": ["i", 7],
        "job_metadata": {"turns": 1, "total_input_tokens": 3, "total_output_tokens": 4},
        "events": [{"type": "user_input", "content": "hi"}, "odd"],
    }
    session = DIALECT.read_session(body)
    assert (session.id, session.title, session.shared_access, session.index_ids) == ("s", "Zebras", "query", ["i"])
    assert session.updated_at == datetime(2026, 11, 22, 10, tzinfo=UTC)
    assert session.created_at is None
    assert session.job_metadata == body["job_metadata"]
    assert session.events == [{"type": "user_input", "content": "hi"}]
    usage = DIALECT.read_last_usage(body)
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens) == (3, 4)
    assert not DIALECT.has_ended(body)


@pytest.mark.parametrize("body", [None, {}, [], {"session_id": None}, {"session_id": ""}, "s"], ids=str)
def test_a_session_without_an_id_is_none(body: Any) -> None:
    with pytest.raises(ProtocolError, match="session_id"):
        DIALECT.read_session(body)


HISTORY: dict[str, Any] = {
    "session_id": "s",
    "events": [
        {"type": "text", "content": "before any question"},
        {"type": "stop", "is_error": False},
        {"type": "user_input", "content": "one"},
        {"type": "thinking", "content": "hm"},
        {"type": "text", "content": "I look."},
        {"type": "tool_call", "call_id": "c", "name": "search", "arguments": {}},
        {"type": "tool_result", "call_id": "c", "name": "search", "result": []},
        {"type": "text", "content": "I found."},
        {"type": "stop", "is_error": False},
        {"type": "user_input", "content": "two"},
        {"type": "text", "content": "half of it"},
        {"type": "stop", "is_error": True, "error": "no disk"},
        {"type": "novelty"},
        {"type": "user_input", "content": "three"},
        {"type": "text", "content": "so far"},
    ],
}


def test_a_history_is_questions_and_whole_answers() -> None:
    assert [(m.role, m.message) for m in DIALECT.read_history(HISTORY)] == [
        ("user", "one"),
        ("assistant", "I look.\n\nI found."),
        ("user", "two"),
        ("user", "three"),
    ]
    assert DIALECT.read_failures(HISTORY) == {"#1": "no disk"}


def test_the_live_text_is_the_historys() -> None:
    shown, reply = read(*(cloud_event(e.pop("type"), **e) for e in map(dict, HISTORY["events"][2:9])))
    assert reply.message == "".join(texts(shown)) == DIALECT.read_history(HISTORY)[1].message


# The stream


def test_a_whole_turn() -> None:
    shown, reply = read(*cloud_turn())
    assert [e.type for e in shown] == [
        "connected",
        "tool_call",
        "tool_result",
        *["content"] * 4,
        "citations",
        "done",
    ]
    assert texts(shown) == DELTAS
    assert reply.message == TEXT
    assert [(s.title, s.snippet, s.origin) for s in reply.sources] == [
        ("Q4 report", "Revenue grew.", "retrieved"),
        ("Notes", "Costs fell.", "retrieved"),
    ]
    assert reply.citations == []
    assert reply.signal_id is None
    assert reply.usage is not None
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (11, 5)
    (tool,) = reply.tool_activity
    assert (tool.name, tool.arguments) == ("search", {"query": "hi"})
    assert tool.result["results"][0]["content"] == "Revenue grew."
    assert (reply.warnings, reply.skipped_index_ids) == ([], [])


@pytest.mark.parametrize(
    "kinds",
    [
        ["d:A ", "d:b.", "w:A b."],
        ["d:A b."],
        ["w:A b."],
        ["d:A", "w:A b."],
    ],
    ids=["both", "deltas alone", "whole alone", "the whole says more"],
)
@pytest.mark.parametrize("what", ["text", "thinking"])
def test_text_and_thinking_come_once(kinds: list[str], what: str) -> None:
    pieces = [cloud_event(what + ("_delta" if k[0] == "d" else ""), content=k[2:]) for k in kinds]
    answer = [] if what == "text" else [whole("A.")]
    shown, reply = read(*pieces, *answer, stop())
    said = reply.message if what == "text" else reply.thinking
    assert said == "".join(texts(shown, "content" if what == "text" else what)) == "A b."


TOOL = [
    cloud_event("tool_call", call_id="c", name="search", arguments={}),
    cloud_event("tool_result", call_id="c", name="search", result=PASSAGES),
]


def delta(text: str) -> bytes:
    return cloud_event("text_delta", content=text)


def whole(text: str) -> bytes:
    return cloud_event("text", content=text)


@pytest.mark.parametrize(
    ("events", "text"),
    [
        ([delta("A "), delta("b."), whole("A b."), *TOOL, delta("C."), whole("C.")], "A b.\n\nC."),
        ([whole("A b."), *TOOL, whole("C.")], "A b.\n\nC."),
        ([delta("A b."), *TOOL, delta("C."), whole("A b."), whole("C.")], "A b.C."),
        ([delta("A b."), *TOOL, delta("C."), whole("A b.C.")], "A b.C."),
        ([delta("A b."), whole("A b."), *TOOL, whole("")], "A b."),
    ],
    ids=["each behind its deltas", "wholes", "wholes at the end", "one whole", "an empty one"],
)
def test_several_blocks_come_once(events: list[bytes], text: str) -> None:
    shown, reply = read(*events, stop())
    assert reply.message == "".join(texts(shown)) == text


@given(
    st.lists(
        st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=3), min_size=1, max_size=4),
        max_size=4,
    ).filter(lambda blocks: "".join(map("".join, blocks)).strip()),
    st.booleans(),
)
def test_any_blocks_come_once(blocks: list[list[str]], tools_between: bool) -> None:
    events: list[bytes] = []
    for block in blocks:
        events += [*map(delta, block), whole("".join(block)), *(TOOL if tools_between else [])]
    shown, reply = read(*events, stop())
    assert reply.message == "".join(texts(shown)) == "\n\n".join("".join(block) for block in blocks)


def test_sources_of_several_searches_are_told_once() -> None:
    again = {"results": [{**PASSAGES["results"][0], "score": 0}, {"content": "Costs fell.", "score": 0.25}]}
    image = {"source_id": "src", "attachment_name": "p.png"}
    shown, reply = read(
        *TOOL,
        cloud_event("tool_result", call_id="d", name="search", result=json.dumps(again), image_attachment=image),
        cloud_event("tool_result", call_id="e", name="clock", result="noon", image_attachment="odd"),
        whole("A."),
        stop(),
    )
    assert [(s.snippet, s.score) for s in reply.sources] == [("Revenue grew.", 0.5), ("Costs fell.", 0.25)]
    assert reply.sources[1].metadata["image_attachment"] == image
    assert [tool.result for tool in reply.tool_activity] == [PASSAGES, json.dumps(again), "noon"]
    assert [e.tool.name for e in shown if e.tool is not None and e.type == "tool_result"] == [
        "search",
        "search",
        "clock",
    ]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"message": "careful"}, "careful"),
        ({"content": "careful"}, "careful"),
        ({"text": "careful"}, "careful"),
        ({"warning": {"odd": 1}}, "The service gave a warning."),
        ({"error": {"message": "careful"}}, "careful"),
        ({}, "The service gave a warning."),
    ],
    ids=str,
)
def test_a_warning_of_any_shape(fields: dict[str, Any], said: str) -> None:
    shown, reply = read(cloud_event("warning", **fields), whole("A."), stop())
    assert reply.warnings == [said]
    (warning,) = (e for e in shown if e.type == "warning")
    assert (warning.message, warning.data) == (said, {"type": "warning", **fields})


def test_skipped_indexes_are_one_warning() -> None:
    shown, reply = read(whole("A."), stop(skipped_index_ids=["i", 7, "j"]))
    assert reply.skipped_index_ids == ["i", "j"]
    assert reply.warnings == ["These indexes could not be queried: i, j."]
    assert [e.message for e in shown if e.type == "warning"] == reply.warnings

    said = "i and j were skipped"
    _, reply = read(cloud_event("warning", message=said), whole("A."), stop(skipped_index_ids=["i", "j"]))
    assert (reply.warnings, reply.skipped_index_ids) == ([said], ["i", "j"])
    _, reply = read(cloud_event("warning", message="i was slow"), whole("A."), stop(skipped_index_ids=["i", "j"]))
    assert len(reply.warnings) == 2


def test_events_that_nobody_announced_are_told_and_skipped() -> None:
    shown, reply = read(
        cloud_event("novelty", content="x"),
        b"data: [1]\n\n",
        b": still here\n\n",
        whole("A."),
        stop(),
    )
    assert [(e.message, e.data) for e in shown if e.type == "unknown"] == [
        ("novelty", {"type": "novelty", "content": "x"}),
        ("message", [1]),
    ]
    assert reply.message == "A."


def test_the_payloads_word_counts_and_the_events_name_stands_in() -> None:
    assert isinstance(DIALECT.decode(SSEEvent("stop", "{}", "")), events.Completed)
    assert isinstance(DIALECT.decode(SSEEvent("delta", '{"type": "stop"}', "")), events.Completed)


def test_what_cannot_be_read_is_a_warning_and_no_short_answer() -> None:
    with pytest.raises(errors.StreamInterrupted, match="could not be read"):
        read(delta("A "), b"event: delta\ndata: {broken\n\n", delta("b."), stop())


def test_a_turn_that_failed_raises_with_what_had_come() -> None:
    with pytest.raises(errors.AgentTurnError, match="no disk") as caught:
        read(delta("half"), stop(is_error=True, error="no disk"))
    assert caught.value.partial_text == "half"
    with pytest.raises(errors.AgentTurnError, match="no reason"):
        read(stop(is_error=True))


@pytest.mark.parametrize(
    "kind", ["text_delta", "text", "thinking", "user_input", "tool_call", "tool_result", "stop", "x"]
)
@given(value=JSON)
def test_no_payload_breaks_the_decoder(kind: str, value: Any) -> None:
    fields = ("content", "call_id", "name", "arguments", "result", "image_attachment", "usage", "error", "message")
    payload = {"type": kind, "is_error": False, "skipped_index_ids": value, **dict.fromkeys(fields, value)}
    for data in (value, payload, {"type": value}):
        DIALECT.decode(SSEEvent("message", json.dumps(data), ""))
    fields_of = {k: v for k, v in payload.items() if k != "type"}
    try:
        shown, _ = fold([whole("A."), cloud_event(**{"kind": kind, **fields_of})], dialect=DIALECT)
    except errors.AgentTurnError:
        assert kind == "stop", "only a stop with an error fails a turn"
        assert value
    else:
        assert all(isinstance(event, ChatEvent) for event in shown)


@given(st.text(), st.text())
def test_no_text_breaks_the_decoder(kind: str, data: str) -> None:
    assert isinstance(DIALECT.decode(SSEEvent(kind, data, "")), events.TurnEvent)


@given(JSON)
def test_no_body_breaks_the_readers(value: Any) -> None:
    for body in (value, {"events": value}, {"events": [value, {"type": "user_input"}, value]}):
        assert isinstance(DIALECT.read_history(body), list)
        assert isinstance(DIALECT.read_failures(body), dict)
        DIALECT.read_last_usage({"job_metadata": body})
        DIALECT.read_session({"session_id": "s", "index_ids": value, "job_metadata": value, "events": value})


# Flows


LOST = errors.ConnectionLostError("lost")


def turn(*answers: Any, before: int = 0, strict: bool = False) -> Ran:
    request = TurnRequest("s", BODY, AgentRef(index_ids=("i", "j")), require_all_indexes=strict)
    return play(stream_turn(SERVICE, request, recovery=RecoveryPolicy(), turns_before=before), *answers)


def held(*events: dict[str, Any]) -> Any:
    return answer({"session_id": "s", "events": [{"type": "user_input", "content": "hi"}, *events]})


DONE = {"type": "stop", "is_error": False}


def test_a_cut_turn_is_found_in_the_sessions_events() -> None:
    ran = turn(stream(*cloud_turn()[:5], LOST), held(), held({"type": "text", "content": TEXT}, DONE))
    assert (ran.result.reply.message, ran.result.reply.recovered) == (TEXT, True)
    assert [r.method for r in ran.sent] == ["POST", "GET", "GET"]
    assert [s.title for s in ran.result.reply.sources] == ["Q4 report", "Notes"], "what had come of them is kept"


def test_a_cut_turn_that_failed_is_told_as_that() -> None:
    ran = turn(stream(delta("half"), LOST), held({"type": "stop", "is_error": True, "error": "no disk"}))
    assert isinstance(ran.error, errors.AgentTurnError)
    assert "no disk" in str(ran.error)


def test_without_time_to_look_for_it_the_turn_is_in_doubt() -> None:
    ran = turn(LOST, *[errors.TotalTimeoutError("too long")] * 9)
    assert isinstance(ran.error, errors.TurnOutcomeUnknown)
    assert isinstance(ran.error.cause, errors.ConnectionLostError)


def test_an_earlier_failure_of_the_same_words_is_not_this_turns() -> None:
    failed = {"type": "stop", "is_error": True, "error": "no disk"}
    again = {"type": "user_input", "content": "hi"}
    ran = turn(LOST, held(failed, again, {"type": "text", "content": "fine"}, DONE), before=1)
    assert ran.result.reply.message == "fine"


def test_skipped_indexes_are_an_error_where_all_are_required() -> None:
    ran = turn(stream(whole("A."), stop(skipped_index_ids=["j"])), strict=True)
    assert isinstance(ran.error, errors.AgentTurnError)
    assert "j" in str(ran.error)
    assert (ran.error.phase, ran.error.partial_text) == ("completed", "A.")
    assert turn(stream(whole("A."), stop()), strict=True).result.reply.message == "A."


def pages(*bodies: dict[str, Any]) -> Iterable[Any]:
    return [answer(body) for body in bodies]


def listing(page_size: int) -> Any:
    return paginate(SERVICE, lambda cursor: DIALECT.list_sessions(cursor, page_size), DIALECT.read_sessions)


def test_sessions_are_listed_over_pages() -> None:
    ran = play(
        listing(1),
        *pages({"items": [{"session_id": "a"}], "next_page_token": "t"}, {"items": [{"session_id": "b"}]}),
    )
    assert ([s.id for s in ran.emitted], ran.result) == (["a", "b"], 2)
    assert [dict(r.query).get("page_token") for r in ran.sent] == [None, "t"]


def test_a_list_that_turns_in_a_circle_ends() -> None:
    same = {"items": [{"session_id": "a"}], "next_page_token": "t"}
    ran = play(listing(50), *itertools.repeat(answer(same), 3))
    assert ([s.id for s in ran.emitted], len(ran.sent)) == (["a"], 2)


def test_a_session_read_for_itself() -> None:
    ran = play(get_session(SERVICE, "s", DIALECT.get_summary("s")), answer({"session_id": "s"}))
    assert ran.result.id == "s"


def test_the_failures_of_a_session() -> None:
    ran = play(get_failures(SERVICE, "s"), answer(HISTORY))
    assert ran.result == {"#1": "no disk"}


def test_a_prompt_over_the_limit_is_not_sent() -> None:
    for limit, length in ((1_000, 1_001), (5, 6)):
        service = Service(LlamaCloudDialect(max_prompt_chars=limit), RetryPolicy())
        with pytest.raises(errors.PromptTooLongError, match=f"{length:,} characters; the service accepts {limit:,}"):
            check_turn(service, ChatMessageRequest(user_message="x" * length))
        check_turn(service, ChatMessageRequest(user_message="x" * limit))
    endless = Service(LlamaCloudDialect(max_prompt_chars=None), RetryPolicy())
    check_turn(endless, ChatMessageRequest(user_message="x" * 100_000))
