"""LlamaCloud's chat routes from outside: events, indexes, sessions, and every way in which they say no."""

from __future__ import annotations

import base64
import json
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
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
    ScriptedAnswerer,
    Status,
    Step,
    Thinking,
    ToolCall,
    ToolResult,
)
from meibel_integrations.local.limits import Limits
from meibel_integrations.local.store import documents, sessions, tenants
from meibel_integrations.local.store.database import Database
from meibel_integrations.local.wires.llamacloud import title_of
from meibel_integrations.protocol.sse import SSEParser
from meibel_integrations.protocol.transcript import Block, encode

Start = Callable[..., LocalMeibel]
MakeApi = Callable[..., Any]
Until = Callable[[Callable[[], Any]], Any]


class Chat:
    """A plain HTTP client of the chat routes."""

    def __init__(self, local: LocalMeibel, key: str | None = None) -> None:
        self.local = local
        self.http = httpx.Client(
            base_url=f"{local.llama_cloud_base_url}/api/v1",
            headers={"Authorization": f"Bearer {local.api_key if key is None else key}"},
            timeout=20,
            trust_env=False,
            verify=False,
        )

    def create(self, *index_ids: str, **fields: Any) -> str:
        body = {"index_ids": list(index_ids), **fields} if index_ids else fields
        response = self.http.post("/chat", json=body)
        response.raise_for_status()
        return str(response.json()["session_id"])

    def post(self, session: str, prompt: str, index_ids: list[str] | None = None, **fields: Any) -> httpx.Response:
        ids = [self.local.index_id] if index_ids is None else index_ids
        return self.http.post(f"/chat/{session}/messages/stream", json={"index_ids": ids, "prompt": prompt, **fields})

    def open(self, session: str, prompt: str) -> httpx.Response:
        """A turn whose stream is not read yet."""
        body = {"index_ids": [self.local.index_id], "prompt": prompt}
        return self.http.send(
            self.http.build_request("POST", f"/chat/{session}/messages/stream", json=body), stream=True
        )

    def stream(self, session: str, prompt: str, index_ids: list[str] | None = None, **fields: Any) -> list[Any]:
        response = self.post(session, prompt, index_ids, **fields)
        assert response.status_code == 200, response.text
        assert response.headers["content-type"].startswith("text/event-stream")
        return read(response.content)

    def summary(self, session: str) -> Any:
        return self.http.get(f"/chat/{session}/summary").json()

    def events(self, session: str) -> Any:
        return self.http.get(f"/chat/{session}").json()["events"]


def read(content: bytes) -> list[Any]:
    """The events' data; each travels under the name that its type demands."""
    found = []
    for event in SSEParser().feed(content):
        data = json.loads(event.data)
        assert event.type == ("delta" if data["type"].endswith("_delta") else "message")
        found.append(data)
    return found


def kinds(events: list[Any]) -> list[str]:
    return [event["type"] for event in events]


@pytest.fixture
def chat(stack: ExitStack) -> Callable[..., Chat]:
    def make(local: LocalMeibel, key: str | None = None) -> Chat:
        client = Chat(local, key)
        stack.callback(client.http.close)
        return client

    return make


MakeChat = Callable[..., Chat]


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, list[Path]]:
    texts = {
        "zoo": "# Zebras\n\nThe zebra sleeps standing. A zebra eats grass.\n",
        "sea": "# Whales\n\nThe whale sleeps with half of its brain. A whale eats krill.\n",
    }
    for name, text in texts.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name} book.md").write_text(text, encoding="utf-8")
    return {name: [tmp_path / name] for name in texts}


def echo() -> ScriptedAnswerer:
    return ScriptedAnswerer(lambda question: f"You said: {question.text}")


# Events


