"""A conversation through LangChain or through LlamaIndex, with the same face.

The commands use the adapters as an application would: nothing here reaches below them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

    from meibel_integrations.cli.connection import Connection
    from meibel_integrations.rendering.citations import CitedText

__all__ = ["Conversation", "Framework", "LangChainConversation", "LlamaIndexConversation", "converse"]

Framework = Literal["langchain", "llamaindex"]


class Conversation(Protocol):
    """One conversation: each question goes on where the last one ended."""

    session_id: str | None
    answer: CitedText | None
    """The last answer, once its pieces were all taken."""

    def ask(self, question: str) -> Iterator[str]:
        """The answer's pieces as they arrive."""
        ...


def converse(framework: Framework, connection: Connection, session_id: str | None = None) -> Conversation:
    """A new conversation, or one that goes on in a session."""
    kind = LlamaIndexConversation if framework == "llamaindex" else LangChainConversation
    return kind(connection, session_id)


class LangChainConversation:
    """Through ``ChatMeibel``. The messages themselves tell the model which session to go on in."""

    def __init__(self, connection: Connection, session_id: str | None = None) -> None:
        from meibel_integrations.langchain import ChatMeibel

        self._model = ChatMeibel(
            agent_id=connection.agent_id,
            agent_name=connection.agent_name,
            session_id=session_id,
            client=connection.client,
        )
        self._messages: list[BaseMessage] = []
        self.session_id = session_id
        self.answer: CitedText | None = None

    def ask(self, question: str) -> Iterator[str]:
        from langchain_core.messages import AIMessageChunk, HumanMessage, message_chunk_to_message

        from meibel_integrations.rendering.citations import CitedText

        self.answer = None
        messages = [*self._messages, HumanMessage(question)]
        whole: AIMessageChunk | None = None
        for chunk in self._model.stream(messages):
            assert isinstance(chunk, AIMessageChunk)
            whole = chunk if whole is None else whole + chunk
            if chunk.text:
                yield chunk.text
        assert whole is not None  # a stream without a message is an error before this
        # only what was answered is a part of the conversation
        self._messages = [*messages, message_chunk_to_message(whole)]
        self.session_id = whole.response_metadata["session_id"]
        self.answer = CitedText.from_metadata(whole.text, whole.response_metadata)


class LlamaIndexConversation:
    """Through ``MeibelChatEngine``, which holds its session."""

    def __init__(self, connection: Connection, session_id: str | None = None) -> None:
        from meibel_integrations.llamaindex import MeibelChatEngine

        self._engine = MeibelChatEngine.from_defaults(
            agent_id=connection.agent_id,
            agent_name=connection.agent_name,
            session_id=session_id,
            client=connection.client,
        )
        self.session_id = session_id
        self.answer: CitedText | None = None

    def ask(self, question: str) -> Iterator[str]:
        from meibel_integrations.rendering.citations import CitedText

        self.answer = None
        with self._engine.stream_chat(question) as response:
            yield from response.response_gen
        self.session_id = self._engine.session_id
        self.answer = CitedText.from_metadata(response.response, response.metadata or {})
