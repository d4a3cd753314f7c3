"""Conversations over wires whose completion is not what was streamed: they go on in one session."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs

import pytest
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    message_chunk_to_message,
    messages_from_dict,
    messages_to_dict,
)
from llama_index.core.base.llms.types import ChatMessage, MessageRole

from meibel_integrations import AsyncMeibelClient, MeibelClient
from meibel_integrations.langchain import ChatMeibel
from meibel_integrations.ledgers.memory import PROCESS_LEDGER
from meibel_integrations.llamaindex import MeibelChatEngine
from tests.support.fault_wire import SESSION, event
from tests.support.servers import Connection, RawServer, Step, event_stream, json_answer

TURNS = 20

# From what is streamed: what the completion has.
WIRES: dict[str, tuple[Callable[[int], list[str]], Callable[[int], str]]] = {
    "the same": (lambda n: ["Answer ", f"{n}."], lambda n: f"Answer {n}."),
    "trims": (lambda n: ["Answer ", f"{n}.\n"], lambda n: f"Answer {n}."),
    "prepends": (lambda n: ["Answer ", f"{n}."], lambda n: f"Let me look. Answer {n}."),
    "drops a preamble": (lambda n: ["Let me look. ", f"Answer {n}."], lambda n: f"Answer {n}."),
    "corrects": (lambda n: ["Anwser ", f"{n}."], lambda n: f"Answer {n}."),
    "snapshots that it corrects": (lambda n: ["Anw", "Anwser", f"Anwser number {n}"], lambda n: f"Answer {n}."),
}


@contextmanager
def conversation(wire: str) -> Iterator[tuple[RawServer, list[str]]]:
    """A session of 20 turns, and the texts that its answers have."""
    streamed, completed = WIRES[wire]
    scripts: list[list[Step]] = [[SESSION]]
    for n in range(TURNS):
        parts = [event("partial_response", data={"message": text}) for text in streamed(n)]
        end = event("completion", data={"message": completed(n)})
        scripts.append([event_stream(), event("connected", signal_id=f"sig-{n}"), *parts, end])

    def history(connection: Connection) -> None:
        items = []
        for n, request in enumerate(server.posts("/stream")):
            asked = parse_qs(request.partition(b"\r\n\r\n")[2].decode())["user_message"][0]
            items += [{"type": "user", "message": asked, "signal_id": f"sig-{n}"}]
            items += [{"type": "assistant", "message": completed(n), "signal_id": f"sig-{n}"}]
        connection.socket.sendall(json_answer({"messages": items}, connection="close"))

    with RawServer(*scripts, history=[history]) as server:
        yield server, [completed(n) for n in range(TURNS)]


def asked_of(server: RawServer) -> list[str]:
    return [
        parse_qs(request.partition(b"\r\n\r\n")[2].decode())["user_message"][0] for request in server.posts("/stream")
    ]


def went_on(server: RawServer) -> None:
    """Every turn went into the one session and carried its question alone."""
    assert asked_of(server) == [f"Question {n}?" for n in range(TURNS)]
    assert len(server.posts("/sessions")) == 1


async def astream(model: ChatMeibel, messages: list[BaseMessage]) -> list[Any]:
    return [chunk async for chunk in model.astream(messages)]


def sum_of(chunks: list[Any]) -> AIMessage:
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole = whole + chunk
    return message_chunk_to_message(whole)  # type: ignore[return-value]


@pytest.mark.parametrize("elsewhere", [False, True], ids=["here", "another process each time"])
@pytest.mark.parametrize("verb", ["stream", "astream", "invoke"])
@pytest.mark.parametrize("wire", WIRES)
def test_langchain_goes_on(wire: str, verb: str, elsewhere: bool) -> None:
    messages: list[BaseMessage] = []
    with (
        conversation(wire) as (server, completed),
        asyncio.Runner() as runner,
        MeibelClient("k", server.base_url) as client,
    ):
        async_client = AsyncMeibelClient("k", server.base_url)
        for n in range(TURNS):
            model = ChatMeibel(agent_id="a", client=client, async_client=async_client)
            messages.append(HumanMessage(f"Question {n}?"))

            if verb == "invoke":
                answer = model.invoke(messages)
                assert answer.content == completed[n]
            else:
                chunks = list(model.stream(messages)) if verb == "stream" else runner.run(astream(model, messages))
                answer = sum_of(chunks)
            metadata = answer.response_metadata
            assert metadata.get("completion_text", str(answer.content).strip()) == completed[n]
            assert ("completion_text" in metadata) is bool(metadata["warnings"])
            messages.append(answer)
            if elsewhere:
                messages = messages_from_dict(json.loads(json.dumps(messages_to_dict(messages))))
                PROCESS_LEDGER.clear()
        runner.run(async_client.aclose())
    went_on(server)


@pytest.mark.parametrize("given", ["nothing", "what was received", "the response"])
@pytest.mark.parametrize("wire", WIRES)
def test_llamaindex_goes_on(wire: str, given: str) -> None:
    history: list[ChatMessage] = []
    with conversation(wire) as (server, completed), MeibelClient("k", server.base_url) as client:
        engine = MeibelChatEngine("a", client=client)
        for n in range(TURNS):
            response = engine.stream_chat(
                f"Question {n}?", chat_history=list(history) if given != "nothing" and history else None
            )
            received = "".join(response.response_gen)
            assert response.response == completed[n]
            said = received if given == "what was received" else str(response)
            history += [ChatMessage(role=MessageRole.USER, content=f"Question {n}?")]
            history += [ChatMessage(role=MessageRole.ASSISTANT, content=said)]
    went_on(server)


@pytest.mark.parametrize("wire", WIRES)
def test_llamaindex_goes_on_in_another_process(wire: str) -> None:
    history: list[ChatMessage] = []
    session_id: str | None = None
    with conversation(wire) as (server, completed), MeibelClient("k", server.base_url) as client:
        for n in range(TURNS):
            engine = MeibelChatEngine("a", client=client, session_id=session_id)
            response = engine.chat(f"Question {n}?", chat_history=list(history) or None)
            session_id = engine.session_id
            assert response.response == completed[n]
            history += [ChatMessage(role=MessageRole.USER, content=f"Question {n}?")]
            history += [ChatMessage(role=MessageRole.ASSISTANT, content=str(response))]
            PROCESS_LEDGER.clear()
    went_on(server)