def test_a_turn_over_documents(start: Start, chat: MakeChat, api: MakeApi, folders: Any) -> None:
    local = start(agents=folders)
    client = chat(local)
    zoo = local.index_ids["zoo"]
    session = client.create(zoo)
    question = "How does the zebra sleep?"
    events = client.stream(session, question, [zoo])
    deltas = [event["content"] for event in events if event["type"] == "text_delta"]
    assert kinds([event for event in events if event["type"] != "text_delta"]) == [
        *("user_input", "tool_call", "tool_result", "thinking_delta", "thinking", "text", "stop")
    ]
    by_kind = {event["type"]: event for event in events}
    assert by_kind["user_input"] == {"type": "user_input", "content": question}
    assert "".join(deltas) == by_kind["text"]["content"]
    assert by_kind["tool_call"]["arguments"]["query"] == question
    assert by_kind["tool_call"]["call_id"] == by_kind["tool_result"]["call_id"]
    (found,) = by_kind["tool_result"]["result"]["results"]
    source = (folders["zoo"][0] / "zoo book.md").read_text(encoding="utf-8")
    place = found["static_fields"]
    assert found["content"] == source[place["chunk_start_char"] : place["chunk_end_char"]]
    assert place["chunk_index"] == 0
    assert place["parsed_directory_file_id"].startswith("doc_")
    assert (found["metadata"]["file_name"], found["metadata"]["title"]) == ("zoo book.md", "Zebras")
    assert found["metadata"]["url"].startswith("file://")
    assert found["score"] > 0
    stop = events[-1]
    assert (stop["is_error"], stop["error"], stop["skipped_index_ids"]) == (False, None, [])
    assert stop["usage"]["duration_ms"] > 0
    assert stop["usage"]["total_input_tokens"] > stop["usage"]["total_output_tokens"] > 0
    assert client.events(session) == [event for event in events if not event["type"].endswith("_delta")]
    # The same question over the other service has the same answer.
    meibel = api(local)
    answer = meibel.chat(meibel.session(), question).json()["response"]
    assert answer["message"] == by_kind["text"]["content"]
    assert answer["sources"][0]["data_element_id"] == place["parsed_directory_file_id"]


def test_a_long_passage_is_found_whole(start: Start, chat: MakeChat, tmp_path: Path) -> None:
    text = " ".join(f"The zebra sleeps {n} hours." for n in range(30))
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    client = chat(start(documents=tmp_path))
    events = client.stream(client.create(), "zebra sleeps?")
    result = next(event["result"]["results"] for event in events if event["type"] == "tool_result")
    assert all(hit["content"] in text for hit in result)
    assert max(len(hit["content"]) for hit in result) > 600


SCRIPT: list[Step] = [
    Status("looking"),
    Thinking("hm "),
    Status("still"),
    Thinking("yes"),
    ToolCall("t1", "calculator", {"x": 1}),
    ToolResult("t1", "calculator", [1, None, "\u2028"]),
    Thinking("so"),
    Delta("It is\u2028"),
    Delta("so."),
    Done((), (), (), {"input_tokens": 3, "output_tokens": 4}),
]


def test_the_events_of_any_answerer(start: Start, chat: MakeChat) -> None:
    answerer = ScriptedAnswerer([SCRIPT])
    client = chat(start(answerer=answerer))
    session = client.create()
    response = client.post(session, "so?")
    assert "\u2028" not in response.text
    events = read(response.content)
    assert [(event["type"], event.get("content")) for event in events] == [
        ("user_input", "so?"),
        ("thinking_delta", "hm "),
        ("thinking_delta", "yes"),
        ("thinking", "hm yes"),
        ("tool_call", None),
        ("tool_result", None),
        ("thinking_delta", "so"),
        ("thinking", "so"),
        ("text_delta", "It is\u2028"),
        ("text_delta", "so."),
        ("text", "It is\u2028so."),
        ("stop", None),
    ]
    assert events[4:6] == [
        {"type": "tool_call", "call_id": "t1", "name": "calculator", "arguments": {"x": 1}},
        {"type": "tool_result", "call_id": "t1", "name": "calculator", "result": [1, None, "\u2028"]},
    ]
    assert events[-1]["usage"].items() >= {"total_input_tokens": 3, "total_output_tokens": 4, "turns": 1}.items()
    assert client.events(session) == [event for event in events if not event["type"].endswith("_delta")]
    assert (answerer.questions[0].include_thinking, answerer.questions[0].include_tool_activity) == (True, True)


