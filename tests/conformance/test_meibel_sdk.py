"""The official SDK (``meibel`` from PyPI) against the local service: a client that we did not write reads its bytes."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import meibel
import pytest
from meibel import exceptions, models

from meibel_integrations.local import (
    AnswerCitation,
    AnswerSource,
    Delta,
    Done,
    LocalMeibel,
    Question,
    ScriptedAnswerer,
    Step,
    ToolCall,
    ToolResult,
)


def answer(question: Question) -> list[Step]:
    found = question.search(question.text)
    source = AnswerSource("Zebras", "file:///zebra.md", "It stands.", 0.5, "doc-1")
    return [
        ToolCall("t1", "search", {"query": question.text}),
        ToolResult("t1", "search", {"found": len(found)}),
        Delta("It\u2028"),
        Delta("stands."),
        Done((source,), (AnswerCitation(10, (0,)),), ("Why?",), {"input_tokens": 1, "output_tokens": 2}),
    ]


@pytest.fixture(scope="module")
def local() -> Iterator[LocalMeibel]:
    with LocalMeibel(answerer=ScriptedAnswerer(answer)) as local:
        yield local


@pytest.fixture
def client(local: LocalMeibel) -> Iterator[Any]:
    client = meibel.MeibelClient(api_key=local.api_key, base_url=local.base_url)
    yield client
    client._http.close()


@pytest.fixture
async def async_client(local: LocalMeibel) -> Any:
    client = meibel.AsyncMeibelClient(api_key=local.api_key, base_url=local.base_url)
    yield client
    await client._http.close()


def check_stream(events: list[Any]) -> None:
    assert [event.event for event in events] == [
        *("connected", "tool_call", "tool_result", "partial_response", "partial_response", "completion")
    ]
    deltas = [event.json()["data"]["message"] for event in events if event.event == "partial_response"]
    done = events[-1].json()["data"]
    assert "".join(deltas) == done["message"] == "It\u2028stands."
    assert done["citations"] == [{"position": 10, "source_ids": [1]}]


def check_conversation(details: Any, history: Any, turns: int) -> None:
    assert details.status == "RUNNING"
    assert [entry.role for entry in details.messages] == ["user", "assistant"] * turns
    assert [item.type for item in history.messages] == ["user", "tool_call", "tool_result", "assistant"] * turns
    assert json.loads(history.messages[2].result)["found"] >= 0
    assert details.tool_activity[0].tool_call.tool_name == "search"
    assert details.token_usage[0]["output_tokens"] == 2


def check_whole(reply: models.ChatMessageResponse) -> None:
    assert reply.response.message == reply.assistant_response == "It\u2028stands."
    assert reply.response.sources is not None
    assert reply.response.sources[0].title == "Zebras"
    assert reply.response.follow_up_questions == ["Why?"]
    assert reply.token_usage == {"input_tokens": 1, "output_tokens": 2}
    assert reply.tool_activity is not None
    assert reply.tool_activity[0].result is not None


def test_sync(local: LocalMeibel, client: Any) -> None:
    chat = client.agents.sessions
    session = chat.create(local.agent_id, models.CreateSessionRequest(prompt="p")).session_id
    body = models.ChatMessageRequest(user_message="stands?", include_tool_activity=True)
    check_whole(chat.send_chat_message(session, body))
    check_stream(list(chat.send_chat_message_stream(session, user_message="stands?", include_tool_activity=True)))
    check_conversation(client.sessions.get(session), client.sessions.get_messages(session), 2)
    file = io.BytesIO(b"The zebra stands while it sleeps.")
    events = list(
        chat.send_chat_message_stream(
            session, file=file, file_name="zebra.txt", user_message="zebra?", include_tool_activity=True
        )
    )
    check_stream(events)
    assert events[2].json()["result"] == {"found": 1}
    parsed = client.sessions.get(session).file_parsing[0]
    assert parsed.filename == "zebra.txt"
    assert parsed.parse_complete.status == "success"
    by_name = chat.create_by_name("docs").session_id
    listed = list(chat.list(local.agent_id, limit=50, sort_by="start_time", sort_order="asc"))
    assert {session, by_name} <= {item.session_id for item in listed}
    agents = list(client.agents.list())
    assert [agent.id for agent in agents] == [local.agent_id]
    assert client.agents.get(local.agent_id).name == "docs"


async def test_async(local: LocalMeibel, async_client: Any) -> None:
    chat = async_client.agents.sessions
    session = (await chat.create(local.agent_id)).session_id
    body = models.ChatMessageRequest(user_message="stands?", include_tool_activity=True)
    check_whole(await chat.send_chat_message(session, body))
    stream = await chat.send_chat_message_stream(session, user_message="stands?", include_tool_activity=True)
    check_stream([event async for event in stream])
    check_conversation(await async_client.sessions.get(session), await async_client.sessions.get_messages(session), 2)
    stream = await chat.send_chat_message_stream(
        session,
        file=io.BytesIO(b"The zebra stands."),
        file_name="zebra.txt",
        user_message="zebra?",
        include_tool_activity=True,
    )
    check_stream([event async for event in stream])
    assert (await async_client.sessions.get(session)).file_parsing[0].filename == "zebra.txt"
    by_name = (await chat.create_by_name("docs")).session_id
    listed = [item async for item in await chat.list(local.agent_id, status="RUNNING")]
    assert {session, by_name} <= {item.session_id for item in listed}
    assert [agent.id async for agent in await async_client.agents.list()] == [local.agent_id]
    assert (await async_client.agents.get(local.agent_id)).name == "docs"


def test_errors_are_read_by_the_sdk(local: LocalMeibel, client: Any) -> None:
    with pytest.raises(exceptions.NotFoundError, match="there is no session 'none'"):
        client.sessions.get("none")
    with pytest.raises(exceptions.ApiError, match="user_message"):
        client.agents.sessions.send_chat_message_stream(
            client.agents.sessions.create(local.agent_id).session_id, include_thinking=True
        )
    stranger = meibel.MeibelClient(api_key="wrong", base_url=local.base_url)
    with pytest.raises(exceptions.AuthenticationError):
        stranger.sessions.get("none")
    stranger._http.close()
