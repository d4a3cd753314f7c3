"""Every way to ask: three libraries, sync and async, the whole answer or a stream of it."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from meibel_integrations import AsyncMeibelClient, MeibelClient, errors
from meibel_integrations.langchain import ChatMeibel
from meibel_integrations.llamaindex import MeibelChatEngine
from meibel_integrations.transports.pools import AsyncPool, SyncPool
from tests.support.fault_wire import QUESTION, TEXT

__all__ = ["KEY", "WAYS", "Told", "Way", "active_connections", "check", "shown_of"]

KEY = "key-5ecret-do-not-tell"


@dataclass
class Told:
    """What the user of one call saw: the pieces of a stream, and the whole answer or an error."""

    pieces: list[str] = field(default_factory=list)
    text: str | None = None
    recovered: bool | None = None
    error: Exception | None = None


def shown_of(error: BaseException | None) -> str:
    """All that an error, its causes and its attributes say."""
    seen: list[BaseException] = []
    waiting = [error]
    while waiting:
        each = waiting.pop()
        if each is None or any(each is other for other in seen):
            continue
        seen.append(each)
        waiting += [each.__cause__, each.__context__, getattr(each, "cause", None)]
    if error is None:
        return ""
    said = [f"{each} {each!r} {each.args!r} {vars(each)!r}" for each in seen]
    return "\n".join([*said, *traceback.format_exception(error)])


def check(told: Told, expected: type[Exception] | bool, *, streamed: bool) -> None:
    """Whether the user of one call saw the whole answer once, recovered or not; or this error, with what is known."""
    if isinstance(expected, bool):
        assert told.error is None, shown_of(told.error)
        assert (told.text, told.recovered) == (TEXT, expected)
        if streamed:
            assert "".join(told.pieces) == TEXT
        return
    assert isinstance(told.error, expected), shown_of(told.error)
    assert told.text is None
    if isinstance(told.error, errors.TurnError):
        assert told.error.session_id == "s1"
        assert told.error.phase
        assert TEXT.startswith(told.error.partial_text)
        if streamed:
            assert "".join(told.pieces) == told.error.partial_text


def active_connections(client: MeibelClient | AsyncMeibelClient) -> int:
    """Connections of the client's pool that are in use."""
    transport: Any = client._transport
    if isinstance(transport, AsyncPool):
        transports: list[Any] = [bound.transport for bound in transport._by_loop.values()]
    elif isinstance(transport, SyncPool):
        transports = [transport._transport]
    else:
        transports = [transport]
    clients = [each._client for each in transports if each is not None]
    pools = [each._transport._pool for each in clients]
    return sum(not (c.is_idle() or c.is_closed()) for pool in pools for c in pool.connections)


@dataclass(frozen=True)
class Way:
    """``ask(client, told)`` creates a session, asks in it, and notes what it sees."""

    library: str
    streamed: bool
    asynchronous: bool
    ask: Callable[[Any, Told], Any]

    def __str__(self) -> str:
        return "-".join(
            (self.library, "async" if self.asynchronous else "sync", "stream" if self.streamed else "whole")
        )

    @property
    def whole_wire(self) -> bool:
        """Whether the answer is asked for as one JSON document; the adapters always read the stream."""
        return self.library == "client" and not self.streamed

    @contextmanager
    def client(self, **options: Any) -> Iterator[Callable[[], Told]]:
        """A function that asks once, with a client that is closed at the end; its ``client`` is that."""
        if self.asynchronous:
            with asyncio.Runner() as runner:
                client: Any = AsyncMeibelClient(KEY, **options)
                yield _asker(lambda told: runner.run(self.ask(client, told)), client)
                runner.run(client.aclose())
        else:
            with MeibelClient(KEY, **options) as client:
                yield _asker(lambda told: self.ask(client, told), client)


def _asker(ask: Callable[[Told], Any], client: Any) -> Callable[[], Told]:
    def asked() -> Told:
        told = Told()
        try:
            ask(told)
        except Exception as error:  # noqa: BLE001 - what it is, is what the tests look at
            told.error = error
        return told

    asked.client = client  # type: ignore[attr-defined]
    return asked


# The plain client