def test_sources_that_no_search_has_shown_are_shown(start: Start, chat: MakeChat) -> None:
    sources = (
        AnswerSource("Guide", "file:///x/a%20b.md", "It is so.", 1.5, "doc-1"),
        AnswerSource("Loose", None, None, None, None),
    )
    script = [Delta("It is."), Done(sources, (AnswerCitation(6, (0,)),))]
    client = chat(start(answerer=ScriptedAnswerer([script])))
    session = client.create()
    events = client.stream(session, "so?")
    assert kinds(events) == ["user_input", "text_delta", "tool_call", "tool_result", "text", "stop"]
    first, second = events[3]["result"]["results"]
    assert (first["content"], first["metadata"]["file_name"], first["score"]) == ("It is so.", "a b.md", 1.5)
    assert first["static_fields"]["parsed_directory_file_id"] == "doc-1"
    assert (second["content"], second["metadata"]) == ("", {"file_name": "Loose", "title": "Loose"})
    assert client.events(session)[1:4] == events[2:5]


def test_an_empty_search_has_no_results(start: Start, chat: MakeChat, folders: Any) -> None:
    client = chat(start(agents=folders))
    events = client.stream(client.create(), "Who invented the bicycle?")
    assert [event["result"] for event in events if event["type"] == "tool_result"] == [{"results": []}]
    assert "found nothing" in next(event["content"] for event in events if event["type"] == "text")


def test_a_failed_answerer_is_a_stop(start: Start, chat: MakeChat) -> None:
    def fail() -> Iterator[Step]:
        yield from (Thinking("h"), Delta("half"), ToolCall("t", "search", {}))
        raise LookupError("no luck")

    client = chat(start(answerer=ScriptedAnswerer([fail(), "fine"])))
    session = client.create()
    events = client.stream(session, "x")
    assert kinds(events) == ["user_input", "thinking_delta", "thinking", "text_delta", "tool_call", "stop"]
    stop = events[-1]
    assert (stop["is_error"], stop["error"]) == (True, "no luck")
    assert stop["usage"]["total_input_tokens"] is None
    assert kinds(client.events(session)) == ["user_input", "thinking", "tool_call", "stop"]
    run = client.summary(session)["job_metadata"]
    assert (run["is_error"], run["error"]) == (True, stop["error"])
    assert client.stream(session, "again")[-1]["is_error"] is False
    assert client.summary(session)["job_metadata"]["is_error"] is False


def test_silence_is_filled_with_comments(start: Start, chat: MakeChat) -> None:
    pause = Pause()
    client = chat(start(answerer=ScriptedAnswerer([[pause, Delta("x")]]), heartbeat=0.01))
    response = client.open(client.create(), "x")
    text = ""
    for chunk in response.iter_text():
        text += chunk
        if text.count(": keep-alive\n\n") >= 3:
            pause.release()
    assert kinds(read(text.encode()))[-1] == "stop"


@pytest.mark.parametrize("dialect", ["v2", "guide"])
def test_the_dialect_concerns_meibel_only(start: Start, chat: MakeChat, dialect: str) -> None:
    client = chat(start(answerer=echo(), dialect=dialect))
    events = client.stream(client.create(), "hi")
    assert events[-2:][0] == {"type": "text", "content": "You said: hi"}


