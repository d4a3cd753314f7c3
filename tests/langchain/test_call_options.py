"""No option vanishes: each works, raises with a hint, or warns at the caller's own line."""

from __future__ import annotations

import asyncio
import copy
import warnings
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import ModelRetryMiddleware, PIIMiddleware, SummarizationMiddleware, wrap_model_call
from langchain_core.caches import InMemoryCache
from langchain_core.exceptions import ModelInvalidRequestError
from langchain_core.globals import set_llm_cache
from langchain_core.messages import AIMessage, HumanMessage, trim_messages
from langchain_core.runnables import ConfigurableField
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver

from meibel_integrations import errors
from tests.support.hosted import Hosted

from .conftest import Make

TEXT = "You said: hello. Zebras have stripes."


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ({"agent_id": "b"}, "model_copy"),
        ({"index_ids": ["b"]}, "index_ids="),
        ({"timeout": 3}, "timeout_seconds="),
        ({"api_key": "k"}, "Set it when you make the model"),
        ({"tools": [{"name": "x"}]}, "meibel_tool"),
        ({"sesion_id": "s"}, "session_id"),
    ],
    ids=str,
)
def test_an_option_that_a_call_does_not_have_is_told(make: Make, hosted: Hosted, option: Any, says: str) -> None:
    if "agent_id" in option and hosted.is_cloud:
        option = {"index_ids": ["b"]}
    if "index_ids" in option and not hosted.is_cloud:
        option = {"agent_name": "b"}
        says = "agent_name="
    model, before = make(), len(hosted.requests())
    for ask in (
        lambda: model.bind(**option),
        lambda: model.invoke("hello", **option),
        lambda: next(model.stream("a", **option)),
    ):
        with pytest.raises(errors.InvalidInputError, match=says) as caught:
            ask()
        assert isinstance(caught.value, ModelInvalidRequestError)
    assert len(hosted.requests()) == before


@pytest.mark.parametrize("option", [{"temperature": 0}, {"stop": ["x"]}, {"unheard_of": 1}], ids=str)
def test_an_option_without_effect_is_told_at_the_callers_line(make: Make, option: dict[str, Any]) -> None:
    model = make()
    for ask in (
        lambda: model.invoke("hello", **option),
        lambda: asyncio.run(model.ainvoke("hello", **option)),
        lambda: list(model.stream("hello", **option)),
        lambda: model.bind(**option),
    ):
        with pytest.warns(UserWarning, match="has no effect") as caught:
            ask()
        assert [each.filename for each in caught] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        bound = model.bind(**option)
    assert bound.invoke("hello").text == TEXT


def test_tools_are_refused_as_langchain_does(make: Make) -> None:
    @tool
    def search(query: str) -> str:
        """Searches."""
        return query

    for ask in (lambda: make().bind_tools([search]), lambda: create_agent(make(), [search]).invoke({"messages": "hi"})):
        with pytest.raises(NotImplementedError, match="configured with at the service"):
            ask()


def test_a_config_that_names_a_session_is_not_for_a_model_without_that_field(make: Make, hosted: Hosted) -> None:
    session_id = hosted.open_session()
    answer = make().invoke("hello", {"configurable": {"session_id": session_id}})
    assert answer.response_metadata["session_id"] != session_id


def test_an_error_of_usage_is_not_tried_again(make: Make) -> None:
    tries: list[Any] = []

    @wrap_model_call
    def count(request: Any, handler: Any) -> Any:
        tries.append(request)
        return handler(request)

    graph = create_agent(make(), [], middleware=[ModelRetryMiddleware(max_retries=2, initial_delay=0), count])
    with pytest.raises(ModelInvalidRequestError, match="empty"):
        graph.invoke({"messages": [HumanMessage("")]})
    assert len(tries) == 1


# Caches


@pytest.mark.parametrize("shared", [True, False], ids=["the global one", "the model's own"])
def test_a_cache_carries_no_session_from_one_user_to_another(make: Make, hosted: Hosted, shared: bool) -> None:
    cache = InMemoryCache()
    try:
        if shared:
            set_llm_cache(cache)
        model = make(cache=True if shared else cache)
        first = model.invoke("hello")
        again = asyncio.run(model.ainvoke("hello"))
    finally:
        set_llm_cache(None)
    assert again.text == first.text
    assert first.response_metadata["session_id"]
    assert again.response_metadata["session_id"] is None
    turns = hosted.requests().count("turn")
    mine = model.invoke([HumanMessage("hello"), first, HumanMessage("mine")])
    yours = model.invoke([HumanMessage("hello"), again, HumanMessage("yours")])
    assert mine.response_metadata["session_id"] == first.response_metadata["session_id"]
    assert yours.response_metadata["session_id"] != first.response_metadata["session_id"]
    assert hosted.requests().count("turn") == turns + 2


