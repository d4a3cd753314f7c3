"""Settings and sessions that once went wrong in silence."""

from __future__ import annotations

import asyncio
import inspect
import warnings
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from llama_index.core.postprocessor import SimilarityPostprocessor

from meibel_integrations import AsyncMeibelClient, LlamaCloudChatClient, MeibelClient, errors
from meibel_integrations.langchain import (
    ChatLlamaCloud,
    ChatMeibel,
    LlamaCloudChatMessageHistory,
    MeibelChatMessageHistory,
)
from meibel_integrations.llamaindex import LlamaCloudChatEngine, MeibelChatEngine
from meibel_integrations.protocol import service as protocol_service
from tests.support import fault_wire as wire
from tests.support.clock import FakeClock
from tests.support.fault_wire import QUESTION, SESSION, TEXT, TURN
from tests.support.servers import RawServer, event_stream, json_answer

from .conftest import Client

KEY = "key-12345"
TURNS: list[Any] = [[SESSION], [event_stream(), *TURN]]


@pytest.mark.parametrize("refused", ["", " \n", "\ud800"], ids=["empty", "blank", "half a pair"])
@pytest.mark.parametrize("verb", ["send", "stream"])
def test_a_refused_message_forgets_nothing(connect: Callable[..., Client], refused: str, verb: str) -> None:
    """The number of turns is what tells a lost answer from an earlier, equal one."""
    first = [{"type": "user", "message": QUESTION}, {"type": "assistant", "message": "An older answer."}]
    again = [{"type": "user", "message": QUESTION}, {"type": "assistant", "message": TEXT}]
    answered = json_answer({"response": {"message": "An older answer."}})
    with RawServer([SESSION], [answered], [wire.reset], history=[json_answer({"messages": first + again})]) as server:
        client = connect(base_url=server.base_url, clock=FakeClock())
        session = client.create(agent_id="a1")
        client.send(session.id, user_message=QUESTION)
        with pytest.raises(errors.InvalidInputError):
            getattr(client, verb)(session.id, user_message=refused)
        reply = client.send(session.id, user_message=QUESTION)
    assert (reply.message, reply.recovered) == (TEXT, True)


# Connections


def test_a_client_with_an_http_client_of_its_own_has_no_twin() -> None:
    """It would go without that one's proxy and certificates."""
    with httpx.Client(trust_env=False, verify=False) as http, RawServer() as server:
        mine = MeibelClient(KEY, server.base_url, http_client=http)
        model = ChatMeibel(agent_id="a", client=mine)
        engine = MeibelChatEngine("a", client=mine)
        history = MeibelChatMessageHistory("s", client=mine)

        async def ask() -> None:
            for asking in (model.ainvoke("hi"), engine.achat("hi"), engine.astream_chat("hi"), history.aget_messages()):
                with pytest.raises(errors.ConfigurationError, match=r"async_client=AsyncMeibelClient\(…\)"):
                    await asking
            with pytest.raises(errors.ConfigurationError, match="async_client="):
                async for _ in model.astream("hi"):
                    pass

        asyncio.run(ask())
        assert server.connections == []
        theirs = httpx.AsyncClient(trust_env=False, verify=False)
        other = ChatMeibel(agent_id="a", async_client=AsyncMeibelClient(KEY, server.base_url, http_client=theirs))
        with pytest.raises(errors.ConfigurationError, match=r"client=MeibelClient\(…\)"):
            other.invoke("hi")
        asyncio.run(theirs.aclose())


def test_a_clients_twin_goes_to_the_same_place_with_the_same_key() -> None:
    with RawServer(*TURNS) as server, MeibelClient(KEY, server.base_url, default_headers={"X-A": "b"}) as mine:
        model = ChatMeibel(agent_id="a", client=mine)

        async def ask() -> None:
            assert (await model.ainvoke(QUESTION)).content == TEXT
            await model.aclose()

        asyncio.run(ask())
        for request in server.requests:
            assert b"\r\nx-a: b\r\n" in request.lower()
            assert f"\r\nmeibel-api-key: {KEY}\r\n".encode() in request.lower()


def test_a_services_own_settings_are_the_clients_too() -> None:
    with RawServer([json_answer({"session_id": "s1"})]) as server:
        mine = LlamaCloudChatClient(KEY, server.base_url, organization_id="org-7")
        for make in (ChatLlamaCloud, LlamaCloudChatEngine, LlamaCloudChatMessageHistory):
            with pytest.raises(errors.ConfigurationError, match="organization_id="):
                make(index_ids=["i"], client=mine, organization_id="org-8")

        async def opened() -> None:
            await LlamaCloudChatMessageHistory.create(index_ids=["i"], client=mine).aget_session_id()

        asyncio.run(opened())
        assert b"org-7" in server.requests[0]