def test_a_question_carries_the_conversation(start: Start, chat: MakeChat) -> None:
    answerer = ScriptedAnswerer(["one", "two"])
    client = chat(start(answerer=answerer))
    session = client.create()
    client.stream(session, "first")
    client.stream(session, encode([Block("user", "told"), Block("assistant", "so"), Block("user", "second")]))
    question = answerer.questions[1]
    assert question.text == "second"
    assert [turn.text for turn in question.history] == ["first", "one", "told", "so"]


# Indexes


def test_retrieval_fans_out(start: Start, chat: MakeChat, folders: Any) -> None:
    local = start(agents=folders)
    client = chat(local)

    def titles(asked: list[str], *bound: str) -> set[str]:
        events = client.stream(client.create(*bound), "What eats and sleeps?", asked)
        results = [event["result"]["results"] for event in events if event["type"] == "tool_result"]
        return {hit["metadata"]["title"] for hits in results for hit in hits}

    zoo, sea = local.index_ids["zoo"], local.index_ids["sea"]
    assert titles([zoo, sea]) == titles([], zoo, sea) == titles([sea, zoo], zoo, sea) == {"Zebras", "Whales"}
    assert titles([zoo]) == titles([zoo, zoo]) == titles([zoo], zoo, sea) == {"Zebras"}
    assert titles([sea]) == titles([], sea) == {"Whales"}


def test_the_agent_of_the_first_index_answers(start: Start, chat: MakeChat) -> None:
    answerers = {name: ScriptedAnswerer([f"from {name}"], repeat_last=True) for name in "ab"}
    local = start(agents={"a": [], "b": []}, answerer=answerers)
    client = chat(local)
    session = client.create()
    for names in ("ab", "ba"):
        events = client.stream(session, "x", [local.index_ids[name] for name in names])
        assert events[-2]["content"] == f"from {names[0]}"


def test_a_bound_session_is_locked(start: Start, chat: MakeChat) -> None:
    local = start(agents={"a": [], "b": [], "c": []}, answerer=echo())
    client = chat(local)
    a, b, c = (local.index_ids[name] for name in "abc")
    session = client.create(a, b)
    for asked in ([c], [a, c]):
        for _ in range(2):
            refused = client.post(session, "x", asked)
            assert refused.status_code == 422
            message = refused.json()["detail"][0]["msg"]
            assert all(index_id in message for index_id in (a, b, *asked))
            assert "locked" in message
        assert client.stream(session, "x", [a])[-1]["is_error"] is False
    assert client.summary(session)["index_ids"] == [a, b]
    unbound = client.create()
    for index_id in (a, b, c):
        assert client.stream(unbound, "x", [index_id])[-1]["is_error"] is False
    assert client.summary(unbound)["index_ids"] is None
    assert "bound to no index" in client.post(unbound, "x", []).json()["detail"][0]["msg"]


def test_unknown_indexes_are_skipped_unless_all_are_required(start: Start, chat: MakeChat) -> None:
    client = chat(start(answerer=echo()))
    known = client.local.index_id
    for session, asked in ((client.create(), [known, "idx_no"]), (client.create("idx_no", known), [])):
        events = client.stream(session, "x", asked)
        assert events[1]["type"] == "warning"
        assert "idx_no" in events[1]["message"]
        assert events[1]["skipped_index_ids"] == events[-1]["skipped_index_ids"] == ["idx_no"]
        stored = client.events(session)
        assert kinds(stored) == ["user_input", "text", "stop"]
        assert stored[-1] == events[-1]
        for refused in (
            client.post(session, "x", asked, require_all_indexes=True),
            client.post(session, "x", ["idx_no"]),
        ):
            assert refused.status_code == 422
            assert "'idx_no'" in refused.json()["detail"][0]["msg"]
        assert client.stream(session, "x", [known], require_all_indexes=True)[-1]["skipped_index_ids"] == []
        assert len(client.events(session)) == 6


# What is refused


