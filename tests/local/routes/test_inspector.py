"""What the page reads: shapes, one tenant only, where a conversation comes from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from meibel_integrations.langchain import ChatMeibel
from meibel_integrations.local import LocalMeibel, Pause, ScriptedAnswerer
from meibel_integrations.local.store.steps import (
    AnswerCitation,
    AnswerSource,
    Delta,
    Done,
    Status,
    Thinking,
    ToolCall,
    ToolResult,
)

Start = Callable[..., LocalMeibel]
MakeApi = Callable[..., Any]

DONE = Done(
    (AnswerSource("A", None, "one  two", 0.5, "d1"),), (AnswerCitation(2, (0,)),), ("And then?",), {"total_tokens": 7}
)
STEPS = [
    Status("Looking"),
    ToolCall("t1", "search", {"query": "x"}),
    ToolResult("t1", "search", [{"n": 1}]),
    Thinking("Hm. "),
    Delta("Hi"),
    Delta("!"),
    DONE,
]


def echo() -> ScriptedAnswerer:
    return ScriptedAnswerer(lambda question: f"You said: {question.text}")


def get(client: Any, path: str, **query: Any) -> Any:
    response = client.control.get(path, params=query)
    assert response.status_code == 200, response.text
    return response.json()


def ask(local: LocalMeibel, *messages: tuple[str, str]) -> Any:
    return ChatMeibel(agent_id=local.agent_id, api_key=local.api_key, base_url=local.base_url).invoke(list(messages))


def test_a_turn_is_shown_whole(start: Start, api: MakeApi) -> None:
    local = start(answerer=ScriptedAnswerer([STEPS]))
    client = api(local)
    session = client.session()
    client.stream(session, "What?")

    shown = get(client, f"/_local/sessions/{session}")
    assert (shown["title"], shown["service"], shown["turns"], shown["running"]) == ("What?", "meibel", 1, None)
    assert shown["earlier_turns"] == 0
    (turn,) = shown["messages"]
    assert turn["message"] == [{"role": "user", "text": "What?", "name": None}]
    assert (turn["answer"], turn["thinking"], turn["state"]) == ("Hi!", "Hm. ", "completed")
    assert turn["citations"] == [{"position": 2, "source_ids": [1]}]
    assert turn["sources"][0]["snippet"] == "one  two"
    assert turn["follow_up_questions"] == ["And then?"]
    assert turn["usage"] == {"total_tokens": 7}

    log = get(client, f"/_local/sessions/{session}/turns/{turn['signal_id']}")
    assert [event["kind"] for event in log["events"]] == [
        "status",
        "tool_call",
        "tool_result",
        "thinking",
        "delta",
        "delta",
    ]
    assert [event["number"] for event in log["events"]] == list(range(6))
    whole = client.http.post(
        f"/sessions/{client.session()}/chat/stream",
        data={"user_message": "Again?", "include_thinking": "true", "include_tool_activity": "true"},
    )
    assert whole.status_code == 200
    names = [line for line in log["stream"].splitlines() if line.startswith("event:")]
    assert [name.split()[1] for name in names] == [
        "connected",
        "status",
        "tool_call",
        "tool_result",
        "thinking",
        "partial_response",
        "partial_response",
        "completion",
    ]


def test_the_stream_that_is_shown_is_the_one_that_was_sent(start: Start, api: MakeApi) -> None:
    for dialect in ("v2", "guide"):
        local = start(answerer=ScriptedAnswerer([STEPS]), dialect=dialect)
        client = api(local)
        session = client.session()
        asked = {"user_message": "What?", "include_thinking": "true", "include_tool_activity": "true"}
        sent = client.http.post(f"/sessions/{session}/chat/stream", data=asked).text
        signal = get(client, f"/_local/sessions/{session}")["messages"][0]["signal_id"]
        assert get(client, f"/_local/sessions/{session}/turns/{signal}")["stream"] == sent


def test_a_chat_of_llamacloud_is_shown_in_its_own_words(start: Start, api: MakeApi) -> None:
    local = start(answerer=ScriptedAnswerer([STEPS]))
    client = api(local)
    headers = {"Authorization": f"Bearer {local.api_key}"}
    chat = client.control.post("/api/v1/chat", json={"index_ids": [local.index_id]}, headers=headers).json()
    path = f"/api/v1/chat/{chat['session_id']}/messages/stream"
    sent = client.control.post(path, json={"index_ids": [], "prompt": "What?"}, headers=headers).text

    shown = get(client, f"/_local/sessions/{chat['session_id']}")
    assert (shown["service"], shown["index_ids"]) == ("llamacloud", [local.index_id])
    signal = shown["messages"][0]["signal_id"]
    assert get(client, f"/_local/sessions/{chat['session_id']}/turns/{signal}")["stream"] == sent


def test_a_running_turn_shows_what_was_said_so_far(start: Start, api: MakeApi, until: Any) -> None:
    pause = Pause()
    local = start(answerer=ScriptedAnswerer([[Delta("Half "), pause, Delta("and half")]]))
    client = api(local)
    session = client.session()
    with client.http.stream("POST", f"/sessions/{session}/chat/stream", data={"user_message": "Go"}):
        pause.reached.wait(10)
        until(lambda: get(client, f"/_local/sessions/{session}")["messages"][0]["answer"] == "Half ")
        shown = get(client, f"/_local/sessions/{session}")
        signal = shown["messages"][0]["signal_id"]
        assert shown["running"] == signal
        assert get(client, f"/_local/sessions/{session}/turns/{signal}")["state"] == "running"
        pause.release()
    until(lambda: get(client, f"/_local/sessions/{session}")["running"] is None)


def test_sessions_are_listed_by_their_last_use_and_can_be_searched(start: Start, api: MakeApi) -> None:
    local = start(answerer=echo())
    client = api(local)
    first, second = client.session(), client.session()
    client.chat(first, "About herons")
    client.chat(second, "About  foxes\nand more")
    client.chat(first, "More of them")
    listed = get(client, "/_local/sessions")
    assert [each["session_id"] for each in listed["sessions"]] == [first, second]
    assert [each["title"] for each in listed["sessions"]] == ["About herons", "About foxes and more"]
    assert get(client, "/_local/sessions", limit=1, offset=1)["sessions"][0]["session_id"] == second
    assert get(client, "/_local/sessions", contains="FOX")["total"] == 1
    assert get(client, "/_local/sessions", contains="%")["total"] == 0


# Continuity


def test_a_new_conversation_comes_from_nowhere(start: Start, api: MakeApi) -> None:
    local = start(answerer=echo())
    client = api(local)
    session = client.session()
    nothing = {
        "kind": "new",
        "told": 0,
        "origin": None,
        "origin_session": None,
        "first_message": [],
        "branches": [],
    }
    assert get(client, f"/_local/sessions/{session}/continuity") == nothing
    client.chat(session, "Hello")
    found = get(client, f"/_local/sessions/{session}/continuity")
    assert found["kind"] == "new"
    assert found["first_message"] == [{"role": "user", "text": "Hello", "name": None}]


def test_a_fork_names_the_session_that_it_repeats_and_is_named_there(start: Start, api: MakeApi) -> None:
    local = start(answerer=echo())
    client = api(local)
    one = ask(local, ("user", "One"))
    model = ChatMeibel(agent_id=local.agent_id, api_key=local.api_key, base_url=local.base_url)
    two = model.invoke([("user", "One"), one, ("user", "Two")])
    other = model.invoke([("user", "One"), one, ("user", "Another second")])
    first, fork = two.response_metadata["session_id"], other.response_metadata["session_id"]
    assert first != fork

    found = get(client, f"/_local/sessions/{fork}/continuity")
    signal = one.response_metadata["signal_id"]
    assert found["kind"] == "forked"
    assert found["told"] == 2
    assert found["origin"] == {
        "session_id": first,
        "signal_id": signal,
        "messages": 2,
        "exact": True,
        "went_on": True,
    }
    assert found["origin_session"]["title"] == "One"
    assert [block["role"] for block in found["first_message"]] == ["user", "assistant", "user"]
    assert get(client, f"/_local/sessions/{fork}")["title"] == "Another second"
    branches = get(client, f"/_local/sessions/{first}/continuity")["branches"]
    assert [each["session_id"] for each in branches] == [fork]


@pytest.mark.parametrize(
    ("told", "kind"),
    [
        ([("user", "One"), ("assistant", "You said: One")], "seeded"),
        ([("user", "Something else"), ("assistant", "You said: One")], "forked"),
        ([("user", "One"), ("assistant", "Nobody said this")], "seeded"),
    ],
)
def test_a_seed_is_compared_with_what_was_said(
    start: Start, api: MakeApi, told: list[tuple[str, str]], kind: str
) -> None:
    local = start(answerer=echo())
    client = api(local)
    before = ask(local, ("user", "One")).response_metadata["session_id"]
    session = ask(local, *told, ("user", "Two")).response_metadata["session_id"]
    found = get(client, f"/_local/sessions/{session}/continuity")
    assert (found["kind"], found["told"]) == (kind, 2)
    known = told[1][1].startswith("You said")
    assert (found["origin"] and found["origin"]["session_id"]) == (before if known else None)


def test_what_another_key_said_is_no_origin(start: Start, api: MakeApi) -> None:
    local = start(answerer=echo(), api_keys={"other": "other-key"})
    ask(local, ("user", "One"))
    model = ChatMeibel(agent_id=local.agent_id, api_key="other-key", base_url=local.base_url)
    seeded = model.invoke([("user", "One"), ("assistant", "You said: One"), ("user", "Two")])
    path = f"/_local/sessions/{seeded.response_metadata['session_id']}/continuity"
    assert get(api(local, "other-key"), path)["origin"] is None


# Documents


@pytest.fixture
def library(start: Start, tmp_path: Any) -> LocalMeibel:
    for i in range(3):
        (tmp_path / f"bird{i}.md").write_text(f"# Bird {i}\n\nThe heron number {i}\nstands 🦢 still.\n", "utf-8")
    long = "".join(f"# Part {i}\n\nThis is paragraph {i} of the long text about rivers.\n\n" for i in range(300))
    (tmp_path / "long.md").write_text(long, "utf-8")
    return start(documents=[tmp_path])


def test_documents_are_listed_and_searched_with_scores(library: LocalMeibel, api: MakeApi) -> None:
    client = api(library)
    listed = get(client, f"/_local/agents/{library.agent_id}/documents", limit=2)
    assert listed["total"] == 4
    assert [each["title"] for each in listed["documents"]] == ["Bird 0", "Bird 1"]
    assert get(client, f"/_local/agents/{library.agent_id}/documents", contains="LONG.md")["total"] == 1

    hits = get(client, "/_local/search", q="heron", agent_id=library.agent_id)["passages"]
    assert {hit["title"] for hit in hits[:3]} == {"Bird 0", "Bird 1", "Bird 2"}
    assert all(hit["score"] > 0 for hit in hits)


def test_a_quotation_is_found_in_its_document(library: LocalMeibel, api: MakeApi) -> None:
    client = api(library)
    (bird,) = get(client, f"/_local/agents/{library.agent_id}/documents", contains="bird1")["documents"]
    found = get(client, f"/_local/documents/{bird['document_id']}", quote="… heron number 1 stands 🦢 still. …")
    (passage,) = found["passages"]
    quote = found["quote"]
    start, end = quote["start"] - passage["start"], quote["end"] - passage["start"]
    assert passage["text"][start:end] == "heron number 1\nstands 🦢 still."
    assert get(client, f"/_local/documents/{bird['document_id']}", quote="no such words")["quote"] is None


def test_a_long_document_is_read_in_parts(library: LocalMeibel, api: MakeApi) -> None:
    client = api(library)
    (long,) = get(client, f"/_local/agents/{library.agent_id}/documents", contains="long.md")["documents"]
    path = f"/_local/documents/{long['document_id']}"
    found = get(client, path, quote="paragraph 250 of", limit=3)
    assert len(found["passages"]) == 3
    assert found["passages_in_all"] == long["passages"] > 3
    assert found["quote"]["ordinal"] in [passage["ordinal"] for passage in found["passages"]]
    assert [p["ordinal"] for p in get(client, path, first=1, limit=2)["passages"]] == [1, 2]


def test_an_uploaded_file_is_listed_in_its_session_only(library: LocalMeibel, api: MakeApi) -> None:
    client = api(library)
    session = client.session()
    client.http.post(
        f"/sessions/{session}/chat/stream",
        data={"user_message": "What is in it?"},
        files={"files": ("<b>note</b>.txt", b"The owl sleeps.")},
    ).raise_for_status()
    path = f"/_local/agents/{library.agent_id}/documents"
    own = get(client, path, session_id=session)["documents"][0]
    assert own["session_id"] == session
    assert get(client, path)["total"] == 4
    (turn,) = get(client, f"/_local/sessions/{session}")["messages"]
    assert turn["files"] == [{"document_id": own["document_id"], "filename": "<b>note</b>.txt"}]


# Whose it is


def test_another_key_sees_nothing(start: Start, api: MakeApi, tmp_path: Any) -> None:
    (tmp_path / "a.md").write_text("# A\n\nThe heron.\n", "utf-8")
    local = start(documents=[tmp_path], api_keys={"other": "other-key"})
    client, other = api(local), api(local, "other-key")
    session = client.session()
    client.http.post(
        f"/sessions/{session}/chat/stream", data={"user_message": "Heron?"}, files={"files": ("n.txt", b"An owl.")}
    ).raise_for_status()
    signal = get(client, f"/_local/sessions/{session}")["messages"][0]["signal_id"]
    path = f"/_local/agents/{local.agent_id}/documents"
    upload = get(client, path, session_id=session)["documents"][0]["document_id"]

    assert get(other, "/_local/sessions") == {"sessions": [], "total": 0}
    assert [each["session_id"] for each in get(other, path, session_id=session)["documents"]] == [None]
    search = get(other, "/_local/search", q="owl", agent_id=local.agent_id, session_id=session)
    assert search == {"passages": []}
    for hidden in (
        f"/_local/sessions/{session}",
        f"/_local/sessions/{session}/continuity",
        f"/_local/sessions/{session}/turns/{signal}",
        f"/_local/documents/{upload}",
    ):
        assert client.control.get(hidden).status_code == 200, hidden
        assert other.control.get(hidden).status_code == 404, hidden


@pytest.mark.parametrize(
    "path",
    [
        "/_local/service",
        "/_local/sessions",
        "/_local/sessions/x",
        "/_local/sessions/x/continuity",
        "/_local/sessions/x/turns/y",
        "/_local/agents/x/documents",
        "/_local/documents/x",
        "/_local/search",
    ],
)
def test_every_route_needs_the_key_and_no_other_origin_is_allowed(start: Start, path: str) -> None:
    local = start(answerer=echo())
    origin = {"Origin": "https://elsewhere.test"}
    with httpx.Client(base_url=local.llama_cloud_base_url, trust_env=False, verify=False) as http:
        for headers in ({}, {"Meibel-API-Key": "wrong"}):
            assert http.get(path, headers=headers).status_code == 401
        allowed = http.get(path, headers={**origin, "Meibel-API-Key": local.api_key})
        asked_first = http.options(path, headers={**origin, "Access-Control-Request-Headers": "meibel-api-key"})
        for response in (allowed, asked_first):
            assert not [name for name in response.headers if name.startswith("access-control")]
        assert asked_first.status_code == 404
