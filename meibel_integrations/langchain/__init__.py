"""Hosted agents as LangChain's chat models, retrievers, tools and chat histories."""

from __future__ import annotations

try:
    import langchain_core  # noqa: F401
except ImportError as error:
    raise ImportError(
        "meibel_integrations.langchain needs LangChain. Install it with: pip install 'meibel-integrations[langchain]'"
    ) from error

from meibel_integrations.langchain.chat_models import ChatLlamaCloud, ChatMeibel
from meibel_integrations.langchain.documents import documents_of
from meibel_integrations.langchain.history import LlamaCloudChatMessageHistory, MeibelChatMessageHistory
from meibel_integrations.langchain.retrievers import LlamaCloudChatRetriever, MeibelRetriever
from meibel_integrations.langchain.tools import llama_cloud_tool, meibel_tool

__all__ = [
    "ChatLlamaCloud",
    "ChatMeibel",
    "LlamaCloudChatMessageHistory",
    "LlamaCloudChatRetriever",
    "MeibelChatMessageHistory",
    "MeibelRetriever",
    "documents_of",
    "llama_cloud_tool",
    "meibel_tool",
]