@pytest.mark.parametrize(
    ("body", "field", "word"),
    [
        ({"prompt": "x" * 1001}, "prompt", "1000"),
        ({"prompt": ""}, "prompt", "empty"),
        ({"prompt": " \n"}, "prompt", "empty"),
        ({"prompt": None}, "prompt", "string"),
        ({"prompt": "\ud800"}, "prompt", "surrogate"),
        ({"index_ids": [f"idx_{n}" for n in range(11)]}, "index_ids", "10"),
        ({"index_ids": None}, "index_ids", "list"),
        ({"index_ids": "idx"}, "index_ids", "list"),
        ({"index_ids": []}, "index_ids", "bound to no index"),
        ({"require_all_indexes": "perhaps"}, "require_all_indexes", "boolean"),
    ],
)
def test_messages_that_are_refused(start: Start, chat: MakeChat, body: Any, field: str, word: str) -> None:
    client = chat(start(answerer=echo()))
    session = client.create()
    whole = {"index_ids": [client.local.index_id], "prompt": "x", **body}
    refused = client.http.post(f"/chat/{session}/messages/stream", content=json.dumps(whole))
    assert refused.status_code == 422
    (detail,) = refused.json()["detail"]
    assert detail["loc"][:2] == ["body", field]
    assert word in detail["msg"]
    assert client.summary(session)["generated_title"] is None


def test_the_longest_prompt_is_accepted_and_the_limits_can_be_set(start: Start, chat: MakeChat) -> None:
    client = chat(start(answerer=echo()))
    assert client.stream(client.create(), "ä" * 1000)[-1]["is_error"] is False
    client = chat(start(answerer=echo(), limits=Limits(max_prompt_chars=5, max_indexes=1, max_sessions=1)))
    session = client.create()
    assert "5" in client.post(session, "123456").json()["detail"][0]["msg"]
    assert client.http.post("/chat", json={"index_ids": ["a", "b"]}).status_code == 422
    full = client.http.post("/chat", json={})
    assert (full.status_code, full.json()) == (429, {"detail": "there are 1 sessions already"})


@pytest.mark.parametrize(
    ("content", "loc"),
    [
        (json.dumps({"index_ids": [str(n) for n in range(11)]}), ["body", "index_ids"]),
        (json.dumps({"index_ids": [1]}), ["body", "index_ids", 0]),
        (json.dumps({"shared_access": "all"}), ["body", "shared_access"]),
        ("{", ["body"]),
    ],
)
def test_sessions_that_are_refused(start: Start, chat: MakeChat, content: str, loc: list[Any]) -> None:
    client = chat(start(answerer=echo()))
    refused = client.http.post("/chat", content=content)
    assert (refused.status_code, refused.json()["detail"][0]["loc"]) == (422, loc)


def test_every_route_needs_the_key(start: Start, chat: MakeChat) -> None:
    local = start(answerer=echo())
    routes = [
        *(("POST", "/chat"), ("GET", "/chat"), ("GET", "/chat/x"), ("DELETE", "/chat/x")),
        *(("GET", "/chat/x/summary"), ("POST", "/chat/x/messages/stream")),
    ]
    for header, value, word in (
        ("Authorization", "Bearer wrong", "not one of"),
        ("Authorization", f"Basic {local.api_key}", "missing"),
        ("Meibel-API-Key", local.api_key, "missing"),
    ):
        client = chat(local)
        del client.http.headers["Authorization"]
        client.http.headers[header] = value
        for method, path in routes:
            response = client.http.request(method, path)
            assert response.status_code == 401
            assert word in response.json()["detail"]
            assert response.headers["x-meibel-local"]
    client.http.headers["Authorization"] = f"bearer {local.api_key}"
    assert client.http.get("/chat").status_code == 200


