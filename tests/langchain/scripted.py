"""A chat model that says what a test wrote down: the agent that calls ours as a tool."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolCall, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult

__all__ = ["ScriptedModel", "asking", "call"]


class ScriptedModel(BaseChatModel):
    """Answers with what a function makes of the messages."""

    say: Callable[[list[BaseMessage]], AIMessage]

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Any:
        return self

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self.say(messages))])


def call(name: str, query: str, id: str) -> ToolCall:
    return {"name": name, "args": {"query": query}, "id": id, "type": "tool_call"}


def asking(name: str) -> ScriptedModel:
    """Asks a tool each question of the user, several if they are set apart by ``;``, and then repeats what it said."""

    def say(messages: list[BaseMessage]) -> AIMessage:
        last = messages[-1]
        if isinstance(last, HumanMessage):
            number = len(messages)
            calls = [call(name, q.strip(), f"c{number}-{i}") for i, q in enumerate(last.text.split(";"))]
            return AIMessage("", tool_calls=calls)
        assert isinstance(last, ToolMessage)
        return AIMessage(f"The tool said: {last.text}")

    return ScriptedModel(say=say)
