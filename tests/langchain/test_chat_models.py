"""The chat models as applications use them, over every hosted service."""

from __future__ import annotations

import asyncio
import gc
import json
import pickle
import re
import threading
from functools import partial
from typing import Any

import pytest
from langchain_core.load import dumps
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    ChatMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
    message_chunk_to_message,
)
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import ConfigurableField

from meibel_integrations import MeibelClient, errors
from meibel_integrations.langchain import ChatLlamaCloud, ChatMeibel
from meibel_integrations.langchain.hosted import HostedChatModel
from tests.support.hosted import ONE_OF_EACH, SERVICES, WIRES, Hosted, Wire, only, serving
from tests.support.servers import RawServer, event_stream, json_answer
from tests.support.wire_turns import DELTAS

from .conftest import Make, model_of

FULL: dict[str, Any] = {"include_thinking": True, "include_tool_activity": True}
TEXT = "You said: hello. Zebras have stripes."


def comparable(message: AIMessage) -> dict[str, Any]:
    """A message without what belongs to one call alone."""
    metadata = {k: v for k, v in message.response_metadata.items() if k not in ("session_id", "signal_id")}
    shown = {"kwargs": message.additional_kwargs, "blocks": message.content_blocks, "metadata": metadata}
    return {
        "text": message.text,
        "usage": message.usage_metadata,
        **unnumbered(shown),
    }


def unnumbered(shown: Any) -> Any:
    """The local service names the call that tells LlamaCloud's sources after the turn; times are each call's own."""
    named = re.sub(r'sources-[^"_]+', "sources", json.dumps(shown))
    return json.loads(re.sub(r'"(timestamp|duration_ms)": ("[^"]*"|[\d.]+)', r'"\1": 0', named))


async def everything(model: HostedChatModel, messages: Any, **options: Any) -> AIMessage:
    full: AIMessageChunk | None = None
    async for chunk in model.astream(messages, **options):
        full = chunk if full is None else full + chunk
    assert full is not None
    return message_chunk_to_message(full)  # type: ignore[return-value]


def streamed(model: HostedChatModel, messages: Any, **options: Any) -> AIMessage:
    full: AIMessageChunk | None = None
    for chunk in model.stream(messages, **options):
        full = chunk if full is None else full + chunk
    assert full is not None
    return message_chunk_to_message(full)  # type: ignore[return-value]


@pytest.mark.parametrize("options", [{}, FULL], ids=["plain", "with thinking and tools"])
def test_the_same_answer_gives_the_same_message_in_every_way(make: Make, options: dict[str, Any]) -> None:
    model = make(**options)
    answers = {
        "invoke": model.invoke("hello"),
        "ainvoke": asyncio.run(model.ainvoke("hello")),
        "stream": streamed(model, "hello"),
        "astream": asyncio.run(everything(model, "hello")),
        "batch": model.batch(["hello"])[0],
        "invoke, streaming": model.invoke("hello", stream=True),
    }
    wanted = comparable(answers["invoke"])
    assert {name: comparable(answer) for name, answer in answers.items()} == dict.fromkeys(answers, wanted)
    assert len({a.response_metadata["session_id"] for a in answers.values()}) == len(answers)


@pytest.mark.parametrize("options", [{}, FULL], ids=["plain", "with thinking and tools"])
@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")
def test_the_standard_output_has_the_same_blocks_in_every_way(make: Make, options: dict[str, Any]) -> None:
    def blocks(message: AIMessage) -> list[dict[str, Any]]:
        return [{k: v for k, v in b.items() if k not in ("index", "id")} for b in unnumbered(message.content_blocks)]

    wanted = blocks(make(**options).invoke("hello"))
    model = make(**options, output_version="v1")
    assert blocks(model.invoke("hello")) == wanted
    assert blocks(streamed(model, "hello")) == wanted
    assert blocks(make(**options).stream_events("hello", version="v3").output) == wanted


