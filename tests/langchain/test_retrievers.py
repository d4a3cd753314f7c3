"""Hosted agents as retrievers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain_core.retrievers import BaseRetriever

from meibel_integrations import errors
from meibel_integrations.langchain import LlamaCloudChatRetriever, MeibelRetriever
from tests.support.hosted import Hosted


def retriever(hosted: Hosted, **settings: Any) -> BaseRetriever:
    kind: Any = LlamaCloudChatRetriever if hosted.is_cloud else MeibelRetriever
    return kind(**{**hosted.connection, **hosted.agent, **settings})  # type: ignore[no-any-return]


def test_documents_are_the_sources_of_an_answer(hosted: Hosted) -> None:
    for found in (retriever(hosted).invoke("hello"), asyncio.run(retriever(hosted).ainvoke("hello"))):
        zebra, whale = found
        assert zebra.page_content == "Zebras have stripes."
        wanted = {"title": "The zebra", "source": "file:///zebra.md", "url": "file:///zebra.md", "score": 0.9}
        assert zebra.metadata.items() >= {**wanted, "data_element_id": "doc-zebra"}.items()
        assert whale.metadata["source"] == "doc-whale"
        assert [len(each.metadata["citations"]) for each in found] == ([1, 2] if hosted.has_citations else [0, 0])


def test_k_is_a_limit_in_the_constructor_and_in_the_call(hosted: Hosted) -> None:
    assert len(retriever(hosted, k=1).invoke("hello")) == 1
    assert len(retriever(hosted).invoke("hello", k=1)) == 1
    for wrong in (lambda: retriever(hosted, k=0), lambda: retriever(hosted).invoke("hello", k=0)):
        with pytest.raises((errors.ConfigurationError, errors.InvalidInputError), match="k"):
            wrong()


def test_each_call_is_a_session_of_its_own_unless_one_is_named(hosted: Hosted) -> None:
    before = hosted.sessions()
    mine = retriever(hosted)
    mine.invoke("one")
    mine.invoke("two")
    assert hosted.sessions() == before + 2
    session_id = hosted.open_session()
    pinned = retriever(hosted, session_id=session_id)
    pinned.invoke("one")
    pinned.invoke("two")
    assert hosted.asked(session_id) == ["one", "two"]


def test_wrong_settings_are_told_without_the_key(hosted: Hosted) -> None:
    with pytest.raises(errors.ConfigurationError, match="Did you mean"):
        retriever(hosted, agentid="x") if not hosted.is_cloud else retriever(hosted, index_idss=["x"])
    with pytest.raises(errors.ConfigurationError) as caught:
        retriever(hosted, api_key="key-secret", base_url="ftp://x")
    assert "key-secret" not in repr(caught.value)
    assert hosted.local.api_key not in repr(retriever(hosted))


def test_the_turn_shows_in_a_trace(hosted: Hosted) -> None:
    async def kinds() -> list[str]:
        return [event["event"] async for event in retriever(hosted).astream_events("hello")]

    found = asyncio.run(kinds())
    assert found[0] == "on_retriever_start"
    assert "on_chat_model_end" in found
