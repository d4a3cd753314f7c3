"""The wire as it may really be: one turn in every form that the documents, the SDKs and what stands in between allow.

A raw server plays each form; both clients and both frameworks read it. Each gives the whole answer or a typed error
with the service's words, never an empty text and success.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from meibel_integrations import errors
from tests.support import fault_wire as wire
from tests.support.asking import WAYS, Told, Way
from tests.support.clock import FakeClock
from tests.support.fault_wire import ANSWERED, ASKED, COMPLETION, CONNECTED, DELTA_EVENTS, DELTAS, SESSION, SIGNAL, TEXT
from tests.support.servers import RawServer, Step, event_stream, json_answer

STREAMS = [way for way in WAYS if not way.whole_wire]
SOURCES = {"sources": [{"source_id": 1, "title": "Q4"}], "citations": [{"position": 3, "source_ids": [1]}]}
FINAL = {"message": TEXT, "clean_message": TEXT, **SOURCES}


def sse(data: Any, event: str | None = None) -> bytes:
    lines = [] if event is None else [f"event: {event}"]
    return "\n".join([*lines, f"data: {data if isinstance(data, str) else json.dumps(data)}", "", ""]).encode()


def envelope(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": kind, **fields}


def partial(text: str, **fields: Any) -> dict[str, Any]:
    return envelope("partial_response", data={"message": text, "clean_message": text}, **fields)


PAYLOADS = [
    envelope("connected", signal_id=SIGNAL),
    *map(partial, DELTAS),
    envelope("completion", data=FINAL),
]
SNAPSHOTS = ["".join(DELTAS[: n + 1]) for n in range(len(DELTAS))]


def v1_stream() -> list[bytes]:
    return [
        sse({"type": "user_input", "message": "hi"}),
        b"event: ping\n\n",
        sse("", "ping"),
        sse({"type": "agent_thinking", "content": "Hm."}),
        sse({"type": "agent_tool_usage", "tool_id": "t", "tool_name": "search", "arguments": {"q": 1}, "result": "r"}),
        *(sse({"type": "agent_output", "content": text}) for text in DELTAS),
        sse({"id": "c-1", "data": {"content": TEXT}}, "completion"),
        sse("[DONE]"),
    ]


def half_pairs() -> list[bytes]:
    """The answer cut inside of its swan, which JSON writes as two halves."""
    whole = json.dumps(TEXT)
    cut = whole.index("\\ud83e") + 6
    pieces = [whole[:cut] + '"', '"' + whole[cut:]]
    data = [f'{{"type":"partial_response","data":{{"message":{p},"clean_message":{p}}}}}' for p in pieces]
    return [CONNECTED, *map(sse, data), COMPLETION]


READ: dict[str, list[bytes]] = {
    "data is JSON text": [sse({**p, "data": json.dumps(p.get("data", {}))}) for p in PAYLOADS],
    "the payload is JSON text": [sse(json.dumps(json.dumps(p))) for p in PAYLOADS],
    "event and data inside of data": [sse({"event": p["type"], "data": p.get("data", p)}) for p in PAYLOADS],
    "envelopes inside of data": [sse({"event": p["type"], "data": json.dumps(p)}) for p in PAYLOADS],
    "kinds in upper case": [sse({**p, "type": p["type"].upper()}, p["type"].upper()) for p in PAYLOADS],
    "kinds in camel case": [sse(p, "".join(word.title() for word in p["type"].split("_"))) for p in PAYLOADS],
    "sources under response": [*map(sse, PAYLOADS[:-1]), sse({"type": "completion", "response": FINAL})],
    "response under data": [*map(sse, PAYLOADS[:-1]), sse({"type": "completion", "data": {"response": FINAL}})],
    "repeated events": [
        sse(partial(t, sequence=f"170-{n}", timestamp="t"), "partial_response")
        for n, t in enumerate(DELTAS)
        for _ in (1, 2)
    ]
    + [sse(PAYLOADS[-1])],
    "one sequence for all": [sse({**p, "sequence": 7}) for p in PAYLOADS],
    "snapshots": [CONNECTED, *(wire.delta(text) for text in SNAPSHOTS), COMPLETION],
    "named snapshots": [CONNECTED, *(sse(partial(s, disposition="snapshot")) for s in SNAPSHOTS), COMPLETION],
    "no partials": [CONNECTED, COMPLETION],
    "an end mark behind the completion": [
        CONNECTED,
        *DELTA_EVENTS,
        COMPLETION,
        sse("[DONE]"),
        sse({}, "stream_complete"),
    ],
    "an empty completion": [CONNECTED, *DELTA_EVENTS, sse({"type": "completion", "data": {"message": ""}})],
    "a completion that is a text": [CONNECTED, *DELTA_EVENTS, sse({"type": "completion", "data": TEXT})],
    "v1": v1_stream(),
    "half surrogate pairs": half_pairs(),
}
JSON_BODIES: dict[str, tuple[str, bytes]] = {
    "one answer": ("application/json", json.dumps({"signal_id": SIGNAL, "response": FINAL}).encode()),
    "one answer, indented": ("application/json", json.dumps({"response": FINAL}, indent=2).encode()),
    "the guide's answer, one line": ("application/json", json.dumps(FINAL).encode() + b"\n"),
    "one line for each event": ("application/x-ndjson", b"".join(json.dumps(p).encode() + b"\n" for p in PAYLOADS)),
    "a list of events": ("application/json", json.dumps(PAYLOADS).encode()),
    "lines that call themselves a stream": (
        "text/event-stream",
        b"\n".join(json.dumps(p).encode() for p in PAYLOADS),
    ),
}


def body_of(kind: str, content: bytes) -> bytes:
    return f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {len(content)}\r\n\r\n".encode() + content


def ask(way: Way, *script: Step, history: list[Step] | None = None, **options: Any) -> tuple[Told, RawServer]:
    with (
        RawServer([SESSION], list(script), history=history or ()) as server,
        way.client(base_url=server.base_url, clock=FakeClock(), **options) as asked,
    ):
        return asked(), server


@pytest.mark.parametrize("way", STREAMS, ids=str)
@pytest.mark.parametrize("variant", READ)
def test_a_stream_in_any_form_is_read(way: Way, variant: str) -> None:
    told, server = ask(way, event_stream(), *READ[variant])
    assert (told.error, told.text, told.recovered) == (None, TEXT, False)
    assert not way.streamed or "".join(told.pieces) == TEXT
    assert not [r for r in server.requests if r.startswith(b"GET")], "nobody had to look into the history"


@pytest.mark.parametrize("way", STREAMS, ids=str)
@pytest.mark.parametrize("variant", JSON_BODIES)
def test_json_in_place_of_a_stream_is_read(way: Way, variant: str) -> None:
    told, _ = ask(way, body_of(*JSON_BODIES[variant]))
    assert (told.error, told.text) == (None, TEXT)
    assert not way.streamed or "".join(told.pieces) == TEXT


UNFINISHED: dict[str, list[bytes]] = {
    "[DONE]": [sse("[DONE]")],
    "stream_complete": [sse({"reason": "end"}, "stream_complete")],
    "stream_complete without data": [sse("", "stream_complete")],
}


@pytest.mark.parametrize("way", STREAMS, ids=str)
@pytest.mark.parametrize("end", UNFINISHED)
def test_an_end_mark_without_a_completion_is_looked_up(way: Way, end: str) -> None:
    script = [event_stream(), CONNECTED, *DELTA_EVENTS[:2], *UNFINISHED[end]]
    told, _ = ask(way, *script, history=[wire.history(ASKED, ANSWERED)])
    assert (told.error, told.text, told.recovered) == (None, TEXT, True)
    told, _ = ask(way, *script)
    assert isinstance(told.error, errors.TurnOutcomeUnknown)
    assert told.error.partial_text == "".join(DELTAS[:2])
    assert told.text is None


NOTHING: dict[str, bytes] = {
    "an empty completion": sse({"type": "completion", "data": {"message": "", "clean_message": ""}}),
    "a completion without data": sse({"type": "completion"}),
    "a completion of other words": sse({"type": "completion", "data": {"reply_text_v9": TEXT}}),
}


@pytest.mark.parametrize("way", STREAMS, ids=str)
@pytest.mark.parametrize("end", NOTHING)
def test_an_answer_without_text_is_looked_up_and_never_a_success(way: Way, end: str) -> None:
    script = [event_stream(), CONNECTED, NOTHING[end]]
    told, _ = ask(way, *script, history=[wire.history(ASKED, ANSWERED)])
    assert (told.error, told.text, told.recovered) == (None, TEXT, True)
    for history in ([], [wire.history(ASKED, ("assistant", ""))]):
        told, _ = ask(way, *script, history=history)
        assert isinstance(told.error, errors.TurnError)
        assert told.text is None


ERRORS: dict[str, bytes] = {
    "plain text": sse("out of tokens", "error"),
    "JSON text": sse('"out of tokens"', "error"),
    "a message": sse({"message": "out of tokens"}, "error"),
    "data is a text": sse({"type": "error", "data": "out of tokens"}),
    "an error inside of data": sse({"type": "ERROR", "data": {"error": {"message": "out of tokens"}}}),
    "agent_error": sse({"type": "agent_error", "content": "out of tokens"}),
    "a completion with an error": sse({"type": "completion", "data": {"message": "", "error": "out of tokens"}}),
    "a completion with an error object": sse({"type": "completion", "data": {}, "error": {"detail": "out of tokens"}}),
    "no kind at all": sse({"error": "out of tokens"}),
    "another kind": sse({"type": "run_failed", "reason": "out of tokens"}),
}


@pytest.mark.parametrize("way", STREAMS, ids=str)
@pytest.mark.parametrize("failure", ERRORS)
def test_an_error_keeps_its_words(way: Way, failure: str) -> None:
    told, _ = ask(way, event_stream(), CONNECTED, DELTA_EVENTS[0], ERRORS[failure])
    assert isinstance(told.error, errors.AgentTurnError)
    assert "out of tokens" in str(told.error)
    assert told.error.partial_text == DELTAS[0]


WORDS = [
    ("user_input", "agent_output"),
    ("USER", "Agent"),
    ("UserMessage", "AssistantMessage"),
    ("question", "answer"),
    ("chat_message", "chat_message"),
    ("inbound", "outbound"),
]


@pytest.mark.parametrize("words", WORDS, ids=str)
@pytest.mark.parametrize("signals", [True, False])
def test_a_history_in_any_words_gives_the_answer_back(words: tuple[str, str], signals: bool) -> None:
    items = [
        {"type": words[0], "message": wire.QUESTION},
        {"type": "agent_thinking", "message": "Hm."},
        {"type": "novelty", "tool_id": "t", "tool_name": "search", "result": "r"},
        {"type": words[1], "message": TEXT},
    ]
    if signals:
        items = [{**item, "signal_id": SIGNAL} for item in items]
    told, _ = ask(STREAMS[0], event_stream(), CONNECTED, DELTA_EVENTS[0], history=[json_answer({"messages": items})])
    assert (told.error, told.text, told.recovered) == (None, TEXT, True)


@pytest.mark.parametrize("way", [way for way in WAYS if way.whole_wire], ids=str)
def test_the_whole_answer_shows_the_text_that_the_stream_shows(way: Way) -> None:
    marked = re.sub(r"(\w)\.$", r"\1 [1].", TEXT)
    for response in ({"message": marked, "clean_message": TEXT}, {"message": marked}):
        told, _ = ask(way, json_answer({"response": response, "assistant_response": TEXT}))
        assert (told.error, told.text) == (None, TEXT)
