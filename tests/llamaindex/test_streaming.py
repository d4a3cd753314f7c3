"""Streams are pulled: pieces come when they come, nothing is lost before an error, and leaving early leaves nothing."""

from __future__ import annotations

import asyncio
import gc
import inspect
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import pytest
from llama_index.core.base.llms.types import ChatMessage

from meibel_integrations import errors
from meibel_integrations.llamaindex import HostedStreamingResponse
from meibel_integrations.llamaindex.chat_engine import HostedChatEngine
from meibel_integrations.local import Delta, Pause, Step
from tests.support.hosted import ONE_OF_EACH, WIRES, Wire, only
from tests.support.servers import RawServer, event_stream, json_answer

from .service import CITED, CITED_TEXT, Service, kind_of


def paused(service: Service, *answers: Any) -> threading.Event:
    """Starts a service whose first answer stops behind its first piece until the event is set."""
    go_on = threading.Event()
    service.start([[Delta("one "), Pause(go_on), Delta("two "), Delta("three")], *(answers or ["An answer."])])
    return go_on


def broken(*pieces: str) -> Any:
    def script(_: Any) -> Iterator[Step]:
        yield from map(Delta, pieces)
        raise RuntimeError("the model fell over")

    return script


def until_history_is_read(service: Service) -> None:
    """Returns when somebody has asked what the session holds."""
    deadline = time.monotonic() + 10
    while "read" not in service.requests():
        assert time.monotonic() < deadline
        time.sleep(0.005)


# Tokens really stream


def test_the_first_piece_arrives_before_the_second_is_made(service: Service) -> None:
    go_on = paused(service)
    response = service.engine().stream_chat("1?")
    shown = []
    for piece in response.response_gen:
        shown.append(piece)
        assert not response.is_done
        assert response.source_nodes == []
        go_on.set()
    assert shown == ["one ", "two ", "three"]
    assert response.is_done
    assert response.response == response.unformatted_response == str(response) == "one two three"


async def test_the_first_piece_arrives_before_the_second_is_made_async(service: Service) -> None:
    go_on = paused(service)
    async with service.engine() as engine:
        response = await engine.astream_chat("1?")
        shown = []
        async for piece in response.async_response_gen():
            shown.append(piece)
            assert str(response) == "".join(shown)
            go_on.set()
        assert shown == ["one ", "two ", "three"]
        assert response.is_done
        assert str(response) == "one two three"


def test_lists_are_filled_in_place(service: Service) -> None:
    service.start([CITED])
    engine = service.engine(include_tool_activity=True)
    response = engine.stream_chat("1?")
    nodes, tools, citations, metadata = response.source_nodes, response.sources, response.citations, response.metadata
    assert metadata["session_id"] == engine.session_id is not None
    for _ in response.response_gen:
        continue
    assert (len(nodes), len(tools), len(citations)) == ((3, 2, 0) if service.hosted.is_cloud else (3, 1, 3))
    assert response.source_nodes is nodes
    assert response.metadata is metadata
    assert metadata["continuity"] == "new"
    assert response.chat_stream is None
    assert response.achat_stream is None


def test_str_reads_the_rest(service: Service) -> None:
    service.start([CITED])
    response = service.engine().stream_chat("1?")
    pieces = response.response_gen
    assert next(pieces) == "Herons "
    assert str(response) == CITED_TEXT
    assert list(pieces) == []
    assert len(response.source_nodes) == 3


def test_who_stops_reading_reads_on_where_it_stopped(service: Service) -> None:
    service.start([CITED])

    async def read() -> list[str]:
        async with service.engine() as engine:
            response = await engine.astream_chat("1?")
            assert inspect.isasyncgen(response.async_response_gen())
            read = [await anext(response.async_response_gen())]
            async for piece in response.async_response_gen():
                read.append(piece)
                break
            return read + [piece async for piece in response.async_response_gen()]

    response = service.engine().stream_chat("1?")
    first = next(response.response_gen)
    for piece in response.response_gen:
        second = piece
        break
    expected = ["Herons ", "wait. ", "Then they strike."]
    assert [first, second, *response.response_gen] == asyncio.run(read()) == expected
    assert response.response == CITED_TEXT
    one = service.engine().stream_chat("2?")
    pieces = list(islice(one.response_gen, 3))
    assert list(one.response_gen) == [], "all of it was read"
    assert "".join(pieces) == CITED_TEXT


