"""The chat models in LangGraph graphs and agents: the checkpointer keeps the list, the session remembers."""

from __future__ import annotations

import asyncio
import json
import operator
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import SummarizationMiddleware
from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, HumanMessage, ToolMessage, trim_messages
from langchain_core.messages.utils import count_tokens_approximately
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph

from meibel_integrations.conversation.messages import read_history, without_system
from meibel_integrations.langchain.messages import to_neutral
from tests.support.hosted import ONE_OF_EACH, Hosted, only

from .conftest import Make


class Server:
    """What the service holds."""

    def __init__(self, hosted: Hosted) -> None:
        self.provider = hosted.provider
        self.asked = hosted.asked
        self.read = hosted.read

    def assert_holds(self, messages: list[BaseMessage]) -> None:
        """The session of the newest answer holds this conversation, and nothing else."""
        held = without_system(read_history(self.read(messages[-1].response_metadata["session_id"])))
        assert held == without_system(to_neutral(messages, provider=self.provider, agent=None))


@pytest.fixture
def server(hosted: Hosted) -> Server:
    return Server(hosted)


def chat_graph(model: Any, saver: Any = None) -> Any:
    def call(state: MessagesState) -> dict[str, Any]:
        return {"messages": [model.invoke(state["messages"])]}

    graph = StateGraph(MessagesState)
    graph.add_node("model", call)
    graph.add_edge(START, "model")
    graph.add_edge("model", END)
    return graph.compile(checkpointer=saver or InMemorySaver())


def agent_graph(model: Any, saver: Any = None) -> Any:
    return create_agent(model=model, tools=[], system_prompt="Be brief.", checkpointer=saver or InMemorySaver())


LONG = "it takes long, and what a graph does is the same in both dialects"


def thread(name: str = "t") -> Any:
    return {"configurable": {"thread_id": name}}


def ask(graph: Any, question: str, config: Any = None) -> list[BaseMessage]:
    state = graph.invoke({"messages": [HumanMessage(question)]}, config or thread())
    return list(state["messages"])


@pytest.mark.parametrize("build", [chat_graph, agent_graph])
def test_ten_turns_are_ten_messages_in_one_session(make: Make, server: Server, build: Any) -> None:
    graph = build(make())
    for i in range(10):
        messages = ask(graph, f"question {i}")
        server.assert_holds(messages)
    sent = server.asked(messages[-1].response_metadata["session_id"])
    assert len(sent) == 10
    assert sent[1:] == [f"question {i}" for i in range(1, 10)]


def test_tokens_and_the_whole_message_stream_through_a_graph(make: Make, server: Server) -> None:
    graph = agent_graph(make())
    tokens = [c.content for c, _ in graph.stream({"messages": [HumanMessage("hi")]}, thread(), stream_mode="messages")]
    assert len([t for t in tokens if t]) > 1
    server.assert_holds(graph.get_state(thread()).values["messages"])
    server.assert_holds(ask(graph, "more"))

    async def through_events() -> list[Any]:
        events = graph.astream_events({"messages": [HumanMessage("again")]}, thread())
        return [e["event"] async for e in events]

    assert asyncio.run(through_events()).count("on_chat_model_stream") > 1
    server.assert_holds(graph.get_state(thread()).values["messages"])


def test_two_threads_with_one_model_never_meet(make: Make, server: Server) -> None:
    graph = chat_graph(make())
    for i in range(3):
        a, b = ask(graph, f"a {i}", thread("a")), ask(graph, f"b {i}", thread("b"))
    server.assert_holds(a)
    server.assert_holds(b)


def test_time_travel_and_another_question_from_there(make: Make, server: Server) -> None:
    graph = chat_graph(make())
    ask(graph, "one")
    first = graph.get_state(thread()).config
    original = ask(graph, "two")
    branched = ask(graph, "other two", first)
    assert [m.text for m in branched[::2]] == ["one", "other two"]
    server.assert_holds(branched)
    server.assert_holds(original)
    assert branched[-1].response_metadata["continuity"] == "forked"
    onward = ask(graph, "three")
    assert onward[-1].response_metadata["continuity"] == "continued"
    server.assert_holds(onward)