def test_other_errors_have_the_same_shape(start: Start, chat: MakeChat) -> None:
    client = chat(start(answerer=echo(), limits=Limits(max_body_bytes=50)))
    too_large = client.http.post("/chat", json={"index_ids": ["x" * 60]})
    assert (too_large.status_code, list(too_large.json())) == (413, ["detail"])
    patched = client.http.patch("/chat/x")
    assert (patched.status_code, "not emulated" in patched.json()["detail"]) == (404, True)
    foreign = client.http.get("/chat", headers={"Host": "evil.example"})
    assert (foreign.status_code, list(foreign.json())) == (421, ["detail"])


# Sessions


def test_a_session_from_its_beginning(start: Start, chat: MakeChat) -> None:
    client = chat(start(answerer=echo()))
    created = client.http.post("/chat", json={"index_ids": [client.local.index_id], "shared_access": "query"}).json()
    session = created["session_id"]
    assert created == {
        "session_id": session,
        "last_updated_at": created["last_updated_at"],
        "shared_access": "query",
        "generated_title": None,
        "index_ids": [client.local.index_id],
        "job_metadata": None,
    }
    assert client.http.get(f"/chat/{session}").json() == {**created, "events": []}
    client.stream(session, "one")
    first = client.summary(session)
    client.stream(session, "two")
    second = client.summary(session)
    assert created["last_updated_at"] < first["last_updated_at"] < second["last_updated_at"]
    assert first["generated_title"] == second["generated_title"] == "one"
    stop = client.events(session)[-1]
    assert second["job_metadata"] == {
        **stop["usage"],
        "is_error": False,
        "error": None,
        "export_config_ids": None,
    }
    assert client.http.post("/chat", json={}).json()["shared_access"] == "read_only"
    assert client.http.post("/chat").json()["index_ids"] is None


def test_titles() -> None:
    assert title_of("Why  is\n it so?") == "Why is it so?"
    long = title_of("word " * 40)
    assert long == "word " * 11 + "word…"
    assert title_of("x" * 100) == "x" * 60 + "…"
    assert title_of(encode([Block("system", "Be brief."), Block("user", "Why?")])) == "Why?"


def test_paging_holds_still(start: Start, chat: MakeChat) -> None:
    client = chat(start(answerer=echo()))
    made = [client.create() for _ in range(5)]
    seen: list[str] = []
    token: str | None = None
    for number in range(3):
        page = client.http.get("/chat", params={"page_size": 2, **({"page_token": token} if token else {})}).json()
        assert page["total_size"] == 5 + number
        seen += [item["session_id"] for item in page["items"]]
        token = page["next_page_token"]
        # Neither a new session nor a turn moves what comes.
        client.stream(client.create(), "x")
        client.stream(made[0], "x")
    assert (seen, token) == (made[::-1], None)
    assert len(client.http.get("/chat", params={"page_token": "", "project_id": "p"}).json()["items"]) == 8


@pytest.mark.parametrize("token", ["x", "ö", "W10=", base64.b64encode(b'["\\ud800", "x"]').decode()])
def test_a_token_of_nobody(start: Start, chat: MakeChat, token: str) -> None:
    client = chat(start(answerer=echo()))
    refused = client.http.get("/chat", params={"page_token": token})
    assert (refused.status_code, refused.json()["detail"][0]["loc"]) == (422, ["query", "page_token"])
    assert client.http.get("/chat", params={"page_size": 0}).status_code == 422


def test_a_deleted_session_is_gone(start: Start, chat: MakeChat) -> None:
    client = chat(start(answerer=echo()))
    session, other = client.create(), client.create()
    client.stream(session, "x")
    deleted = client.http.delete(f"/chat/{session}")
    assert (deleted.status_code, deleted.content) == (204, b"")
    for response in (
        client.http.get(f"/chat/{session}"),
        client.http.get(f"/chat/{session}/summary"),
        client.http.delete(f"/chat/{session}"),
        client.post(session, "x"),
        client.http.get("/chat/none"),
    ):
        assert response.status_code == 404
        assert "there is no session" in response.json()["detail"]
    assert [item["session_id"] for item in client.http.get("/chat").json()["items"]] == [other]


