"""Hosted agents as LangChain retrievers.

The services have no search of their own to offer: an agent is asked, and its sources are the result. So a retrieval
costs a turn; ``retriever.model`` is the chat model that asks, and its runs show in traces.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.messages import AIMessage
from langchain_core.retrievers import BaseRetriever
from pydantic import ConfigDict, Field, PrivateAttr, model_validator

from meibel_integrations.client.options import ClientOptions, LlamaCloudAgentOptions, MeibelAgentOptions
from meibel_integrations.conversation.options import RunOptions
from meibel_integrations.langchain.chat_models import ChatLlamaCloud, ChatMeibel
from meibel_integrations.langchain.documents import source_documents
from meibel_integrations.langchain.errors import ChatInvalidInputError
from meibel_integrations.langchain.hosted import HostedChatModel
from meibel_integrations.langchain.settings import CheckedSettings

__all__ = ["LlamaCloudChatRetriever", "MeibelRetriever"]


class HostedRetriever(CheckedSettings, BaseRetriever, RunOptions, ClientOptions):
    """A retriever whose documents are the sources of an agent's answer."""

    model_config = ConfigDict(arbitrary_types_allowed=True, hide_input_in_errors=True, use_attribute_docstrings=True)

    k: int | None = Field(default=None, gt=0)
    """At most so many documents, in the service's order; all of them unless given. A call may set it, too."""
    ephemeral: bool | None = None  # type: ignore[assignment]
    """Ask in a session of its own each time; the default unless ``session_id`` names one."""

    key_field: ClassVar[str] = "api_key"
    model_type: ClassVar[type[ChatMeibel | ChatLlamaCloud]]
    _model: HostedChatModel = PrivateAttr()

    @model_validator(mode="after")
    def _make_model(self) -> Self:
        names = self.model_fields_set & {*self.model_type.model_fields, "api_key"} - BaseRetriever.model_fields.keys()
        settings: dict[str, Any] = {name: getattr(self, name) for name in names}
        settings["ephemeral"] = self.session_id is None if self.ephemeral is None else self.ephemeral
        self._model = self.model_type(**settings)
        return self

    @property
    def model(self) -> HostedChatModel:
        """The chat model that asks."""
        return self._model

    # `k` stands in the signatures because LangChain passes on only what a retriever names

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, k: int | None = None, **options: Any
    ) -> list[Document]:
        return self._first(self._model.invoke(query, {"callbacks": run_manager.get_child()}, **options), k)

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, k: int | None = None, **options: Any
    ) -> list[Document]:
        answer = await self._model.ainvoke(query, {"callbacks": run_manager.get_child()}, **options)
        return self._first(answer, k)

    def _first(self, answer: AIMessage, k: int | None) -> list[Document]:
        limit = self.k if k is None else k
        if limit is not None and limit < 1:
            raise ChatInvalidInputError(f"k must be a number from 1 up, not {limit!r}.")
        return source_documents(answer.response_metadata)[:limit]


class MeibelRetriever(MeibelAgentOptions, HostedRetriever):
    """The sources of a Meibel agent's answers as documents.

    Each call asks the agent in a session of its own, so the documents are those that it found for this question alone.

    Example:
        ::

            retriever = MeibelRetriever(agent_id="agent_123", k=4)
            for document in retriever.invoke("What did Q4 bring?"):
                print(document.metadata["title"], document.metadata["source"], document.page_content)

    Settings are those of :class:`~meibel_integrations.langchain.ChatMeibel`, and ``k``.
    """

    model_type: ClassVar[type[ChatMeibel | ChatLlamaCloud]] = ChatMeibel


class LlamaCloudChatRetriever(LlamaCloudAgentOptions, HostedRetriever):
    """What LlamaCloud's Index v2 chat agent retrieves for a question, as documents.

    The same as :class:`MeibelRetriever`, with ``index_ids`` for the agent.
    """

    model_type: ClassVar[type[ChatMeibel | ChatLlamaCloud]] = ChatLlamaCloud
