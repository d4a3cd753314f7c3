"""LangChain's own standard tests, the integration suite over the local service."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.retrievers import BaseRetriever
from langchain_tests.integration_tests import ChatModelIntegrationTests, RetrieversIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests

from meibel_integrations.langchain import ChatLlamaCloud, ChatMeibel, LlamaCloudChatRetriever, MeibelRetriever
from meibel_integrations.local import AnswerSource, Delta, Done, Question, ScriptedAnswerer, Step
from tests.support.hosted import Hosted, serving

# The suites set `temperature` and the like, and use interfaces that LangChain calls beta.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.* has no effect; the hosted agent is configured at the service"),
    pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning"),
]


class _NoTools:
    """A hosted agent runs its own tools and takes none from the caller; `bind_tools` is there to say so."""

    @property
    def has_tool_calling(self) -> bool:
        return False

    @property
    def has_tool_choice(self) -> bool:
        return False


class TestMeibelUnit(_NoTools, ChatModelUnitTests):  # type: ignore[misc]
    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatMeibel

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"agent_id": "agent-1", "api_key": "key-1"}

    @property
    def init_from_env_params(self) -> tuple[dict[str, str], dict[str, Any], dict[str, Any]]:
        return {"MEIBEL_API_KEY": "key-env"}, {"agent_id": "agent-1"}, {"meibel_api_key": "key-env"}


class TestLlamaCloudUnit(_NoTools, ChatModelUnitTests):  # type: ignore[misc]
    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatLlamaCloud

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"index_ids": ["index-1"], "api_key": "key-1"}

    @property
    def init_from_env_params(self) -> tuple[dict[str, str], dict[str, Any], dict[str, Any]]:
        return {"LLAMA_CLOUD_API_KEY": "key-env"}, {"index_ids": ["index-1"]}, {"llama_cloud_api_key": "key-env"}


# What the suite's own schemas ask for
JOKE, PERSON = '{"setup": "Why?", "punchline": "Because."}', '{"name": "Erick", "age": 27}'


def say(question: Question) -> list[Step]:
    """Repeats what was said; a question for a joke or about Erick gets what fits the suite's schemas."""
    usage = {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}
    sources = tuple(AnswerSource(f"Page {i}", f"https://x.test/{i}", f"Text {i}.", 0.9, f"doc-{i}") for i in range(5))
    text = JOKE if "joke" in question.text else PERSON if "Erick" in question.text else f"You said {question.text}"
    return [Delta(text), Done(sources=sources, usage=usage)]


class _Integration(_NoTools, ChatModelIntegrationTests):  # type: ignore[misc]
    service: ClassVar[str]
    kind: ClassVar[type[BaseChatModel]]
    hosted: ClassVar[Hosted]

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _serve(cls) -> Iterator[None]:
        with serving(cls.service, answerer=ScriptedAnswerer(say)) as cls.hosted:
            yield

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return self.kind

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {**self.hosted.agent, **self.hosted.connection}


class TestMeibelIntegration(_Integration):
    service = "v2"
    kind = ChatMeibel


class TestLlamaCloudIntegration(_Integration):
    service = "llamacloud"
    kind = ChatLlamaCloud


class _Retrieval(RetrieversIntegrationTests):  # type: ignore[misc]
    service: ClassVar[str]
    kind: ClassVar[type[BaseRetriever]]
    hosted: ClassVar[Hosted]

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _serve(cls) -> Iterator[None]:
        with serving(cls.service, answerer=ScriptedAnswerer(say)) as cls.hosted:
            yield

    @property
    def retriever_constructor(self) -> type[BaseRetriever]:
        return self.kind

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {**self.hosted.agent, **self.hosted.connection}

    @property
    def retriever_query_example(self) -> str:
        return "Which pages are there?"


class TestMeibelRetriever(_Retrieval):
    service = "v2"
    kind = MeibelRetriever


class TestLlamaCloudRetriever(_Retrieval):
    service = "llamacloud"
    kind = LlamaCloudChatRetriever