@pytest.mark.parametrize("which", [0, 1], ids=["a question", "an answer"])
def test_an_edited_message_is_what_counts(make: Make, server: Server, which: int) -> None:
    graph = chat_graph(make())
    messages = ask(graph, "one")
    edited = messages[which].model_copy(update={"content": "edited"})
    graph.update_state(thread(), {"messages": [edited]})
    after = ask(graph, "two")
    assert after[which].text == "edited"
    server.assert_holds(after)


def test_a_node_that_failed_after_its_turn_was_stored_runs_again(make: Make, server: Server) -> None:
    model = make()
    failures = [RuntimeError("crashed after the turn")]

    def call(state: MessagesState) -> dict[str, Any]:
        answer = model.invoke(state["messages"])
        if len(state["messages"]) > 1 and failures:
            raise failures.pop()
        return {"messages": [answer]}

    builder = StateGraph(MessagesState)
    builder.add_node("model", call)
    builder.add_edge(START, "model")
    graph = builder.compile(checkpointer=InMemorySaver())
    ask(graph, "one")
    with pytest.raises(RuntimeError, match="crashed"):
        ask(graph, "two")
    state = graph.invoke(None, thread())
    server.assert_holds(state["messages"])
    assert [m.text for m in state["messages"][::2]] == ["one", "two"]


def test_parallel_nodes_give_one_continuation_and_forks(make: Make, server: Server) -> None:
    model = make()

    class State(TypedDict):
        messages: list[AnyMessage]
        answers: Annotated[list[BaseMessage], operator.add]

    def node(name: str) -> Any:
        return lambda state: {"answers": [model.invoke([*state["messages"], HumanMessage(f"from {name}")])]}

    builder = StateGraph(State)
    for name in ("a", "b", "c"):
        builder.add_node(name, node(name))
        builder.add_edge(START, name)
    base: list[Any] = [HumanMessage("one")]
    base.append(model.invoke(base))
    answers = builder.compile().invoke({"messages": base, "answers": []})["answers"]
    assert sorted(a.response_metadata["continuity"] for a in answers) == ["continued", "forked", "forked"]
    for name, answer in zip(("a", "b", "c"), answers, strict=True):
        server.assert_holds([*base, HumanMessage(f"from {name}"), answer])


def test_a_trimmed_head_goes_on_in_the_same_session(make: Make, server: Server) -> None:
    model = make()

    def call(state: MessagesState) -> dict[str, Any]:
        kept = trim_messages(state["messages"], max_tokens=3, token_counter=len, strategy="last", start_on="human")
        return {"messages": [model.invoke(kept)]}

    builder = StateGraph(MessagesState)
    builder.add_node("model", call)
    builder.add_edge(START, "model")
    graph = builder.compile(checkpointer=InMemorySaver())
    for i in range(6):
        messages = ask(graph, f"question {i}")
    assert len({m.response_metadata["session_id"] for m in messages[1::2]}) == 1
    server.assert_holds(messages)


def test_summaries_of_the_same_model_never_land_in_the_users_session(make: Make, server: Server) -> None:
    model = make()
    middleware = SummarizationMiddleware(
        model=model, trigger=("messages", 5), keep=("messages", 2), token_counter=count_tokens_approximately
    )
    graph = create_agent(model=model, tools=[], middleware=[middleware], checkpointer=InMemorySaver())
    for i in range(6):
        messages = ask(graph, f"question {i}")
        server.assert_holds(messages)
    assert any("summary" in m.text for m in messages if m.type == "human"), "nothing was summarised"
    users = {m.response_metadata["session_id"] for m in messages if m.type == "ai"}
    asked = [text for session_id in users for text in server.asked(session_id)]
    assert not any(text.startswith("<role>") for text in asked), "a summary was asked for in a user's session"


def test_a_handoff_of_a_supervisor_is_told_as_transcript(make: Make, server: Server) -> None:
    call = {"name": "transfer_to_docs", "args": {}, "id": "c1", "type": "tool_call"}
    messages: list[BaseMessage] = [
        HumanMessage("What do zebras look like?"),
        AIMessage("", tool_calls=[call], name="supervisor"),
        ToolMessage("Successfully transferred to docs", tool_call_id="c1", name="transfer_to_docs"),
    ]
    answer = make().invoke(messages)
    assert answer.text.startswith("You said: What do zebras look like?")
    server.assert_holds([*messages, answer])
    more = [*messages, answer.model_copy(update={"name": "docs"}), HumanMessage("And whales?")]
    following = make().invoke(more)
    assert following.response_metadata["continuity"] == "continued", following.response_metadata["continuity_reason"]


