"""Hosted agents as LlamaIndex chat engines."""

from __future__ import annotations

try:
    import llama_index.core  # noqa: F401
except ImportError as error:
    raise ImportError(
        "meibel_integrations.llamaindex needs LlamaIndex. "
        "Install it with: pip install 'meibel-integrations[llamaindex]'"
    ) from error

from meibel_integrations.llamaindex.chat_engine import LlamaCloudChatEngine, MeibelChatEngine
from meibel_integrations.llamaindex.chat_store import MeibelChatStore
from meibel_integrations.llamaindex.llm import LlamaCloudChatLLM, MeibelLLM
from meibel_integrations.llamaindex.query_engine import LlamaCloudChatQueryEngine, MeibelQueryEngine
from meibel_integrations.llamaindex.responses import HostedChatResponse, HostedStreamingResponse
from meibel_integrations.llamaindex.retrievers import LlamaCloudChatRetriever, MeibelRetriever

__all__ = [
    "HostedChatResponse",
    "HostedStreamingResponse",
    "LlamaCloudChatEngine",
    "LlamaCloudChatLLM",
    "LlamaCloudChatQueryEngine",
    "LlamaCloudChatRetriever",
    "MeibelChatEngine",
    "MeibelChatStore",
    "MeibelLLM",
    "MeibelQueryEngine",
    "MeibelRetriever",
]
