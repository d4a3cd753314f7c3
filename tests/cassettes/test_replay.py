"""The recorded conversation through both frameworks, sync and async, from the cassettes alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import BaseMessage, HumanMessage
from vcr.errors import CannotOverwriteExistingCassetteException  # type: ignore[import-untyped]

from meibel_integrations import AsyncMeibelClient, MeibelClient
from meibel_integrations.langchain import ChatMeibel
from meibel_integrations.ledgers.memory import PROCESS_LEDGER
from meibel_integrations.llamaindex import MeibelChatEngine

from . import tape


@dataclass(frozen=True)
class Told:
    """What a user of either framework was told by one answer."""

    text: str
    session_id: str
    sources: tuple[tuple[str | None, str | None], ...]
    tokens: int | None


@dataclass(frozen=True)
class Connection:
    """Where to ask, and what."""

    agent_id: str
    base_url: str
    questions: Sequence[str]

    @property
    def settings(self) -> dict[str, Any]:
        return {"agent_id": self.agent_id, "api_key": "another-key", "base_url": self.base_url}


def told_langchain(message: Any) -> Told:
    metadata = message.response_metadata
    sources = tuple((source["title"], source["url"]) for source in metadata["sources"])
    usage = message.usage_metadata
    return Told(message.text, metadata["session_id"], sources, usage["total_tokens"] if usage else None)


def told_llamaindex(response: Any) -> Told:
    metadata = response.metadata
    sources = tuple((node.metadata.get("title"), node.metadata.get("url")) for node in response.source_nodes)
    usage = metadata.get("token_usage")
    return Told(str(response), metadata["session_id"], sources, usage["total_tokens"] if usage else None)


def invoke(to: Connection) -> list[Told]:
    model = ChatMeibel(**to.settings)
    messages: list[BaseMessage] = []
    for question in to.questions:
        messages.append(HumanMessage(question))
        messages.append(model.invoke(messages))
    model.close()
    return [told_langchain(message) for message in messages[1::2]]


def stream(to: Connection) -> list[Told]:
    model = ChatMeibel(**to.settings)
    messages: list[BaseMessage] = []
    for question in to.questions:
        messages.append(HumanMessage(question))
        chunks: list[Any] = list(model.stream(messages))
        assert len([chunk for chunk in chunks if chunk.text]) > 1
        messages.append(sum(chunks[1:], chunks[0]))
    model.close()
    return [told_langchain(message) for message in messages[1::2]]


async def ainvoke(to: Connection) -> list[Told]:
    model = ChatMeibel(**to.settings)
    messages: list[BaseMessage] = []
    for question in to.questions:
        messages.append(HumanMessage(question))
        messages.append(await model.ainvoke(messages))
    await model.aclose()
    return [told_langchain(message) for message in messages[1::2]]


async def astream(to: Connection) -> list[Told]:
    model = ChatMeibel(**to.settings)
    messages: list[BaseMessage] = []
    for question in to.questions:
        messages.append(HumanMessage(question))
        chunks: list[Any] = [chunk async for chunk in model.astream(messages)]
        assert len([chunk for chunk in chunks if chunk.text]) > 1
        messages.append(sum(chunks[1:], chunks[0]))
    await model.aclose()
    return [told_langchain(message) for message in messages[1::2]]


def chat(to: Connection) -> list[Told]:
    engine = MeibelChatEngine.from_defaults(**to.settings)
    told = [told_llamaindex(engine.chat(question)) for question in to.questions]
    engine.close()
    return told


def stream_chat(to: Connection) -> list[Told]:
    engine = MeibelChatEngine.from_defaults(**to.settings)
    told = []
    for question in to.questions:
        response = engine.stream_chat(question)
        pieces = list(response.response_gen)
        assert len(pieces) > 1
        assert "".join(pieces) == str(response)
        told.append(told_llamaindex(response))
    engine.close()
    return told


async def achat(to: Connection) -> list[Told]:
    engine = MeibelChatEngine.from_defaults(**to.settings)
    told = [told_llamaindex(await engine.achat(question)) for question in to.questions]
    await engine.aclose()
    return told


async def astream_chat(to: Connection) -> list[Told]:
    engine = MeibelChatEngine.from_defaults(**to.settings)
    told = []
    for question in to.questions:
        response = await engine.astream_chat(question)
        pieces = [piece async for piece in response.async_response_gen()]
        assert len(pieces) > 1
        assert "".join(pieces) == str(response)
        told.append(told_llamaindex(response))
    await engine.aclose()
    return told


WAYS: list[Callable[[Connection], Any]] = [
    invoke,
    stream,
    ainvoke,
    astream,
    chat,
    stream_chat,
    achat,
    astream_chat,
]


def connection(cassette: Path, base_url: str) -> Connection:
    recorded = tape.read(cassette)["recorded"]
    return Connection(recorded["agent_id"], base_url, recorded["questions"])


def converse(way: Callable[[Connection], Any], to: Connection) -> list[Told]:
    answers = way(to)
    told = asyncio.run(answers) if asyncio.iscoroutine(answers) else answers
    assert isinstance(told, list)
    return told


def held(cassette: Path, base_url: str) -> tuple[str, list[str]]:
    """The recorded session and the answers that its recorded history holds."""
    to = connection(cassette, base_url)
    with tape.play(cassette, base_url), MeibelClient("another-key", base_url) as client:
        session = client.agents.create_session(to.agent_id)
        history = client.sessions.get_session_messages(session.id)
    return session.id, [message.message for message in history if message.role == "assistant"]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_a_conversation_replays_without_a_connection(
    way: Callable[[Connection], Any], cassette: Path, base_url: str, connections: list[Any]
) -> None:
    session_id, answers = held(cassette, base_url)
    to = connection(cassette, base_url)
    with tape.play(cassette, base_url) as played:
        told = converse(way, to)
    assert played.play_count == 1 + len(to.questions)  # one session, and a turn for each question
    assert connections == []
    assert [each.text for each in told] == answers
    assert {each.session_id for each in told} == {session_id}
    assert all(each.sources for each in told)


def test_all_ways_tell_the_same(cassette: Path, base_url: str, connections: list[Any]) -> None:
    """Whatever the framework and the way, one wire gives one answer."""
    told = []
    for way in WAYS:
        PROCESS_LEDGER.clear()
        with tape.play(cassette, base_url):
            told.append(converse(way, connection(cassette, base_url)))
    assert all(each == told[0] for each in told)
    assert connections == []


def test_the_local_conversation_cites_its_documents(base_url: str, connections: list[Any]) -> None:
    for cassette in sorted((tape.CASSETTES / "local").glob("*.yaml")):
        with tape.play(cassette, base_url):
            first, second = converse(invoke, connection(cassette, base_url))
        assert "41 metres" in first.text
        assert "1887" in second.text
        for told in (first, second):
            assert told.sources[0] == ("The lighthouse at Cape Ardent", "file:///documents/lighthouse.md")
            assert told.tokens
    assert connections == []


def test_a_whole_answer_is_the_streamed_one(cassette: Path, base_url: str, connections: list[Any]) -> None:
    """``/chat`` and ``/chat/stream`` are two forms of one reply; a live agent may word it anew."""
    to = connection(cassette, base_url)

    async def ask_again() -> str:
        async with AsyncMeibelClient("another-key", base_url) as client:
            await client.agents.create_session(to.agent_id)
            other = await client.agents.create_session(to.agent_id)
            reply = await client.sessions.send_chat_message(other.id, user_message=to.questions[0])
            return reply.message

    with tape.play(cassette, base_url):
        whole = asyncio.run(ask_again())
    assert whole
    if tape.read(cassette)["recorded"]["from"] == "local service":
        assert whole == held(cassette, base_url)[1][0]
    assert connections == []


def test_an_engine_shows_the_recorded_history(cassette: Path, base_url: str, connections: list[Any]) -> None:
    to = connection(cassette, base_url)
    session_id, answers = held(cassette, base_url)
    engine = MeibelChatEngine.from_defaults(session_id=session_id, **to.settings)
    with tape.play(cassette, base_url):
        history = engine.chat_history
    engine.close()
    assert [message.content for message in history if message.role == "user"] == list(to.questions)
    assert [message.content for message in history if message.role == "assistant"] == answers
    assert connections == []


def test_what_was_not_recorded_is_not_answered(cassette: Path, base_url: str, connections: list[Any]) -> None:
    to = connection(cassette, base_url)
    model = ChatMeibel(**to.settings)
    with tape.play(cassette, base_url), pytest.raises(CannotOverwriteExistingCassetteException):
        model.invoke("Something that nobody asked when this was recorded")
    model.close()
    assert connections == []