def test_events_and_drain(service: Service) -> None:
    service.start([CITED])

    async def read() -> tuple[list[str], HostedStreamingResponse]:
        async with service.engine(include_thinking=True, include_tool_activity=True) as engine:
            response = await engine.astream_chat("1?")
            kinds = [event.type async for event in response.aevents()]
            return kinds, await (await engine.astream_chat("2?")).adrain()

    engine = service.engine(include_thinking=True, include_tool_activity=True)
    response = engine.stream_chat("1?")
    events = list(response.events())
    kinds, drained = asyncio.run(read())
    assert [event.type for event in events] == kinds
    assert {"thinking", "tool_call", "tool_result", "content", "citations", "done"} <= set(kinds)
    assert events[-1].reply.message == response.response == CITED_TEXT
    assert [event.type for event in response.events()] == ["done"]
    assert drained.response == engine.stream_chat("2?").drain().response == CITED_TEXT
    assert len(drained.source_nodes) == 3


@only("llamacloud", because="Meibel's wire tells sources with the text, not with a tool's result")
def test_sources_come_when_they_are_on_the_wire(service: Service) -> None:
    service.start([CITED])
    response = service.engine(include_tool_activity=True).stream_chat("1?")
    nodes, tools = response.source_nodes, response.sources
    assert next(response.response_gen) == "Herons "
    early = list(nodes)
    assert tools
    response.drain()
    assert len(nodes) == 3
    assert nodes[: len(early)] == early


def test_reading_again_replays(service: Service) -> None:
    service.start([CITED])

    async def read() -> list[list[str]]:
        async with service.engine() as engine:
            response = await engine.astream_chat("1?")
            return [[piece async for piece in response.async_response_gen()] for _ in range(2)]

    response = service.engine().stream_chat("1?")
    for first, second in ([list(response.response_gen), list(response.response_gen)], asyncio.run(read())):
        assert "".join(first) == CITED_TEXT
        assert len(first) == 3
        assert second == [CITED_TEXT]


def test_a_stream_may_be_read_from_several_threads(service: Service) -> None:
    service.start([CITED])
    pieces = iter(service.engine().stream_chat("1?").response_gen)
    read = []
    while True:
        with ThreadPoolExecutor(1) as thread:
            piece = thread.submit(next, pieces, None).result()
        if piece is None:
            break
        read.append(piece)
    assert "".join(read) == CITED_TEXT


async def test_the_wrong_kind_of_reading_says_so(service: Service) -> None:
    service.start([CITED])
    engine = service.engine()
    with engine.stream_chat("1?") as response, pytest.raises(RuntimeError, match="response_gen"):
        await anext(response.async_response_gen())
    async with engine, await engine.astream_chat("2?") as response:
        with pytest.raises(RuntimeError, match="async_response_gen"):
            next(response.response_gen)
        with pytest.raises(RuntimeError, match="aclose"):
            response.close()


def test_no_thread_is_started(service: Service) -> None:
    go_on = paused(service)
    engine = service.engine()
    before = set(threading.enumerate())
    response = engine.stream_chat("1?")
    next(pieces := response.response_gen)
    assert {t for t in set(threading.enumerate()) - before if not t.name.startswith("meibel-")} == set()
    go_on.set()
    list(pieces)


# Errors


def test_all_pieces_before_an_error_are_delivered(service: Service) -> None:
    service.start([broken("one ", "two ")])
    engine = service.engine()
    response = engine.stream_chat("1?")
    read: list[str] = []
    with pytest.raises(errors.AgentTurnError, match="fell over") as caught:
        read.extend(response.response_gen)
    assert read == ["one ", "two "]
    assert response.exception is caught.value
    assert response.is_done
    assert str(response) == caught.value.partial_text == "one two "
    with pytest.raises(errors.AgentTurnError):
        next(response.response_gen)
    with pytest.raises(errors.AgentTurnError):
        engine.chat("2?")
    assert service.asked(engine.session_id) == ["1?", "2?"]


async def test_all_pieces_before_an_error_are_delivered_async(service: Service) -> None:
    service.start([broken("one ", "two ")])
    async with service.engine() as engine:
        response = await engine.astream_chat("1?")
        read: list[str] = []

        async def collect() -> None:
            async for piece in response.async_response_gen():
                read.append(piece)  # noqa: PERF401 - what came before the error counts

        with pytest.raises(errors.AgentTurnError, match="fell over"):
            await collect()
        assert read == ["one ", "two "]
        assert response.is_done
        with pytest.raises(errors.AgentTurnError):
            await engine.achat("2?")


SESSION = json_answer({"session_id": "s1"})


@pytest.fixture(params=ONE_OF_EACH)
def wire(request: pytest.FixtureRequest) -> Wire:
    return WIRES[request.param]


def over(wire: Wire, server: RawServer, **settings: Any) -> HostedChatEngine:
    """An engine whose service is these bytes."""
    settings = {"api_key": "k", "base_url": server.base_url, "partials": "delta", **wire.agent, **settings}
    return kind_of(wire.service)(**settings)  # type: ignore[no-any-return]


