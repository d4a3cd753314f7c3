"""Hosted agents as the tools, query engines, retrievers and models of LlamaIndex's own agents and engines."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote_plus

import pytest
from llama_index.core.agent.workflow import AgentWorkflow, FunctionAgent, ReActAgent
from llama_index.core.base.llms.types import ChatMessage, MessageRole, ToolCallBlock
from llama_index.core.evaluation import FaithfulnessEvaluator
from llama_index.core.llms.llm import LLM
from llama_index.core.llms.mock import MockFunctionCallingLLM
from llama_index.core.query_engine import CitationQueryEngine, RouterQueryEngine, SubQuestionQueryEngine
from llama_index.core.question_gen import LLMQuestionGenerator
from llama_index.core.selectors import LLMSingleSelector
from llama_index.core.tools import FunctionTool, QueryEngineTool
from llama_index.core.tools.calling import acall_tool, call_tool

from meibel_integrations import errors
from meibel_integrations.llamaindex import (
    LlamaCloudChatLLM,
    LlamaCloudChatQueryEngine,
    LlamaCloudChatRetriever,
    MeibelLLM,
    MeibelQueryEngine,
    MeibelRetriever,
)
from tests.support.hosted import only

from .service import CITED, CITED_TEXT, Service

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of LlamaIndex's own workflows


def made(service: Service, meibel: Any, cloud: Any, **settings: Any) -> Any:
    kind = cloud if service.hosted.is_cloud else meibel
    return kind(**service.hosted.agent, **service.hosted.connection, **settings)


def model(service: Service, **settings: Any) -> Any:
    return made(service, MeibelLLM, LlamaCloudChatLLM, **settings)


def query_engine(service: Service, **settings: Any) -> Any:
    return made(service, MeibelQueryEngine, LlamaCloudChatQueryEngine, **settings)


def scripted(*calls: tuple[str, dict[str, Any]]) -> MockFunctionCallingLLM:
    """A model that makes these calls, one a step, and then says what the last one returned."""
    rest = list(calls)

    def respond(messages: Sequence[ChatMessage], **_: Any) -> ChatMessage:
        if not rest:
            return ChatMessage(role=MessageRole.ASSISTANT, content=f"It said: {messages[-1].content}")
        name, arguments = rest.pop(0)
        call = ToolCallBlock(tool_call_id=f"call-{len(rest)}", tool_name=name, tool_kwargs=arguments)
        return ChatMessage(role=MessageRole.ASSISTANT, blocks=[call])

    return MockFunctionCallingLLM(response_generator=respond, is_chat_model=True)


async def test_a_function_agent_asks_the_engine_in_its_session(service: Service) -> None:
    service.start()
    engine = service.engine()
    llm = scripted(("ask_agent", {"question": "Herons?"}), ("ask_agent", {"question": "And ponds?"}))
    agent = FunctionAgent(tools=[engine.as_tool()], llm=llm)
    result = await agent.run("Look it up.")
    assert CITED_TEXT in str(result)
    outputs = [call.tool_output for call in result.tool_calls]
    assert [len(output.raw_output.source_nodes) for output in outputs] == [3, 3]
    assert service.asked(engine.session_id) == ["Herons?", "And ponds?"]
    await engine.aclose()


async def test_a_query_engine_tool_asks_each_question_alone(service: Service) -> None:
    service.start()
    engine = query_engine(service)
    tool = QueryEngineTool.from_defaults(engine, name="docs", description="d")
    assert list(tool.metadata.get_parameters_dict()["properties"]) == ["input"]
    agent = FunctionAgent(tools=[tool], llm=scripted(("docs", {"input": "1?"}), ("docs", {"input": "2?"})))
    result = await agent.run("Look it up.")
    assert len(result.tool_calls[0].tool_output.raw_output.source_nodes) == 3
    assert service.hosted.sessions() == 2
    await engine.aclose()


async def test_engines_as_plain_functions_have_a_schema(service: Service) -> None:
    service.start()
    engine = service.engine()
    tool = FunctionTool.from_defaults(fn=engine.chat, async_fn=engine.achat)
    assert set(tool.metadata.get_parameters_dict()["properties"]) == {"message", "chat_history"}
    for each in (FunctionTool.from_defaults(fn=engine.chat), FunctionTool.from_defaults(async_fn=engine.achat)):
        assert each.metadata.get_parameters_dict()["required"] == ["message"]
    assert str(tool.call(message="1?")) == str(await tool.acall(message="2?")) == CITED_TEXT
    schema = engine.as_tool("docs").metadata.get_parameters_dict()
    assert {name: kind["type"] for name, kind in schema["properties"].items()} == {"question": "string"}
    await engine.aclose()


def test_a_failing_tool_call_sends_one_turn(service: Service) -> None:
    service.start([RuntimeError("it fell over")])
    engine = service.engine()
    tool = engine.as_tool()
    assert call_tool(tool, {"question": "1?"}).is_error
    asyncio.run(acall_tool(tool, {"question": "2?"}))
    asyncio.run(engine.aclose())
    assert service.requests().count("turn") == 2


@only("v2", "guide", because="its prompt is longer than LlamaCloud takes")
async def test_a_react_agent_thinks_with_a_hosted_model(service: Service) -> None:
    said = iter(
        [
            'Thought: I need a tool.\nAction: add\nAction Input: {"a": 2, "b": 3}',
            "Thought: I can answer.\nAnswer: 5",
        ]
    )

    def add(a: int, b: int) -> int:
        """Adds."""
        return a + b

    service.start(lambda _: next(said))
    llm = model(service)
    workflow = AgentWorkflow.from_tools_or_functions([add], llm=llm)
    result = await workflow.run("What is 2 + 3?")
    assert str(result) == "5"
    assert service.hosted.sessions() == 2, "each step is a session of its own"
    await llm.aclose()


async def test_a_react_prompt_is_too_long_for_llama_cloud() -> None:
    llm = LlamaCloudChatLLM(["i"], api_key="k", base_url="http://127.0.0.1:9")
    with pytest.raises(errors.PromptTooLongError):
        await ReActAgent(tools=[], llm=llm).run("What is 2 + 3?")


async def test_a_workflow_hands_over(service: Service) -> None:
    service.start()
    engine = service.engine()
    first = FunctionAgent(
        name="first",
        description="d",
        llm=scripted(("handoff", {"to_agent": "second", "reason": "it knows"})),
        can_handoff_to=["second"],
    )
    second = FunctionAgent(
        name="second", description="d", tools=[engine.as_tool()], llm=scripted(("ask_agent", {"question": "Herons?"}))
    )
    result = await AgentWorkflow(agents=[first, second], root_agent="first").run("Herons?")
    assert CITED_TEXT in str(result)
    await engine.aclose()


def answering(choice: str, otherwise: Any) -> Any:
    """An agent that also plays the model of a router or a question generator."""
    return lambda q: choice if "choices are given" in q.text or "sub_question" in q.text else otherwise


def test_routers_and_sub_questions(service: Service) -> None:
    service.start(answering('[{"choice": 1, "reason": "it fits"}]', CITED))
    llm, engine = model(service), query_engine(service)
    tool = QueryEngineTool.from_defaults(engine, name="docs", description="All about herons.")
    router = RouterQueryEngine(selector=LLMSingleSelector.from_defaults(llm), query_engine_tools=[tool], llm=llm)
    assert len(router.query("Herons?").source_nodes) == 3

    service.start(answering('```json\n{"items": [{"sub_question": "Herons?", "tool_name": "docs"}]}\n```', CITED))
    llm, engine = model(service), query_engine(service)
    tool = QueryEngineTool.from_defaults(engine, name="docs", description="All about herons.")
    sub_questions = SubQuestionQueryEngine.from_defaults(
        [tool], llm=llm, question_gen=LLMQuestionGenerator.from_defaults(llm), use_async=False, verbose=False
    )
    response = sub_questions.query("All about herons?")
    assert CITED_TEXT in str(response)
    assert any(CITED_TEXT in node.get_content() for node in response.source_nodes)


def test_a_retriever_serves_llama_indexs_own_engines(service: Service) -> None:
    service.start()
    retriever = made(service, MeibelRetriever, LlamaCloudChatRetriever, k=2)
    nodes = retriever.retrieve("Herons?")
    assert [node.text for node in nodes] == ["A heron waits.", "It strikes at last."]

    async def aretrieve() -> Any:
        async with retriever:
            return await retriever.aretrieve("Herons?")

    assert [node.node_id for node in asyncio.run(aretrieve())] == [node.node_id for node in nodes]
    llm = model(service)
    cited = CitationQueryEngine(retriever=retriever, llm=llm).query("Herons?")
    assert str(cited) == CITED_TEXT
    assert len(cited.source_nodes) == 2
    with pytest.raises(errors.ConfigurationError, match="k must be"):
        made(service, MeibelRetriever, LlamaCloudChatRetriever, k=0)


def test_evaluators(service: Service) -> None:
    service.start(lambda q: "YES" if "Context" in q.text else CITED)
    response = service.engine().chat("Herons?")
    verdict = FaithfulnessEvaluator(llm=model(service)).evaluate_response("Herons?", response)
    assert verdict.passing
    assert verdict.contexts == ["A heron waits.", "It strikes at last.", "Ponds"]


async def test_query_engines_stream(service: Service) -> None:
    service.start()
    engine = query_engine(service, streaming=True)
    stream = engine.query("Herons?")
    assert "".join(stream.response_gen) == CITED_TEXT
    assert len(stream.source_nodes) == 3
    astream = await engine.aquery("Herons?")
    assert "".join([piece async for piece in astream.async_response_gen()]) == CITED_TEXT
    own = service.engine()
    over = own.as_query_engine()
    assert str(over.query("1?")) == str(await over.aquery("2?")) == CITED_TEXT
    assert service.asked(own.session_id) == ["1?", "2?"]
    await engine.aclose()
    await own.aclose()


async def test_the_eight_verbs_of_a_model(service: Service) -> None:
    service.start()
    llm: LLM = model(service, include_thinking=True)
    messages = [ChatMessage(role="system", content="Be brief."), ChatMessage(role="user", content="Herons?")]
    chunks = [list(llm.stream_chat(messages)), [c async for c in await llm.astream_chat(messages)]]
    for pieces in chunks:
        assert "".join(piece.delta for piece in pieces) == pieces[-1].message.content == CITED_TEXT
        assert [p.additional_kwargs["thinking_delta"] for p in pieces if "thinking_delta" in p.additional_kwargs]
    whole = [llm.chat(messages), await llm.achat(messages), *(pieces[-1] for pieces in chunks)]
    assert len({response.message.model_dump_json() for response in whole}) == 1
    assert whole[0].raw["usage"] == {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
    assert [source["title"] for source in whole[0].raw["sources"]] == ["Birds", "Birds", "Ponds"]
    completions = [llm.complete("Herons?"), await llm.acomplete("Herons?")]
    completions += [list(llm.stream_complete("Herons?"))[-1]]
    completions += [[c async for c in await llm.astream_complete("Herons?")][-1]]
    assert {completion.text for completion in completions} == {CITED_TEXT}
    assert service.hosted.sessions() == 8
    assert "Be brief." in unquote_plus(service.hosted.turn_bodies()[0])
    assert service.local.api_key not in repr(llm) + str(llm.to_dict()) + str(llm.to_payload())
    await llm.aclose()


def test_models_say_what_they_do_not_take(service: Service) -> None:
    service.start()
    for setting in ({"session_id": "s"}, {"on_divergence": "fork"}):
        with pytest.raises(errors.ConfigurationError, match="a session of its own"):
            model(service, **setting)
