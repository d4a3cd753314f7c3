"""Our answers through the request builders of other providers, without a network; and theirs through ours."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import ModelFallbackMiddleware
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langgraph.checkpoint.memory import InMemorySaver

from meibel_integrations.langchain import PortableMessagesMiddleware, portable_messages
from meibel_integrations.local import ScriptedAnswerer
from tests.support.hosted import SERVICES, Hosted, serving

from .conftest import Make, cited, model_of
from .scripted import ScriptedModel

SHOWN: dict[str, Any] = {"include_thinking": True, "include_tool_activity": True}
TEXT = "Zebras have stripes."


def openai_chat(messages: list[BaseMessage]) -> Any:
    from langchain_openai import ChatOpenAI

    return ChatOpenAI(model="gpt-5", api_key="k")._get_request_payload(messages)


def openai_responses(messages: list[BaseMessage]) -> Any:
    from langchain_openai import ChatOpenAI

    return ChatOpenAI(model="gpt-5", api_key="k", use_responses_api=True)._get_request_payload(messages)


def anthropic(messages: list[BaseMessage]) -> Any:
    from langchain_anthropic import ChatAnthropic

    return ChatAnthropic(model="claude-x", api_key="k", max_tokens=10)._get_request_payload(messages)


def google(messages: list[BaseMessage]) -> Any:
    from langchain_google_genai import ChatGoogleGenerativeAI

    request = ChatGoogleGenerativeAI(model="gemini-x", api_key="k")._prepare_request(messages)
    return [content.model_dump(exclude_none=True) for content in request["contents"]]


def bedrock(messages: list[BaseMessage]) -> Any:
    from langchain_aws.chat_models.bedrock_converse import _messages_to_bedrock

    return _messages_to_bedrock(messages)


BUILDERS = [openai_chat, openai_responses, anthropic, google, bedrock]


def stream(model: Any) -> AIMessage:
    full: Any = None
    for chunk in model.stream("hello"):
        full = chunk if full is None else full + chunk
    return full  # type: ignore[no-any-return]


FORMS: dict[str, Callable[[Hosted], AIMessage]] = {
    "str": lambda hosted: model_of(hosted).invoke("hello"),
    "str with all": lambda hosted: model_of(hosted, **SHOWN).invoke("hello"),
    "chunk": lambda hosted: stream(model_of(hosted, **SHOWN)),
    "v1": lambda hosted: model_of(hosted, output_version="v1", **SHOWN).invoke("hello"),
    "v3": lambda hosted: model_of(hosted, **SHOWN).stream_events("hello", version="v3").output,
    "stored": lambda hosted: AIMessage.model_validate_json(model_of(hosted, **SHOWN).invoke("hello").model_dump_json()),
}


@pytest.fixture(scope="module", params=SERVICES)
def answers(request: pytest.FixtureRequest) -> Iterator[dict[str, AIMessage]]:
    """One answer in each form."""
    with warnings.catch_warnings(), serving(request.param, answerer=ScriptedAnswerer(cited)) as hosted:
        warnings.simplefilter("ignore")
        yield {name: make(hosted) for name, make in FORMS.items()}


@pytest.mark.parametrize("build", BUILDERS)
@pytest.mark.parametrize("form", list(FORMS))
def test_an_answer_in_any_form_gets_through(answers: dict[str, AIMessage], form: str, build: Any) -> None:
    answer = answers[form].model_copy(update={"name": "docs"})
    talk = portable_messages([HumanMessage("hello"), answer, HumanMessage("more")])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        payload = json.dumps(build(talk), default=str)
    for kept in (TEXT, "The zebra", "file:///zebra.md", "The whale", "more"):
        assert kept in payload
    if form != "str":
        assert "Let me think." in payload
        assert "called search" in payload
    for foreign in ("server_tool", "source_index", "file_citation", "non_standard", "session_id", "lc_"):
        assert foreign not in payload


def test_messages_of_others_stay_as_they_are(answers: dict[str, AIMessage]) -> None:
    others = [HumanMessage("hello"), AIMessage("hi"), ToolMessage("x", tool_call_id="c")]
    assert portable_messages([*others, answers["v1"]])[:3] == others
    again = portable_messages([answers["v1"]])
    assert portable_messages(again) == again


CALL = {"name": "weather", "args": {"city": "Oslo"}, "id": "c1", "type": "tool_call"}
FOREIGN: dict[str, AIMessage] = {
    "anthropic": AIMessage(
        [
            {"type": "thinking", "thinking": "Hm.", "signature": "s"},
            {"type": "text", "text": "It rains.", "citations": [{"type": "char_location", "cited_text": "x"}]},
            {"type": "server_tool_use", "id": "st1", "name": "web_search", "input": {"q": "x"}},
            {"type": "web_search_tool_result", "tool_use_id": "st1", "content": []},
            {"type": "tool_use", "id": "c1", "name": "weather", "input": {"city": "Oslo"}},
        ],
        tool_calls=[CALL],
        response_metadata={"model_provider": "anthropic"},
    ),
    "openai responses": AIMessage(
        [
            {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}]},
            {"type": "text", "text": "It rains.", "annotations": [{"type": "url_citation", "url": "https://x.test"}]},
            {"type": "web_search_call", "id": "ws_1", "status": "completed"},
            {"type": "function_call", "id": "fc", "call_id": "c1", "name": "weather", "arguments": "{}"},
        ],
        tool_calls=[CALL],
        response_metadata={"model_provider": "openai"},
    ),
    "openai chat": AIMessage("It rains.", tool_calls=[CALL], response_metadata={"model_provider": "openai"}),
    "google": AIMessage(
        [{"type": "thinking", "thinking": "Hm."}, "It rains.", {"type": "executable_code", "executable_code": "1"}],
        tool_calls=[CALL],
        response_metadata={"model_provider": "google_genai", "grounding_metadata": {}},
    ),
    "bedrock": AIMessage(
        [
            {"type": "reasoning_content", "reasoning_content": {"text": "Hm.", "signature": "s"}},
            {"type": "text", "text": "It rains."},
            {"type": "tool_use", "id": "c1", "name": "weather", "input": {"city": "Oslo"}},
        ],
        tool_calls=[CALL],
        response_metadata={"model_provider": "bedrock_converse"},
    ),
    "unknown": AIMessage([{"type": "hologram", "beam": 1}, {"type": "text", "text": "It rains."}], tool_calls=[CALL]),
}


@pytest.mark.parametrize("provider", list(FOREIGN))
def test_an_answer_of_others_comes_in_as_transcript(make: Make, hosted: Hosted, provider: str) -> None:
    talk = [
        HumanMessage("Weather?"),
        FOREIGN[provider],
        ToolMessage([{"type": "text", "text": "rain"}], tool_call_id="c1"),
        HumanMessage("Sure?"),
    ]
    answer = make().invoke(talk)
    (sent,) = hosted.asked(answer.response_metadata["session_id"])
    for piece in ("It rains.", "[called weather(", "rain", "Sure?"):
        assert piece in sent


def test_a_fallback_to_another_provider_reads_it_and_the_session_is_found_again(make: Make, hosted: Hosted) -> None:
    seen: list[list[BaseMessage]] = []

    def say(messages: list[BaseMessage]) -> AIMessage:
        seen.append(messages)
        return AIMessage("from the fallback")

    def graph(model: Any) -> Any:
        middleware = [ModelFallbackMiddleware(ScriptedModel(say=say)), PortableMessagesMiddleware()]
        return create_agent(model, [], middleware=middleware, checkpointer=saver)

    saver, config = InMemorySaver(), {"configurable": {"thread_id": "t"}}
    model = make(output_version="v1", **SHOWN)
    broken = model.model_copy(update={"base_url": "http://127.0.0.1:9", "max_retries": 0})
    for each, question in ((model, "one"), (broken, "two"), (model, "three")):
        state = graph(each).invoke({"messages": [HumanMessage(question)]}, config)
    assert openai_responses(seen[0])
    assert "called search" in seen[0][1].content
    answers = state["messages"][1::2]
    assert [answer.text for answer in answers][1] == "from the fallback"
    assert answers[2].response_metadata["continuity"] == "continued"
    assert answers[2].response_metadata["session_id"] == answers[0].response_metadata["session_id"]