def test_deleting_ends_the_turn_that_runs(start: Start, chat: MakeChat, caplog: pytest.LogCaptureFixture) -> None:
    pause = Pause()
    client = chat(start(answerer=ScriptedAnswerer([[Delta("half "), pause], "next"])))
    session = client.create()
    response = client.open(session, "x")
    assert pause.reached.wait(10)
    assert client.http.delete(f"/chat/{session}").status_code == 204
    stop = read(response.read())[-1]
    assert (stop["type"], stop["is_error"]) == ("stop", True)
    assert "deleted" in stop["error"]
    pause.release()
    assert client.stream(client.create(), "x")[-1]["is_error"] is False
    assert caplog.records == []


def test_a_client_that_leaves_does_not_stop_the_turn(start: Start, chat: MakeChat, until: Until) -> None:
    pause = Pause()
    client = chat(start(answerer=ScriptedAnswerer([[Delta("first "), pause, Delta("last")], "next"])))
    session = client.create()
    response = client.open(session, "x")
    assert any("first" in line for line in response.iter_lines())
    response.close()
    assert kinds(client.events(session)) == ["user_input"]
    assert client.summary(session)["job_metadata"] is None
    busy = client.post(session, "too early")
    assert busy.status_code == 409
    assert "still answering" in busy.json()["detail"]
    pause.release()
    until(lambda: len(client.events(session)) == 3)
    assert client.events(session)[1] == {"type": "text", "content": "first last"}
    assert client.stream(session, "now")[-2]["content"] == "next"


def test_one_of_many_simultaneous_turns_runs(start: Start, chat: MakeChat, until: Until) -> None:
    pause = Pause()
    client = chat(start(answerer=ScriptedAnswerer([[pause, Delta("ok")]])))
    session = client.create()
    with ThreadPoolExecutor(8) as pool:
        posts = [pool.submit(client.post, session, "x") for _ in range(8)]
        until(lambda: sum(post.done() for post in posts) == 7)
        pause.release()
        assert sorted(post.result().status_code for post in posts) == [200] + [409] * 7
    assert kinds(client.events(session)) == ["user_input", "text", "stop"]


def test_a_key_is_a_tenant(start: Start, chat: MakeChat) -> None:
    local = start(answerer=echo(), api_key="first", api_keys={"other": "second"})
    mine, theirs = chat(local), chat(local, "second")
    session = mine.create()
    mine.stream(session, "secret")
    for response in (
        theirs.http.get(f"/chat/{session}"),
        theirs.http.get(f"/chat/{session}/summary"),
        theirs.http.delete(f"/chat/{session}"),
        theirs.post(session, "x"),
    ):
        assert response.status_code == 404
    assert theirs.http.get("/chat").json() == {"items": [], "next_page_token": None, "total_size": 0}
    assert len(mine.events(session)) == 3
    # The same index ids name the other tenant's own copy.
    assert theirs.stream(theirs.create(local.index_id), "x")[-1]["is_error"] is False


def test_the_two_services_do_not_see_each_other(start: Start, chat: MakeChat, api: MakeApi) -> None:
    local = start(answerer=echo())
    client, meibel = chat(local), api(local)
    chat_id, session = client.create(local.index_id), meibel.session()
    assert client.http.get(f"/chat/{session}").status_code == 404
    assert client.http.delete(f"/chat/{session}").status_code == 404
    assert client.post(session, "x").status_code == 404
    assert meibel.http.get(f"/sessions/{chat_id}").status_code == 404
    assert meibel.http.get(f"/sessions/{chat_id}/messages").status_code == 404
    assert meibel.chat(chat_id, "x").status_code == 404
    listed = meibel.http.get(f"/agents/{local.agent_id}/sessions").json()
    assert [item["session_id"] for item in listed["data"]] == [session]
    assert [item["session_id"] for item in client.http.get("/chat").json()["items"]] == [chat_id]


