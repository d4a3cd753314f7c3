"""LangChain's own retry layers send nothing again that may have run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypedDict

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import ModelRetryMiddleware
from langchain_core.exceptions import ModelError
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableLambda
from langgraph.graph import END, START, StateGraph
from langgraph.types import RetryPolicy

from meibel_integrations import AsyncMeibelClient, MeibelClient, errors
from meibel_integrations.langchain import ChatMeibel
from meibel_integrations.langchain.errors import RETRYABLE, as_langchain_error
from tests.support import fault_wire as wire
from tests.support.clock import FakeClock
from tests.support.fault_wire import SESSION, TEXT, TURN
from tests.support.servers import RawServer, Step, event_stream, json_answer

Script = list[Step]

# A turn that may have run and does not show.
AMBIGUOUS: dict[str, Script] = {
    "lost": [wire.reset],
    "cut": [event_stream(), *TURN[:3]],
    "502": [wire.page(502)],
    "html": [wire.page(200)],
    "failed": [event_stream(), wire.ERROR],
}
ANSWER: Script = [event_stream(), *TURN]
BUSY: Script = [json_answer({"message": "later"}, 429)]


@contextmanager
def model_over(*scripts: Script, history: bytes = wire.history(), **options: Any) -> Iterator[tuple[Any, RawServer]]:
    """A model that does not retry by itself, over a server that gives a session with every other answer."""
    with RawServer(*[s for script in scripts for s in ([SESSION], script)], history=[history]) as server:
        settings: Any = {"base_url": server.base_url, "clock": FakeClock(), "max_retries": 0}
        with MeibelClient("key-1", **settings) as client:
            yield (
                ChatMeibel(
                    agent_id="a1", client=client, async_client=AsyncMeibelClient("key-1", **settings), **options
                ),
                server,
            )


def turns(server: RawServer) -> int:
    return len(server.posts("/chat/stream"))


Call = Callable[[Any, Any], Any]


def acall(runnable: Any, value: Any) -> Any:
    return asyncio.run(runnable.ainvoke(value))


def call(runnable: Any, value: Any) -> Any:
    return runnable.invoke(value)


both = pytest.mark.parametrize("ask", [call, acall])
ambiguous = pytest.mark.parametrize("script", list(AMBIGUOUS.values()), ids=list(AMBIGUOUS))
QUICK: Any = {"wait_exponential_jitter": False}


@both
@ambiguous
def test_with_retry_sends_nothing_again_that_may_have_run(script: Script, ask: Call) -> None:
    with model_over(script, ANSWER, history=wire.page(503)) as (model, server):
        with pytest.raises(errors.MeibelIntegrationError) as caught:
            ask(model.with_retry(**QUICK), "hi")
        assert turns(server) == 1
        assert isinstance(caught.value, ModelError)
        assert not caught.value.is_retryable


@both
def test_with_retry_repeats_what_did_not_run(ask: Call) -> None:
    with model_over(BUSY, ANSWER) as (model, server):
        assert ask(model.with_retry(**QUICK), "hi").content == TEXT
        assert turns(server) == 2


def test_with_retry_does_what_it_is_told() -> None:
    with model_over([wire.page(502)], ANSWER) as (model, server):
        told = {"retry_if_exception_type": (errors.TurnOutcomeUnknown,), "stop_after_attempt": 2}
        assert model.with_retry(**told, **QUICK).invoke("hi").content == TEXT
        assert turns(server) == 2


@both
@ambiguous
def test_the_retry_middleware_sends_nothing_again_that_may_have_run(script: Script, ask: Call) -> None:
    with model_over(script, ANSWER) as (model, server):
        again = ModelRetryMiddleware(max_retries=2, initial_delay=0, on_failure="error")
        agent = create_agent(model, middleware=[again])
        with pytest.raises(errors.TurnError):
            ask(agent, {"messages": [("user", "hi")]})
        assert turns(server) == 1


@both
def test_the_retry_middleware_repeats_what_did_not_run(ask: Call) -> None:
    with model_over(BUSY, ANSWER) as (model, server):
        again = ModelRetryMiddleware(max_retries=2, initial_delay=0, on_failure="error")
        found = ask(create_agent(model, middleware=[again]), {"messages": [("user", "hi")]})
        assert found["messages"][-1].content == TEXT
        assert turns(server) == 2


class State(TypedDict):
    answer: str


@both
@ambiguous
def test_langgraphs_default_policy_sends_nothing_again_that_may_have_run(script: Script, ask: Call) -> None:
    with model_over(script, ANSWER, history=wire.page(503)) as (model, server):

        def node(_: State) -> State:
            return {"answer": str(model.invoke("hi").content)}

        async def anode(_: State) -> State:
            return {"answer": str((await model.ainvoke("hi")).content)}

        graph = StateGraph(State)
        policy = RetryPolicy(initial_interval=0.001, jitter=False)
        graph.add_node("ask", anode if ask is acall else node, retry_policy=policy)
        graph.add_edge(START, "ask")
        graph.add_edge("ask", END)
        with pytest.raises(errors.MeibelIntegrationError):
            ask(graph.compile(), {"answer": ""})
        assert turns(server) == 1


@both
@ambiguous
def test_another_agent_may_answer_instead(script: Script, ask: Call) -> None:
    with model_over(script) as (model, server), model_over(ANSWER) as (other, other_server):
        assert ask(model.with_fallbacks([other]), "hi").content == TEXT
        assert (turns(server), turns(other_server)) == (1, 1)
        chain = model.with_fallbacks([RunnableLambda(lambda _: AIMessage("sorry"))])
        assert ask(chain, "hi").content == "sorry"


def test_every_error_stays_what_it_is() -> None:
    """And what may have run is no error that generic retry layers repeat."""
    own = [kind for name in errors.__all__ if issubclass(kind := getattr(errors, name), errors.MeibelIntegrationError)]
    for kind in own:
        error = kind("said", status_code=500) if issubclass(kind, errors.APIError) else kind("said")
        twin = as_langchain_error(error)
        assert isinstance(twin, kind)
        assert str(twin) == "said"
        if issubclass(kind, errors.TurnError | errors.ProtocolError):
            assert isinstance(twin, RuntimeError)
            assert not isinstance(twin, RETRYABLE)
