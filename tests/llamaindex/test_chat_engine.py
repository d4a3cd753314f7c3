"""The four verbs: one answer, the same through each of them, and a second turn in the same session."""

from __future__ import annotations

import asyncio
import gc
import json
from pathlib import Path

import psutil
import pytest
from llama_index.core.base.llms.types import CitationBlock, MessageRole, TextBlock, ThinkingBlock
from llama_index.core.chat_engine.types import AgentChatResponse, BaseChatEngine, StreamingAgentChatResponse
from llama_index.core.postprocessor import SimilarityPostprocessor
from llama_index.core.schema import MetadataMode

from meibel_integrations.llamaindex import HostedStreamingResponse
from tests.support.hosted import ONE_OF_EACH, only, serving

from .service import CITED, CITED_TEXT, Ask, Service, kind_of


def test_an_answer_and_all_that_belongs_to_it(service: Service, ask: Ask) -> None:
    service.start()
    engine = service.engine(include_thinking=True, include_tool_activity=True)
    assert isinstance(engine, BaseChatEngine)
    response = ask(engine, "What do herons do?")
    assert isinstance(response, AgentChatResponse | StreamingAgentChatResponse)
    assert response.response == str(response) == CITED_TEXT
    cited = [(0, 13, 13), (1, 30, 30), (2, 30, 30)]
    assert [(c.source, c.start, c.end) for c in response.citations] == (cited if service.hosted.has_citations else [])
    metadata = response.metadata
    assert metadata is not None
    assert metadata["session_id"] == engine.session_id
    assert (metadata["signal_id"] is not None) == service.hosted.has_signals
    counts = {"input_tokens": 7, "output_tokens": 5, "total_tokens": 12}
    assert metadata["token_usage"].items() >= counts.items()
    assert metadata.items() >= {**service.hosted.agent, "warnings": [], "skipped_index_ids": []}.items()
    assert metadata["continuity"] == "new"
    assert metadata["recovered"] is False
    assert metadata["follow_up_questions"] == ([] if service.hosted.is_cloud else ["What do they eat?"])
    assert [source["title"] for source in metadata["sources"]] == ["Birds", "Birds", "Ponds"]
    assert metadata["citations"] == [citation.model_dump() for citation in response.citations]
    assert metadata["thinking"] == "Let me see. "
    assert "lineage" not in metadata
    json.dumps(metadata)


def test_source_nodes(service: Service, ask: Ask) -> None:
    service.start()
    engine = service.engine()
    response = ask(engine, "What do herons do?")
    first, second, third = response.source_nodes
    assert [n.text for n in (first, second, third)] == ["A heron waits.", "It strikes at last.", "Ponds"]
    assert [n.score for n in (first, second, third)] == [2.5, 1.25, None]
    assert [n.node.ref_doc_id for n in (first, second, third)] == ["doc-birds", "doc-birds", "doc-ponds"]
    assert len({n.node_id for n in response.source_nodes}) == 3
    assert first.metadata == {
        "title": "Birds",
        "url": "file:///birds.md",
        "file_name": "birds.md",
        "data_element_id": "doc-birds",
        "source_id": None if service.hosted.is_cloud else "1",
        "session_id": engine.session_id,
        "citation_index": 0,
        "tool_name": "search",
        "origin": "cited" if service.hosted.has_citations else "retrieved",
    }
    assert first.node.get_content(MetadataMode.EMBED) == "title: Birds\n\nA heron waits."
    assert "session" not in first.node.get_content(MetadataMode.LLM)
    assert "url" not in third.node.get_content(MetadataMode.LLM)
    again = ask(engine, "And again?")
    assert [n.node_id for n in again.source_nodes] == [n.node_id for n in response.source_nodes]


@only("v2", "guide", because="LlamaCloud's wire has no citations: its sources are what was retrieved")
def test_the_message_has_one_text_and_citations_beside_it(service: Service, ask: Ask) -> None:
    service.start()
    message = ask(service.engine(include_thinking=True), "What do herons do?").message
    assert message is not None
    assert message.role is MessageRole.ASSISTANT
    assert message.content == CITED_TEXT
    kinds = [type(block) for block in message.blocks]
    assert kinds == [ThinkingBlock, TextBlock, CitationBlock, CitationBlock, CitationBlock]
    cited = message.blocks[2]
    assert isinstance(cited, CitationBlock)
    assert cited.cited_content == TextBlock(text="A heron waits.")
    assert (cited.source, cited.title) == ("file:///birds.md", "Birds")
    assert cited.additional_location_info == {"source_index": 0, "start": 13, "end": 13}
    assert type(message).model_validate_json(message.model_dump_json()) == message