def test_what_is_shared_with_meibel(start: Start, chat: MakeChat, api: MakeApi) -> None:
    local = start(answerer=echo())
    client, meibel = chat(local), api(local)
    session = client.create()
    client.stream(session, "logged", project_id="p")
    path = f"/api/v1/chat/{session}/messages/stream"
    (entry,) = [entry for entry in local.request_log() if entry["path"] == path]
    assert (entry["status"], "logged" in entry["body"]) == (200, True)
    assert path in meibel.control.get("/_local/requests").text
    local.end_session(session)
    ended = client.post(session, "x")
    assert (ended.status_code, "has ended" in ended.json()["detail"]) == (409, True)
    assert meibel.control.post("/_local/reset").status_code == 204
    assert client.http.get("/chat").json()["total_size"] == 0


# Files


def test_sessions_stay_with_the_file(tmp_path: Path, start: Start, chat: MakeChat, folders: Any) -> None:
    path = tmp_path / "x.db"
    pause = Pause()
    script = ["one", [Delta("half "), pause]]
    with LocalMeibel(database=path, agents=folders, answerer=ScriptedAnswerer(script), shutdown_grace=0.01) as first:
        before = chat(first)
        session = before.create(*first.index_ids.values())
        before.stream(session, "x")
        summary, events = before.summary(session), before.events(session)
        response = before.open(session, "y")
        assert pause.reached.wait(10)
        first.close()
        assert "shut down" in read(response.read())[-1]["error"]
    local = start(database=path, agents=folders, answerer=echo())
    after = chat(local)
    assert local.index_ids == first.index_ids
    stored = after.events(session)
    assert stored[: len(events)] == events
    assert kinds(stored[len(events) :]) == ["user_input", "stop"]
    assert after.summary(session)["index_ids"] == summary["index_ids"]
    assert after.summary(session)["job_metadata"]["is_error"] is True
    assert after.stream(session, "z", [])[-1]["is_error"] is False


def test_a_seed_gives_the_same_ids_whatever_meibel_does(start: Start, chat: MakeChat, api: MakeApi) -> None:
    one, other = start(answerer=echo(), seed=1), start(answerer=echo(), seed=1)
    api(other).session()
    assert [chat(one).create() for _ in range(2)] == [chat(other).create() for _ in range(2)]


@pytest.fixture
def old_schema(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    steps = [documents.create_tables, tenants.create_tables, sessions.create_tables]
    monkeypatch.setattr("meibel_integrations.local.store.schema.MIGRATIONS", steps)
    return monkeypatch


def test_a_file_from_before_the_chats(
    tmp_path: Path, start: Start, chat: MakeChat, api: MakeApi, old_schema: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.db"

    def fill(conn: sqlite3.Connection) -> str:
        ids = tenants.IdSource()
        tenants.ensure_keys(conn, ids, "k", {})
        agent = tenants.ensure_agent(conn, ids, "default", tenants.WantedAgent("docs"))
        conn.execute("INSERT INTO sessions VALUES ('s', 'default', ?, 'RUNNING', '{}', 't', NULL)", (agent.agent_id,))
        conn.execute(
            "INSERT INTO turns VALUES (1, 'default', 's', 'g', 'completed', 'q', 'a', '', ?, NULL, 't', 't')",
            (json.dumps({"sources": [], "citations": [], "follow_up_questions": [], "usage": {}}),),
        )
        return agent.index_id

    with Database(path) as db:
        index_id = db.write(fill)
    old_schema.undo()
    local = start(database=path, answerer=echo())
    assert local.index_id == index_id
    meibel, client = api(local), chat(local)
    assert [item["message"] for item in meibel.history("s")["messages"]] == ["q", "a"]
    assert client.http.get("/chat").json()["total_size"] == 0
    assert client.stream(client.create(), "x")[-1]["is_error"] is False