@only("v2", "guide", because="LlamaCloud's wire has no citations: its sources are what was retrieved")
def test_citations_are_standard_and_raw(make: Make) -> None:
    answer = make().invoke("hello")
    (block,) = answer.content_blocks
    annotations: Any = block["annotations"]  # type: ignore[typeddict-item]
    assert [(a["type"], a["title"], a["start_index"], a["end_index"]) for a in annotations] == [
        ("citation", "The whale", 9, 9),
        ("citation", "The zebra", len(TEXT), len(TEXT)),
        ("citation", "The whale", len(TEXT), len(TEXT)),
    ]
    assert annotations[1]["url"] == "file:///zebra.md"
    assert annotations[1]["cited_text"] == "Zebras have stripes."
    assert answer.response_metadata["citations"][1] == {"source": 0, "start": len(TEXT), "end": len(TEXT)}


def test_an_answer_is_text_with_raw_lists_beside_it(make: Make, hosted: Hosted) -> None:
    answer = make().invoke("hello")
    assert answer.content == TEXT
    metadata = answer.response_metadata
    assert [source["title"] for source in metadata["sources"]] == ["The zebra", "The whale"]
    assert {source["origin"] for source in metadata["sources"]} == {"cited" if hosted.has_citations else "retrieved"}
    assert bool(metadata["citations"]) == hosted.has_citations
    assert (metadata["signal_id"] is not None) == hosted.has_signals
    assert metadata["model_provider"] == hosted.provider
    assert metadata.items() >= {**hosted.agent, "warnings": [], "skipped_index_ids": [], "continuity": "new"}.items()
    assert (
        metadata["sources"][0].items()
        >= {
            "title": "The zebra",
            "url": "file:///zebra.md",
            "snippet": "Zebras have stripes.",
            "score": 0.9,
            "data_element_id": "doc-zebra",
        }.items()
    )
    assert metadata["follow_up_questions"] == ([] if hosted.is_cloud else ["And whales?"])
    assert answer.usage_metadata == {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
    assert json.loads(json.dumps(metadata)) == metadata


def test_thinking_and_tools_are_standard_blocks(make: Make, hosted: Hosted) -> None:
    blocks: list[Any] = make(**FULL).invoke("hello").content_blocks
    tools = ["server_tool_call", "server_tool_result"]
    # LlamaCloud's sources are a tool's result, too, which the local service tells after the text
    searches = tools if hosted.is_cloud else []
    assert [b["type"] for b in blocks] == [*tools, "reasoning", "text", *searches]
    assert blocks[2]["reasoning"] == "Let me think."
    assert [b["type"] for b in make().invoke("hello").content_blocks] == ["text"]


def test_only_the_last_chunk_carries_what_occurs_once(make: Make) -> None:
    *chunks, last = make().stream("hello")
    assert all(c.response_metadata.keys() == {"model_provider"} and not c.usage_metadata for c in chunks)
    assert last.chunk_position == "last"
    assert last.response_metadata["session_id"]


def test_a_conversation_stays_in_one_session(make: Make, hosted: Hosted) -> None:
    model = make()
    messages: list[Any] = []
    for i in range(4):
        messages.append(HumanMessage(f"question {i}"))
        messages.append(model.invoke(messages) if i % 2 else streamed(model, messages))
    answers = messages[1::2]
    assert len({a.response_metadata["session_id"] for a in answers}) == 1
    assert [a.response_metadata["continuity"] for a in answers] == ["new", *["continued"] * 3]
    assert hosted.asked(answers[0].response_metadata["session_id"]) == [f"question {i}" for i in range(4)]


@pytest.mark.parametrize("form", ["str", "v1", "v3", "stored"])
@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")
def test_a_session_goes_on_behind_an_answer_in_any_form(make: Make, form: str) -> None:
    """Standard output, events and stores change an answer's form, not what it says."""
    first: AIMessage
    if form == "v1":
        first = streamed(make(output_version="v1", **FULL), "hello")
    elif form == "v3":
        first = make(**FULL).stream_events("hello", version="v3").output
    else:
        first = make().invoke("hello")
        if form == "stored":
            first = AIMessage.model_validate_json(first.model_dump_json())
    second = make().invoke([HumanMessage("hello"), first, HumanMessage("more")])
    assert second.response_metadata["continuity"] == "continued", second.response_metadata["continuity_reason"]
    assert second.response_metadata["session_id"] == first.response_metadata["session_id"]


@only("v2", "guide", because="LlamaCloud's agent is named by its indexes alone")
def test_an_agent_that_was_named_by_name_is_found_again(make: Make) -> None:
    model = make(agent_name="docs")
    first = model.invoke("hello")
    second = model.invoke([HumanMessage("hello"), first, HumanMessage("more")])
    assert second.response_metadata["continuity"] == "continued"


@pytest.mark.parametrize("elsewhere", SERVICES)
def test_another_agents_answer_is_no_anchor(make: Make, elsewhere: str) -> None:
    with serving(elsewhere) as other:
        first = model_of(other).invoke("hello")
    second = make().invoke([HumanMessage("hello"), first, HumanMessage("more")])
    assert second.response_metadata["continuity"] == "seeded"


def test_instructions_are_sent_once_and_again_only_when_they_change(make: Make, hosted: Hosted) -> None:
    model = make()
    messages: list[Any] = [SystemMessage("Be brief."), HumanMessage("one")]
    messages.append(model.invoke(messages))
    messages.append(HumanMessage("two"))
    messages.append(model.invoke(messages))
    messages[0] = SystemMessage("Be long.")
    messages.append(HumanMessage("three"))
    answer = model.invoke(messages)
    sent = hosted.asked(answer.response_metadata["session_id"])
    assert ["Be brief." in sent[0], sent[1], "Be long." in sent[2]] == [True, "two", True]
    assert len(sent) == 3


def test_what_came_before_elsewhere_is_told(make: Make, hosted: Hosted) -> None:
    call = {"name": "weather", "args": {"city": "Oslo"}, "id": "c1", "type": "tool_call"}
    answer = make().invoke(
        [
            ChatMessage(role="developer", content="Be kind."),
            HumanMessage("And the weather?", name="Ann"),
            AIMessage("", tool_calls=[call]),
            ToolMessage("rain", tool_call_id="c1", name="weather"),
            AIMessage([{"type": "text", "text": "It rains."}]),
            HumanMessage([{"type": "text", "text": "Thanks. "}, {"type": "text", "text": "Why?"}]),
        ]
    )
    assert answer.content.startswith("You said: Thanks. Why?")
    (sent,) = hosted.asked(answer.response_metadata["session_id"])
    for piece in ("Be kind.", '<<user {"name": "Ann"}>>', '[called weather({"city": "Oslo"})]', "rain", "It rains."):
        assert piece in sent


@pytest.mark.parametrize(
    ("messages", "says"),
    [
        ([], "no user message"),
        ([AIMessage("hi")], "no user message"),
        ([ToolMessage("x", tool_call_id="nobody")], "nobody"),
        ([HumanMessage([{"type": "image", "url": "https://x.test/a.png"}])], "image"),
        ([HumanMessage("")], "empty"),
        ([ChatMessage(role="narrator", content="x")], "chat"),
    ],
    ids=["nothing", "no question", "orphan tool", "image", "empty", "unknown role"],
)
def test_a_list_that_cannot_be_answered_is_refused_in_words(make: Make, messages: list[Any], says: str) -> None:
    with pytest.raises(errors.InvalidInputError, match=says):
        make().invoke(messages)


def test_a_list_that_ends_in_the_answer_has_nothing_to_answer(make: Make) -> None:
    model = make()
    answer = model.invoke("hello")
    with pytest.raises(errors.InvalidInputError, match="nothing new"):
        model.invoke([HumanMessage("hello"), answer])


def test_instructions_alone_are_the_message(make: Make) -> None:
    assert make().invoke([SystemMessage("hello")]).content == TEXT


class TestPinned:
    def test_in_the_constructor_by_binding_and_in_the_call(self, make: Make, hosted: Hosted) -> None:
        mine, bound, called, configured = (hosted.open_session() for _ in range(4))
        model = make(session_id=mine)
        choosable = model.configurable_fields(session_id=ConfigurableField(id="session_id"))
        config: Any = {"configurable": {"session_id": configured}}
        for wanted, answer in [
            (mine, model.invoke("one")),
            (bound, model.bind(session_id=bound).invoke("one")),
            (called, model.invoke("one", session_id=called)),
            (called, model.bind(session_id=bound).invoke("two", session_id=called)),
            (configured, choosable.invoke("one", config)),
            (mine, streamed(model, "two")),
        ]:
            assert answer.response_metadata["session_id"] == wanted
            assert answer.response_metadata["continuity"] == "continued"

    def test_a_session_without_an_agent_can_be_pinned(self, hosted: Hosted) -> None:
        session_id = hosted.open_session()
        model = model_of(hosted, session_id=session_id, **dict.fromkeys(hosted.agent, [] if hosted.is_cloud else None))
        first = model.invoke("one")
        second = model.invoke([HumanMessage("one"), first, HumanMessage("two")])
        assert second.response_metadata["session_id"] == session_id

    def test_batch_runs_in_order(self, make: Make, hosted: Hosted) -> None:
        session_id = hosted.open_session()
        questions = [f"question {i}" for i in range(6)]
        make(session_id=session_id).batch(questions)
        assert hosted.asked(session_id) == questions


def test_an_ephemeral_call_leaves_no_anchor(make: Make) -> None:
    model = make()
    first = model.invoke("hello", ephemeral=True)
    assert first.response_metadata["session_id"] is None
    second = model.invoke([HumanMessage("hello"), first, HumanMessage("more")])
    assert second.response_metadata["continuity"] == "seeded"


def test_in_a_chain(make: Make) -> None:
    chain = ChatPromptTemplate.from_messages([("system", "Be brief."), ("human", "{q}")]) | make() | StrOutputParser()
    assert chain.invoke({"q": "hello"}) == TEXT
    assert "".join(chain.stream({"q": "hello"})) == TEXT
    assert asyncio.run(chain.ainvoke({"q": "hello"})) == TEXT
    assert chain.batch([{"q": "hello"}] * 3) == [TEXT] * 3


# Streams


@pytest.fixture(params=SERVICES)
def wire(request: pytest.FixtureRequest) -> Wire:
    return WIRES[request.param]


def over(wire: Wire, server: RawServer) -> HostedChatModel:
    """A model whose service is these bytes."""
    kind = ChatLlamaCloud if wire.service == "llamacloud" else ChatMeibel
    return kind(**wire.agent, api_key="key-1", base_url=server.base_url)


@pytest.mark.parametrize("way", ["stream", "astream"])
def test_each_token_is_shown_before_the_server_goes_on(wire: Wire, way: str) -> None:
    shown = [threading.Event() for _ in DELTAS]
    events = wire.turn
    at = next(i for i, e in enumerate(events) if f'"{DELTAS[0]}"'.encode() in e)
    script: list[Any] = [event_stream(), *events[:at]]
    for event, gate in zip(events[at:], shown, strict=False):
        script += [event, gate]
    with RawServer([json_answer({"session_id": "s"})], [*script, *events[at + len(shown) :]]) as server:
        model = over(wire, server)
        gates = iter(shown)

        def see(chunk: AIMessageChunk) -> str:
            if chunk.content:
                next(gates).set()
            return str(chunk.content)

        async def read() -> list[str]:
            return [see(chunk) async for chunk in model.astream("hi")]

        seen = asyncio.run(read()) if way == "astream" else [see(chunk) for chunk in model.stream("hi")]
    assert [piece for piece in seen if piece] == DELTAS


def test_leaving_a_stream_frees_its_connection(wire: Wire) -> None:
    def scripts() -> list[list[Any]]:
        opened = [json_answer({"session_id": "s"})]
        return [opened, [event_stream(), *wire.turn[:-2], lambda c: c.wait_for_close()]]

    with RawServer(*scripts(), *scripts()) as server:
        model = over(wire, server)
        for _ in model.stream("hi"):
            break
        gc.collect()
        assert server.connections[0].gone.wait(5)

        async def leave() -> None:
            stream = model.astream("hi")
            async for _ in stream:
                break
            await stream.aclose()
            assert await asyncio.to_thread(server.connections[1].gone.wait, 5)

        asyncio.run(leave())


def test_a_failure_is_both_ours_and_langchains(wire: Wire) -> None:
    from langchain_core.exceptions import ModelAuthenticationError, ModelError

    opened = [json_answer({"session_id": "s"})]
    second = next(i for i, event in enumerate(wire.turn) if f'"{DELTAS[1]}"'.encode() in event)
    cut = [event_stream(), *wire.turn[: second + 1]]
    with RawServer([json_answer({"message": "bad key"}, 401)], opened, cut, opened, cut) as server:
        model = over(wire, server)
        with pytest.raises(ModelAuthenticationError, match="bad key") as refused:
            model.invoke("hi")
        assert isinstance(refused.value, errors.AuthenticationError)
        for act in (lambda: model.invoke("hi"), lambda: list(model.stream("hi"))):
            with pytest.raises(errors.StreamInterrupted) as caught:
                act()
            assert isinstance(caught.value, ModelError)
            assert not caught.value.is_retryable
            assert caught.value.partial_text == "Revenue grew."
            copy = pickle.loads(pickle.dumps(caught.value))
            assert (type(copy), str(copy), copy.partial_text) == (
                type(caught.value),
                str(caught.value),
                "Revenue grew.",
            )


# Settings, keys and connections


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({}, "Name the agent"),
        ({"agent_id": "a", "agent_name": "b"}, "not by both"),
        ({"agentid": "a"}, "no setting 'agentid'. Did you mean 'agent_id'"),
        ({"agent_id": "a", "base_url": "ftp://x"}, "base_url"),
        ({"agent_id": "a", "base_url": "http://x.test"}, "unencrypted"),
        ({"agent_id": "a", "timeout": -1}, "timeout"),
        ({"agent_id": "a", "max_retries": -1}, "max_retries"),
        ({"agent_id": "a", "on_divergence": "guess"}, "on_divergence"),
        ({"agent_id": "a", "session_options": {"promt": "x"}}, "promt"),
        ({"index_ids": []}, "Name the indexes"),
        ({"index_ids": ["i"] * 11}, "at most 10"),
        ({"index_ids": [" "]}, "index id"),
        ({"index_ids": ["i"], "agent": "a"}, "no setting 'agent'"),
        ({"index_ids": ["i"], "shared_access": "all"}, "shared_access"),
        ({"index_ids": ["i"], "base_url": "http://x.test"}, "unencrypted"),
    ],
    ids=lambda v: str(v) if isinstance(v, dict) else "",
)
def test_a_wrong_setting_is_told_at_once_and_without_the_key(settings: dict[str, Any], says: str) -> None:
    kind: Any = ChatLlamaCloud if "index_ids" in settings else ChatMeibel
    with pytest.raises((errors.ConfigurationError, errors.InvalidInputError), match=says) as caught:
        kind(api_key="key-1", **settings)
    assert "key-1" not in str(caught.value)