def test_thinking_and_tools_only_when_asked_for(service: Service, ask: Ask) -> None:
    service.start()
    shown = ask(service.engine(include_thinking=True, include_tool_activity=True), "What do herons do?")
    tool, *searches = shown.sources
    # LlamaCloud's sources are a tool's result, too
    assert len(searches) == (1 if service.hosted.is_cloud else 0)
    assert (tool.tool_name, tool.raw_input, tool.is_error) == ("search", {"query": "herons"}, False)
    assert tool.raw_output == [{"title": "Birds"}]
    assert json.loads(tool.content) == tool.raw_output
    quiet = ask(service.engine(), "What do herons do?")
    assert quiet.sources == []
    assert "thinking" not in quiet.metadata
    assert not any(isinstance(block, ThinkingBlock) for block in quiet.message.blocks)


def test_the_four_verbs_agree(service: Service) -> None:
    service.start()

    async def both() -> list[object]:
        stream = await service.engine().astream_chat("Herons?")
        assert [piece async for piece in stream.async_response_gen()] == ["Herons ", "wait. ", "Then they strike."]
        return [await service.engine().achat("Herons?"), stream]

    streamed = service.engine().stream_chat("Herons?")
    assert list(streamed.response_gen) == ["Herons ", "wait. ", "Then they strike."]
    answers = [service.engine().chat("Herons?"), streamed, *asyncio.run(both())]
    for answer in answers:
        answer.metadata = {k: v for k, v in answer.metadata.items() if k not in ("session_id", "signal_id")}
        answer.metadata["token_usage"].pop("duration_ms", None)  # each call's own
        for node in answer.source_nodes:
            del node.metadata["session_id"]
        answer.message.additional_kwargs.clear()
    one = answers[0]
    for name in ("response", "source_nodes", "sources", "metadata", "citations", "message"):
        assert all(getattr(answer, name) == getattr(one, name) for answer in answers), name


def test_a_second_turn_goes_on_in_the_session(service: Service, ask: Ask) -> None:
    service.start(["One.", "Two.", "Three."])
    engine = service.engine()
    assert engine.session_id is None
    first = ask(engine, "1?")
    session_id = engine.session_id
    second = ask(engine, "2?")
    assert engine.session_id == first.metadata["session_id"] == second.metadata["session_id"] == session_id
    assert second.metadata["continuity"] == "continued"
    # what the service said of the agent when the session was opened is not forgotten
    assert second.metadata.get("agent_name") == first.metadata.get("agent_name")
    assert service.transcript(session_id) == [
        ("user", "1?"),
        ("assistant", "One."),
        ("user", "2?"),
        ("assistant", "Two."),
    ]
    sent = [request for request in service.requests() if request != "read"]
    assert sent == ["open", "turn", "turn"]


@only("v2", "guide", because="LlamaCloud's agent is named by its indexes alone")
def test_an_agent_by_name_and_a_session_by_id(service: Service, ask: Ask) -> None:
    service.start(["One.", "Two."])
    engine = service.engine(agent_id=None, agent_name="docs")
    ask(engine, "1?")
    pinned = service.engine(agent_id=None, session_id=engine.session_id)
    assert ask(pinned, "2?").response == "Two."
    assert service.asked(engine.session_id) == ["1?", "2?"]


@only("v2", "guide", because="LlamaCloud's sessions have no such options")
def test_session_options_reach_the_service(service: Service, ask: Ask) -> None:
    service.start(["One."])
    ask(service.engine(session_options={"prompt": "Be brief."}), "1?")
    assert any("Be brief." in entry["body"] for entry in service.local.request_log())


def test_node_postprocessors(service: Service, ask: Ask) -> None:
    service.start()
    engine = service.engine(node_postprocessors=[SimilarityPostprocessor(similarity_cutoff=2.0)])
    response = ask(engine, "Herons?")
    assert [node.text for node in response.source_nodes] == ["A heron waits."]
    assert len(response.metadata["sources"]) == 3


