"""What a user interface sees while an agent works: tokens, tools, thinking and status, live and in order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.runnables import RunnableLambda

from meibel_integrations.langchain import ChatMeibel
from meibel_integrations.rendering.citations import as_html, as_markdown, as_text, footnotes
from tests.support.hosted import Hosted, only
from tests.support.servers import RawServer, event_stream, json_answer
from tests.support.wire_turns import v2_event

from .conftest import Make

pytestmark = pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")
SHOWN: dict[str, Any] = {"include_thinking": True, "include_tool_activity": True}


def called(tool_id: str | None, **arguments: Any) -> bytes:
    return v2_event("tool_call", tool_id=tool_id, tool_name="search", arguments=arguments)


def returned(tool_id: str | None, result: Any) -> bytes:
    return v2_event("tool_result", tool_id=tool_id, tool_name="search", result=result)


def said(text: str) -> bytes:
    return v2_event("partial_response", data={"message": text, "clean_message": text})


TURN = [
    v2_event("connected", signal_id="sig-1"),
    v2_event("thinking", data={"message": "Let me look."}),
    called("t1", k=1),
    called("t1", k=2),
    returned("t1", ["one"]),
    returned("t1", ["two"]),
    called(None, k=3),
    called(None, k=4),
    returned(None, ["three"]),
    returned(None, ["four"]),
    said("The sky "),
    v2_event("thinking", data={"message": "Is it so?"}),
    said("is blue."),
    v2_event("completion", data={"message": "The sky is blue.", "clean_message": "The sky is blue."}),
]
TOOLS = ["server_tool_call"] * 2 + ["server_tool_result"] * 2
KINDS = ["reasoning", *TOOLS, *TOOLS, "text", "reasoning"]


def over(server: RawServer, **options: Any) -> ChatMeibel:
    return ChatMeibel(agent_id="a", api_key="k", base_url=server.base_url, **{**SHOWN, **options})


def whole(model: Any) -> AIMessageChunk:
    full: Any = None
    for chunk in model.stream("hi"):
        full = chunk if full is None else full + chunk
    return full  # type: ignore[no-any-return]


FORMS: dict[str, Callable[[RawServer], AIMessage]] = {
    "invoke": lambda server: over(server).invoke("hi"),
    "sum": lambda server: whole(over(server)),
    "v1": lambda server: over(server, output_version="v1").invoke("hi"),
    "v1 sum": lambda server: whole(over(server, output_version="v1")),
    "v3": lambda server: over(server).stream_events("hi", version="v3").output,
}


@pytest.mark.parametrize("form", list(FORMS))
def test_two_calls_with_one_id_or_with_none_stay_two_in_order_of_arrival(form: str) -> None:
    with RawServer([json_answer({"session_id": "s"})], [event_stream(), *TURN]) as server:
        blocks: list[Any] = FORMS[form](server).content_blocks
    assert [block["type"] for block in blocks] == KINDS
    assert [block["args"]["k"] for block in blocks if block["type"] == "server_tool_call"] == [1, 2, 3, 4]
    results = [block for block in blocks if block["type"] == "server_tool_result"]
    assert [(block["output"], block["status"]) for block in results] == [
        ([word], "success") for word in ("one", "two", "three", "four")
    ]
    calls = [block["id"] for block in blocks if block["type"] == "server_tool_call"]
    assert [block["tool_call_id"] for block in results] == calls
    assert calls[2] != calls[3]
    assert len({block["index"] for block in blocks}) == len(blocks)
    assert "".join(block["text"] for block in blocks if block["type"] == "text") == "The sky is blue."


class Tokens(BaseCallbackHandler):
    """Notes each token, and what had been yielded then."""

    def __init__(self) -> None:
        self.tokens: list[str] = []
        self.chunks = 0

    def on_llm_new_token(self, token: str, *, chunk: Any = None, **kwargs: Any) -> None:
        if token:
            self.tokens.append(token)
            self.chunks += chunk is not None


class AsyncTokens(Tokens, AsyncCallbackHandler):  # type: ignore[misc]
    async def on_llm_new_token(self, token: str, *, chunk: Any = None, **kwargs: Any) -> None:  # type: ignore[override]
        Tokens.on_llm_new_token(self, token, chunk=chunk)


async def _astream(model: Any, config: Any) -> None:
    async for _ in model.astream("hi", config):
        continue


async def _aevents(model: Any, config: Any) -> None:
    async for _ in await model.astream_events("hi", config, version="v3"):
        continue


async def _events(model: Any, config: Any) -> None:
    async for _ in model.astream_events("hi", config, version="v2"):
        continue


WAYS: dict[str, Callable[[Any, Any], Any]] = {
    "stream": lambda model, config: list(model.stream("hi", config)),
    "invoke, streaming": lambda model, config: model.invoke("hi", config, stream=True),
    "v3": lambda model, config: list(model.stream_events("hi", config, version="v3")),
    "astream": lambda model, config: asyncio.run(_astream(model, config)),
    "astream_events": lambda model, config: asyncio.run(_events(model, config)),
    "async v3": lambda model, config: asyncio.run(_aevents(model, config)),
}


@pytest.mark.parametrize("way", list(WAYS))
def test_each_delta_is_called_back_once_with_its_chunk(way: str) -> None:
    seen = AsyncTokens() if "a" in way.split()[0][:2] else Tokens()
    with RawServer([json_answer({"session_id": "s"})], [event_stream(), *TURN]) as server:
        WAYS[way](over(server), {"callbacks": [seen]})
    assert seen.tokens == ["The sky ", "is blue."]
    assert seen.chunks == 2


@pytest.mark.parametrize("way", ["sync", "async"])
def test_v3_shows_each_step_before_the_server_goes_on(way: str) -> None:
    import threading

    gates = [threading.Event() for _ in range(4)]
    status = v2_event("status", data={"message": "Searching"})
    script = [
        event_stream(),
        TURN[0],
        status,
        gates[0],
        TURN[1],
        gates[1],
        TURN[2],
        gates[2],
        TURN[4],
        gates[3],
        *TURN[10:],
    ]
    seen: list[str] = []

    def see(event: dict[str, Any]) -> None:
        delta, content = event.get("delta") or {}, event.get("content") or {}
        if delta.get("type") == "status" and delta.get("message") == "Searching":
            step = 0
        elif delta.get("reasoning") == "Let me look.":
            step = 1
        elif event["event"] == "content-block-finish" and content.get("args") == {"k": 1}:
            step = 2
        elif event["event"] == "content-block-finish" and content.get("output") == ["one"]:
            step = 3
        else:
            return
        seen.append(event["event"])
        gates[step].set()

    async def read(model: Any) -> None:
        async for event in await model.astream_events("hi", version="v3"):
            see(event)

    with RawServer([json_answer({"session_id": "s"})], script) as server:
        if way == "async":
            asyncio.run(read(over(server)))
        else:
            for event in over(server).stream_events("hi", version="v3"):
                see(event)  # type: ignore[arg-type]
    assert len(seen) == 4


def test_in_an_agent_each_stream_mode_shows_what_the_agent_does(make: Make, hosted: Hosted) -> None:
    graph = create_agent(make(progress_events=True, **SHOWN), [])
    question = {"messages": [HumanMessage("hello")]}
    shown = {mode: [] for mode in ("messages", "custom", "updates")}
    for mode, piece in graph.stream(question, stream_mode=list(shown)):
        shown[mode].append(piece)
    kinds = [piece["meibel_progress"]["type"] for piece in shown["custom"]]
    assert kinds[:2] == ["tool_call", "tool_result"]
    assert any(
        chunk.content_blocks and chunk.content_blocks[0]["type"] == "reasoning" for chunk, _ in shown["messages"]
    )

    async def events(runnable: Any, value: Any) -> list[dict[str, Any]]:
        return [e["data"] async for e in runnable.astream_events(value) if e["event"] == "on_custom_event"]

    assert [each["type"] for each in asyncio.run(events(graph, question))][:2] == ["tool_call", "tool_result"]
    chain = RunnableLambda(lambda text: text) | make(progress_events=True, include_tool_activity=True)
    assert asyncio.run(events(chain, "hello"))[0]["args"] == {"query": "hello"}
    # nobody listens to a call on its own
    assert make(progress_events=True, **SHOWN).invoke("hello").text


def test_sources_that_are_not_cited_are_annotations_too(make: Make, hosted: Hosted) -> None:
    answer = make().invoke("hello")
    annotations: Any = answer.content_blocks[-1]["annotations"]  # type: ignore[typeddict-item]
    if hosted.has_citations:
        assert {each["extras"]["origin"] for each in annotations} == {"cited"}
        return
    assert [(each["title"], each["extras"]["origin"]) for each in annotations] == [
        ("The zebra", "retrieved"),
        ("The whale", "retrieved"),
    ]
    assert not any("start_index" in each or "end_index" in each for each in annotations)
    assert answer.response_metadata["citations"] == []


@only("v2", because="rendering is the same for every service")
def test_a_message_is_rendered_as_it_is(make: Make) -> None:
    answer = make().invoke("hello")
    assert as_text(answer).endswith("[2] The zebra - file:///zebra.md")
    assert "zebra" in as_markdown(answer)
    assert "<sup>" in as_html(answer)
    assert len(footnotes(answer)) == 2