def test_another_models_answers_in_between_are_told(make: Make, server: Server) -> None:
    model = make()
    messages: list[BaseMessage] = [HumanMessage("one")]
    messages.append(model.invoke(messages))
    messages += [HumanMessage("two"), AIMessage("from another model"), HumanMessage("three")]
    messages.append(model.invoke(messages))
    assert messages[-1].response_metadata["continuity"] == "continued"
    server.assert_holds(messages)


def test_a_stream_left_half_way_loses_nothing_and_doubles_nothing(make: Make, server: Server) -> None:
    graph = chat_graph(make())
    ask(graph, "one")
    for _ in graph.stream({"messages": [HumanMessage("left")]}, thread(), stream_mode="messages"):
        break
    messages = ask(graph, "three")
    assert messages[-2].text == "three"
    server.assert_holds(messages)


_PROCESS = """
import json
import sys
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import START, MessagesState, StateGraph
from meibel_integrations import langchain

path, kind, settings, question = sys.argv[1:]
model = getattr(langchain, kind)(**json.loads(settings))
builder = StateGraph(MessagesState)
builder.add_node("model", lambda state: {"messages": [model.invoke(state["messages"])]})
builder.add_edge(START, "model")
with SqliteSaver.from_conn_string(path) as saver:
    graph = builder.compile(checkpointer=saver)
    state = graph.invoke({"messages": [HumanMessage(question)]}, {"configurable": {"thread_id": "t"}})
print(state["messages"][-1].response_metadata["session_id"])
"""


@only(*ONE_OF_EACH, because=LONG)
def test_processes_that_alternate_stay_in_one_session(hosted: Hosted, server: Server, tmp_path: Path) -> None:
    kind = "ChatLlamaCloud" if hosted.is_cloud else "ChatMeibel"
    settings = json.dumps({**hosted.agent, **hosted.connection})
    found = []
    for i in range(3):
        arguments = [str(tmp_path / "graph.db"), kind, settings, f"question {i}"]
        done = subprocess.run([sys.executable, "-c", _PROCESS, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        found.append(done.stdout.strip())
    assert len(set(found)) == 1
    assert server.asked(found[0]) == [f"question {i}" for i in range(3)]


@only(*ONE_OF_EACH, because=LONG)
def test_turn_100_costs_no_more_bytes_than_turn_2(make: Make, hosted: Hosted) -> None:
    graph = chat_graph(make())
    for _ in range(100):
        ask(graph, "the same question")
    sent = hosted.turn_bodies()[-100:]
    assert len(sent) == 100
    assert len(set(sent)) == 1


@only(*ONE_OF_EACH, because=LONG)
def test_200_conversations_from_20_threads_and_one_loop_never_meet(make: Make, server: Server) -> None:
    model = make()
    graph = chat_graph(model)

    def in_a_thread(user: int) -> list[BaseMessage]:
        for turn in range(2):
            messages = ask(graph, f"user {user} turn {turn}", thread(str(user)))
        return messages

    async def on_the_loop(user: int, limit: asyncio.Semaphore) -> list[BaseMessage]:
        messages: list[BaseMessage] = []
        for turn in range(2):
            messages.append(HumanMessage(f"user {user} turn {turn}"))
            async with limit:
                messages.append(await model.ainvoke(messages))
        return messages

    async def all_on_the_loop() -> list[list[BaseMessage]]:
        limit = asyncio.Semaphore(40)
        return await asyncio.gather(*(on_the_loop(user, limit) for user in range(100, 200)))

    with ThreadPoolExecutor(20) as pool:
        conversations = list(pool.map(in_a_thread, range(100)))
    conversations += asyncio.run(all_on_the_loop())
    for user, messages in enumerate(conversations):
        server.assert_holds(messages)
        assert [m.text for m in messages[::2]] == [f"user {user} turn {t}" for t in range(2)]
    assert len({m.response_metadata["session_id"] for c in conversations for m in c[1::2]}) == 200
