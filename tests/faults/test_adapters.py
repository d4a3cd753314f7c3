"""What the adapters make of a fault: the framework's own error, its callbacks, its spans and events."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.exceptions import ModelAuthenticationError, ModelError, ModelRateLimitError
from llama_index.core.callbacks import CallbackManager, CBEventType, LlamaDebugHandler
from llama_index.core.callbacks.schema import EventPayload
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.span_handlers import SimpleSpanHandler
from pydantic import Field

from meibel_integrations import AsyncMeibelClient, MeibelClient, errors
from meibel_integrations.langchain import ChatMeibel
from meibel_integrations.llamaindex import MeibelChatEngine
from tests.support import fault_wire as wire
from tests.support.asking import KEY
from tests.support.clock import FakeClock
from tests.support.fault_wire import QUESTION, SESSION, TEXT, TURN
from tests.support.servers import RawServer, Step, event_stream, json_answer


class Case(NamedTuple):
    """A fault, and what becomes of it: our error, LangChain's, and whether the call may be repeated."""

    script: list[Step]
    ours: type[errors.MeibelIntegrationError]
    theirs: type[ModelError]
    retryable: bool
    accepted: bool


CASES = {
    "busy": Case(
        [json_answer({"message": "later"}, 429, retry_after="999")],
        errors.RateLimitError,
        ModelRateLimitError,
        True,
        False,
    ),
    "refused": Case(
        [json_answer({"message": "who?"}, 401)], errors.AuthenticationError, ModelAuthenticationError, False, False
    ),
    "cut": Case([event_stream(), *TURN[:4]], errors.TurnOutcomeUnknown, ModelError, False, True),
    "failed": Case([event_stream(), *TURN[:4], wire.ERROR], errors.AgentTurnError, ModelError, False, True),
}
CUT = [event_stream(), *TURN[:4]]
"""Of this the first delta at least has been shown."""


@contextmanager
def asking(script: list[Step], history: bytes) -> Iterator[tuple[dict[str, Any], dict[str, Any], RawServer]]:
    """The settings of a sync and of an async adapter, over a server that plays this turn."""
    with RawServer([SESSION], script, history=[history]) as server:
        options: Any = {"base_url": server.base_url, "clock": FakeClock(), "partials": "delta"}
        with MeibelClient(KEY, **options) as client:
            yield {"client": client}, {"async_client": AsyncMeibelClient(KEY, **options)}, server


class Callbacks(BaseCallbackHandler):
    """Notes what happens to a model's call."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.error: BaseException | None = None

    def on_chat_model_start(self, *args: Any, **kwargs: Any) -> None:
        self.seen.append("start")

    def on_llm_new_token(self, token: str, **kwargs: Any) -> None:
        if token:
            self.seen.append("token")

    def on_llm_end(self, *args: Any, **kwargs: Any) -> None:
        self.seen.append("end")

    def on_llm_error(self, error: BaseException, **kwargs: Any) -> None:
        self.seen.append("error")
        self.error = error


def invoke(model: ChatMeibel, config: Any) -> list[str]:
    return [str(model.invoke(QUESTION, config).content)]


def stream(model: ChatMeibel, config: Any) -> list[str]:
    return [str(chunk.content) for chunk in model.stream(QUESTION, config)]


async def ainvoke(model: ChatMeibel, config: Any) -> list[str]:
    return [str((await model.ainvoke(QUESTION, config)).content)]


async def astream(model: ChatMeibel, config: Any) -> list[str]:
    return [str(chunk.content) async for chunk in model.astream(QUESTION, config)]


def ask_model(verb: Callable[..., Any], callbacks: Callbacks, sync: dict[str, Any], asyn: dict[str, Any]) -> list[str]:
    config, asynchronous = {"callbacks": [callbacks]}, asyncio.iscoroutinefunction(verb)
    model = ChatMeibel(agent_id="a1", partials="delta", **(asyn if asynchronous else sync))
    if not asynchronous:
        return list(verb(model, config))

    async def ask() -> list[str]:
        try:
            return list(await verb(model, config))
        finally:
            await asyn["async_client"].aclose()

    return asyncio.run(ask())


@pytest.mark.parametrize("verb", [invoke, stream, ainvoke, astream])
@pytest.mark.parametrize("fault", CASES)
def test_a_chat_model_raises_langchains_error_and_tells_it_once(fault: str, verb: Callable[..., Any]) -> None:
    case, callbacks = CASES[fault], Callbacks()
    with asking(case.script, wire.history()) as (sync, asyn, server):
        with pytest.raises(case.ours) as caught:
            ask_model(verb, callbacks, sync, asyn)
        assert len(server.posts("/chat/stream")) == 1
        assert bool(server.gets()) == (fault == "cut")
    error: Any = caught.value
    assert isinstance(error, case.theirs)
    assert error.is_retryable is case.retryable
    assert isinstance(error, RuntimeError) == case.accepted, "retry layers of graphs let what may have run pass"
    assert [each for each in callbacks.seen if each != "token"] == ["start", "error"]
    assert ("token" in callbacks.seen) == (case.accepted and verb in (stream, astream))
    assert callbacks.error is error
    if case.accepted:
        assert error.session_id == "s1"
        assert error.partial_text
        assert TEXT.startswith(error.partial_text)


@pytest.mark.parametrize("verb", [invoke, stream, ainvoke, astream])
def test_a_chat_model_ends_a_recovered_answer_as_any_other(verb: Callable[..., Any]) -> None:
    callbacks = Callbacks()
    with asking(CUT, wire.history(wire.ASKED, wire.ANSWERED)) as (sync, asyn, _):
        assert "".join(ask_model(verb, callbacks, sync, asyn)) == TEXT
    assert [each for each in callbacks.seen if each != "token"] == ["start", "end"]


# LlamaIndex


class Events(BaseEventHandler):
    """Notes the events of LlamaIndex's instrumentation."""

    seen: list[Any] = Field(default_factory=list)

    def handle(self, event: Any, **kwargs: Any) -> Any:
        self.seen.append(event)

    def named(self, name: str) -> list[Any]:
        return [event for event in self.seen if type(event).__name__ == name]


