"""What goes along with a message, and node postprocessors that fail."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.base.llms.types import ChatMessage, DocumentBlock, ImageBlock, TextBlock
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import NodeWithScore, QueryBundle

from meibel_integrations import errors
from meibel_integrations.llamaindex import MeibelLLM
from tests.support.hosted import only

from .service import CITED_TEXT, Ask, Service


@only("v2", "guide", because="LlamaCloud takes no files with a message")
def test_files_and_blocks_ride_along(service: Service, ask: Ask, tmp_path: Path) -> None:
    seen: list[int] = []
    service.start(lambda question: seen.append(len(question.uploaded_document_ids)) or "An answer.")
    (tmp_path / "a.md").write_text("# Herons")
    document = DocumentBlock(data=b"# Bees", title="b.md")
    engine = service.engine()
    ask(engine, "1?", files=[tmp_path / "a.md", ("c.md", b"# Ponds"), document, io.BytesIO(b"# Reeds")])
    ask(engine, ChatMessage(role="user", blocks=[TextBlock(text="2?"), document]))
    with MeibelLLM(**service.hosted.agent, **service.hosted.connection) as llm:
        llm.chat([ChatMessage(role="user", blocks=[TextBlock(text="3?"), document])])
    assert seen == [4, 1, 1]
    assert service.asked(engine.session_id) == ["1?", "2?"]
    with pytest.raises(errors.InvalidInputError, match="Fetch"):
        ask(engine, "4?", files=[ImageBlock(url="http://127.0.0.1:9/heron.png")])
    with pytest.raises(errors.InvalidInputError, match="takes no file with"):
        ask(engine, "4?", file="a.md")


@only("llamacloud", because="it takes no files with a message")
def test_files_are_refused_before_any_request(service: Service, ask: Ask) -> None:
    service.start()
    with pytest.raises(errors.InvalidInputError, match="takes no files"):
        ask(service.engine(), "1?", files=[("c.md", b"# Ponds")])
    assert service.requests() == []


def test_an_image_in_an_answered_message_blocks_nothing(service: Service, ask: Ask) -> None:
    service.start(["Two."])
    image = ImageBlock(image=b"\x89PNG\r\n\x1a\n")
    history = [
        ChatMessage(role="user", blocks=[TextBlock(text="1?"), image]),
        ChatMessage(role="assistant", content="One."),
    ]
    engine = service.engine()
    ask(engine, "2?", chat_history=history)
    assert engine.chat_history[0].content == "1?\n[image]"


class Broken(BaseNodePostprocessor):
    def _postprocess_nodes(self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None) -> Any:
        raise RuntimeError("no reranker today")


def test_a_failing_postprocessor_loses_no_answer(service: Service, ask: Ask) -> None:
    service.start()
    response = ask(service.engine(node_postprocessors=[Broken()]), "Herons?")
    assert response.response == CITED_TEXT
    assert len(response.source_nodes) == 3
    assert "no reranker today" in response.metadata["warnings"][0]
