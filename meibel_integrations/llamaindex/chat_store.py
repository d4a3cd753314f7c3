"""The sessions of a Meibel agent as a LlamaIndex chat store, to read from: for analysis, export and memories."""

from __future__ import annotations

from typing import Any, NoReturn, Unpack

from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.storage.chat_store import BaseChatStore

from meibel_integrations.llamaindex.agent import MeibelEngineKeywords
from meibel_integrations.llamaindex.chat_engine import MeibelChatEngine

__all__ = ["MeibelChatStore"]


class MeibelChatStore(BaseChatStore):
    """Each session is a key. Nothing can be written: a message gets into a session by a turn, and stays.

    The messages carry what an engine of the agent goes on by: give them to it as ``chat_history``.

    Args:
        agent_id: the agent whose sessions are the keys.
        settings: the connection, as in :class:`~meibel_integrations.llamaindex.MeibelChatEngine`.
    """

    _engine: MeibelChatEngine = PrivateAttr()

    def __init__(self, agent_id: str, **settings: Unpack[MeibelEngineKeywords]) -> None:
        super().__init__()
        self._engine = MeibelChatEngine(agent_id, **settings)

    @classmethod
    def class_name(cls) -> str:
        return "MeibelChatStore"

    def get_messages(self, key: str) -> list[ChatMessage]:
        """The messages of a session, as they were written."""
        return self._engine.beside(key).chat_history

    async def aget_messages(self, key: str) -> list[ChatMessage]:
        """The async twin of :meth:`get_messages`."""
        return await self._engine.beside(key).aget_chat_history()

    def get_keys(self) -> list[str]:
        """The ids of the agent's sessions."""
        return [session.id for session in self._engine.list_sessions()]

    async def aget_keys(self) -> list[str]:
        """The async twin of :meth:`get_keys`."""
        return [session.id async for session in self._engine.alist_sessions()]

    def set_messages(self, key: str, messages: list[ChatMessage]) -> NoReturn:
        self._refuse()

    def add_message(self, key: str, message: ChatMessage) -> NoReturn:
        self._refuse()

    def delete_messages(self, key: str) -> NoReturn:
        self._refuse()

    def delete_message(self, key: str, idx: int) -> NoReturn:
        self._refuse()

    def delete_last_message(self, key: str) -> NoReturn:
        self._refuse()

    def _refuse(self, *_: Any) -> NoReturn:
        raise NotImplementedError(
            "A session's messages can only be read: a message gets in by a turn, MeibelChatEngine(…).chat(…), and "
            "Meibel has no call that changes or deletes one."
        )

    def close(self) -> None:
        """Gives up the connections. A later call opens new ones."""
        self._engine.close()

    async def aclose(self) -> None:
        """The async twin of :meth:`close`; it closes both kinds of connections."""
        await self._engine.aclose()