@pytest.mark.parametrize("ending", ["close", "reset"])
def test_a_stream_that_is_cut_and_left_no_trace_is_an_error(wire: Wire, ending: str) -> None:
    both = threading.Event()
    cut = [both, lambda connection: connection.reset()] if ending == "reset" else []
    script = [event_stream(), wire.delta("one "), wire.delta("two "), *cut]
    with RawServer([SESSION], script, history=[json_answer(wire.nothing)]) as server:
        engine = over(wire, server, reconcile_grace=0.01, reconcile_deadline=0.01)
        pieces = engine.stream_chat("1?").response_gen
        assert [next(pieces), next(pieces)] == ["one ", "two "]
        both.set()
        with pytest.raises(errors.TurnError) as caught:
            next(pieces)
        assert caught.value.partial_text == "one two "
        assert engine.session_id == caught.value.session_id == "s1"
        assert len(server.posts("/stream")) == 1


# Leaving early


def leave_by_close(response: HostedStreamingResponse) -> None:
    response.close()
    response.close()


def leave_by_with(response: HostedStreamingResponse) -> None:
    with response:
        pass


def leave_after_next(response: HostedStreamingResponse) -> None:
    assert next(response.response_gen)
    response.close()


LEAVING = [leave_by_close, leave_after_next, leave_by_with]


@pytest.mark.parametrize("leave", LEAVING)
def test_leaving_frees_the_connection(wire: Wire, leave: Any) -> None:
    script = [event_stream(), wire.delta("one "), wire.delta("two "), lambda connection: connection.wait_for_close()]
    with RawServer([SESSION], script) as server:
        engine = over(wire, server)
        response = engine.stream_chat("1?")
        leave(response)
        assert server.connections[-1].gone.wait(10)
        assert response.is_done
        assert response.metadata["cancelled"] is True
        assert str(response) in ("", "one ")
        assert engine.session_id == "s1"


def test_dropping_a_response_frees_the_connection(wire: Wire) -> None:
    script = [event_stream(), wire.delta("one "), wire.delta("two "), lambda connection: connection.wait_for_close()]
    with RawServer([SESSION], script) as server:
        engine = over(wire, server)
        gc.disable()
        try:
            response = engine.stream_chat("1?")
            pieces = response.response_gen
            next(pieces)
            gone = weakref.ref(response)
            del response, pieces
            assert gone() is None, "no cycle keeps it"
        finally:
            gc.enable()
        assert server.connections[-1].gone.wait(10)


@pytest.mark.parametrize("how", ["aclose", "with", "cancel", "drop", "loop end"])
def test_leaving_frees_the_connection_async(wire: Wire, how: str, caplog: pytest.LogCaptureFixture) -> None:
    script = [event_stream(), wire.delta("one "), wire.delta("two "), lambda connection: connection.wait_for_close()]

    async def run(server: RawServer, engine: HostedChatEngine) -> None:
        response = await engine.astream_chat("1?")
        pieces = response.async_response_gen()
        assert await anext(pieces) == "one "
        if how == "aclose":
            await response.aclose()
            assert response.is_done
        elif how == "with":
            async with response:
                pass
            assert response.is_done
        elif how == "cancel":
            assert await anext(pieces) == "two "
            reading = asyncio.ensure_future(anext(pieces))
            await asyncio.sleep(0)
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
            assert response.is_done
            assert str(response) == "one two "
        elif how == "drop":
            del response, pieces
            gc.collect()
        if how != "loop end":
            assert await asyncio.to_thread(server.connections[-1].gone.wait, 10)
            await engine.aclose()
        else:
            kept.append((response, pieces))

    kept: list[Any] = []
    with RawServer([SESSION], script) as server:
        engine = over(wire, server)
        asyncio.run(run(server, engine))
        assert server.connections[-1].gone.wait(10)
        assert engine.session_id == "s1"
        assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


# The turn after an abandoned one


@pytest.mark.parametrize("leave", LEAVING)
def test_the_next_turn_finds_what_was_left(service: Service, leave: Any) -> None:
    go_on = paused(service)
    engine = service.engine()
    leave(engine.stream_chat("1?"))
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(engine.chat, "2?")
        until_history_is_read(service)
        go_on.set()
        assert str(waiting.result()) == "An answer."
    assert service.transcript(engine.session_id) == [
        ("user", "1?"),
        ("assistant", "one two three"),
        ("user", "2?"),
        ("assistant", "An answer."),
    ]
    assert [m.content for m in engine.chat_history] == ["1?", "one two three", "2?", "An answer."]


