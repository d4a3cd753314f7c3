"""Answers in the form of a schema: with_structured_output, and what create_agent binds."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any, TypedDict

import pytest
from langchain.agents import create_agent
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain_core.exceptions import ModelError, OutputParserException
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from pydantic import BaseModel, Field

from meibel_integrations import errors
from meibel_integrations.local import Question, ScriptedAnswerer
from tests.support.hosted import SERVICES, Hosted, serving

from .conftest import model_of


class Animal(BaseModel):
    """An animal."""

    name: str = Field(description="Its name.")
    legs: int


class AnimalDict(TypedDict):
    """An animal."""

    name: str
    legs: int


SCHEMAS: list[Any] = [Animal, AnimalDict, Animal.model_json_schema()]
ZEBRA = {"name": "zebra", "legs": 4}


def answer(question: Question) -> str:
    """Fits at once, in a code block with words around it; only when asked again; or never."""
    said = question.text + "".join(turn.text for turn in question.history)
    if "animal" not in said:
        return f"You said {said}"
    if "never" in said:
        return "I would rather not."
    if "twice" in question.text:
        return '{"name": "zebra"}'
    return f"Here it is [as asked]:\n```json\n{json.dumps(ZEBRA)}\n```\nAnything else?"


@pytest.fixture(scope="module", params=SERVICES)
def hosted(request: pytest.FixtureRequest) -> Iterator[Hosted]:
    with serving(request.param, answerer=ScriptedAnswerer(answer)) as service:
        yield service


@pytest.mark.parametrize("schema", SCHEMAS, ids=["pydantic", "TypedDict", "JSON schema"])
@pytest.mark.parametrize("question", ["Which animal?", "Which animal? Answer me twice."])
def test_an_answer_has_the_form(hosted: Hosted, schema: Any, question: str) -> None:
    structured = model_of(hosted).with_structured_output(schema)
    wanted = Animal(**ZEBRA) if schema is Animal else ZEBRA
    assert structured.invoke(question) == wanted
    assert asyncio.run(structured.ainvoke(question)) == wanted
    assert list(structured.stream(question)) == [wanted]


def test_one_repair_in_the_same_session_and_then_an_error_that_shows_the_answer(hosted: Hosted) -> None:
    before = hosted.requests()
    with pytest.raises(ModelError, match="I would rather not") as caught:
        model_of(hosted).with_structured_output(Animal).invoke("Which animal? never")
    assert isinstance(caught.value, OutputParserException | errors.MeibelIntegrationError)
    assert not caught.value.is_retryable
    sent = hosted.requests()[len(before) :]
    assert (sent.count("open"), sent.count("turn")) == (1, 2)


def test_raw_answers_come_along_where_they_are_wanted(hosted: Hosted) -> None:
    structured = model_of(hosted).with_structured_output(Animal, include_raw=True)
    good = structured.invoke("Which animal?")
    assert good["parsed"] == Animal(**ZEBRA)
    assert good["parsing_error"] is None
    assert isinstance(good["raw"], AIMessage)
    assert good["raw"].response_metadata["session_id"] is None
    bad = asyncio.run(structured.ainvoke("Which animal? never"))
    assert bad["parsed"] is None
    assert "I would rather not" in str(bad["parsing_error"])


def test_it_leaves_the_conversation_alone(hosted: Hosted) -> None:
    model = model_of(hosted)
    talk: list[Any] = [HumanMessage("one")]
    talk.append(model.invoke(talk))
    model.with_structured_output(Animal).invoke([*talk, HumanMessage("Which animal?")])
    after = model.invoke([*talk, HumanMessage("two")])
    assert after.response_metadata["continuity"] == "continued"
    assert hosted.asked(after.response_metadata["session_id"]) == ["one", "two"]


@pytest.mark.parametrize("wanted", [Animal, ProviderStrategy(Animal)], ids=["schema", "ProviderStrategy"])
@pytest.mark.parametrize("way", ["invoke", "stream"])
def test_an_agent_answers_in_a_form_within_its_conversation(hosted: Hosted, wanted: Any, way: str) -> None:
    graph = create_agent(model_of(hosted), [], response_format=wanted, checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "t"}}
    for i in range(3):
        question = {"messages": [HumanMessage(f"Which animal is number {i}?")]}
        if way == "stream":
            for _ in graph.stream(question, config, stream_mode="messages"):
                continue
        else:
            graph.invoke(question, config)
    state = graph.get_state(config).values
    assert state["structured_response"] == Animal(**ZEBRA)
    answers = [message for message in state["messages"] if message.type == "ai"]
    assert {json.loads(message.text)["legs"] for message in answers} == {4}
    (session_id,) = {message.response_metadata["session_id"] for message in answers}
    # the form is told each time, and is no part of the conversation
    assert ["schema" in text for text in hosted.asked(session_id)] == [True] * 3


def test_a_tool_strategy_is_refused_with_the_one_that_works(hosted: Hosted) -> None:
    graph = create_agent(model_of(hosted), [], response_format=ToolStrategy(Animal))
    with pytest.raises(NotImplementedError, match="ProviderStrategy"):
        graph.invoke({"messages": [HumanMessage("Which animal?")]})


def test_a_schema_that_is_none_is_told_at_once(hosted: Hosted) -> None:
    with pytest.raises(errors.InvalidInputError, match="no schema"):
        model_of(hosted).with_structured_output(7)
    with pytest.raises(errors.InvalidInputError, match="no schema"):
        model_of(hosted).invoke("hi", response_format="json")
