"""Clients of the hosted services, sync and async, with the same methods."""

from __future__ import annotations

from meibel_integrations.client.async_ import AsyncMeibelClient
from meibel_integrations.client.streams import AsyncChatStream, ChatStream
from meibel_integrations.client.sync import MeibelClient

__all__ = ["AsyncChatStream", "AsyncMeibelClient", "ChatStream", "MeibelClient"]