@pytest.mark.parametrize("how", ["break", "aclose", "with", "drop"])
async def test_the_next_turn_finds_what_was_left_async(service: Service, how: str) -> None:
    go_on = paused(service)
    async with service.engine() as engine:
        response = await engine.astream_chat("1?")
        if how == "break":
            async for _ in response.async_response_gen():
                break
            assert not response.is_done
        elif how == "aclose":
            await response.aclose()
        elif how == "with":
            async with response:
                assert await anext(response.async_response_gen()) == "one "
        del response
        waiting = asyncio.create_task(engine.achat("2?"))
        await asyncio.to_thread(until_history_is_read, service)
        go_on.set()
        assert str(await waiting) == "An answer."
        assert service.asked(engine.session_id) == ["1?", "2?"]


def test_history_is_not_cached_while_a_turn_is_unsettled(service: Service) -> None:
    go_on = paused(service)
    engine = service.engine()
    engine.stream_chat("1?").close()
    assert [m.content for m in engine.chat_history] == ["1?"]
    go_on.set()
    engine.chat("2?")
    assert len(engine.chat_history) == 4


def test_the_next_turn_cuts_an_answer_that_nobody_reads(service: Service) -> None:
    go_on = paused(service)
    engine = service.engine()
    response = engine.stream_chat("1?")
    assert next(response.response_gen) == "one "
    kept = iter(response.response_gen)  # as a web framework keeps it, in a traceback
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(engine.with_session(engine.session_id).chat, "2?")
        until_history_is_read(service)
        go_on.set()
        assert str(waiting.result()) == "An answer."
    for read in (lambda: next(kept), lambda: next(response.response_gen), response.drain, lambda: str(response)):
        with pytest.raises(errors.StreamInterrupted, match="next turn") as caught:
            read()
        assert caught.value.partial_text == "one "
        assert caught.value.session_id == engine.session_id
    assert response.is_done
    assert service.transcript(engine.session_id)[1::2] == [("assistant", "one two three"), ("assistant", "An answer.")]


async def test_the_next_turn_cuts_an_answer_that_nobody_reads_async(service: Service) -> None:
    go_on = paused(service)
    async with service.engine() as engine:
        response = await engine.astream_chat("1?")
        pieces = response.async_response_gen()
        assert await anext(pieces) == "one "
        waiting = asyncio.create_task(engine.achat("2?"))
        await asyncio.to_thread(until_history_is_read, service)
        go_on.set()
        assert str(await waiting) == "An answer."
        with pytest.raises(errors.StreamInterrupted, match="next turn"):
            await anext(pieces)
        # of one kind from the other: a stream of the event loop's is cut from a sync verb
        left = await engine.astream_chat("3?")
        assert str(await asyncio.to_thread(engine.chat, "4?")) == "An answer."
        with pytest.raises(errors.StreamInterrupted, match="next turn"):
            await left.adrain()


def test_an_answer_that_somebody_is_reading_is_left_alone(service: Service) -> None:
    go_on = paused(service)
    engine = service.engine()
    response = engine.stream_chat("1?")
    pieces = response.response_gen
    assert next(pieces) == "one "
    with ThreadPoolExecutor(1) as thread:
        inside = thread.submit(next, pieces)
        while not response.reader._inside.locked():
            time.sleep(0.001)
        with pytest.raises(errors.SessionBusyError, match="is being read"):
            engine.chat("2?")
        go_on.set()
        assert inside.result() == "two "
    assert list(pieces) == ["three"]
    assert service.asked(engine.session_id) == ["1?"]


def test_a_stream_of_another_object_in_the_same_thread_is_refused_at_once(service: Service) -> None:
    go_on = paused(service)
    engine, other = service.engine(), service.engine()
    response = engine.stream_chat("1?")
    stranger = type(other)(**service.hosted.agent, **service.hosted.connection, session_id=engine.session_id)
    with pytest.raises(errors.SessionBusyError, match="still being streamed here"):
        stranger.chat("2?")
    go_on.set()
    assert str(response) == "one two three"


def test_turns_of_other_sessions_touch_nothing(service: Service) -> None:
    go_on = paused(service)
    engine = service.engine()
    response = engine.stream_chat("1?")
    others = [ChatMessage(role="user", content="0?"), ChatMessage(role="assistant", content="Nil.")]
    for history in ([], others):
        assert str(engine.chat("another user's", chat_history=history)) == "An answer."
    go_on.set()
    assert str(response) == "one two three"


def test_reset_beside_an_open_stream(service: Service) -> None:
    go_on = paused(service)
    engine = service.engine()
    response = engine.stream_chat("1?")
    first = engine.session_id
    engine.reset()
    assert str(engine.chat("2?")) == "An answer."
    second = engine.session_id
    go_on.set()
    assert str(response) == "one two three"
    assert engine.session_id == second != first
