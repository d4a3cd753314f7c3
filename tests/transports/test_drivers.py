"""What the drivers promise to every flow, sync and async, over real sockets: one connection at a time, and an end."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from meibel_integrations import AsyncMeibelClient, MeibelClient
from meibel_integrations.ledgers.memory import MemoryLedger
from meibel_integrations.models import DoneEvent
from meibel_integrations.protocol.commands import READ, Call, Emit, Flow, Send, WhenLeft
from meibel_integrations.protocol.requests import Request
from tests.support import fault_wire as wire
from tests.support.asking import KEY, active_connections
from tests.support.fault_wire import QUESTION, TURN
from tests.support.servers import RawServer, event_stream, json_answer

ONE = httpx.Limits(max_connections=1)
POST = Request("POST", "/x")


def with_clients(
    server: RawServer, use: Callable[[MeibelClient], Any], ause: Callable[[AsyncMeibelClient], Any]
) -> None:
    """Both clients, one after the other, each with a pool of a single connection."""
    options: Any = {"base_url": server.base_url, "timeout": 5}
    with (
        httpx.Client(limits=ONE, trust_env=False, verify=False) as http,
        MeibelClient(KEY, http_client=http, **options) as client,
    ):
        use(client)
        assert active_connections(client) == 0

    async def run() -> None:
        async with (
            httpx.AsyncClient(limits=ONE, trust_env=False, verify=False) as http,
            AsyncMeibelClient(KEY, http_client=http, **options) as client,
        ):
            await ause(client)
            assert active_connections(client) == 0

    asyncio.run(run())


def test_a_second_request_gives_the_first_ones_connection_up() -> None:
    def twice() -> Flow[bytes]:
        yield Send(POST)
        yield READ
        yield Send(POST)
        found: bytes = yield READ
        return found

    scripts: list[Any] = [[event_stream(), *TURN[:2], wire.quiet], [json_answer("second")]] * 2
    with RawServer(*scripts) as server:

        async def ause(client: AsyncMeibelClient) -> None:
            assert await client.run_flow(twice()) == b'"second"'

        with_clients(server, lambda client: client.run_flow(twice()), ause)
        assert len(server.posts()) == 4


def test_whoever_keeps_the_last_event_keeps_no_connection() -> None:
    """The caller has seen ``done`` and holds the stream, neither read to its end nor closed."""
    scripts: list[Any] = [[event_stream(), *TURN, wire.quiet], [json_answer(wire.WHOLE)]] * 2
    with RawServer(*scripts) as server:

        def use(client: MeibelClient) -> None:
            stream = client.sessions.send_chat_message_stream("s1", user_message=QUESTION)
            while not isinstance(next(stream), DoneEvent):
                continue
            assert active_connections(client) == 0
            assert client.sessions.send_chat_message("s1", user_message=QUESTION).message == wire.TEXT
            assert stream.reply is not None

        async def ause(client: AsyncMeibelClient) -> None:
            stream = client.sessions.send_chat_message_stream("s1", user_message=QUESTION)
            while not isinstance(await anext(stream), DoneEvent):
                continue
            assert active_connections(client) == 0
            assert (await client.sessions.send_chat_message("s1", user_message=QUESTION)).message == wire.TEXT
            assert stream.reply is not None
            await stream.aclose()

        with_clients(server, use, ause)


class Left(Exception):
    pass


def leaving(seen: list[str]) -> Flow[str]:
    """A flow that names what is done when it is left, and then ends by itself."""
    try:
        yield WhenLeft(Call(lambda: seen.append("left")))
        yield Emit("one")
        return "end"
    finally:
        seen.append("closed")


def test_what_is_named_for_leaving_is_done_then_and_only_then() -> None:
    with RawServer() as server:

        def use(client: MeibelClient) -> None:
            seen: list[str] = []
            assert list(client.iterate_flow(leaving(seen))) == ["one"]
            assert seen == ["closed"], "a flow that ended was not left"
            seen.clear()
            events = client.iterate_flow(leaving(seen))
            assert next(events) == "one"
            del events
            gc.collect()
            assert seen == ["closed", "left"]

        async def ause(client: AsyncMeibelClient) -> None:
            seen: list[str] = []
            assert [event async for event in client.iterate_flow(leaving(seen))] == ["one"]
            assert await client.run_flow(leaving(seen)) == "end"
            assert seen == ["closed", "closed"]
            seen.clear()
            events = client.iterate_flow(leaving(seen))
            assert await anext(events) == "one"
            await events.aclose()
            assert seen == ["closed", "left"]

        with_clients(server, use, ause)


def test_the_name_can_be_taken_back() -> None:
    seen: list[str] = []

    def flow() -> Flow[None]:
        yield WhenLeft(Call(lambda: seen.append("left")))
        yield WhenLeft(None)
        yield Emit("one")

    with RawServer() as server, MeibelClient(KEY, server.base_url) as client:
        events: Any = client.iterate_flow(flow())
        next(events)
        events.close()
    assert seen == []


@pytest.mark.parametrize("how", ["close", "raise", "drop"])
def test_a_stream_that_is_left_is_noted_in_the_ledger(how: str) -> None:
    ledger = MemoryLedger()
    with (
        RawServer([event_stream(), *TURN[:3], wire.quiet]) as server,
        MeibelClient(KEY, server.base_url, ledger=ledger) as client,
    ):
        entry = client.book.entry("s1")
        stream = client.sessions.send_chat_message_stream("s1", user_message=QUESTION)
        next(stream)
        mark = client.run_flow(entry.read()).mark
        assert mark is not None
        assert mark.open
        if how == "close":
            stream.close()
        elif how == "raise":
            with pytest.raises(Left), stream:
                raise Left
        del stream
        gc.collect()
        left = client.run_flow(entry.read()).mark
    assert left is not None
    assert (left.id, left.open) == (mark.id, False), "the turn goes on, its stream does not"


async def test_a_cancelled_task_is_noted_in_the_ledger() -> None:
    ledger = MemoryLedger()
    with RawServer([event_stream(), *TURN[:3], wire.quiet]) as server:
        async with AsyncMeibelClient(KEY, server.base_url, ledger=ledger) as client:
            reading = asyncio.Event()

            async def read() -> None:
                async for _ in client.sessions.send_chat_message_stream("s1", user_message=QUESTION):
                    reading.set()

            task = asyncio.create_task(read())
            await reading.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            left = (await client.run_flow(client.book.entry("s1").read())).mark
    assert left is not None
    assert not left.open
