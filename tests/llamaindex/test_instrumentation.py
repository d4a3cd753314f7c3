"""What LlamaIndex's instrumentation and callbacks see of a turn."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from llama_index.core.callbacks import CallbackManager, CBEventType, LlamaDebugHandler, TokenCountingHandler
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.span_handlers import SimpleSpanHandler
from llama_index.core.schema import NodeWithScore
from llama_index_instrumentation.base import BaseEvent
from llama_index_instrumentation.dispatcher import instrument_tags
from llama_index_instrumentation.span import active_span_id
from pydantic import Field

from meibel_integrations import errors
from meibel_integrations.local import Delta, Pause

from .service import CITED, CITED_TEXT, Ask, Service


class Recorder(BaseEventHandler):
    events: list[BaseEvent] = Field(default_factory=list)

    @classmethod
    def class_name(cls) -> str:
        return "Recorder"

    def handle(self, event: BaseEvent, **kwargs: Any) -> None:
        self.events.append(event)

    def names(self) -> list[str]:
        return [event.class_name() for event in self.events]

    def only(self, name: str) -> Any:
        (event,) = [event for event in self.events if event.class_name() == name]
        return event


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    root, handler = get_dispatcher(), Recorder()
    root.event_handlers.append(handler)
    yield handler
    root.event_handlers.remove(handler)


@pytest.fixture
def spans() -> Iterator[SimpleSpanHandler]:
    root, handler = get_dispatcher(), SimpleSpanHandler()
    root.span_handlers.append(handler)
    yield handler
    root.span_handlers.remove(handler)
    assert handler.open_spans == {}


def engine_less(name: str) -> str:
    """A span's name, whichever service's engine it is of."""
    return name.replace("LlamaCloudChatEngine.", "ChatEngine.").replace("MeibelChatEngine.", "ChatEngine.")


async def rounds_of_the_loop() -> None:
    """A generator that was dropped is closed by the event loop, some rounds later."""
    for _ in range(5):
        await asyncio.sleep(0)


def tree(spans: SimpleSpanHandler) -> dict[str, str | None]:
    """Each span's name with its parent's, among those of the engine."""
    names = {
        span.id_: engine_less(span.id_.partition("-")[0]) for span in [*spans.completed_spans, *spans.dropped_spans]
    }
    return {
        names[span.id_]: names.get(span.parent_id or "")
        for span in [*spans.completed_spans, *spans.dropped_spans]
        if "ChatEngine." in names[span.id_]
    }


def test_a_whole_answer(service: Service, recorder: Recorder, spans: SimpleSpanHandler) -> None:
    service.start([CITED])
    service.engine().chat("Herons?")
    assert recorder.names() == ["LLMChatStartEvent", "RetrievalStartEvent", "RetrievalEndEvent", "LLMChatEndEvent"]
    assert tree(spans) == {
        "ChatEngine.chat": None,
        "ChatEngine.turn": "ChatEngine.chat",
        "ChatEngine.retrieve": "ChatEngine.turn",
    }


def test_a_streamed_answer(service: Service, recorder: Recorder, spans: SimpleSpanHandler, ask: Ask) -> None:
    service.start([CITED])
    engine = service.engine()
    response = ask(engine, "Herons?")
    streamed = hasattr(response, "response_gen") and hasattr(response, "is_done")
    deltas = ["StreamChatDeltaReceivedEvent"] * 3
    assert recorder.names() == [
        "LLMChatStartEvent",
        *(["StreamChatStartEvent", *deltas] if streamed else []),
        "RetrievalStartEvent",
        "RetrievalEndEvent",
        "LLMChatEndEvent",
        *(["StreamChatEndEvent"] if streamed else []),
    ]
    started, ended = recorder.only("LLMChatStartEvent"), recorder.only("LLMChatEndEvent")
    assert [m.content for m in started.messages] == ["Herons?"]
    (agent,) = service.hosted.agent.values()
    assert started.model_dict.items() >= service.hosted.agent.items()
    assert started.model_dict["model"] == (agent[0] if service.hosted.is_cloud else agent)
    assert ended.response.message.content == CITED_TEXT
    counts = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
    assert ended.response.raw["usage"] == counts
    assert ended.response.additional_kwargs == counts
    retrieved = recorder.only("RetrievalEndEvent")
    assert retrieved.nodes == response.source_nodes
    turn = {event.span_id for event in recorder.events if not event.class_name().startswith("Retrieval")}
    assert len(turn) == 1
    assert retrieved.span_id not in turn
    assert set(tree(spans).values()) == {
        None,
        "ChatEngine.turn",
        next(name for name in tree(spans) if name.endswith("chat")),
    }


async def test_the_callers_span_is_the_parent_and_stays_the_active_one(
    service: Service, spans: SimpleSpanHandler
) -> None:
    service.start([CITED])
    dispatcher = get_dispatcher("tests")
    async with service.engine() as engine:

        @dispatcher.span
        async def outer() -> None:
            before = active_span_id.get()
            response = await engine.astream_chat("Herons?")
            async for _ in response.async_response_gen():
                assert active_span_id.get() == before
            for _ in engine.stream_chat("Herons?").response_gen:
                assert active_span_id.get() == before

        await outer()
    parents = tree(spans)
    assert "outer" in str(parents["ChatEngine.astream_chat"])
    assert parents["ChatEngine.turn"] in ("ChatEngine.astream_chat", "ChatEngine.stream_chat")
    assert active_span_id.get() is None


def test_tags_reach_every_event(service: Service, recorder: Recorder) -> None:
    service.start([CITED])
    with instrument_tags({"user": "ann"}):
        response = service.engine().stream_chat("Herons?")
    for _ in response.response_gen:
        continue
    assert {event.tags.get("user") for event in recorder.events} == {"ann"}


def test_errors(service: Service, recorder: Recorder, spans: SimpleSpanHandler, ask: Ask) -> None:
    service.start([RuntimeError("it fell over")])
    with pytest.raises(errors.AgentTurnError) as caught:
        ask(service.engine(), "1?")
    if "StreamChatStartEvent" in recorder.names():
        assert recorder.only("StreamChatErrorEvent").exception is caught.value
        assert "StreamChatEndEvent" not in recorder.names()
    assert "ChatEngine.turn" in {engine_less(span.id_.partition("-")[0]) for span in spans.dropped_spans}


def test_refusals(service: Service, recorder: Recorder, spans: SimpleSpanHandler, ask: Ask) -> None:
    service.start()
    with pytest.raises(errors.AuthenticationError):
        ask(service.engine(api_key="wrong"), "1?")
    assert not any(name.startswith("Stream") for name in recorder.names())
    assert len(spans.dropped_spans) == 1


@pytest.mark.parametrize("how", ["close", "break", "unread"])
def test_a_stream_that_is_left(service: Service, recorder: Recorder, spans: SimpleSpanHandler, how: str) -> None:
    service.start([[Delta("one "), Pause(), Delta("two")]])
    response = service.engine().stream_chat("1?")
    if how == "close":
        response.close()
    elif how == "break":
        for _ in response.response_gen:
            break
    del response
    assert spans.open_spans == {}
    assert recorder.names()[-2:] == ["LLMChatEndEvent", "StreamChatEndEvent"]
    assert recorder.only("LLMChatEndEvent").response.message.content == ("one " if how == "break" else "")


@pytest.mark.parametrize("how", ["aclose", "break", "unread", "cancel"])
def test_an_async_stream_that_is_left(service: Service, recorder: Recorder, spans: SimpleSpanHandler, how: str) -> None:
    service.start([[Delta("one "), Pause(), Delta("two")]])

    async def run() -> None:
        async with service.engine() as engine:
            response = await engine.astream_chat("1?")
            if how == "aclose":
                await response.aclose()
            elif how == "break":
                async for _ in response.async_response_gen():
                    break
            elif how == "cancel":
                pieces = response.async_response_gen()
                await anext(pieces)
                reading = asyncio.ensure_future(anext(pieces))
                await asyncio.sleep(0)
                reading.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await reading
            del response
            await rounds_of_the_loop()
            assert spans.open_spans == {}

    asyncio.run(run())
    assert recorder.names()[-2:] == ["LLMChatEndEvent", "StreamChatEndEvent"]


def test_events_are_of_llama_index_and_hold_no_key(service: Service, recorder: Recorder, ask: Ask) -> None:
    service.start([CITED])
    ask(service.engine(), "Herons?")
    for event in recorder.events:
        assert type(event).__module__.startswith("llama_index")
        assert service.local.api_key not in repr(event)
        assert service.local.api_key not in str(event.model_dump())


def test_callbacks(service: Service, ask: Ask) -> None:
    service.start([CITED])
    debug = LlamaDebugHandler(print_trace_on_end=False)
    counter = TokenCountingHandler(tokenizer=str.split)
    engine = service.engine(callback_manager=CallbackManager([debug, counter]))
    assert engine.with_session(None).callback_manager is engine.callback_manager
    ask(engine, "Herons?")
    ((start, end),) = debug.get_event_pairs(CBEventType.LLM)
    assert start.id_ == end.id_
    assert counter.prompt_llm_token_count == 7
    assert counter.completion_llm_token_count == 5


def test_callbacks_see_errors(service: Service, ask: Ask) -> None:
    service.start([RuntimeError("it fell over")])
    debug = LlamaDebugHandler(print_trace_on_end=False)
    engine = service.engine(callback_manager=CallbackManager([debug]))
    with pytest.raises(errors.AgentTurnError):
        ask(engine, "1?")
    assert len(debug.get_event_pairs(CBEventType.LLM)) == 1


def test_no_sources_no_retrieval(service: Service, recorder: Recorder, ask: Ask) -> None:
    service.start(["An answer."])
    response = ask(service.engine(), "1?")
    assert response.source_nodes == []
    assert not any(name.startswith("Retrieval") for name in recorder.names())
    assert all(isinstance(node, NodeWithScore) for node in response.source_nodes)
