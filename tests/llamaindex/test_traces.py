"""Traces as a user of Phoenix sees them, by OpenInference's own instrumentation."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from openinference.instrumentation.llama_index import LlamaIndexInstrumentor
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from meibel_integrations import errors
from meibel_integrations.local import Delta, Pause

from .service import CITED, CITED_TEXT, Ask, Service

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # OpenInference's own


@pytest.fixture
def exported(caplog: pytest.LogCaptureFixture) -> Iterator[InMemorySpanExporter]:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    instrumentor = LlamaIndexInstrumentor()
    instrumentor.instrument(tracer_provider=provider)
    yield exporter
    instrumentor.uninstrument()
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


def by_kind(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    spans: dict[str, Any] = {}
    for span in exporter.get_finished_spans():
        kind = str(span.attributes["openinference.span.kind"])
        assert kind not in spans or kind == "TOOL"  # LlamaCloud's sources are a tool's result, too
        spans.setdefault(kind, span)
    return spans


def test_one_trace_with_everything_in_it(service: Service, ask: Ask, exported: InMemorySpanExporter) -> None:
    service.start([CITED])
    engine = service.engine(include_tool_activity=True)
    ask(engine, "Herons?")
    spans = by_kind(exported)
    assert set(spans) == {"CHAIN", "LLM", "RETRIEVER", "TOOL"}
    root, model, retriever, tool = (spans[kind] for kind in ("CHAIN", "LLM", "RETRIEVER", "TOOL"))
    assert root.parent is None
    assert model.parent.span_id == root.context.span_id
    assert {retriever.parent.span_id, tool.parent.span_id} == {model.context.span_id}
    assert json.loads(root.attributes["output.value"])["response"] == CITED_TEXT
    assert model.attributes["output.value"] == f"assistant: {CITED_TEXT}"
    (agent,) = service.hosted.agent.values()
    assert model.attributes["llm.model_name"] == (agent[0] if service.hosted.is_cloud else agent)
    assert model.attributes["llm.token_count.total"] == 12
    for span in (model, retriever):
        assert span.attributes["session.id"] == engine.session_id
    assert retriever.attributes["retrieval.documents.0.document.content"] == "A heron waits."
    assert tool.attributes["tool.name"] == "search"
    assert json.loads(tool.attributes["input.value"]) == {"query": "herons"}


def test_an_exception_is_recorded_once(service: Service, ask: Ask, exported: InMemorySpanExporter) -> None:
    service.start([RuntimeError("it fell over")])
    with pytest.raises(errors.AgentTurnError):
        ask(service.engine(), "1?")
    spans = exported.get_finished_spans()
    assert [event.name for span in spans for event in span.events] == ["exception"]


def test_an_answer_that_was_left_is_marked(service: Service, exported: InMemorySpanExporter) -> None:
    service.start([[Delta("one "), Pause(), Delta("two")]])
    engine = service.engine()
    response = engine.stream_chat("1?")
    assert next(response.response_gen) == "one "
    response.close()

    async def leave() -> None:
        async with engine.with_session(None) as other, await other.astream_chat("2?"):
            pass

    asyncio.run(leave())
    roots = [span for span in exported.get_finished_spans() if span.parent is None]
    for root, text in zip(roots, ["one ", ""], strict=True):
        shown = json.loads(root.attributes["output.value"])
        assert shown["response"] == text
        assert shown["metadata"]["cancelled"] is True