def test_a_missing_key_is_told_at_once() -> None:
    with pytest.raises(errors.ConfigurationError, match="MEIBEL_API_KEY"):
        ChatMeibel(agent_id="a")
    with pytest.raises(errors.ConfigurationError, match="LLAMA_CLOUD_API_KEY"):
        ChatLlamaCloud(index_ids=["i"])


def test_settings_of_other_models_are_named_and_left_out() -> None:
    with pytest.warns(UserWarning, match="max_tokens, temperature has no effect"):
        ChatMeibel(agent_id="a", api_key="key-1", temperature=0, max_tokens=9)  # type: ignore[call-arg]


def test_tools_are_refused_in_words(make: Make) -> None:
    with pytest.raises(NotImplementedError, match="configured"):
        make().bind_tools([{"name": "x"}])
    assert make().bind_tools([]).invoke("hello").content == TEXT


@pytest.mark.parametrize("kind", [partial(ChatMeibel, agent_id="a"), partial(ChatLlamaCloud, index_ids=["i"])])
def test_the_key_is_nowhere_to_be_seen(kind: Any, caplog: pytest.LogCaptureFixture) -> None:
    model = kind(api_key="key-secret")
    clients = model._connect()
    assert clients.client is not clients.async_client
    shown = [
        repr(model),
        str(model),
        dumps(model),
        model.model_dump_json(),
        str(model.model_dump()),
        repr(model.lc_secrets),
    ]
    shown += [repr(clients.client), str(clients.client.config), str(vars(clients.async_client))]
    shown += [pickle.dumps(model).decode("latin-1"), caplog.text]
    assert not any("key-secret" in text for text in shown)


