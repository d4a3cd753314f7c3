"""Leaving an answer before its end frees the connection, however it is left, and the server sees the reader go."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing, closing
from typing import Any

import httpx
import pytest

from meibel_integrations import AsyncMeibelClient, MeibelClient
from meibel_integrations.langchain import ChatMeibel
from meibel_integrations.llamaindex import MeibelChatEngine
from tests.support import fault_wire as wire
from tests.support.asking import KEY, active_connections
from tests.support.fault_wire import CONNECTED, QUESTION, SESSION, delta
from tests.support.servers import RawServer, Step, event_stream

EXITS, MORE_THAN_FIT, CONNECTIONS = 100, 8, 3
LIMITS = httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS)


class PausedServer(RawServer):
    """Every answer stops behind its second piece until the reader has gone."""

    def _next(self, request: bytes) -> list[Step]:
        if request.split(b" ")[1].endswith(b"/sessions"):
            return [SESSION]
        if request.startswith(b"POST "):
            return [event_stream(), CONNECTED, delta("one "), delta("two "), wire.quiet]
        return super()._next(request)


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.001)


async def auntil(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


def turns_left(server: RawServer) -> int:
    """How many streams the server has seen the end of."""
    return sum(c.gone.is_set() for c in server.connections if any(b"/chat/stream" in r for r in c.requests))


# How to leave, in each library. What is given is a client; each opens a conversation of its own.


def client_close(client: MeibelClient) -> None:
    stream = client.sessions.send_chat_message_stream(client.agents.create_session("a1").id, user_message=QUESTION)
    next(stream)
    stream.close()
    stream.close()


def client_break(client: MeibelClient) -> None:
    session = client.agents.create_session("a1")
    for event in client.sessions.send_chat_message_stream(session.id, user_message=QUESTION):
        if event.type == "content":
            break


def client_with(client: MeibelClient) -> None:
    session = client.agents.create_session("a1")
    with client.sessions.send_chat_message_stream(session.id, user_message=QUESTION):
        pass


def client_raise(client: MeibelClient) -> None:
    session = client.agents.create_session("a1")
    with (
        contextlib.suppress(ZeroDivisionError),
        client.sessions.send_chat_message_stream(session.id, user_message=QUESTION) as events,
    ):
        for _ in events:
            raise ZeroDivisionError


def client_drop(client: MeibelClient) -> None:
    session = client.agents.create_session("a1")
    stream = client.sessions.send_chat_message_stream(session.id, user_message=QUESTION)
    next(stream)
    cycle: list[Any] = [stream]
    cycle.append(cycle)
    del stream, cycle
    gc.collect()


def langchain_break(client: MeibelClient) -> None:
    for _ in ChatMeibel(agent_id="a1", client=client, partials="delta").stream(QUESTION):
        break


def langchain_close(client: MeibelClient) -> None:
    with closing(ChatMeibel(agent_id="a1", client=client, partials="delta").stream(QUESTION)) as chunks:  # type: ignore[type-var]
        next(chunks)


def langchain_drop(client: MeibelClient) -> None:
    chunks = ChatMeibel(agent_id="a1", client=client, partials="delta").stream(QUESTION)
    next(chunks)
    cycle: list[Any] = [chunks]
    cycle.append(cycle)
    del chunks, cycle
    gc.collect()


def _engine(**clients: Any) -> MeibelChatEngine:
    return MeibelChatEngine("a1", partials="delta", **clients)


def llamaindex_close(client: MeibelClient) -> None:
    _engine(client=client).stream_chat(QUESTION).close()


def llamaindex_break(client: MeibelClient) -> None:
    for _ in _engine(client=client).stream_chat(QUESTION).response_gen:
        break


def llamaindex_drop(client: MeibelClient) -> None:
    response = _engine(client=client).stream_chat(QUESTION)
    next(response.response_gen)
    cycle: list[Any] = [response]
    cycle.append(cycle)
    del response, cycle
    gc.collect()


LEAVING = [
    client_close,
    client_break,
    client_with,
    client_raise,
    client_drop,
    langchain_break,
    langchain_close,
    langchain_drop,
    llamaindex_close,
    llamaindex_break,
    llamaindex_drop,
]


@pytest.mark.parametrize("leave", LEAVING)
def test_leaving_frees_the_connection(leave: Callable[[MeibelClient], None]) -> None:
    with (
        PausedServer() as server,
        httpx.Client(limits=LIMITS, trust_env=False, verify=False) as http,
        MeibelClient(KEY, server.base_url, http_client=http, timeout=5) as client,
    ):
        count = EXITS if "break" in leave.__name__ else MORE_THAN_FIT
        for _ in range(count):
            leave(client)
            assert active_connections(client) == 0
        until(lambda: turns_left(server) == count)
        assert len(server.posts("/chat/stream")) == count


# The same, async


async def aclient_close(client: AsyncMeibelClient) -> None:
    session = await client.agents.create_session("a1")
    stream = await client.sessions.send_chat_message_stream(session.id, user_message=QUESTION)
    await anext(stream)
    await stream.aclose()
    await stream.aclose()


async def aclient_break(client: AsyncMeibelClient) -> None:
    session = await client.agents.create_session("a1")
    async for event in client.sessions.send_chat_message_stream(session.id, user_message=QUESTION):
        if event.type == "content":
            break


async def aclient_with(client: AsyncMeibelClient) -> None:
    session = await client.agents.create_session("a1")
    async with client.sessions.send_chat_message_stream(session.id, user_message=QUESTION) as events:
        await anext(events)


async def aclient_drop(client: AsyncMeibelClient) -> None:
    session = await client.agents.create_session("a1")
    stream = client.sessions.send_chat_message_stream(session.id, user_message=QUESTION)
    await anext(stream)
    del stream
    gc.collect()


async def _cancelled(reading: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    read = asyncio.Event()
    task = asyncio.ensure_future(reading(read))
    await read.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def aclient_cancel(client: AsyncMeibelClient) -> None:
    session = await client.agents.create_session("a1")

    async def reading(read: asyncio.Event) -> None:
        async for _ in client.sessions.send_chat_message_stream(session.id, user_message=QUESTION):
            read.set()

    await _cancelled(reading)


async def aclient_timeout(client: AsyncMeibelClient) -> None:
    session = await client.agents.create_session("a1")
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.02):
            async for _ in client.sessions.send_chat_message_stream(session.id, user_message=QUESTION):
                continue


async def alangchain_break(client: AsyncMeibelClient) -> None:
    async for _ in ChatMeibel(agent_id="a1", async_client=client, partials="delta").astream(QUESTION):
        break


async def alangchain_aclose(client: AsyncMeibelClient) -> None:
    chunks: Any = ChatMeibel(agent_id="a1", async_client=client, partials="delta").astream(QUESTION)
    async with aclosing(chunks):
        await anext(chunks)


async def alangchain_cancel(client: AsyncMeibelClient) -> None:
    async def reading(read: asyncio.Event) -> None:
        async for _ in ChatMeibel(agent_id="a1", async_client=client, partials="delta").astream(QUESTION):
            read.set()

    await _cancelled(reading)


async def allamaindex_aclose(client: AsyncMeibelClient) -> None:
    await (await _engine(async_client=client).astream_chat(QUESTION)).aclose()


async def allamaindex_break(client: AsyncMeibelClient) -> None:
    async for _ in (await _engine(async_client=client).astream_chat(QUESTION)).async_response_gen():
        break


async def allamaindex_drop(client: AsyncMeibelClient) -> None:
    response = await _engine(async_client=client).astream_chat(QUESTION)
    await anext(response.async_response_gen())
    del response
    gc.collect()


async def allamaindex_cancel(client: AsyncMeibelClient) -> None:
    async def reading(read: asyncio.Event) -> None:
        response = await _engine(async_client=client).astream_chat(QUESTION)
        async for _ in response.async_response_gen():
            read.set()

    await _cancelled(reading)


ALEAVING = [
    aclient_close,
    aclient_break,
    aclient_with,
    aclient_drop,
    aclient_cancel,
    aclient_timeout,
    alangchain_break,
    alangchain_aclose,
    alangchain_cancel,
    allamaindex_aclose,
    allamaindex_break,
    allamaindex_drop,
    allamaindex_cancel,
]


@pytest.mark.parametrize("leave", ALEAVING)
async def test_leaving_frees_the_connection_async(leave: Callable[[AsyncMeibelClient], Awaitable[None]]) -> None:
    count = EXITS if leave.__name__.endswith(("break", "cancel")) else MORE_THAN_FIT
    with PausedServer() as server:
        async with (
            httpx.AsyncClient(limits=LIMITS, trust_env=False, verify=False) as http,
            AsyncMeibelClient(KEY, server.base_url, http_client=http, timeout=5) as client,
        ):
            for _ in range(count):
                await leave(client)
                # A loop that was left by break is closed some rounds later.
                await auntil(lambda: active_connections(client) == 0)
            await auntil(lambda: turns_left(server) == count)
            assert len(server.posts("/chat/stream")) == count


@pytest.mark.parametrize("library", ["client", "langchain", "llamaindex"])
async def test_cancelling_a_whole_answer_frees_the_connection(library: str) -> None:
    async def ask(client: AsyncMeibelClient) -> None:
        if library == "client":
            session = await client.agents.create_session("a1")
            await client.sessions.send_chat_message(session.id, user_message=QUESTION)
        elif library == "langchain":
            await ChatMeibel(agent_id="a1", async_client=client).ainvoke(QUESTION)
        else:
            await _engine(async_client=client).achat(QUESTION)

    with PausedServer() as server:
        async with (
            httpx.AsyncClient(limits=LIMITS, trust_env=False, verify=False) as http,
            AsyncMeibelClient(KEY, server.base_url, http_client=http, timeout=5) as client,
        ):
            for count in range(1, MORE_THAN_FIT + 1):
                asking = asyncio.ensure_future(ask(client))
                await auntil(lambda count=count: len(server.requests) == 2 * count)
                asking.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await asking
                await auntil(lambda: active_connections(client) == 0)
            await auntil(lambda: all(c.gone.is_set() for c in server.connections))


@pytest.mark.parametrize("rounds", [0, 1, 2, 3, 5, 8, 13, 21])
async def test_cancelling_at_any_moment_frees_the_connection(rounds: int) -> None:
    """The moment when a connection has just been made is one that httpcore forgets it in."""
    with PausedServer() as server:
        async with (
            httpx.AsyncClient(limits=LIMITS, trust_env=False, verify=False) as http,
            AsyncMeibelClient(KEY, server.base_url, http_client=http, timeout=5) as client,
        ):
            for _ in range(EXITS):
                asking = asyncio.ensure_future(client.sessions.send_chat_message("s1", user_message=QUESTION))
                await auntil(lambda: active_connections(client) > 0)
                for _ in range(rounds):
                    await asyncio.sleep(0)
                asking.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await asking
                await auntil(lambda: active_connections(client) == 0)


@pytest.mark.parametrize("library", ["client", "langchain", "llamaindex"])
def test_the_end_of_the_event_loop_closes_what_is_open(library: str) -> None:
    kept: list[Any] = []

    async def open_and_leave() -> None:
        client = AsyncMeibelClient(KEY, server.base_url)
        if library == "client":
            session = await client.agents.create_session("a1")
            stream: Any = client.sessions.send_chat_message_stream(session.id, user_message=QUESTION)
        elif library == "langchain":
            stream = ChatMeibel(agent_id="a1", async_client=client, partials="delta").astream(QUESTION)
        else:
            stream = (await _engine(async_client=client).astream_chat(QUESTION)).async_response_gen()
        await anext(stream)
        kept.append((client, stream))

    with PausedServer() as server:
        asyncio.run(open_and_leave())
        until(lambda: turns_left(server) == 1)
        until(lambda: all(c.gone.is_set() for c in server.connections))


def test_a_client_that_is_closed_leaves_its_open_stream_alone() -> None:
    """And the pool closes with that stream, although the caller keeps both."""
    with PausedServer() as server:
        client = MeibelClient(KEY, server.base_url)
        stream = client.sessions.send_chat_message_stream(client.agents.create_session("a1").id, user_message=QUESTION)
        client.close()
        assert next(stream).type == "connected"
        assert not server.connections[0].gone.is_set()
        stream.close()
        until(lambda: all(c.gone.is_set() for c in server.connections))


def test_an_error_that_is_kept_keeps_no_connection() -> None:
    with PausedServer() as server:
        with MeibelClient(KEY, server.base_url) as client:
            session = client.agents.create_session("a1")
            with pytest.raises(Exception, match="no history") as caught:
                client.sessions.get_session_messages(session.id)
        until(lambda: all(c.gone.is_set() for c in server.connections))
        with MeibelClient(KEY, server.base_url) as again:
            assert again.agents.create_session("a1").id == "s1"
        del caught
