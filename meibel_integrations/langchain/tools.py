"""Hosted agents as tools for other agents.

In a LangGraph graph the tool goes on in the session that the thread's earlier calls of it were answered in. It finds
that session as a chat model does, from messages: each of its ``ToolMessage``s carries the answer's anchor, so the calls
and results in the graph's state are its conversation. Two threads are two sessions, time travel forks, and a call
without a graph gets a session of its own.

Several calls of one message run at once, and none of them sees the others' results in the state. They go through a
gate, one after the other, and what the earlier ones brought is kept until the message is old.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import Annotated, Any, Unpack

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.tools import InjectedToolArg, StructuredTool, ToolException
from pydantic import BaseModel, Field

from meibel_integrations.client.keywords import ClientKeywords, LlamaCloudAgentKeywords, MeibelAgentKeywords
from meibel_integrations.conversation.gate import Gate
from meibel_integrations.errors import MeibelIntegrationError
from meibel_integrations.langchain.chat_models import ChatLlamaCloud, ChatMeibel
from meibel_integrations.langchain.documents import source_documents
from meibel_integrations.langchain.hosted import HostedChatModel
from meibel_integrations.protocol.commands import Flow
from meibel_integrations.rendering.citations import as_text

__all__ = ["llama_cloud_tool", "meibel_tool"]

_GROUPS = 256


class ToolQuestion(BaseModel):
    """What another agent asks."""

    query: str = Field(description="The question, in whole sentences and with all that it needs to be understood.")


class MeibelToolSettings(ClientKeywords, MeibelAgentKeywords, total=False):
    """The settings, for type checkers; those of ``ChatMeibel`` all work."""


class LlamaCloudToolSettings(ClientKeywords, LlamaCloudAgentKeywords, total=False):
    """The settings, for type checkers; those of ``ChatLlamaCloud`` all work."""


def meibel_tool(*, name: str, description: str, **settings: Unpack[MeibelToolSettings]) -> StructuredTool:
    """A Meibel agent as a tool of another agent.

    Its result is the answer with numbered sources, its artifact the list of sources as ``Document``s. In a graph, all
    calls of a thread are turns of one session, and the ``ToolMessage`` has the answer's ``response_metadata``. An error
    of the service becomes a tool message that the agent can read.

    Example:
        ::

            docs = meibel_tool(agent_id="agent_123", name="ask_docs", description="Answers from the handbook.")
            agent = create_agent(model, tools=[docs], checkpointer=InMemorySaver())

    Args:
        name: what the other agent calls it.
        description: when the other agent should ask it, and what it knows.
        settings: those of :class:`~meibel_integrations.langchain.ChatMeibel`.
    """
    return _tool(ChatMeibel(**{"edited_answers": "continue", **settings}), name, description)


def llama_cloud_tool(*, name: str, description: str, **settings: Unpack[LlamaCloudToolSettings]) -> StructuredTool:
    """LlamaCloud's Index v2 chat agent as a tool of another agent.

    The same as :func:`meibel_tool`, with ``index_ids`` for the agent; settings are those of
    :class:`~meibel_integrations.langchain.ChatLlamaCloud`.
    """
    return _tool(ChatLlamaCloud(**{"edited_answers": "continue", **settings}), name, description)


def _tool(model: HostedChatModel, name: str, description: str) -> StructuredTool:
    groups = _Groups()

    # LangGraph hands a tool's `runtime` over by that name, and tells the other agent nothing of it

    def ask(query: str, runtime: Annotated[Any, InjectedToolArg] = None) -> Any:
        with _readable_errors():
            call = _Call(model, groups, name, query, runtime)
            client = model._connect().client
            client.run_flow(call.enter())
            try:
                return call.result(model.invoke(call.messages(), **call.options))
            finally:
                call.leave()

    async def ask_async(query: str, runtime: Annotated[Any, InjectedToolArg] = None) -> Any:
        with _readable_errors():
            call = _Call(model, groups, name, query, runtime)
            client = model._connect().async_client
            await client.run_flow(call.enter())
            try:
                return call.result(await model.ainvoke(call.messages(), **call.options))
            finally:
                call.leave()

    return StructuredTool(
        name=name,
        description=description,
        args_schema=ToolQuestion,
        func=ask,
        coroutine=ask_async,
        response_format="content_and_artifact",
        handle_tool_error=True,
    )


@contextmanager
def _readable_errors() -> Iterator[None]:
    try:
        yield
    except MeibelIntegrationError as error:
        raise ToolException(f"The agent could not answer: {error}") from error


class _Group:
    """The calls that one message makes at once: one is inside the gate, and the answers so far are the next one's."""

    def __init__(self) -> None:
        self.gate = Gate()
        self.answered: dict[str, list[BaseMessage]] = {}


