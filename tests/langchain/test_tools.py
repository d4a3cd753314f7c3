"""Hosted agents as tools of other agents: in agents, in plain tool nodes, in a supervisor, and alone."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain_core.documents import Document
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import BaseTool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Command

from meibel_integrations.langchain import documents_of, llama_cloud_tool, meibel_tool
from meibel_integrations.local import ScriptedAnswerer
from tests.support.hosted import Hosted, serving

from .scripted import asking, call

NAME = "ask_docs"


@pytest.fixture
def tool(hosted: Hosted) -> BaseTool:
    return tool_of(hosted)


def tool_of(hosted: Hosted, **settings: Any) -> BaseTool:
    make: Any = llama_cloud_tool if hosted.is_cloud else meibel_tool
    return make(  # type: ignore[no-any-return]
        **{**hosted.connection, **hosted.agent, **settings}, name=NAME, description="Knows all about animals."
    )


def thread(name: str = "t") -> Any:
    return {"configurable": {"thread_id": name}}


def ask(graph: Any, question: str, config: Any = None) -> list[ToolMessage]:
    state = graph.invoke({"messages": [HumanMessage(question)]}, config or thread())
    return [message for message in state["messages"] if isinstance(message, ToolMessage)]


def sessions(results: list[ToolMessage]) -> set[str]:
    return {result.response_metadata["session_id"] for result in results}


def agent(tool: BaseTool) -> Any:
    return create_agent(asking(NAME), tools=[tool], checkpointer=InMemorySaver())


def node(tool: BaseTool) -> Any:
    """The same with a plain tool node."""
    model = asking(NAME)
    builder = StateGraph(MessagesState)
    builder.add_node("model", lambda state: {"messages": [model.invoke(state["messages"])]})
    builder.add_node("tools", ToolNode([tool]))
    builder.add_edge(START, "model")
    builder.add_edge("model", "tools")
    return builder.compile(checkpointer=InMemorySaver())


def test_another_agent_sees_the_question_only_and_reads_numbered_sources(tool: BaseTool) -> None:
    assert list(tool.args) == ["query"]
    content = tool.invoke({"query": "What has the zebra?"})
    assert content.startswith("You said: ")
    assert "[1]" in content
    assert "The zebra" in content


@pytest.mark.parametrize("build", [agent, node])
def test_ten_calls_of_a_thread_are_ten_turns_of_one_session(tool: BaseTool, hosted: Hosted, build: Any) -> None:
    graph = build(tool)
    for i in range(10):
        results = ask(graph, f"question {i}")
    (session_id,) = sessions(results)
    assert hosted.asked(session_id) == [f"question {i}" for i in range(10)]
    assert [result.response_metadata["continuity"] for result in results] == ["new", *["continued"] * 9]
    other = ask(graph, "another", thread("other"))
    assert sessions(other).isdisjoint({session_id})
    # a checkpointer gives artifacts back as dicts
    stored = results[0].model_copy(update={"response_metadata": {}})
    for message in (*results, stored):
        assert documents_of(message)[0].page_content == "Zebras have stripes."


@pytest.mark.parametrize("way", ["sync", "async"])
def test_calls_of_one_message_are_turns_of_one_session(tool: BaseTool, hosted: Hosted, way: str) -> None:
    graph = agent(tool)

    def converse(question: str) -> list[ToolMessage]:
        if way == "sync":
            return ask(graph, question)
        state = asyncio.run(graph.ainvoke({"messages": [HumanMessage(question)]}, thread()))
        return [message for message in state["messages"] if isinstance(message, ToolMessage)]

    converse("a; b; c")
    results = converse("d; e")
    (session_id,) = sessions(results)
    assert sorted(hosted.asked(session_id)) == ["a", "b", "c", "d", "e"]
    assert sorted(hosted.asked(session_id)[:3]) == ["a", "b", "c"]


def test_time_travel_forks(tool: BaseTool, hosted: Hosted) -> None:
    graph = agent(tool)
    ask(graph, "one")
    before = graph.get_state(thread()).config
    (first, original) = ask(graph, "two")
    (_, branched) = ask(graph, "other two", before)
    assert branched.response_metadata["continuity"] == "forked"
    assert hosted.asked(original.response_metadata["session_id"]) == ["one", "two"]
    assert "one" in hosted.asked(branched.response_metadata["session_id"])[0]
    # the same message again, from the checkpoint before its tools ran
    again = next(state.config for state in graph.get_state_history(thread()) if state.next == ("tools",))
    replayed = graph.invoke(None, again)["messages"]
    result = next(message for message in reversed(replayed) if isinstance(message, ToolMessage))
    assert result.response_metadata["continuity"] == "forked"
    assert first.response_metadata["session_id"] == original.response_metadata["session_id"]


def test_a_call_without_a_graph_is_a_session_of_its_own(tool: BaseTool) -> None:
    result = tool.invoke(call(NAME, "hello", "c1"))
    assert isinstance(result, ToolMessage)
    assert [type(document) for document in result.artifact] == [Document, Document]
    assert asyncio.run(tool.ainvoke({"query": "hello"})).startswith("You said: ")


def test_an_answer_without_sources_is_found_again(hosted: Hosted) -> None:
    with serving(hosted.service, answerer=ScriptedAnswerer(lambda _: "I know nothing.")) as plain:
        graph = agent(tool_of(plain))
        ask(graph, "Hello!")
        results = ask(graph, "Hello again!")
        assert results[0].artifact == []
        assert len(sessions(results)) == 1


def test_an_error_is_a_message_that_the_agent_can_read(hosted: Hosted) -> None:
    wrong = tool_of(hosted, api_key="wrong", max_retries=0)
    before = hosted.requests().count("turn")
    (result,) = ask(agent(wrong), "hello")
    assert result.status == "error"
    assert "could not answer" in result.text
    assert hosted.requests().count("turn") == before


def test_a_call_that_a_human_rejected_does_not_hinder_the_others(tool: BaseTool, hosted: Hosted) -> None:
    gate = HumanInTheLoopMiddleware(interrupt_on={NAME: True})
    graph = create_agent(asking(NAME), tools=[tool], middleware=[gate], checkpointer=InMemorySaver())
    graph.invoke({"messages": [HumanMessage("a; b")]}, thread())
    decisions = [{"type": "reject", "message": "no"}, {"type": "approve"}]
    state = graph.invoke(Command(resume={"decisions": decisions}), thread())
    results = [message for message in state["messages"] if isinstance(message, ToolMessage)]
    answered = [result for result in results if result.status != "error"]
    assert hosted.asked(answered[0].response_metadata["session_id"]) == ["b"]


def test_in_a_supervisor_each_thread_keeps_its_session(tool: BaseTool, hosted: Hosted) -> None:
    """A supervisor that hands over to an agent with the tool, as a subgraph of the same messages."""
    builder = StateGraph(MessagesState)
    builder.add_node("docs", create_agent(asking(NAME), tools=[tool], name="docs"))
    builder.add_edge(START, "docs")
    graph = builder.compile(checkpointer=InMemorySaver())
    for name in ("a", "b", "a"):
        results = ask(graph, f"question of {name}", thread(name))
    assert len(sessions(results)) == 1
    assert hosted.asked(sessions(results).pop()) == ["question of a"] * 2
