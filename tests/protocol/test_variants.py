"""The forms of ``tests/conformance/test_wire_variants.py`` without a socket, and what only the pure core shows."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meibel_integrations import errors
from meibel_integrations.protocol import events
from meibel_integrations.protocol.accumulator import TurnAccumulator
from meibel_integrations.protocol.dialects.llamacloud import LlamaCloudDialect
from meibel_integrations.protocol.dialects.meibel import MeibelDialect
from meibel_integrations.protocol.json_stream import JSONParser, parser_for
from meibel_integrations.protocol.retry import retry_after
from meibel_integrations.protocol.sse import MAX_EVENT_BYTES, SSEEvent
from meibel_integrations.protocol.text import ProvenReading
from tests.conformance.test_wire_variants import ERRORS, JSON_BODIES, NOTHING, READ, UNFINISHED, WORDS
from tests.support.fault_wire import CONNECTED, DELTA_EVENTS, DELTAS, SIGNAL, TEXT
from tests.support.playing import Answer, answer, stream, turn
from tests.support.wire_turns import cloud_event, fold, texts, v2_event

MEIBEL, CLOUD = MeibelDialect(), LlamaCloudDialect()
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.mark.parametrize("variant", READ)
def test_each_form_of_a_stream_is_the_answer(variant: str) -> None:
    ran = turn(stream(*READ[variant]))
    assert ran.error is None
    assert ran.result.reply.message == TEXT
    assert "".join(e.delta for e in ran.emitted if e.type == "content") == TEXT


@pytest.mark.parametrize("size", [1, 7, 10_000])
@pytest.mark.parametrize("variant", JSON_BODIES)
def test_each_form_of_json_is_the_answer_however_it_is_cut(variant: str, size: int) -> None:
    kind, body = JSON_BODIES[variant]
    chunks = [b"\r\n", *(body[at : at + size] for at in range(0, len(body), size))]
    ran = turn(Answer(200, {"content-type": kind}, list(chunks)))
    assert ran.error is None
    assert ran.result.reply.message == TEXT


@pytest.mark.parametrize("end", [*UNFINISHED.values(), *([e] for e in NOTHING.values())])
def test_an_end_without_an_answer_is_none(end: list[bytes]) -> None:
    assert isinstance(turn(stream(CONNECTED, *end)).error, errors.TurnError)


@pytest.mark.parametrize("failure", ERRORS)
def test_each_form_of_an_error_keeps_its_words(failure: str) -> None:
    ran = turn(stream(CONNECTED, DELTA_EVENTS[0], ERRORS[failure]))
    assert isinstance(ran.error, errors.AgentTurnError)
    assert "out of tokens" in str(ran.error)


def test_a_last_event_without_its_blank_line_may_be_an_error() -> None:
    ran = turn(stream(CONNECTED, ERRORS["plain text"].rstrip()))
    assert isinstance(ran.error, errors.AgentTurnError)


@pytest.mark.parametrize("body", [{"error": "gateway"}, {"detail": "gateway"}])
def test_an_error_body_behind_200_leaves_the_turn_in_doubt_and_keeps_its_words(body: Any) -> None:
    ran = turn(answer(body))
    assert isinstance(ran.error, errors.ProtocolError)
    assert "gateway" in str(ran.error)


@pytest.mark.parametrize("body", [b"null", b"", b"7"])
def test_json_that_says_nothing_is_no_stream(body: bytes) -> None:
    ran = turn(Answer(200, {"content-type": "application/json"}, [body]))
    assert isinstance(ran.error, errors.ProtocolError)
    assert "instead of an event stream" in str(ran.error)


def test_json_that_is_cut_is_no_answer() -> None:
    kind, body = JSON_BODIES["one answer, indented"]
    ran = turn(Answer(200, {"content-type": kind}, [body[:-9]]))
    assert isinstance(ran.error, errors.StreamInterrupted)


def test_json_without_an_end_is_too_large() -> None:
    parser = parser_for(b"{")
    assert isinstance(parser, JSONParser)
    assert parser.close() == []
    with pytest.raises(errors.ResponseTooLargeError):
        parser.feed(b"{" + bytes(MAX_EVENT_BYTES))


@given(st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=5), st.data())
def test_half_pairs_join_wherever_json_is_cut(pieces: list[str], data: st.DataObject) -> None:
    """ASCII JSON writes a character beyond the basic plane as two halves; a cut may fall between them."""
    text = "".join(pieces) + "🦢."
    raw = text.encode("utf-16-be")
    units = [raw[at : at + 2] for at in range(0, len(raw), 2)]
    cut = data.draw(st.integers(1, len(units) - 1))
    halves = [b"".join(part).decode("utf-16-be", "surrogatepass") for part in (units[:cut], units[cut:])]
    deltas = [f"data: {json.dumps({'type': 'content', 'delta': half})}\n\n".encode() for half in halves]
    shown, reply = fold([*deltas, b'data: {"type": "done"}\n\n'])
    assert "".join(texts(shown)) == text
    assert reply is not None
    assert reply.message == text
    for event in shown:
        event.delta.encode()
        json.dumps(event.data, ensure_ascii=False).encode()


def test_half_a_pair_that_stays_alone_is_a_missing_character() -> None:
    lone = [f"data: {json.dumps({'type': 'content', 'delta': t})}\n\n".encode() for t in ("a\ud83e", "", "b", "\udda2")]
    shown, _ = fold([*lone, b'data: {"type": "done"}\n\n'])
    assert "".join(texts(shown)) == "a\ufffdb\ufffd"
    snapshots = [v2_event("partial_response", data={"message": t}) for t in ("a\ud83e", "a🦢")]
    shown, _ = fold([*snapshots, v2_event("completion", data={"message": "a🦢"})])
    assert "".join(texts(shown)) == "a🦢"
    other = [b'data: {"type": "status", "content": "\\ud83e"}\n\n', cloud_event("text", content="x")]
    assert fold([other[0], v2_event("completion", data={"message": "x"})])[0][0].message == "\ufffd"
    assert isinstance(CLOUD.decode(SSEEvent("message", '{"type": "warning", "text": "\\ud83e"}')), events.Warned)
    found = CLOUD.decode(SSEEvent("delta", '{"type": "text_delta", "content": "\\ud83e"}'))
    assert isinstance(found, events.TextReceived)
    assert (found.text, found.data["content"]) == ("\ud83e", "\ufffd")


def test_a_repeated_event_counts_once_and_a_constant_sequence_counts_nothing() -> None:
    def partial(text: str, number: int) -> events.TextReceived:
        return events.TextReceived(text, "delta", None, {"sequence": number, "text": text})

    turn = TurnAccumulator("s")
    for event in (partial("ha", 1), partial("ha", 1), partial("ha", 2)):
        turn.apply(event)
    assert turn.partial_text == "haha"
    turn = TurnAccumulator("s")
    for text in ("a", "b", "b", "b"):
        turn.apply(partial(text, 7))
    assert turn.partial_text == "abbb"
    turn = TurnAccumulator("s")
    for number in range(300):
        turn.apply(partial("x", number))
    turn.apply(partial("x", 0))
    assert turn.partial_text == "x" * 301, "what is long past is not kept"


def test_what_a_turn_proves_is_told() -> None:
    proven = ProvenReading()
    turn = TurnAccumulator("s", proven=proven)
    for text in ("The", "The answer", "The answer is 4."):
        turn.apply(events.TextReceived(text, "partial"))
    turn.apply(events.Completed(texts=("The answer is 4.",)))
    assert proven.reading == "snapshot"


@pytest.mark.parametrize("words", WORDS)
def test_a_history_tells_its_turns_in_any_words(words: tuple[str, str]) -> None:
    items = [
        {"type": words[0], "message": "hi", "signal_id": SIGNAL},
        {"type": "agent_tool_usage", "tool_id": "t", "tool_name": "n", "arguments": {"q": 1}, "signal_id": SIGNAL},
        {"type": "tool", "tool_id": "t", "tool_name": "n", "timestamp": "2026-11-22T10:00:00Z", "result": "r"},
        {"type": "used", "tool_id": "u", "tool_name": "n", "signal_id": SIGNAL, "result": "r", "timestamp": 1},
        {"type": words[1], "data": {"content": "yo"}, "signal_id": SIGNAL},
        {"type": "agent_error", "message": "no disk", "signal_id": "other"},
    ]
    assert [(m.role, m.message) for m in MEIBEL.read_history(items) if m.role in ("user", "assistant")] == [
        ("user", "hi"),
        ("assistant", "yo"),
    ]
    assert [type(e) for e in MEIBEL.read_turns(items)[SIGNAL]] == [events.ToolCalled, events.ToolReturned]
    assert MEIBEL.read_failures(items) == {"other": "no disk"}


def test_a_recovered_turn_is_as_complete_as_its_history() -> None:
    call = {"type": "tool_call", "tool_id": "t", "tool_name": "n", "arguments": {"q": 1}, "signal_id": SIGNAL}
    items = [
        {"type": "user", "message": "hi", "signal_id": SIGNAL},
        call,
        {**call, "type": "tool_result", "result": "r"},
        {"type": "assistant", "message": TEXT, "signal_id": SIGNAL},
    ]
    shown_call = v2_event("tool_call", tool_id="t", tool_name="n", arguments={"q": 1})
    ran = turn(stream(CONNECTED, shown_call, DELTA_EVENTS[0]), answer({"messages": items}))
    reply = ran.result.reply
    assert [(t.id, t.result) for t in reply.tool_activity] == [("t", "r")]
    assert [e.type for e in ran.emitted].count("tool_call") == 1
    assert "sources, citations or token usage" in reply.warnings[0]
    cited = v2_event("partial_response", data={"message": "x", "sources": [{"title": "A"}]})
    ran = turn(stream(CONNECTED, cited), answer({"messages": items}))
    assert "tells no token usage" in ran.result.reply.warnings[0]


@pytest.mark.parametrize(
    ("headers", "body", "seconds"),
    [
        ({}, {"retry_after": 7}, 7),
        ({}, {"error": {"retry_after": "7"}}, 7),
        ({"x-ratelimit-reset": str(int(NOON.timestamp()) + 7)}, None, 7),
        ({"x-ratelimit-reset": str(int(NOON.timestamp()) - 7)}, None, 0),
        ({"x-ratelimit-reset": "7"}, None, 7),
        ({"retry-after": "3", "x-ratelimit-reset": "9"}, {"retry_after": 7}, 3),
        ({"retry-after": "soon", "x-ratelimit-reset": "-1"}, {"retry_after": "later"}, None),
    ],
)
def test_a_wait_is_found_where_it_is(headers: dict[str, str], body: Any, seconds: float | None) -> None:
    assert retry_after(headers, NOON, body) == seconds


@pytest.mark.parametrize(
    "event",
    [
        SSEEvent("error", "out of tokens"),
        SSEEvent("error", '"out of tokens"'),
        SSEEvent("message", '{"type": "error", "message": "out of tokens"}'),
        SSEEvent("message", '{"error": {"message": "out of tokens"}}'),
        SSEEvent("message", '{"event": "error", "data": {"detail": "out of tokens"}}'),
        SSEEvent("message", '"{\\"type\\": \\"ERROR\\", \\"error\\": \\"out of tokens\\"}"'),
        SSEEvent("message", '{"type": "stop", "is_error": false, "error": "out of tokens"}'),
    ],
    ids=str,
)
def test_llamaclouds_errors_keep_their_words(event: SSEEvent) -> None:
    found = CLOUD.decode(event)
    assert isinstance(found, events.Failed)
    assert found.message == "out of tokens"


def test_llamaclouds_other_ends() -> None:
    assert isinstance(CLOUD.decode(SSEEvent("message", "[DONE]")), events.Ended)
    assert isinstance(CLOUD.decode(SSEEvent("message", '"{broken"')), events.Undecodable)
    assert isinstance(CLOUD.decode(SSEEvent("message", '"words"')), events.Unknown)


def test_a_llamacloud_history_of_deltas_alone_gives_the_text() -> None:
    told = [{"type": "user_input", "content": "hi"}, *({"type": "text_delta", "content": t} for t in DELTAS)]
    body = {"events": [*told, {"type": "stop", "is_error": False}]}
    assert [m.message for m in CLOUD.read_history(body)] == ["hi", TEXT]


def test_a_whole_text_of_llamacloud_corrects_its_deltas_and_warns() -> None:
    shown, reply = fold(
        [cloud_event("text_delta", content="Nine."), cloud_event("text", content="Ten."), cloud_event("stop")],
        dialect=CLOUD,
    )
    assert "".join(texts(shown)) == "Nine."
    assert reply is not None
    assert (reply.message, reply.streamed_text, len(reply.warnings)) == ("Ten.", "Nine.", 1)


def test_texts_that_only_look_like_json_are_texts() -> None:
    for text in ('"x', "{x}"):
        _, reply = fold([v2_event("completion", data=text)])
        assert reply is not None
        assert reply.message == text
    found = MEIBEL.decode(SSEEvent("partial_response", '"Hello"'))
    assert isinstance(found, events.TextReceived)
    assert found.text == "Hello"
    assert isinstance(MEIBEL.decode(SSEEvent("completion", '"Hello"')), events.Completed)
    assert isinstance(MEIBEL.decode(SSEEvent("novelty", '"Hello"')), events.Unknown)
    untyped = MEIBEL.decode(SSEEvent("message", '{"message": "Hello"}'))
    assert isinstance(untyped, events.TextReceived)
    assert untyped.text == "Hello"


def test_nothing_that_a_completion_carries_is_dropped() -> None:
    data = {"message": "x", "confidence": 0.5, "empty": None, "token_usage": {"tokens": 3}}
    _, reply = fold([v2_event("completion", data=data)])
    assert reply is not None
    assert reply.extra == {"confidence": 0.5, "token_usage": {"tokens": 3}}
    used = {"input_tokens": 1, "output_tokens": 2, "details": {"cached_tokens": 3}, "duration_ms": 1.5, "turns": 1}
    _, reply = fold([v2_event("completion", data={"message": "x", "usage": used})])
    assert reply is not None
    assert reply.usage is not None
    assert reply.usage.details.items() >= {("cached_tokens", 3), ("duration_ms", 1.5), ("turns", 1)}


def test_nothing_that_a_sessions_details_carry_is_dropped() -> None:
    body = {
        "session_id": "s",
        "agent_version": 3,
        "file_parsing": [{"file_id": "f"}],
        "result": {"x": 1},
        "tool_activity": [{"tool_id": "t"}],
        "region": "eu",
    }
    session = MEIBEL.read_session(body)
    assert (session.version, session.file_parsing, session.result) == ("3", [{"file_id": "f"}], [{"x": 1}])
    assert (session.tool_activity, session.extra) == ([{"tool_id": "t"}], {"region": "eu"})
    assert MEIBEL.read_session({"session_id": "s", "result": [1]}).result == [1]
    assert CLOUD.read_session({"session_id": "s", "region": "eu"}).extra == {"region": "eu"}