class Spans(SimpleSpanHandler):
    """Notes every span that is dropped, also those whose parent is another's."""

    failed: list[tuple[str, BaseException | None]] = Field(default_factory=list)

    def prepare_to_drop_span(self, id_: str, *args: Any, **kwargs: Any) -> Any:
        self.failed.append((id_, kwargs.get("err")))
        return super().prepare_to_drop_span(id_, *args, **kwargs)


@pytest.fixture
def instruments() -> Iterator[tuple[Events, Spans]]:
    dispatcher, events, spans = get_dispatcher(), Events(), Spans()
    dispatcher.event_handlers.append(events)
    dispatcher.span_handlers.append(spans)
    yield events, spans
    dispatcher.event_handlers.remove(events)
    dispatcher.span_handlers.remove(spans)


def chat(engine: MeibelChatEngine) -> str:
    return str(engine.chat(QUESTION))


def stream_chat(engine: MeibelChatEngine) -> str:
    return "".join(engine.stream_chat(QUESTION).response_gen)


async def achat(engine: MeibelChatEngine) -> str:
    return str(await engine.achat(QUESTION))


async def astream_chat(engine: MeibelChatEngine) -> str:
    return "".join([piece async for piece in (await engine.astream_chat(QUESTION)).async_response_gen()])


VERBS = [chat, stream_chat, achat, astream_chat]


def ask_engine(
    verb: Callable[..., Any], debug: LlamaDebugHandler, sync: dict[str, Any], asyn: dict[str, Any]
) -> tuple[MeibelChatEngine, Callable[[], str]]:
    asynchronous = asyncio.iscoroutinefunction(verb)
    clients = asyn if asynchronous else sync
    engine = MeibelChatEngine("a1", partials="delta", callback_manager=CallbackManager([debug]), **clients)

    async def ask() -> str:
        try:
            return str(await verb(engine))
        finally:
            await asyn["async_client"].aclose()

    return engine, (lambda: asyncio.run(ask())) if asynchronous else (lambda: str(verb(engine)))


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("fault", CASES)
def test_an_engine_raises_our_error_and_closes_its_spans(
    fault: str, verb: Callable[..., Any], instruments: tuple[Events, Spans]
) -> None:
    case, (events, spans) = CASES[fault], instruments
    debug = LlamaDebugHandler(print_trace_on_end=False)
    streamed = verb in (stream_chat, astream_chat)
    with asking(case.script, wire.history()) as (sync, asyn, server):
        engine, ask = ask_engine(verb, debug, sync, asyn)
        with pytest.raises(case.ours) as caught:
            ask()
        assert len(server.posts("/chat/stream")) == 1
        assert bool(server.gets()) == (fault == "cut")
    assert spans.open_spans == {}
    assert [error for _, error in spans.failed if error is not None] == [caught.value], "it is told once"
    assert len(events.named("LLMChatStartEvent")) == int(case.accepted), "a turn begins when the service accepts it"
    assert events.named("LLMChatEndEvent") == events.named("StreamChatEndEvent") == []
    told = [event.exception for event in events.named("StreamChatErrorEvent")]
    assert told == ([caught.value] if streamed and case.accepted else [])
    for start, end in debug.get_event_pairs(CBEventType.LLM):
        assert start.id_ == end.id_
        assert end.payload is not None
        assert end.payload[EventPayload.EXCEPTION] is caught.value
    assert len(debug.get_event_pairs(CBEventType.LLM)) == int(case.accepted)
    assert engine.session_id == ("s1" if case.accepted else None), "a session that may have the turn is the engine's"


@pytest.mark.parametrize("verb", VERBS)
def test_an_engine_ends_a_recovered_answer_as_any_other(
    verb: Callable[..., Any], instruments: tuple[Events, Spans]
) -> None:
    events, spans = instruments
    debug = LlamaDebugHandler(print_trace_on_end=False)
    with asking(CUT, wire.history(wire.ASKED, wire.ANSWERED)) as (sync, asyn, _):
        _, ask = ask_engine(verb, debug, sync, asyn)
        assert ask() == TEXT
    assert (spans.failed, spans.open_spans) == ([], {})
    (end,) = events.named("LLMChatEndEvent")
    assert end.response.message.content == TEXT
    assert events.named("StreamChatErrorEvent") == []
