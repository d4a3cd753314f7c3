"""What careful strangers tried: two workers on one session, wrappers around calls, typing errors, logged failures."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.runnables import ConfigurableField

from meibel_integrations import errors
from meibel_integrations.langchain import ChatMeibel, MeibelChatMessageHistory
from meibel_integrations.local import Delta, LocalMeibel, Pause, Question, ScriptedAnswerer
from tests.support.hosted import SERVICES, Hosted, serving

from .conftest import Make, model_of


def session_of(answer: AIMessage) -> str:
    return str(answer.response_metadata["session_id"])


def test_instructions_are_sent_again_where_another_process_was_in_between(make: Make, hosted: Hosted) -> None:
    session_id = hosted.open_session()
    model = make(session_id=session_id)
    model.invoke([SystemMessage("context A"), HumanMessage("one")])
    with hosted.connect() as elsewhere:
        list(hosted.stream(elsewhere, session_id, "context B is in force now"))
    model.invoke([SystemMessage("context A"), HumanMessage("two")])
    assert "context A" in hosted.asked(session_id)[-1]


def test_instructions_that_were_withdrawn_are_no_longer_in_force(make: Make) -> None:
    model = make()
    first = model.invoke([SystemMessage("Answer in French."), HumanMessage("one")])
    second = model.invoke([HumanMessage("one"), first, HumanMessage("two")])
    assert second.response_metadata["continuity"] == "forked"
    assert "withdrawn" in second.response_metadata["continuity_reason"]


def test_a_pinned_list_of_another_conversation_is_told_where_that_was_asked_for(make: Make) -> None:
    first = make().invoke("one")
    model = make(session_id=session_of(first), on_divergence="error")
    with pytest.raises(errors.DivergenceError, match="another conversation"):
        model.invoke([HumanMessage("foreign"), AIMessage("zzz"), HumanMessage("two")])
    # the same conversation, from a store that dropped the metadata
    same: list[BaseMessage] = [HumanMessage("one"), AIMessage(first.text), HumanMessage("two")]
    assert session_of(model.invoke(same)) == session_of(first)


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ({"on_divergence": "eror"}, "'eror'"),
        ({"check_head": "alwys"}, "'alwys'"),
        ({"max_seed_chars": -5}, "max_seed_chars"),
        ({"sesion_id": "s"}, "session_id"),
        ({"session_id": object()}, "session_id"),
        ({"session_id": " "}, "session_id"),
    ],
    ids=["on_divergence", "check_head", "max_seed_chars", "misspelt", "not a text", "blank"],
)
def test_a_wrong_option_of_a_call_is_told_before_anything_is_sent(
    make: Make, hosted: Hosted, option: dict[str, Any], says: str
) -> None:
    before = len(hosted.requests())
    with pytest.raises((errors.ConfigurationError, errors.InvalidInputError), match=says):
        make().invoke("one", **option)
    assert len(hosted.requests()) == before


@pytest.mark.parametrize("service", SERVICES)
def test_a_wrapper_that_starts_a_task_or_a_thread_is_told_at_once_too(service: str) -> None:
    pauses: list[Pause] = []

    def answer(question: Question) -> list[Any]:
        pauses.append(Pause())
        return [Delta("Wait "), Delta("for it"), pauses[-1]]

    async def in_a_task() -> None:
        stream = model.astream("slow")
        await anext(stream)
        with pytest.raises(errors.SessionBusyError, match="still being streamed here"):
            await asyncio.wait_for(model.ainvoke("b"), 20)
        pauses[-1].release()
        assert [chunk async for chunk in stream]

    with serving(service, answerer=ScriptedAnswerer(answer)) as hosted:
        model = model_of(hosted, session_id=hosted.open_session())
        asyncio.run(in_a_task())
        stream = model.stream("slow")
        next(stream)
        with pytest.raises(errors.SessionBusyError, match="still being streamed here"):
            model.batch(["b", "c"])
        pauses[-1].release()
        assert list(stream)


def test_tasks_that_start_side_by_side_wait_for_each_other(make: Make, hosted: Hosted) -> None:
    model = make(session_id=hosted.open_session())

    async def side_by_side() -> list[AIMessage]:
        await model.ainvoke("first of all")
        return await asyncio.gather(*(model.ainvoke(f"question {i}") for i in range(5)))

    assert len(asyncio.run(side_by_side())) == 5


def test_a_pinned_batch_of_a_configurable_model_runs_in_order(make: Make, hosted: Hosted) -> None:
    model = make().configurable_fields(session_id=ConfigurableField(id="session_id"))
    questions = [f"question {i}" for i in range(8)]
    for runnable in (model, model | StrOutputParser()):
        session_id = hosted.open_session()
        runnable.batch(questions, {"configurable": {"session_id": session_id}})
        assert hosted.asked(session_id) == questions
    assert len(model.batch(["a", "b"])) == 2


@pytest.mark.parametrize(
    "wrong",
    [{"agentid": 1}, {"agent_id": "a", "agent_name": "b"}, {"agent_id": "a", "base_url": "http://x.test"}],
    ids=str,
)
def test_a_wrong_setting_that_is_logged_whole_does_not_show_the_key(wrong: dict[str, Any]) -> None:
    with pytest.raises(errors.ConfigurationError) as caught:
        ChatMeibel(api_key="key-secret", **wrong)
    assert "key-secret" not in f"{caught.value!r} {caught.value.__cause__!r} {caught.value.__context__!r}"


def test_a_service_that_begins_again_is_another_service() -> None:
    """A seeded one repeats its session ids, at the same address."""
    port = 0
    for _ in range(2):
        with LocalMeibel(seed=1, port=port, answerer=ScriptedAnswerer(lambda _: "ok")) as local:
            port = int(local.llama_cloud_base_url.rpartition(":")[2])
            model = ChatMeibel(agent_id=local.agent_id, api_key=local.api_key, base_url=local.base_url)
            first = model.invoke("one")
            second = model.invoke([HumanMessage("one"), first, HumanMessage("two")])
            assert second.response_metadata["continuity"] == "continued"


def test_a_history_says_what_it_is_without_asking_the_service() -> None:
    history = MeibelChatMessageHistory("gone", api_key="key-secret", base_url="http://127.0.0.1:9")
    assert str(history) == "MeibelChatMessageHistory(session_id='gone')"
    with pytest.raises(errors.ConfigurationError, match="Did you mean 'api_key'"):
        MeibelChatMessageHistory("s", apikey="k")