def test_one_engine_across_loops_and_inside_a_running_one(service: Service) -> None:
    service.start(["An answer."])
    engine = service.engine()

    async def turn() -> None:
        assert str(await engine.achat("async?")) == "An answer."
        assert str(engine.chat("sync, inside a loop?")) == "An answer."
        stream = await engine.astream_chat("streamed?")
        assert "".join([piece async for piece in stream.async_response_gen()]) == "An answer."

    asyncio.run(turn())
    asyncio.run(turn())
    assert len(service.asked(engine.session_id)) == 6


def test_turns_at_once_share_the_session(service: Service) -> None:
    service.start(["An answer."])
    engine = service.engine()

    async def turns() -> None:
        await asyncio.gather(*(engine.achat(f"{n}?") for n in range(3)))
        await engine.aclose()

    asyncio.run(turns())
    assert sorted(service.asked(engine.session_id)) == ["0?", "1?", "2?"]


def test_the_repls(service: Service, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    service.start(["One.", "Two."])
    engine = service.engine()
    for repl in (engine.chat_repl, engine.streaming_chat_repl):
        said = iter(["1?", "exit"])
        monkeypatch.setattr("builtins.input", lambda _, said=said: next(said))
        repl()
    shown = capsys.readouterr().out
    assert "Assistant: One." in shown
    assert "Assistant: Two." in shown


def test_print_response_stream(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    service.start([CITED])
    engine = service.engine()
    engine.stream_chat("Herons?").print_response_stream()

    async def shown() -> None:
        await (await engine.astream_chat("Herons?")).aprint_response_stream()

    asyncio.run(shown())
    assert capsys.readouterr().out == CITED_TEXT * 2


def test_given_clients_are_used_and_stay_open(service: Service) -> None:
    service.start(["An answer."])

    async def run() -> None:
        async with service.hosted.aconnect() as async_client:
            engine = service.kind.from_defaults(**agent, async_client=async_client)
            await engine.achat("1?")
            engine.chat("2?")  # the other kind is made with the same settings
            await engine.aclose()
            await engine.achat("3?")
            assert len(await engine.aget_chat_history()) == 6

    agent = service.hosted.agent
    asyncio.run(run())
    with service.hosted.connect() as client, service.kind(**agent, client=client) as engine:
        engine = engine.with_session(None)
    with service.hosted.connect() as client:
        engine = service.kind(**agent, client=client)
        engine.chat("1?")
        engine.close()
        assert len(engine.chat_history) == 2


def test_a_closed_engine_opens_new_connections(service: Service) -> None:
    service.start(["An answer."])
    with service.engine() as engine:
        engine.chat("1?")
    engine.close()
    assert str(engine.chat("2?")) == "An answer."

    async def run() -> None:
        async with engine:
            await engine.achat("3?")
        async with await engine.astream_chat("4?") as response:
            assert isinstance(response, HostedStreamingResponse)
        await engine.aclose()

    asyncio.run(run())


@only(*ONE_OF_EACH, because="it takes long, and the connections are the same in both dialects")
def test_many_engines_leave_nothing_open(service: Service) -> None:
    service.start(["An answer."])

    async def turn() -> None:
        await service.engine().achat("async?")

    service.engine().chat("before")
    gc.collect()
    before = len(psutil.Process().net_connections("tcp"))
    for n in range(200):
        engine = service.kind(**service.hosted.agent, **service.hosted.connection)
        if n % 20 == 0:
            engine.chat("sync?")
            asyncio.run(turn())
    del engine
    gc.collect()
    assert len(psutil.Process().net_connections("tcp")) <= before + 2  # the service's own ends of the last ones


def test_documents_of_ones_own(hosted: str, tmp_path: Path) -> None:
    (tmp_path / "herons.md").write_text("# Herons\n\nA heron waits in shallow water until a fish comes near.\n")
    (tmp_path / "bees.md").write_text("# Bees\n\nA bee dances to tell the hive where the flowers are.\n")
    with serving(hosted, documents=[tmp_path]) as running:
        engine = kind_of(hosted)(**running.agent, **running.connection)
        response = engine.stream_chat("Where does a heron wait?")
        assert "shallow water" in str(response)
        best = response.source_nodes[0]
        assert best.metadata["url"] == (tmp_path / "herons.md").as_uri()
        assert "heron" in best.text
        assert [citation.source for citation in response.citations[:1]] == ([0] if running.has_citations else [])
        engine.close()
