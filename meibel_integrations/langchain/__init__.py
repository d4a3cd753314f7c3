"""Hosted agents as LangChain's chat models, retrievers, tools and chat histories."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

try:
    import langchain_core  # noqa: F401
except ImportError as error:
    raise ImportError(
        "meibel_integrations.langchain needs LangChain. Install it with: pip install 'meibel-integrations[langchain]'"
    ) from error

from meibel_integrations.langchain.chat_models import ChatLlamaCloud, ChatMeibel
from meibel_integrations.langchain.documents import documents_of
from meibel_integrations.langchain.history import LlamaCloudChatMessageHistory, MeibelChatMessageHistory
from meibel_integrations.langchain.portable import portable_messages
from meibel_integrations.langchain.retrievers import LlamaCloudChatRetriever, MeibelRetriever
from meibel_integrations.langchain.tools import llama_cloud_tool, meibel_tool

if TYPE_CHECKING:
    from meibel_integrations.langchain.middleware import PortableMessagesMiddleware

__all__ = [
    "ChatLlamaCloud",
    "ChatMeibel",
    "LlamaCloudChatMessageHistory",
    "LlamaCloudChatRetriever",
    "MeibelChatMessageHistory",
    "MeibelRetriever",
    "PortableMessagesMiddleware",
    "documents_of",
    "llama_cloud_tool",
    "meibel_tool",
    "portable_messages",
]


def __getattr__(name: str) -> Any:
    if name == "PortableMessagesMiddleware":
        from meibel_integrations.langchain.middleware import PortableMessagesMiddleware

        return PortableMessagesMiddleware
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
