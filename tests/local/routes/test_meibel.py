"""The routes from outside: keys, tenants, limits, validation, paging, control."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from meibel_integrations.local import LocalMeibel, ScriptedAnswerer
from meibel_integrations.local.http.front import host_allowed
from meibel_integrations.local.limits import Limits

Start = Callable[..., LocalMeibel]
MakeApi = Callable[..., Any]


def echo() -> ScriptedAnswerer:
    return ScriptedAnswerer(lambda question: f"You said: {question.text}")


# Keys and tenants


def test_every_route_but_health_needs_the_key(start: Start, api: MakeApi) -> None:
    local = start(answerer=echo())
    for key, word in (("", "missing"), ("wrong", "not one of"), ("wröng", "not one of")):
        client = api(local, key.encode("latin-1") if key else "")
        for http, method, path in (
            (client.http, "GET", "/agents"),
            (client.http, "POST", f"/agents/{local.agent_id}/sessions"),
            (client.http, "POST", "/sessions/x/chat/stream"),
            (client.control, "POST", "/_local/reset"),
            (client.control, "GET", "/_local/requests"),
        ):
            response = http.request(method, path)
            assert response.status_code == 401
            assert response.json()["code"] == "unauthorized"
            assert word in response.json()["message"]
        assert client.control.get("/_local/health").json()["status"] == "ok"


def test_a_key_is_a_tenant(start: Start, api: MakeApi) -> None:
    local = start(answerer=echo(), api_key="first", api_keys={"other": "second"})
    mine, theirs = api(local), api(local, "second")
    session = mine.session()
    mine.stream(session, "secret")
    for method, path in (
        ("GET", f"/sessions/{session}"),
        ("GET", f"/sessions/{session}/messages"),
        ("POST", f"/sessions/{session}/chat"),
        ("POST", f"/sessions/{session}/chat/stream"),
    ):
        response = theirs.http.request(method, path, json={"user_message": "x"} if method == "POST" else None)
        assert response.status_code == 404
    assert theirs.control.post(f"/_local/sessions/{session}/end", json={}).status_code == 404
    assert theirs.http.get(f"/agents/{local.agent_id}/sessions").json()["total"] == 0
    assert "secret" not in theirs.control.get("/_local/requests").text
    assert theirs.control.post("/_local/reset").status_code == 204
    assert len(mine.history(session)["messages"]) == 2
    assert len(theirs.history(theirs.session())["messages"]) == 0


# What every answer has, and what is not there


def test_every_answer_says_that_it_is_local(start: Start, api: MakeApi) -> None:
    client = api(start(answerer=echo()))
    for path in ("/agents", "/agents/none", "/datasources"):
        assert client.http.get(path).headers["x-meibel-local"]


@pytest.mark.parametrize(("method", "path"), [("GET", "/datasources"), ("DELETE", "/agents")])
def test_what_is_not_emulated_says_so(start: Start, api: MakeApi, method: str, path: str) -> None:
    response = api(start(answerer=echo())).http.request(method, path)
    assert response.status_code == 404
    assert response.json()["code"] == "not_emulated"
    assert f"{method} /v2{path} is not emulated" in response.json()["message"]


def test_the_host_header_must_be_ours(start: Start, api: MakeApi) -> None:
    client = api(start(answerer=echo()))
    assert client.http.get("/agents", headers={"Host": "evil.example"}).status_code == 421
    assert client.http.get("/agents", headers={"Host": "localhost:1"}).status_code == 200


@pytest.mark.parametrize(
    ("header", "bound", "allowed"),
    [
        ("127.0.0.1:80", "127.0.0.1", True),
        ("localhost", "127.0.0.1", True),
        ("LOCALHOST:80", "127.0.0.1", True),
        ("app.localhost:80", "127.0.0.1", True),
        ("evil.example", "docs.localhost", False),
        ("[::1]:80", "::1", True),
        ("[::1]", "localhost", True),
        ("evil.example:80", "127.0.0.1", False),
        ("127.0.0.1.evil.example", "127.0.0.1", False),
        ("", "127.0.0.1", False),
        ("my-machine:80", "0.0.0.0", True),
    ],
)
def test_host_allowed(header: str, bound: str, allowed: bool) -> None:
    assert host_allowed(header, bound) is allowed


# Chat bodies


@pytest.mark.parametrize(
    "send",
    [
        {"data": {"user_message": "hi", "include_tool_activity": "True", "include_thinking": "false"}},
        {"data": {"user_message": "hi", "include_tool_activity": "1", "timeout_seconds": ""}},
        {"json": {"user_message": "hi", "include_tool_activity": True, "timeout_seconds": 30}},
        {"data": {"user_message": "hi", "files": "['a.txt']"}},
        {"files": {"user_message": (None, "hi"), "include_thinking": (None, "true")}},
    ],
)
def test_a_message_may_come_in_any_form(start: Start, api: MakeApi, send: dict[str, Any]) -> None:
    client = api(start(answerer=echo()))
    response = client.http.post(f"/sessions/{client.session()}/chat/stream", **send)
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/event-stream")
    assert "You said: hi" in response.text


@pytest.mark.parametrize(
    ("send", "where"),
    [
        ({"json": {}}, ["body", "user_message"]),
        ({"json": {"user_message": "  \n"}}, ["body", "user_message"]),
        ({"json": {"user_message": "x" * 101}}, ["body", "user_message"]),
        ({"json": {"user_message": 5}}, ["body", "user_message"]),
        ({"json": {"user_message": "x", "timeout_seconds": 0}}, ["body", "timeout_seconds"]),
        ({"json": {"user_message": "x", "include_thinking": "maybe"}}, ["body", "include_thinking"]),
        ({"json": ["x"]}, ["body"]),
        ({"content": b'{"user_message": "\\ud800"}'}, ["body", "user_message"]),
        ({"content": b"{"}, ["body"]),
        ({"content": b"\xff\xfe{"}, ["body"]),
        ({"content": b"[" * 200_000}, ["body"]),
        ({}, ["body", "user_message"]),
    ],
)
@pytest.mark.parametrize("route", ["chat", "chat/stream"])
def test_a_wrong_message_is_refused_as_fastapi_does(
    start: Start, api: MakeApi, route: str, send: dict[str, Any], where: list[str]
) -> None:
    client = api(start(answerer=echo(), limits=Limits(max_message_chars=100)))
    session = client.session()
    response = client.http.post(f"/sessions/{session}/{route}", **send)
    assert response.status_code == 422
    (item,) = response.json()["detail"]
    assert item["loc"] == where
    assert item["msg"]
    assert item["type"]
    assert client.history(session)["messages"] == []


def test_bodies_are_limited(start: Start, api: MakeApi) -> None:
    limits = Limits(max_body_bytes=50_000, max_file_bytes=60_000, max_files=2)
    client = api(start(answerer=echo(), limits=limits))
    url = f"/sessions/{client.session()}/chat/stream"
    too_long = client.http.post(url, json={"user_message": "x" * 60_000})
    assert (too_long.status_code, too_long.json()["code"]) == (413, "body_too_large")
    large = client.http.post(url, data={"user_message": "x"}, files={"file": ("big.txt", b"x" * 60_001)})
    assert (large.status_code, large.json()["code"]) == (413, "file_too_large")
    assert "big.txt" in large.json()["message"]
    huge = client.http.post(url, data={"user_message": "x"}, files={"file": ("big.txt", b"x" * 400_000)})
    assert huge.status_code == 413
    many = client.http.post(url, data={"user_message": "x"}, files=[("files", (f"{n}", b"x")) for n in range(3)])
    assert many.status_code == 400


# Files


def test_uploaded_files_are_read_before_the_answer(start: Start, api: MakeApi) -> None:
    seen: list[tuple[str, ...]] = []

    def answer(question: Any) -> str:
        seen.append(tuple(passage.text for passage in question.search("zebra")))
        return str(len(question.uploaded_document_ids))

    client = api(start(answerer=ScriptedAnswerer(answer)))
    session = client.session()
    files = [("files", ("a.txt", b"The zebra sleeps standing.")), ("files", ("b.md", b"# Lions\n\nThey roar."))]
    response = client.http.post(f"/sessions/{session}/chat/stream", data={"user_message": "when?"}, files=files)
    assert '"message":"2"' in response.text
    assert "zebra sleeps" in seen[0][0]
    parsed = client.details(session)["file_parsing"]
    assert [entry["filename"] for entry in parsed] == ["a.txt", "b.md"]
    assert {entry["parse_complete"]["status"] for entry in parsed} == {"success"}
    # Another session does not see the file; the same one still does.
    client.chat(client.session(), "again")
    client.chat(session, "again")
    assert seen[1] == ()
    assert "zebra sleeps" in seen[2][0]


def test_an_unreadable_file_stores_nothing(start: Start, api: MakeApi) -> None:
    answerer = ScriptedAnswerer(lambda question: str(len(question.search("zebra"))))
    client = api(start(answerer=answerer))
    session = client.session()
    files = [("files", ("a.txt", b"The zebra.")), ("files", ("b.bin", bytes(range(256)) * 8))]
    response = client.http.post(f"/sessions/{session}/chat/stream", data={"user_message": "x"}, files=files)
    assert response.status_code == 422
    assert "b.bin" in response.json()["detail"][0]["msg"]
    assert client.history(session)["messages"] == []
    assert client.chat(session, "is it there?").json()["response"]["message"] == "0"


# Sessions


def test_sessions_are_listed_in_pages(start: Start, api: MakeApi) -> None:
    local = start(answerer=echo())
    client = api(local)
    made = [client.session() for _ in range(5)]
    client.stream(made[0], "hello")
    local.end_session(made[1], "FAILED")
    url = f"/agents/{local.agent_id}/sessions"

    def page(**query: Any) -> Any:
        return client.http.get(url, params=query).json()

    assert [item["session_id"] for item in page()["data"]] == made[::-1]
    second = page(offset=2, limit=2, sort_order="asc")
    assert [item["session_id"] for item in second["data"]] == made[2:4]
    assert (second["total"], second["offset"], second["limit"]) == (5, 2, 2)
    assert [item["session_id"] for item in page(status="FAILED")["data"]] == [made[1]]
    assert page(sort_by="status", sort_order="asc")["data"][0]["session_id"] == made[1]
    first = page(limit=1, sort_order="asc")["data"][0]
    assert first["messages_count"] == 2
    assert first["token_usage"]["total_tokens"] > 0
    for query in ({"limit": 0}, {"offset": -1}, {"sort_by": "name"}, {"status": "DONE"}, {"limit": "x"}):
        response = client.http.get(url, params=query)
        assert response.status_code == 422
        assert response.json()["detail"][0]["loc"] == ["query", next(iter(query))]


def test_sessions_are_created_by_id_and_by_name(start: Start, api: MakeApi) -> None:
    local = start(answerer=echo(), agents={"docs": [], "other": []})
    client = api(local)
    options = {"prompt": "p", "initial_context": {"a": "\ud83d"}, "max_iterations_per_user_message": 3}
    by_id = client.http.post(f"/agents/{local.agent_id}/sessions", content=json.dumps(options)).json()
    assert by_id["session_id"] == by_id["id"]
    assert by_id["agent_id"] == local.agent_ids["docs"]
    by_name = client.http.post("/agents/name/other/sessions", json={}).json()
    assert by_name["agent_id"] == local.agent_ids["other"]
    assert client.http.post("/agents/name/none/sessions").status_code == 404
    assert client.http.post("/agents/none/sessions").status_code == 404
    assert client.http.post("/agents/name/other/sessions", json={"prompt": 5}).status_code == 422


def test_an_ended_session_accepts_no_turn(start: Start, api: MakeApi) -> None:
    client = api(start(answerer=echo()))
    session = client.session()
    ended = client.control.post(f"/_local/sessions/{session}/end", json={"status": "CANCELED"})
    assert ended.json() == {"session_id": session, "status": "CANCELED"}
    for route in ("chat", "chat/stream"):
        response = client.http.post(f"/sessions/{session}/{route}", json={"user_message": "x"})
        assert (response.status_code, response.json()["code"]) == (409, "session_ended")
    assert client.details(session)["status"] == "CANCELED"
    assert client.control.post(f"/_local/sessions/{session}/end", json={"status": "RUNNING"}).status_code == 422


def test_there_may_be_too_many_sessions(start: Start, api: MakeApi) -> None:
    local = start(answerer=echo(), limits=Limits(max_sessions=1))
    client = api(local)
    client.session()
    assert client.http.post(f"/agents/{local.agent_id}/sessions").status_code == 429


# Control


def test_the_request_log_has_no_keys(start: Start, api: MakeApi) -> None:
    local = start(answerer=echo())
    client = api(local)
    session = client.session()
    client.chat(session, "hello")
    client.http.get("/agents?limit=1")
    log = client.control.get("/_local/requests").json()["requests"]
    assert log == local.request_log()
    assert [(entry["method"], entry["path"], entry["status"]) for entry in log] == [
        ("POST", f"/v2/agents/{local.agent_id}/sessions", 200),
        ("POST", f"/v2/sessions/{session}/chat", 200),
        ("GET", "/v2/agents?limit=1", 200),
    ]
    assert log[1]["content_type"] == "application/json"
    assert json.loads(log[1]["body"]) == {"user_message": "hello"}
    assert local.api_key not in json.dumps(log)
    assert client.control.delete("/_local/requests").status_code == 204
    assert local.request_log() == []


def test_reset_drops_sessions_and_keeps_agents(start: Start, api: MakeApi) -> None:
    local = start(answerer=echo(), seed=1)
    client = api(local)
    first = client.session()
    client.stream(first, "hello")
    assert client.control.post("/_local/reset").status_code == 204
    assert client.http.get(f"/sessions/{first}").status_code == 404
    assert client.http.get("/agents").json()["total"] == 1
    assert client.session() == first  # seeded ids begin anew


def test_a_client_that_leaves_while_sending_does_no_harm(start: Start, api: MakeApi) -> None:
    client = api(start(answerer=echo()))
    session = client.session()

    def broken() -> Any:
        yield b'{"user_message": "half'
        raise ConnectionAbortedError

    with pytest.raises(ConnectionAbortedError):
        client.http.post(f"/sessions/{session}/chat", content=broken())
    assert client.chat(session, "whole").status_code == 200
    assert [item["message"] for item in client.history(session)["messages"]] == ["whole", "You said: whole"]


def test_agents(start: Start, api: MakeApi) -> None:
    local = start(answerer=echo(), agents={"a": [], "b": []})
    client = api(local)
    listed = client.http.get("/agents", params={"offset": 1, "limit": 1}).json()
    assert (listed["total"], [agent["name"] for agent in listed["data"]]) == (2, ["b"])
    detail = client.http.get(f"/agents/{local.agent_ids['b']}").json()
    assert detail["datasources"] == [local.index_ids["b"]]
    assert detail["llm_model"] == "local/ScriptedAnswerer"


def test_httpx_does_not_follow_or_retry_here(start: Start) -> None:
    """A raw request without a Host that we know and without a key gets one clear answer."""
    local = start(answerer=echo())
    response = httpx.get(local.llama_cloud_base_url + "/other/chat", trust_env=False)
    assert (response.status_code, response.json()["code"]) == (404, "not_emulated")
    # The other API's errors have the other API's shape.
    response = httpx.get(local.llama_cloud_base_url + "/api/v1/files", trust_env=False)
    assert (response.status_code, response.json()) == (
        404,
        {"detail": "GET /api/v1/files is not emulated by the local service of meibel-integrations"},
    )


def test_numbers_that_nothing_can_count_with_are_refused(start: Start, api: MakeApi) -> None:
    client = api(start())
    agent = client.local.agent_id
    for path in (f"/agents/{agent}/sessions", "/agents"):
        assert client.http.get(path, params={"offset": str(2**63 - 1)}).json()["data"] == []
        refused = client.http.get(path, params={"offset": str(2**63)})
        assert refused.status_code == 422
        assert refused.json()["detail"][0]["loc"] == ["query", "offset"]
    session = client.session()
    for timeout in ("9" * 400, str(10**9)):
        refused = client.http.post(
            f"/sessions/{session}/chat/stream", data={"user_message": "q", "timeout_seconds": timeout}
        )
        assert refused.status_code == 422
        assert refused.json()["detail"][0]["loc"] == ["body", "timeout_seconds"]
    assert client.history(session)["messages"] == []


def test_a_large_upload_holds_up_nobody(start: Start, api: MakeApi) -> None:
    client, other = api(start(answerer=echo())), 0
    session = client.session()
    files = {"file": ("a.py", b"@x\n" * 3_000_000)}
    path = f"/sessions/{session}/chat/stream"
    with ThreadPoolExecutor(1) as pool:
        sent = pool.submit(client.http.post, path, data={"user_message": "q"}, files=files)
        while not sent.done():
            assert client.control.get("/_local/health").status_code == 200
            other += 1
        assert "You said: q" in sent.result().text
    assert other > 10