def _client_whole(client: MeibelClient, told: Told) -> None:
    session = client.agents.create_session("a1")
    reply = client.sessions.send_chat_message(session.id, user_message=QUESTION)
    told.text, told.recovered = reply.message, reply.recovered


async def _client_whole_async(client: AsyncMeibelClient, told: Told) -> None:
    session = await client.agents.create_session("a1")
    reply = await client.sessions.send_chat_message(session.id, user_message=QUESTION)
    told.text, told.recovered = reply.message, reply.recovered


def _note(told: Told, event: Any) -> None:
    if event.type == "content":
        told.pieces.append(event.delta)
    if event.reply is not None:
        assert told.text is None
        told.text, told.recovered = event.reply.message, event.reply.recovered


def _client_stream(client: MeibelClient, told: Told) -> None:
    session = client.agents.create_session("a1")
    with client.sessions.send_chat_message_stream(session.id, user_message=QUESTION) as events:
        for event in events:
            _note(told, event)


async def _client_stream_async(client: AsyncMeibelClient, told: Told) -> None:
    session = await client.agents.create_session("a1")
    async with client.sessions.send_chat_message_stream(session.id, user_message=QUESTION) as events:
        async for event in events:
            _note(told, event)


# LangChain


def _model(client: Any) -> ChatMeibel:
    which = "async_client" if isinstance(client, AsyncMeibelClient) else "client"
    return ChatMeibel(agent_id="a1", **{which: client})


def _take(told: Told, message: Any) -> None:
    told.text, told.recovered = str(message.content), message.response_metadata["recovered"]


def _langchain_whole(client: MeibelClient, told: Told) -> None:
    _take(told, _model(client).invoke(QUESTION))


async def _langchain_whole_async(client: AsyncMeibelClient, told: Told) -> None:
    _take(told, await _model(client).ainvoke(QUESTION))


def _langchain_stream(client: MeibelClient, told: Told) -> None:
    whole: Any = None
    for chunk in _model(client).stream(QUESTION):
        told.pieces.append(str(chunk.content))
        whole = chunk if whole is None else whole + chunk
    _take(told, whole)


async def _langchain_stream_async(client: AsyncMeibelClient, told: Told) -> None:
    whole: Any = None
    async for chunk in _model(client).astream(QUESTION):
        told.pieces.append(str(chunk.content))
        whole = chunk if whole is None else whole + chunk
    _take(told, whole)


# LlamaIndex


def _engine(client: Any) -> MeibelChatEngine:
    which = "async_client" if isinstance(client, AsyncMeibelClient) else "client"
    return MeibelChatEngine("a1", **{which: client})


def _keep(told: Told, response: Any) -> None:
    told.text, told.recovered = str(response), response.metadata["recovered"]


def _llamaindex_whole(client: MeibelClient, told: Told) -> None:
    _keep(told, _engine(client).chat(QUESTION))


async def _llamaindex_whole_async(client: AsyncMeibelClient, told: Told) -> None:
    _keep(told, await _engine(client).achat(QUESTION))


def _llamaindex_stream(client: MeibelClient, told: Told) -> None:
    response = _engine(client).stream_chat(QUESTION)
    for piece in response.response_gen:
        told.pieces.append(piece)
    _keep(told, response)


async def _llamaindex_stream_async(client: AsyncMeibelClient, told: Told) -> None:
    response = await _engine(client).astream_chat(QUESTION)
    async for piece in response.async_response_gen():
        told.pieces.append(piece)
    _keep(told, response)


WAYS = [
    Way("client", False, False, _client_whole),
    Way("client", False, True, _client_whole_async),
    Way("client", True, False, _client_stream),
    Way("client", True, True, _client_stream_async),
    Way("langchain", False, False, _langchain_whole),
    Way("langchain", False, True, _langchain_whole_async),
    Way("langchain", True, False, _langchain_stream),
    Way("langchain", True, True, _langchain_stream_async),
    Way("llamaindex", False, False, _llamaindex_whole),
    Way("llamaindex", False, True, _llamaindex_whole_async),
    Way("llamaindex", True, False, _llamaindex_stream),
    Way("llamaindex", True, True, _llamaindex_stream_async),
]
