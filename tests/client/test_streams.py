"""A stream in the caller's hands, over a server that says exactly these bytes."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable
from typing import Any

import pytest

from meibel_integrations import AsyncMeibelClient, MeibelClient, errors
from tests.support.servers import RawServer, event_stream, json_answer
from tests.support.wire_turns import DELTAS, TEXT, guide_turn, v2_turn

from .conftest import Client


@pytest.mark.parametrize("turn", [v2_turn, guide_turn], ids=["v2", "guide"])
def test_each_delta_is_there_before_the_server_goes_on(
    connect: Callable[..., Client], turn: Callable[[], list[bytes]]
) -> None:
    shown = [threading.Event() for _ in DELTAS]
    events = turn()
    first = next(i for i, e in enumerate(events) if DELTAS[0].encode() in e)
    script: list[Any] = [event_stream(), *events[:first]]
    for i, gate in enumerate(shown):
        script += [events[first + i], gate]
    script += events[first + len(shown) :]
    gates = iter(shown)

    with RawServer(script) as server:
        client = connect(base_url=server.base_url)
        seen = client.stream("s", user_message="hi", see=lambda e: next(gates).set() if e.type == "content" else None)
    assert [e.delta for e in seen if e.type == "content"] == DELTAS
    assert seen[-1].reply is not None
    assert seen[-1].reply.message == TEXT


def test_the_request_is_what_the_official_sdk_sends(connect: Callable[..., Client]) -> None:
    with RawServer([event_stream(), *v2_turn()]) as server:
        connect(base_url=server.base_url).stream("s", user_message="Grüße & mehr")
        (request,) = server.requests
    head, _, body = request.partition(b"\r\n\r\n")
    lines = {line.split(b":")[0].lower(): line for line in head.split(b"\r\n")}
    assert head.startswith(b"POST /v2/sessions/s/chat/stream HTTP/1.1\r\n")
    assert lines[b"meibel-api-key"].endswith(b" key-1")
    assert lines[b"accept"].endswith(b" text/event-stream")
    assert lines[b"content-type"].endswith(b" application/x-www-form-urlencoded")
    assert body == b"user_message=Gr%C3%BC%C3%9Fe+%26+mehr"


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (json_answer({"message": "no"}, 401), errors.AuthenticationError),
        (json_answer({"message": "no"}, 404), errors.NotFoundError),
        (b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 6\r\n\r\n<html>", errors.ProtocolError),
        (b"HTTP/1.1 302 Found\r\nlocation: http://x.test/\r\ncontent-length: 0\r\n\r\n", errors.RedirectError),
        (json_answer({"message": "no"}, 502), errors.TurnOutcomeUnknown),
    ],
    ids=["401", "404", "html", "redirect", "502"],
)
def test_a_refusal_raises_before_the_first_event(head: bytes, kind: type[Exception]) -> None:
    with RawServer([head], [head]) as server:
        with pytest.raises(kind) as caught:
            MeibelClient("key-1", server.base_url).sessions.send_chat_message_stream("s", user_message="hi")

        async def refused() -> None:
            async with AsyncMeibelClient("key-1", server.base_url) as client:
                await client.sessions.send_chat_message_stream("s", user_message="hi")

        with pytest.raises(kind):
            asyncio.run(refused())
        assert len(server.posts()) == 2
    assert "key-1" not in str(caught.value) + repr(caught.value)


def test_leaving_early_frees_the_connection(connect: Callable[..., Client]) -> None:
    class Enough(Exception):
        pass

    def leave(event: Any) -> None:
        if event.type == "content":
            raise Enough

    script: list[Any] = [event_stream(), *v2_turn()[:2], lambda c: c.wait_for_close()]
    with RawServer(*[list(script) for _ in range(5)]) as server:
        client = connect(base_url=server.base_url)
        for _ in range(5):
            with pytest.raises(Enough):
                client.stream("s", user_message="hi", see=leave)
        assert len(server.connections) == 5
        assert all(connection.gone.wait(5) for connection in server.connections)


def test_a_stream_that_is_dropped_closes_itself() -> None:
    def script() -> list[Any]:
        return [event_stream(), *v2_turn()[:2], lambda c: c.wait_for_close()]

    with RawServer(script(), script()) as server:
        stream = MeibelClient("key-1", server.base_url).sessions.send_chat_message_stream("s", user_message="hi")
        next(stream)
        del stream
        gc.collect()
        assert server.connections[0].gone.wait(5)

        async def drop() -> None:
            client = AsyncMeibelClient("key-1", server.base_url)
            stream = client.sessions.send_chat_message_stream("s", user_message="hi")
            await anext(stream)
            del stream
            gc.collect()
            while not server.connections[1].gone.is_set():
                await asyncio.sleep(0)
            await client.aclose()

        asyncio.run(asyncio.wait_for(drop(), 10))


def test_a_cancelled_task_closes_its_stream() -> None:
    async def cancel() -> None:
        reading = asyncio.Event()
        client = AsyncMeibelClient("key-1", server.base_url)

        async def read() -> None:
            async for event in client.sessions.send_chat_message_stream("s", user_message="hi"):
                if event.type == "content":
                    reading.set()

        task = asyncio.create_task(read())
        await reading.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(server.connections[0].gone.wait, 5)
        await client.aclose()

    with RawServer([event_stream(), *v2_turn()[:2], lambda c: c.wait_for_close()]) as server:
        asyncio.run(asyncio.wait_for(cancel(), 10))


def test_a_stream_that_is_cut_is_an_error_after_everything_that_arrived(connect: Callable[..., Client]) -> None:
    seen: list[str] = []
    with RawServer([event_stream(), *v2_turn()[:3]]) as server:
        with pytest.raises(errors.StreamInterrupted) as caught:
            connect(base_url=server.base_url).stream("s", user_message="hi", see=lambda e: seen.append(e.delta))
        assert len(server.posts()) == 1
    assert caught.value.signal_id == "sig-1"
    assert caught.value.partial_text == "".join(seen) == "Revenue grew."


def test_nobody_there_is_told_as_such_and_tried_again(connect: Callable[..., Client]) -> None:
    with RawServer() as server:
        base_url = server.base_url
    with pytest.raises(errors.NotSentError, match="Could not reach"):
        connect(base_url=base_url, max_retries=0).stream("s", user_message="hi")


def test_silence_is_an_error(connect: Callable[..., Client]) -> None:
    hold = threading.Event()
    with RawServer([event_stream(), *v2_turn()[:2], hold]) as server:
        client = connect(base_url=server.base_url, timeout=0.2)
        with pytest.raises(errors.StreamInterrupted) as caught:
            client.stream("s", user_message="hi")
        hold.set()
    assert isinstance(caught.value.cause, errors.ReadTimeoutError)
    assert caught.value.partial_text == DELTAS[0]


def test_the_total_limit_ends_a_stream_that_never_does(connect: Callable[..., Client]) -> None:
    from meibel_integrations.config import Timeouts

    def drip(connection: Any) -> None:
        while True:  # ends when the client has closed
            connection.socket.sendall(b": still here\n\n")
            threading.Event().wait(0.01)

    with RawServer([event_stream(), *v2_turn()[:2], drip]) as server:
        client = connect(base_url=server.base_url, timeout=Timeouts(total=0.3))
        with pytest.raises(errors.StreamInterrupted, match="total limit"):
            client.stream("s", user_message="hi")
