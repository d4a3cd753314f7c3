"""Hosted agents as LangChain chat models and chat histories."""

from __future__ import annotations

try:
    import langchain_core  # noqa: F401
except ImportError as error:
    raise ImportError(
        "meibel_integrations.langchain needs LangChain. Install it with: pip install 'meibel-integrations[langchain]'"
    ) from error

from meibel_integrations.langchain.chat_models import ChatLlamaCloud, ChatMeibel
from meibel_integrations.langchain.history import LlamaCloudChatMessageHistory, MeibelChatMessageHistory

__all__ = ["ChatLlamaCloud", "ChatMeibel", "LlamaCloudChatMessageHistory", "MeibelChatMessageHistory"]