def test_clients_of_two_services_are_refused() -> None:
    with pytest.raises(errors.ConfigurationError, match="one service"):
        ChatMeibel(
            agent_id="a",
            client=MeibelClient(KEY, "https://a.test"),
            async_client=AsyncMeibelClient(KEY, "https://b.test"),
        )


@pytest.mark.parametrize("way", ["model_copy", "assignment"])
def test_a_new_address_or_key_is_where_the_next_call_goes(way: str) -> None:
    with RawServer(*TURNS) as old, RawServer(*TURNS, *TURNS) as new:
        model = ChatMeibel(agent_id="a", api_key=KEY, base_url=old.base_url)
        assert model.invoke(QUESTION).content == TEXT
        if way == "model_copy":
            moved = model.model_copy(update={"base_url": new.base_url, "meibel_api_key": "key-other"})
        else:
            moved = model
            moved.base_url, moved.meibel_api_key = new.base_url, "key-other"

        async def ask() -> None:
            assert (await moved.ainvoke(QUESTION)).content == TEXT
            await moved.aclose()

        assert moved.invoke(QUESTION).content == TEXT
        asyncio.run(ask())
        assert len(old.requests) == 2
        assert len(new.requests) == 4
        assert all(b"key-other" in request and KEY.encode() not in request for request in new.requests)
        model.close()


# Settings


@pytest.mark.parametrize(
    "wrong", [SimilarityPostprocessor(), "rerank", [object()]], ids=["one", "a word", "no postprocessor"]
)
def test_a_postprocessor_that_is_none_is_told_before_anything_is_sent(wrong: Any) -> None:
    with pytest.raises(errors.ConfigurationError, match="node_postprocessors"):
        MeibelChatEngine("a", api_key=KEY, node_postprocessors=wrong)


@pytest.mark.parametrize(
    "make",
    [
        lambda: ChatMeibel(agent_id="a", api_key=KEY, temperature=0),  # type: ignore[call-arg]
        lambda: ChatMeibel(temperature=0, agent_id="a", api_key=KEY, base_url="https://x.test"),  # type: ignore[call-arg]
    ],
)
def test_a_warning_points_at_the_callers_line(make: Callable[[], Any]) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        make()
    (warning,) = caught
    assert "temperature has no effect" in str(warning.message)
    assert warning.filename == __file__


@pytest.mark.parametrize(
    "wrong",
    [{"timeout_seconds": "soon"}, {"session_id": 7}, {"include_thinking": "maybe"}, {"on_divergence": "eror"}],
    ids=str,
)
def test_a_wrong_value_in_a_call_is_our_own_error(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with RawServer() as server:
        model = ChatMeibel(agent_id="a", api_key=KEY, base_url=server.base_url)
        with pytest.raises(errors.ConfigurationError, match=name):
            model.invoke("hi", **wrong)
        assert server.requests == []


# Words


def test_a_turn_that_still_runs_is_not_said_to_have_maybe_run() -> None:
    with RawServer([wire.reset], history=[wire.history(wire.ASKED)]) as server:
        client = MeibelClient(KEY, server.base_url, clock=FakeClock())
        client.run_flow(client.book.entry("s1").opened())
        with pytest.raises(errors.TurnOutcomeUnknown) as caught:
            client.sessions.send_chat_message("s1", user_message=QUESTION)
    assert "still running" in str(caught.value)
    assert "may or may not" not in str(caught.value)


def test_a_turn_in_doubt_says_why_once() -> None:
    with RawServer([wire.page(502)], history=[wire.history()]) as server:
        client = MeibelClient(KEY, server.base_url, clock=FakeClock())
        with pytest.raises(errors.TurnOutcomeUnknown) as caught:
            client.sessions.send_chat_message("s1", user_message=QUESTION)
    said = str(caught.value)
    assert said.count("502") == 1
    assert ".." not in said
    assert ".)." not in said


@pytest.mark.skipif("/v2" not in inspect.getsource(protocol_service), reason="not there yet")
def test_an_address_without_its_version_is_named_as_that() -> None:
    with RawServer([json_answer({"message": "Not Found"}, 404)]) as server:
        bare = server.base_url.removesuffix("/v2")
        with pytest.raises(errors.NotFoundError, match=r"base_url.*/v2"):
            MeibelClient(KEY, bare).agents.create_session("a")
