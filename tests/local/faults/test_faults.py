"""Faults on request, seen by plain HTTP and by the package's own clients."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import httpx
import pytest

from meibel_integrations import AsyncMeibelClient, MeibelClient, errors
from meibel_integrations.config import Timeouts
from meibel_integrations.langchain import ChatMeibel
from meibel_integrations.llamaindex import MeibelChatEngine
from meibel_integrations.local import Delta, Done, LocalMeibel, ScriptedAnswerer
from meibel_integrations.local.faults.catalogue import FAULTS, INSTEAD, OF_STREAMS, VARIANTS, FaultName
from tests.local.conftest import Api
from tests.support.clock import FakeClock

Start = Callable[..., LocalMeibel]
MakeApi = Callable[..., Api]
PIECES = ["Zürich lies ", "at the end ", "of its lake ", "🦢."]
TEXT = "".join(PIECES)
NAMES: tuple[FaultName, ...] = tuple(name for name in get_args(FaultName) if name not in VARIANTS)
"""What breaks something; the other forms of an answer have a suite of their own."""
RUNS = [name for name in NAMES if name not in ("too_many_requests", "redirect")]


@pytest.fixture(params=["v2", "guide"])
def local(request: pytest.FixtureRequest, start: Start) -> LocalMeibel:
    answerer = ScriptedAnswerer([[*map(Delta, PIECES), Done()]], repeat_last=True)
    return start(dialect=request.param, answerer=answerer)


def client_of(local: LocalMeibel, **options: Any) -> MeibelClient:
    return MeibelClient(local.api_key, local.base_url, **{"clock": FakeClock(), **options})


def turns_of(local: LocalMeibel) -> list[str]:
    return [entry["path"] for entry in local.request_log() if "/chat" in entry["path"]]


def test_there_is_a_word_for_each() -> None:
    assert set(FAULTS) == set(get_args(FaultName))
    assert all(FAULTS.values())
    assert not INSTEAD & OF_STREAMS


FINE = {"slow_drip", "no_blank_line", "invalid_json"}
ERRORS = {
    "too_many_requests": errors.RateLimitError,
    "redirect": errors.RedirectError,
    "error_event": errors.AgentTurnError,
    "endless": errors.StreamInterrupted,
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("library", ["client", "langchain", "llamaindex"])
def test_a_streamed_turn_survives_or_is_told(local: LocalMeibel, name: FaultName, library: str) -> None:
    timeouts = Timeouts(idle=0.3, total=3.0 if name == "endless" else None)
    clock = FakeClock(tick=0.2 if name == "endless" else 0)
    client = client_of(local, timeout=timeouts, clock=clock, max_retries=0)
    local.inject_fault(name, seconds=0.001)
    pieces: list[str] = []

    def ask() -> bool:
        if library == "client":
            session = client.agents.create_session(local.agent_id)
            with client.sessions.send_chat_message_stream(session.id, user_message="Where?") as events:
                for event in events:
                    if event.type == "content":
                        pieces.append(event.delta)
            assert event.reply is not None
            return event.reply.recovered
        if library == "langchain":
            for chunk in ChatMeibel(agent_id=local.agent_id, client=client).stream("Where?"):
                pieces.append(str(chunk.content))
            return bool(chunk.response_metadata["recovered"])
        response = MeibelChatEngine(local.agent_id, client=client).stream_chat("Where?")
        pieces.extend(response.response_gen)
        return bool(response.metadata["recovered"])

    if name in ERRORS:
        with pytest.raises(ERRORS[name]) as caught:
            ask()
        assert "".join(pieces) == getattr(caught.value, "partial_text", "")
    else:
        assert ask() is (name not in FINE)
        assert "".join(pieces) == TEXT
    assert len(turns_of(local)) == 1
    client.close()


@pytest.mark.parametrize("name", [name for name in NAMES if name not in OF_STREAMS])
def test_a_whole_answer_survives_or_is_told(local: LocalMeibel, name: FaultName) -> None:
    client = client_of(local, timeout=0.3, max_retries=0)
    session = client.agents.create_session(local.agent_id)
    local.inject_fault(name, seconds=0.001)
    if name in ERRORS:
        with pytest.raises(ERRORS[name]):
            client.sessions.send_chat_message(session.id, user_message="Where?")
    else:
        reply = client.sessions.send_chat_message(session.id, user_message="Where?")
        assert reply.message == TEXT
        assert reply.recovered is (name != "slow_drip")
    assert len(turns_of(local)) == 1
    client.close()


@pytest.mark.parametrize("name", sorted(INSTEAD - {"redirect", "too_many_requests"}))
def test_a_turn_need_not_have_run(local: LocalMeibel, name: FaultName) -> None:
    client = client_of(local, max_retries=0)
    session = client.agents.create_session(local.agent_id)
    local.inject_fault(name, runs=False)
    with pytest.raises(errors.TurnOutcomeUnknown, match="does not show"):
        client.sessions.send_chat_message(session.id, user_message="Where?")
    assert client.sessions.get_session_messages(session.id) == []
    client.close()


def test_the_async_client_recovers_too(local: LocalMeibel) -> None:
    async def ask() -> tuple[str, bool]:
        async with AsyncMeibelClient(local.api_key, local.base_url, clock=FakeClock()) as client:
            message = await ChatMeibel(agent_id=local.agent_id, async_client=client).ainvoke("Where?")
            return str(message.content), message.response_metadata["recovered"]

    local.inject_fault("cut_inside_character", after=2)
    assert asyncio.run(ask()) == (TEXT, True)
    assert asyncio.run(ask()) == (TEXT, False)


def test_429_is_waited_for(local: LocalMeibel) -> None:
    clock = FakeClock()
    client = client_of(local, clock=clock)
    session = client.agents.create_session(local.agent_id)
    local.inject_fault("too_many_requests", 2, retry_after=5)
    assert client.sessions.send_chat_message(session.id, user_message="Where?").message == TEXT
    assert clock.slept == [5.0, 5.0]
    client.close()


# At the byte level


def stream_bytes(client: Api, session: str) -> tuple[bytes, Exception | None]:
    got = bytearray()
    try:
        with client.http.stream("POST", f"/sessions/{session}/chat/stream", data={"user_message": "x"}) as response:
            for chunk in response.iter_raw():
                got += chunk
    except httpx.TransportError as error:
        return bytes(got), error
    return bytes(got), None


def test_what_is_cut_is_cut_where_it_says(local: LocalMeibel, api: MakeApi) -> None:
    client = api(local)
    local.inject_fault("cut_after_connected")
    got, error = stream_bytes(client, client.session())
    assert got.endswith(b"\n\n")
    assert got.count(b"\n\n") == 1
    assert isinstance(error, httpx.RemoteProtocolError)

    for after in (0, 1, 2):
        local.inject_fault("cut_inside_delta", after=after)
        got, error = stream_bytes(client, client.session())
        assert got.count(b"\n\n") == after
        assert not got.endswith(b"\n")
        assert isinstance(error, httpx.RemoteProtocolError)

    local.inject_fault("cut_inside_character")
    got, error = stream_bytes(client, client.session())
    with pytest.raises(UnicodeDecodeError, match="unexpected end"):
        got.decode()
    assert isinstance(error, httpx.RemoteProtocolError)

    local.inject_fault("no_blank_line")
    got, error = stream_bytes(client, client.session())
    assert error is None
    assert not got.endswith(b"\n")
    assert b"lake" in got


@pytest.mark.parametrize("name", ["reset_before_head", "reset_after_head"])
def test_a_reset_is_a_reset(local: LocalMeibel, api: MakeApi, name: FaultName) -> None:
    client = api(local)
    session = client.session()
    local.inject_fault(name)
    with pytest.raises(httpx.ReadError, match="reset"):
        client.chat(session, "x")
    assert client.chat(session, "y").status_code in (200, 409)


def test_an_endless_response_ends_when_the_client_leaves(local: LocalMeibel, api: MakeApi) -> None:
    client = api(local)
    for name in ("endless", "stall"):
        local.inject_fault(name, seconds=0)
        with client.http.stream("POST", f"/sessions/{client.session()}/chat/stream", data={"user_message": "x"}) as got:
            assert next(got.iter_raw())
    assert client.chat(client.session(), "x").status_code == 200


# Asking for them


def test_faults_are_asked_for_listed_and_cleared(local: LocalMeibel, api: MakeApi) -> None:
    client = api(local)
    listed = client.control.get("/_local/faults").json()
    assert listed["faults"] == []
    assert listed["available"] == FAULTS
    asked = client.control.post("/_local/faults", json={"fault": "bad_gateway", "times": 3})
    assert asked.status_code == 200
    assert [(f["fault"], f["times"]) for f in asked.json()["faults"]] == [("bad_gateway", 3)]
    session = client.session()
    assert client.chat(session, "x").status_code == 502
    local.inject_fault("html")
    waiting = client.control.get("/_local/faults").json()["faults"]
    assert [(f["fault"], f["times"]) for f in waiting] == [("bad_gateway", 2), ("html", 1)]
    assert client.control.delete("/_local/faults").status_code == 204
    assert client.control.get("/_local/faults").json()["faults"] == []
    local.inject_fault("html")
    local.clear_faults()
    assert client.chat(client.session(), "x").status_code == 200


def test_what_is_no_fault_is_refused(local: LocalMeibel, api: MakeApi) -> None:
    client = api(local)
    wrong: list[dict[str, Any]] = [
        {},
        {"fault": "earthquake"},
        {"fault": "html", "times": 0},
        {"fault": "html", "colour": "red"},
        {"fault": "stall", "runs": False},
    ]
    for body in wrong:
        refused = client.control.post("/_local/faults", json=body)
        assert refused.status_code == 422, body
        assert refused.json()["detail"]
    with pytest.raises(ValueError, match="earthquake"):
        local.inject_fault("earthquake")  # type: ignore[arg-type]


def test_a_fault_of_streams_waits_for_one_and_other_requests_are_spared(local: LocalMeibel, api: MakeApi) -> None:
    client = api(local)
    local.inject_fault("cut_inside_delta")
    session = client.session()
    assert client.chat(session, "x").status_code == 200
    assert client.history(session)
    assert isinstance(stream_bytes(client, session)[1], httpx.RemoteProtocolError)


def test_faults_are_their_keys_own(start: Start, api: MakeApi) -> None:
    local = start(api_keys={"other": "key-2"}, answerer=ScriptedAnswerer(["yes"], repeat_last=True))
    mine, theirs = api(local), api(local, "key-2")
    mine.control.post("/_local/faults", json={"fault": "html"})
    assert theirs.control.get("/_local/faults").json()["faults"] == []
    agent = theirs.http.get("/agents").json()["data"][0]["id"]
    session = theirs.http.post(f"/agents/{agent}/sessions").json()["id"]
    assert theirs.chat(session, "x").json()["response"]["message"] == "yes"
    assert "html" in mine.chat(mine.session(), "x").headers["content-type"]
    assert httpx.get(f"{local.llama_cloud_base_url}/_local/faults", trust_env=False).status_code == 401


def test_the_service_closes_although_a_response_stalls(start: Start, api: MakeApi) -> None:
    local = start(answerer=ScriptedAnswerer(["yes"]))
    client = api(local)
    local.inject_fault("stall")
    with client.http.stream("POST", f"/sessions/{client.session()}/chat/stream", data={"user_message": "x"}) as got:
        next(got.iter_raw())
        local.close()
    with pytest.raises(httpx.TransportError):
        client.http.get("/agents")


def test_llamaclouds_turns_break_too(start: Start, api: MakeApi) -> None:
    local = start(answerer=ScriptedAnswerer([[*map(Delta, PIECES), Done()]], repeat_last=True))
    client = api(local)
    path = "/api/v1/chat"
    key = {"Authorization": f"Bearer {local.api_key}"}
    turn = {"index_ids": [local.index_id], "prompt": "Where?"}

    def ask() -> tuple[bytes, Exception | None]:
        session = client.control.post(path, json={}, headers=key).json()["session_id"]
        got = bytearray()
        try:
            with client.control.stream("POST", f"{path}/{session}/messages/stream", json=turn, headers=key) as response:
                got += response.status_code.to_bytes(2, "big")
                for chunk in response.iter_raw():
                    got += chunk
        except httpx.TransportError as error:
            return bytes(got), error
        return bytes(got), None

    whole, error = ask()
    assert error is None
    local.inject_fault("cut_inside_delta")
    got, error = ask()
    assert isinstance(error, httpx.RemoteProtocolError)
    assert len(got) < len(whole)
    local.inject_fault("error_event")
    got, error = ask()
    assert error is None
    assert b"a fault that was asked for" in got
    local.inject_fault("bad_gateway")
    assert ask()[0][:2] == (502).to_bytes(2, "big")


def test_the_page_names_each_fault() -> None:
    page = (Path(__file__).parents[3] / "docs" / "faults.md").read_text("utf-8")
    for name, says in FAULTS.items():
        assert f"| `{name}` | {says} |" in page
