"""Clients of the hosted services, sync and async, with the same methods."""

from __future__ import annotations

from meibel_integrations.client.aio import AsyncLlamaCloudChatClient, AsyncMeibelClient
from meibel_integrations.client.streams import AsyncChatStream, ChatStream
from meibel_integrations.client.sync import LlamaCloudChatClient, MeibelClient

__all__ = [
    "AsyncChatStream",
    "AsyncLlamaCloudChatClient",
    "AsyncMeibelClient",
    "ChatStream",
    "LlamaCloudChatClient",
    "MeibelClient",
]
