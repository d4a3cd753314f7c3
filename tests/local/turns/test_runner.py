"""Turns: independent of connections, streamed as they happen, complete or known to have failed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from meibel_integrations.local import (
    AnswerCitation,
    AnswerSource,
    Delta,
    Done,
    LocalMeibel,
    Pause,
    Question,
    QuotingAnswerer,
    ScriptedAnswerer,
    Status,
    Step,
    Thinking,
    ToolCall,
    ToolResult,
)
from meibel_integrations.local.limits import Limits

Start = Callable[..., LocalMeibel]
MakeApi = Callable[..., Any]
Until = Callable[[Callable[[], Any]], Any]

SOURCE = AnswerSource("Guide", "file:///guide.md", "It is so.", 1.5, "doc-1")
STEPS: list[Step] = [
    Status("looking"),
    Thinking("hm "),
    Thinking("yes"),
    ToolCall("t1", "search", {"query": "so"}),
    ToolResult("t1", "search", [{"title": "Guide"}]),
    Delta("It is "),
    Delta("so."),
    Done(
        sources=(SOURCE, AnswerSource("Other", None, None, None, "doc-2")),
        citations=(AnswerCitation(9, (0,)),),
        follow_up_questions=("Why?",),
        usage={"input_tokens": 3, "output_tokens": 4, "total_tokens": 7},
    ),
]


def test_a_v2_stream(start: Start, api: MakeApi) -> None:
    client = api(start(answerer=ScriptedAnswerer([STEPS], repeat_last=True)))
    session = client.session()
    events = client.stream(session, "so?", include_thinking="true", include_tool_activity="true")
    assert [kind for kind, _ in events] == [
        *("connected", "status", "thinking", "thinking", "tool_call", "tool_result"),
        *("partial_response", "partial_response", "completion"),
    ]
    signal_id = events[0][1]["signal_id"]
    for kind, data in events[1:]:
        assert data["type"] == kind
        assert data["disposition"]
        assert data["timestamp"].endswith("+00:00")
    numbers = [int(data["sequence"]) for _, data in events[1:]]
    assert numbers == sorted(set(numbers))
    assert [data["data"]["message"] for kind, data in events if kind == "partial_response"] == ["It is ", "so."]
    done = events[-1][1]["data"]
    assert done["message"] == done["clean_message"] == "It is so."
    assert done["citations"] == [{"position": 9, "source_ids": [1]}]
    assert done["sources"][0] == {
        "source_id": 1,
        "data_element_id": "doc-1",
        "title": "Guide",
        "url": "file:///guide.md",
        "snippet": "It is so.",
        "relevance_score": 1.5,
        "tool_name": "search",
    }
    assert done["follow_up_questions"] == ["Why?"]
    assert done["token_usage"]["total_tokens"] == 7
    assert done["thinking"] == "hm yes"
    kinds = [item["type"] for item in client.history(session)["messages"]]
    assert kinds == ["user", "tool_call", "tool_result", "assistant"]
    assert {item["signal_id"] for item in client.history(session)["messages"]} == {signal_id}
    quiet = client.stream(session, "so?")
    assert {kind for kind, _ in quiet} == {"connected", "status", "partial_response", "completion"}
    assert "thinking" not in quiet[-1][1]["data"]


def test_the_guide_stream_says_the_same_without_signals(start: Start, api: MakeApi) -> None:
    client = api(start(answerer=ScriptedAnswerer([STEPS], repeat_last=True), dialect="guide"))
    session = client.session()
    events = [data for kind, data in client.stream(session, "so?", include_thinking="1", include_tool_activity="1")]
    kinds = ["thinking", "thinking", "tool_call", "tool_result", "content", "content", "citations", "done"]
    assert [data["type"] for data in events] == kinds
    assert "".join(data["delta"] for data in events if data["type"] == "content") == "It is so."
    cited, uncited = events[-2]["citations"]
    assert (cited["position"], cited["title"], cited["url"], cited["source_id"]) == (9, "Guide", "file:///guide.md", 1)
    assert "position" not in uncited
    assert events[-1]["message"] == "It is so."
    assert events[-1]["usage"]["total_tokens"] == 7
    whole = client.chat(session, "so?", include_tool_activity=True).json()
    assert (whole["message"], whole["citations"]) == ("It is so.", [cited, uncited])
    assert whole["usage"] == events[-1]["usage"]
    history = client.history(session)
    assert [(item["role"], item["message"]) for item in history] == [("user", "so?"), ("assistant", "It is so.")] * 2
    details = client.details(session)
    assert set(details) >= {"id", "agent_id", "created_at", "status"}
    assert "signal" not in json.dumps([events, whole, history, details])


def test_a_v2_whole_answer(start: Start, api: MakeApi) -> None:
    client = api(start(answerer=ScriptedAnswerer([STEPS], repeat_last=True)))
    session = client.session()
    whole = client.chat(session, "so?", include_tool_activity=True, include_thinking=True).json()
    assert whole["response"]["message"] == whole["assistant_response"] == "It is so."
    assert whole["tool_activity"][0]["result"] == {"result": [{"title": "Guide"}]}
    assert whole["thinking"] == "hm yes"
    bare = client.chat(session, "so?").json()
    assert (bare["tool_activity"], bare["thinking"]) == (None, None)
    entry = client.details(session)["tool_activity"][0]
    assert entry["tool_call"]["arguments"] == {"query": "so"}
    assert json.loads(entry["tool_result"]["result"]) == [{"title": "Guide"}]


@pytest.mark.parametrize("database", ["memory", "file"])
def test_a_delta_is_there_before_the_answerer_goes_on(
    start: Start, api: MakeApi, tmp_path: Path, database: str
) -> None:
    pauses = [Pause() for _ in range(3)]
    script: list[Step | Pause] = []
    for number, pause in enumerate(pauses):
        script += [Delta(f"word{number} "), pause]
    answerer = ScriptedAnswerer([script])
    local = start(answerer=answerer, database=":memory:" if database == "memory" else tmp_path / "x.db")
    client = api(local)
    session = client.session()
    with client.http.stream("POST", f"/sessions/{session}/chat/stream", data={"user_message": "x"}) as response:
        text = ""
        for chunk in response.iter_text():
            text += chunk
            for number, pause in enumerate(pauses):
                if f"word{number}" in text:
                    pause.release()
    assert "event: completion" in text


def test_a_client_that_leaves_does_not_stop_the_turn(start: Start, api: MakeApi, until: Until) -> None:
    pause = Pause()
    client = api(start(answerer=ScriptedAnswerer([[Delta("first "), pause, Delta("last")], "next"])))
    session = client.session()
    with client.http.stream("POST", f"/sessions/{session}/chat/stream", data={"user_message": "x"}) as response:
        assert any("first" in chunk for chunk in response.iter_text())
    assert [item["message"] for item in client.history(session)["messages"]] == ["x"]
    busy = client.chat(session, "too early")
    assert (busy.status_code, busy.json()["code"]) == (409, "session_busy")
    pause.release()
    until(lambda: len(client.history(session)["messages"]) == 2)
    assert client.history(session)["messages"][-1]["message"] == "first last"
    assert client.chat(session, "now").json()["response"]["message"] == "next"


def test_one_of_many_simultaneous_posts_runs(start: Start, api: MakeApi, until: Until) -> None:
    pause = Pause()
    client = api(start(answerer=ScriptedAnswerer([[pause, Delta("ok")]])))
    session = client.session()
    with ThreadPoolExecutor(8) as pool:
        posts = [pool.submit(client.chat, session, "x") for _ in range(8)]
        until(lambda: sum(post.done() for post in posts) == 7)
        pause.release()
        assert sorted(post.result().status_code for post in posts) == [200] + [409] * 7
    assert len(client.history(session)["messages"]) == 2


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (ValueError("no luck"), "no luck"),
        ([Delta("half"), Delta(5)], "has no len"),
        ([Delta("x"), Done(citations=(AnswerCitation(2, ()),))], "outside of the answer"),
        ([Delta("x"), Done(citations=(AnswerCitation(1, (0,)),))], "not there"),
        ([object()], "not a step"),
        ([ToolCall("1", "t", {"x": object()})], "not JSON serializable"),
        (["y" * 2000], "not a step"),
        ([Delta("y" * 2000)], "longer than 1000"),
    ],
)
@pytest.mark.parametrize("dialect", ["v2", "guide"])
def test_a_failed_answerer_fails_its_turn_only(
    start: Start, api: MakeApi, caplog: pytest.LogCaptureFixture, dialect: str, answer: Any, message: str
) -> None:
    answerer = ScriptedAnswerer([answer, answer, "fine"])
    client = api(start(answerer=answerer, dialect=dialect, limits=Limits(max_answer_chars=1000)))
    session = client.session()
    kind, data = client.stream(session, "one")[-1]
    assert (kind if dialect == "v2" else data["type"]) == "error"
    assert message in data["message"]
    refused = client.chat(session, "two")
    assert (refused.status_code, refused.json()["code"]) == (500, "turn_failed")
    assert message in refused.json()["message"]
    assert ("signal_id" in refused.text) is (dialect == "v2")
    assert client.chat(session, "three").status_code == 200
    assert [message in turn["message"] for turn in client.details(session)["failed_turns"]] == [True, True]


class Endless:
    """An answerer that ends without saying so, or never ends."""

    def __init__(self) -> None:
        self.closed = threading.Event()

    def answer(self, question: Question) -> Iterator[Step]:
        try:
            yield Delta("a")
            while question.text == "endless":
                yield Delta("a" * 10)
        finally:
            self.closed.set()


def test_an_answerer_must_end_and_say_so(start: Start, api: MakeApi) -> None:
    answerer = Endless()
    client = api(start(answerer=answerer, limits=Limits(max_answer_chars=50_000)))
    session = client.session()
    assert "without its last step" in client.chat(session, "x").json()["message"]
    answerer.closed.clear()
    assert "longer than" in client.chat(session, "endless").json()["message"]
    assert answerer.closed.wait(10)


def test_silence_is_filled_with_comments(start: Start, api: MakeApi) -> None:
    pause = Pause()
    client = api(start(answerer=ScriptedAnswerer([[pause, Delta("x")]]), heartbeat=0.01))
    session = client.session()
    text = ""
    with client.http.stream("POST", f"/sessions/{session}/chat/stream", data={"user_message": "x"}) as response:
        for chunk in response.iter_text():
            text += chunk
            if text.count(": keep-alive\n\n") >= 3:
                pause.release()
    assert "event: completion" in text


def test_a_turn_may_take_longer_than_its_client_waits(start: Start, api: MakeApi, until: Until) -> None:
    pauses = [Pause(), Pause()]
    client = api(start(answerer=ScriptedAnswerer([[pauses[0], Delta("x")], [pauses[1], Delta("y")]])))
    session = client.session()
    late = client.chat(session, "one", timeout_seconds=1)
    assert (late.status_code, late.json()["code"]) == (504, "turn_timeout")
    pauses[0].release()
    until(lambda: len(client.history(session)["messages"]) == 2)
    kind, data = client.stream(session, "two", timeout_seconds=1)[-1]
    assert (kind, "1 seconds" in data["message"]) == ("error", True)
    pauses[1].release()
    until(lambda: len(client.history(session)["messages"]) == 4)


def test_the_question_carries_the_conversation(start: Start, api: MakeApi) -> None:
    answerer = ScriptedAnswerer([STEPS, ValueError("no"), "end"])
    client = api(start(answerer=answerer))
    session = client.session()
    client.chat(session, "one", include_thinking=True)
    client.chat(session, "two")
    client.chat(session, "three", include_tool_activity=True)
    first, _, third = answerer.questions
    assert (first.history, first.include_thinking, first.include_tool_activity) == ((), True, False)
    assert third.include_tool_activity
    assert [(turn.role, turn.text, turn.document_ids) for turn in third.history] == [
        ("user", "one", ()),
        ("assistant", "It is so.", ("doc-1",)),
        ("user", "two", ()),
    ]


def test_agents_may_have_their_own_answerers(start: Start, api: MakeApi) -> None:
    answerers = {"a": ScriptedAnswerer(["from a"]), "b": ScriptedAnswerer(["from b"])}
    local = start(agents={"a": [], "b": []}, answerer=answerers)
    client = api(local)
    for name in "ab":
        session = client.http.post(f"/agents/name/{name}/sessions").json()["id"]
        assert client.chat(session, "x").json()["response"]["message"] == f"from {name}"


def test_closing_ends_the_turns_that_run(tmp_path: Path, start: Start, api: MakeApi) -> None:
    pause = Pause()
    path = tmp_path / "x.db"
    local = start(answerer=ScriptedAnswerer([[Delta("half "), pause]]), database=path, shutdown_grace=0.05)
    client = api(local)
    session = client.session()
    with ThreadPoolExecutor(1) as pool:
        stream = pool.submit(client.stream, session, "x")
        assert pause.reached.wait(10)
        local.close()
        kind, data = stream.result(10)[-1]
    assert (kind, "shut down" in data["message"]) == ("error", True)
    again = start(answerer=ScriptedAnswerer(["better"]), database=path)
    client = api(again)
    assert [item["message"] for item in client.history(session)["messages"]] == ["x"]
    assert "shut down" in client.details(session)["failed_turns"][0]["message"]
    assert client.chat(session, "again").json()["response"]["message"] == "better"


def test_reset_ends_the_turns_that_run(start: Start, api: MakeApi) -> None:
    pause = Pause()
    client = api(start(answerer=ScriptedAnswerer([[Delta("half "), pause]])))
    session = client.session()
    with ThreadPoolExecutor(1) as pool:
        stream = pool.submit(client.stream, session, "x")
        assert pause.reached.wait(10)
        assert client.control.post("/_local/reset").status_code == 204
        kind, data = stream.result(10)[-1]
    assert (kind, "reset" in data["message"]) == ("error", True)
    pause.release()


def test_too_many_turns_are_refused(start: Start, api: MakeApi) -> None:
    pause = Pause()
    client = api(start(answerer=ScriptedAnswerer([[pause]]), limits=Limits(max_running_turns=1)))
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.chat, client.session(), "x")
        assert pause.reached.wait(10)
        refused = client.chat(client.session(), "y")
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        pause.release()
        assert first.result(10).status_code == 200


def test_blocked_answerers_do_not_starve_others(start: Start, api: MakeApi, until: Until) -> None:
    pause = Pause()
    answerer = ScriptedAnswerer(lambda question: [Delta("x"), pause] if question.text == "wait" else "quick")
    client = api(start(answerer=answerer))
    with ThreadPoolExecutor(60) as pool:
        waiting = [pool.submit(client.chat, client.session(), "wait") for _ in range(60)]
        until(lambda: len(answerer.questions) == 60)
        assert client.chat(client.session(), "now").status_code == 200
        pause.release()
        assert {post.result(20).status_code for post in waiting} == {200}


SERVER = """
import sys, threading
from meibel_integrations.local import LocalMeibel, ScriptedAnswerer
from meibel_integrations.local import Delta
from meibel_integrations.local import Pause
local = LocalMeibel(database=sys.argv[1], answerer=ScriptedAnswerer([[Delta("half "), Pause()]]), api_key="k").start()
print(local.base_url, local.agent_id, flush=True)
threading.Event().wait()
"""


def _kill_at(word: str, server: subprocess.Popen[str], http: httpx.Client, session: str) -> None:
    with http.stream("POST", f"/sessions/{session}/chat/stream", data={"user_message": "x"}) as response:
        for chunk in response.iter_text():
            if word in chunk:
                server.send_signal(signal.SIGKILL)


def test_kill_9_leaves_a_turn_that_is_known_to_have_failed(tmp_path: Path, start: Start, api: MakeApi) -> None:
    path = tmp_path / "x.db"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(path)], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert server.stdout is not None
    try:
        base_url, agent_id = server.stdout.readline().split()
        with httpx.Client(base_url=base_url, headers={"Meibel-API-Key": "k"}, trust_env=False) as http:
            session = http.post(f"/agents/{agent_id}/sessions").json()["id"]
            with pytest.raises(httpx.RemoteProtocolError):
                _kill_at("half", server, http, session)
    finally:
        server.kill()
        server.communicate()
    local = start(database=path, answerer=ScriptedAnswerer(["whole"]))
    client = api(local)
    assert (local.api_key, local.agent_id) == ("k", agent_id)
    assert [item["message"] for item in client.history(session)["messages"]] == ["x"]
    assert client.details(session)["failed_turns"][0]["message"] == "the service ended meanwhile"
    assert client.chat(session, "again").json()["response"]["message"] == "whole"


class Computing:
    """An answerer that computes, and notes how many of its kind do so at the same time."""

    computes = True

    def __init__(self) -> None:
        self.inside = self.most = 0

    def answer(self, question: Question) -> Iterator[Step]:
        question.search("anything")
        self.inside += 1
        self.most = max(self.most, self.inside)
        for word in question.text.split():
            yield Delta(word)
            time.sleep(0)  # other threads would come in here
        self.inside -= 1
        yield Done()


def test_answers_that_are_computed_take_turns(start: Start, api: MakeApi) -> None:
    answerer = Computing()
    client = api(start(answerer=answerer))
    sessions = [client.session() for _ in range(20)]
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda session: client.chat(session, "word " * 200).json(), sessions))
    assert {answer["assistant_response"] for answer in answers} == {"word" * 200}
    assert answerer.most == 1
    assert QuotingAnswerer.computes is True


def test_an_answer_that_waits_holds_up_no_computed_one(start: Start, api: MakeApi) -> None:
    pause = Pause()
    scripted, computed = ScriptedAnswerer([[pause, Delta("late")]]), Computing()
    agents: dict[str, list[str]] = {"waits": [], "computes": []}
    local = start(agents=agents, answerer={"waits": scripted, "computes": computed})
    client = api(local)
    session = client.session()
    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(client.chat, session, "q")
        assert pause.reached.wait(10)
        other = client.http.post(f"/agents/{local.agent_ids['computes']}/sessions").json()["session_id"]
        assert client.chat(other, "at once").json()["assistant_response"] == "atonce"
        pause.release()
        assert late.result().json()["assistant_response"] == "late"


def test_an_answerer_is_told_of_the_newest_turns_only(start: Start, api: MakeApi) -> None:
    answerer = ScriptedAnswerer(lambda question: f"answer to {question.text}")
    client = api(start(answerer=answerer))
    session = client.session()
    for number in range(60):
        client.chat(session, str(number))
    history = answerer.questions[-1].history
    assert [turn.text for turn in history[:2]] == ["9", "answer to 9"]
    assert [turn.text for turn in history[-2:]] == ["58", "answer to 58"]
    assert len(history) == 100