def test_a_pickled_model_takes_its_key_from_the_environment(monkeypatch: pytest.MonkeyPatch, make: Make) -> None:
    model = make()
    pickled = pickle.dumps(model)
    monkeypatch.setenv(model.lc_secrets[model.key_field], getattr(model, model.key_field).get_secret_value())
    assert pickle.loads(pickled).invoke("hello").content == TEXT


def test_clients_that_are_passed_in_are_used(hosted: Hosted) -> None:
    kind: Any = ChatLlamaCloud if hosted.is_cloud else ChatMeibel
    for clients in ({"client": hosted.connect()}, {"async_client": hosted.aconnect()}):
        model = kind(**hosted.agent, **clients)
        assert model.invoke("hello").content == TEXT
        assert asyncio.run(model.ainvoke("hello")).content == TEXT


def test_one_model_over_several_event_loops(make: Make) -> None:
    model = make()
    for _ in range(3):
        assert asyncio.run(model.ainvoke("hello")).content == TEXT
    asyncio.run(model.aclose())
    assert asyncio.run(model.ainvoke("hello")).content == TEXT


def open_sockets() -> int:
    import psutil

    return len(psutil.Process().net_connections("tcp"))


@only(*ONE_OF_EACH, because="it takes long, and the connections are the same in both dialects")
def test_200_models_leave_nothing_open(make: Make) -> None:
    make().invoke("hello")
    gc.collect()
    threads = threading.active_count()

    async def one() -> None:
        model = make()
        await model.ainvoke("hello")

    before = open_sockets()
    for i in range(200):
        model = make()
        if i % 10 == 0:
            model.invoke("hello")
            asyncio.run(one())
        del model
    gc.collect()
    assert open_sockets() <= before
    assert threading.active_count() <= threads + 1  # the local service's own


def test_a_model_per_request_shares_connections() -> None:
    with RawServer(*[[json_answer({"session_id": "s"})]] * 3) as server:
        keep = [MeibelClient("key-1", server.base_url) for _ in range(3)]
        for client in keep:
            client.agents.create_session("a")
        assert len(server.connections) == 1


def test_many_users_over_one_model_never_meet(make: Make) -> None:
    model = make()

    def converse(user: int) -> list[AIMessage]:
        messages: list[Any] = []
        for turn in range(3):
            messages.append(HumanMessage(f"user {user} turn {turn}"))
            messages.append(model.invoke(messages))
        return messages[1::2]

    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(20) as pool:
        users = list(pool.map(converse, range(40)))
    sessions = [{a.response_metadata["session_id"] for a in answers} for answers in users]
    assert all(len(own) == 1 for own in sessions)
    assert len(set.union(*sessions)) == 40
    for user, answers in enumerate(users):
        assert [a.content.split(". ")[0] for a in answers] == [f"You said: user {user} turn {t}" for t in range(3)]