class _Groups:
    """The newest groups, by their message."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._groups: OrderedDict[tuple[Any, ...], _Group] = OrderedDict()

    def of(self, key: tuple[Any, ...] | None) -> _Group:
        """The group of a message; one of its own for a call that is alone."""
        if key is None:
            return _Group()
        with self._lock:
            group = self._groups.setdefault(key, _Group())
            self._groups.move_to_end(key)
            while len(self._groups) > _GROUPS:
                self._groups.popitem(last=False)
            return group


class _Call:
    """One call of the tool."""

    def __init__(self, model: HostedChatModel, groups: _Groups, name: str, query: str, runtime: Any) -> None:
        self._provider = model.provider
        self._name = name
        self._query = query
        self._id: str | None = getattr(runtime, "tool_call_id", None)
        self._state = _state_messages(runtime)
        self._group = groups.of(self._key(runtime))
        self._entered = False
        # a graph's thread is a conversation; a call without one is not
        alone = runtime is None and model.session_id is None
        self.options: dict[str, Any] = {"ephemeral": True} if alone else {}

    def enter(self) -> Flow[None]:
        """Waits for the calls of the same message that came before."""
        yield from self._group.gate.enter()
        self._entered = True

    def leave(self) -> None:
        if self._entered:
            self._group.gate.leave()

    def messages(self) -> list[BaseMessage]:
        """The thread's conversation with this agent, and the question."""
        if self._id in self._group.answered:  # the graph runs the message again
            self._group.answered.clear()
        earlier = [message for pair in self._group.answered.values() for message in pair]
        return [*_conversation(self._state, self._name, self._provider), *earlier, HumanMessage(self._query)]

    def result(self, answer: AIMessage) -> tuple[Any, list[Any]]:
        """The answer as another agent reads it, and its documents."""
        if self._id is not None:
            self._group.answered[self._id] = [HumanMessage(self._query), answer]
        metadata = answer.response_metadata
        documents = source_documents(metadata)
        content = as_text(answer)
        if self._id is None:
            return content, documents
        message = ToolMessage(
            content, artifact=documents, tool_call_id=self._id, name=self._name, response_metadata=metadata
        )
        return message, documents

    def _key(self, runtime: Any) -> tuple[Any, ...] | None:
        for message in reversed(self._state):
            ids = [call["id"] for call in message.tool_calls] if isinstance(message, AIMessage) else []
            if self._id in ids:
                thread = ((runtime.config or {}).get("configurable") or {}).get("thread_id")
                return (thread, message.id, *ids)
        return None


def _state_messages(runtime: Any) -> list[BaseMessage]:
    state = getattr(runtime, "state", None)
    found = state if isinstance(state, list) else None
    if found is None:
        found = state.get("messages") if isinstance(state, dict) else getattr(state, "messages", None)
    return [message for message in found or () if isinstance(message, BaseMessage)]


def _conversation(state: Sequence[BaseMessage], name: str, provider: str) -> list[BaseMessage]:
    """The questions that a thread asked this tool, and its answers, in the order of its session."""
    found: list[list[BaseMessage]] = []
    asked: dict[str | None, str] = {}
    of_one_message: list[list[BaseMessage]] = []
    for message in state:
        if isinstance(message, AIMessage):
            found += sorted(of_one_message, key=_turn)
            of_one_message = []
            asked.update((c["id"], str(c["args"].get("query", ""))) for c in message.tool_calls if c["name"] == name)
        elif (
            isinstance(message, ToolMessage)
            and message.tool_call_id in asked
            and message.response_metadata.get("model_provider") == provider
        ):
            answer = AIMessage(message.text, response_metadata=message.response_metadata)
            of_one_message.append([HumanMessage(asked.pop(message.tool_call_id)), answer])
    found += sorted(of_one_message, key=_turn)
    return [message for pair in found for message in pair]


def _turn(pair: list[BaseMessage]) -> int:
    lineage = pair[1].response_metadata.get("lineage")
    turn = lineage.get("turn") if isinstance(lineage, dict) else None
    return turn if isinstance(turn, int) else 0