# Middleware


def edited(answer: AIMessage) -> AIMessage:
    return answer.model_copy(update={"content": f"{answer.text}\n\n-- Footer"})


def test_edited_answers_fork_and_the_second_time_is_told(
    make: Make, hosted: Hosted, caplog: pytest.LogCaptureFixture
) -> None:
    for option, wanted in (("fork", ["new", "forked", "forked"]), ("continue", ["new", "continued", "continued"])):
        model, talk, seen = make(edited_answers=option), [], []
        caplog.clear()
        for i in range(3):
            talk.append(HumanMessage(f"question {i}"))
            answer = model.invoke(talk)
            seen.append(answer.response_metadata["continuity"])
            talk.append(edited(answer))
        assert seen == wanted
        assert ("edited_answers='continue'" in caplog.text) == (option == "fork")
    # anything else that was changed still counts
    talk[0] = HumanMessage("another question")
    assert model.invoke([*talk, HumanMessage("more")]).response_metadata["continuity"] == "forked"


def test_middleware_that_redacts_answers_goes_on_where_that_is_wanted(make: Make, hosted: Hosted) -> None:
    redact = PIIMiddleware("ip", apply_to_output=True, apply_to_input=False)
    graph = create_agent(make(edited_answers="continue"), [], middleware=[redact], checkpointer=InMemorySaver())
    for i in range(3):
        state = graph.invoke({"messages": [HumanMessage(f"I am at 10.0.0.{i}")]}, {"configurable": {"thread_id": "t"}})
    answers = state["messages"][1::2]
    assert all("REDACTED" in answer.text for answer in answers)
    assert len({answer.response_metadata["session_id"] for answer in answers}) == 1


def test_messages_are_counted_without_a_tokenizer(make: Make, hosted: Hosted) -> None:
    model = make()
    talk = [HumanMessage("x" * 400), AIMessage("y" * 400), HumanMessage("short")]
    kept = trim_messages(talk, token_counter=model, max_tokens=50, strategy="last", start_on="human")
    assert [message.text for message in kept] == ["short"]
    assert model.get_num_tokens("x" * 40) == 10
    if hosted.is_cloud:
        limited = make(max_prompt_chars=1_000)
        assert limited.profile["max_input_tokens"] == 250
        brief = {"summary_prompt": "Sum up:\n{messages}", "trim_tokens_to_summarize": 100}
        summary = SummarizationMiddleware(limited, trigger=("fraction", 0.5), keep=("messages", 2), **brief)
        graph = create_agent(limited, [], middleware=[summary], checkpointer=InMemorySaver())
        for i in range(4):
            state = graph.invoke(
                {"messages": [HumanMessage(f"{i} " + "x" * 200)]}, {"configurable": {"thread_id": "t"}}
            )
        assert any("summary" in message.text for message in state["messages"] if message.type == "human")


# Copies and batches


def test_a_model_is_copied_after_use(make: Make, hosted: Hosted) -> None:
    model = make()
    model.invoke("hello")
    for other in (copy.deepcopy(model), copy.copy(model), model.model_copy(), model.model_copy(deep=True)):
        assert other.invoke("hello").text == TEXT
    moved = model.model_copy(update={"base_url": "http://127.0.0.1:9", "max_retries": 0})
    with pytest.raises(errors.NotSentError):
        moved.invoke("hello")


def test_a_pinned_batch_as_completed_runs_in_order(make: Make, hosted: Hosted) -> None:
    questions = [f"question {i}" for i in range(6)]
    configured = make().configurable_fields(session_id=ConfigurableField(id="session_id"))

    async def completed(runnable: Any, config: Any) -> list[int]:
        return [at async for at, _ in runnable.abatch_as_completed(questions, config)]

    for runnable in (lambda s: make(session_id=s), lambda s: make().bind(session_id=s), lambda _: configured):
        for way in ("sync", "async"):
            session_id = hosted.open_session()
            config: Any = {"configurable": {"session_id": session_id}}
            model = runnable(session_id)
            if way == "async":
                order = asyncio.run(completed(model, config))
            else:
                order = [at for at, _ in model.batch_as_completed(questions, config)]
            assert order == list(range(6))
            assert hosted.asked(session_id) == questions
