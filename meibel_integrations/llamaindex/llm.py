"""Hosted agents as LlamaIndex models: what agents, evaluators and query engines of LlamaIndex's own call.

Each call is one turn of a session of its own. Agent loops send the whole conversation at every step, and memories drop
what would name a session; going on in one would repeat everything in it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import aclosing, closing
from typing import Any, ClassVar, Self, Unpack

from llama_index.core.base.llms.generic_utils import (
    achat_to_completion_decorator,
    astream_chat_to_completion_decorator,
    chat_to_completion_decorator,
    stream_chat_to_completion_decorator,
)
from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    ChatResponseGen,
    CompletionResponse,
    CompletionResponseAsyncGen,
    CompletionResponseGen,
    LLMMetadata,
    MessageRole,
    TextBlock,
)
from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback
from llama_index.core.llms.llm import LLM

from meibel_integrations.client import AsyncChatStream, ChatStream
from meibel_integrations.client.closing import AsyncClosing, Closing
from meibel_integrations.conversation.run import ConversationRun
from meibel_integrations.llamaindex.agent import (
    INSTEAD,
    LLAMA_CLOUD,
    MEIBEL,
    HostedAgent,
    HostedService,
    LlamaCloudEngineKeywords,
    MeibelEngineKeywords,
)
from meibel_integrations.llamaindex.messages import answer_message, with_files
from meibel_integrations.llamaindex.tracing import token_counts
from meibel_integrations.models import ChatEvent, ContentEvent, DoneEvent, ThinkingEvent

__all__ = ["HostedLLM", "LlamaCloudChatLLM", "MeibelLLM"]

_ALONE = "each call is a session of its own; an engine goes on in one: MeibelChatEngine(session_id=…)"
_NOT_OF_A_MODEL = {
    **{name: hint for name, hint in INSTEAD.items() if name not in LLM.model_fields},
    "session_id": _ALONE,
    "ephemeral": _ALONE,
    "on_divergence": _ALONE,
    "check_head": _ALONE,
    "node_postprocessors": "a model returns no nodes; its sources are in response.raw",
}


class HostedLLM(LLM, Closing, AsyncClosing):
    """A model whose every answer is a turn of a session of its own."""

    service: ClassVar[HostedService]

    _agent: HostedAgent = PrivateAttr()

    def __init__(self, hosted: HostedAgent | None = None, **settings: Any) -> None:
        own = {name: settings.pop(name) for name in LLM.model_fields if name in settings}
        agent = hosted or HostedAgent(self.service, type(self).__name__, settings, _NOT_OF_A_MODEL)
        super().__init__(**{"callback_manager": agent.callback_manager, **own})
        self._agent = agent

    @classmethod
    def of(cls, agent: HostedAgent) -> Self:
        """The model that stands for an engine's agent in traces."""
        return cls(agent)

    @classmethod
    def class_name(cls) -> str:
        return cls.__name__

    @property
    def metadata(self) -> LLMMetadata:
        """No function calling: a hosted agent takes no tools from its callers. The sizes are made up, as the services
        tell none: what is too long for one is refused when it is sent."""
        return LLMMetadata(
            context_window=32_000,
            num_output=4_096,
            is_chat_model=True,
            is_function_calling_model=False,
            model_name=self._agent.label,
        )

    # The eight verbs. Keywords of other models, such as temperature, have no effect: the agent is configured elsewhere.

    @llm_chat_callback()
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """The whole answer.

        Raises:
            PromptTooLongError: the messages are longer than the service takes; nothing was sent.
        """
        answer = self._answer(messages)
        with closing(self._agent.clients.client.stream_flow(answer.call.flow())) as stream:
            for event in stream:
                answer.take(event)
        return answer.whole()

    @llm_chat_callback()
    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """The async twin of :meth:`chat`."""
        answer = self._answer(messages)
        async with aclosing(await self._agent.clients.async_client.stream_flow(answer.call.flow())) as stream:
            async for event in stream:
                answer.take(event)
        return answer.whole()

    @llm_chat_callback()
    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        """The answer as it arrives. The last response has no ``delta``, but everything else that belongs to it."""
        answer = self._answer(messages)
        return _responses(answer, self._agent.clients.client.stream_flow(answer.call.flow()))

    @llm_chat_callback()
    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseAsyncGen:
        """The async twin of :meth:`stream_chat`."""
        answer = self._answer(messages)
        return _aresponses(answer, await self._agent.clients.async_client.stream_flow(answer.call.flow()))

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """The whole answer to one message, which is sent as it is."""
        return chat_to_completion_decorator(self._undecorated("chat"))(prompt)

    @llm_completion_callback()
    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """The async twin of :meth:`complete`."""
        return await achat_to_completion_decorator(self._undecorated("achat"))(prompt)

    @llm_completion_callback()
    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
        """The answer to one message as it arrives."""
        return stream_chat_to_completion_decorator(self._undecorated("stream_chat"))(prompt)

    @llm_completion_callback()
    async def astream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseAsyncGen:
        """The async twin of :meth:`stream_complete`."""
        return await astream_chat_to_completion_decorator(self._undecorated("astream_chat"))(prompt)

    def _undecorated(self, verb: str) -> Any:
        """A chat verb without its span and events: a completion has its own."""
        method = getattr(type(self), verb)
        while hasattr(method, "__wrapped__"):
            method = method.__wrapped__
        return lambda messages, **kwargs: method(self, messages, **kwargs)

    def _answer(self, messages: Sequence[ChatMessage]) -> _Answer:
        """The call for a message list; images and documents of its last message go along as files."""
        *before, last = messages
        last, files = with_files(last)
        agent = self._agent
        call = agent.alone(agent.neutral([*before, last]), files=agent.files_of(files or ()))
        return _Answer(call, thinking=agent.options.include_thinking)

    def close(self) -> None:
        """Gives up this model's connections. A later call opens new ones."""
        self._agent.clients.close()

    async def aclose(self) -> None:
        """The async twin of :meth:`close`; it closes both kinds of connections."""
        await self._agent.clients.aclose()

    def __repr__(self) -> str:
        shown = self._agent.shown(None)
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in shown.items())})"


class _Answer:
    """An answer as it grows."""

    def __init__(self, call: ConversationRun, *, thinking: bool) -> None:
        self.call = call
        self._thinking = thinking
        self._text = ""

    def take(self, event: ChatEvent) -> ChatResponse | None:
        """The response for an event, if there is something to show."""
        if isinstance(event, ContentEvent):
            self._text += event.delta
            return ChatResponse(message=self._message(), delta=event.delta)
        if isinstance(event, ThinkingEvent) and self._thinking:
            more = {"thinking_delta": event.delta}
            return ChatResponse(message=self._message(), delta="", additional_kwargs=more)
        return self.whole() if isinstance(event, DoneEvent) else None

    def whole(self) -> ChatResponse:
        result = self.call.result
        assert result is not None
        counts = token_counts(result.reply.usage)
        message = answer_message(result.reply, thinking=self._thinking)
        raw = {**result.metadata(), "usage": counts}
        return ChatResponse(message=message, delta="", raw=raw, additional_kwargs=dict(counts))

    def _message(self) -> ChatMessage:
        return ChatMessage(role=MessageRole.ASSISTANT, blocks=[TextBlock(text=self._text)])


def _responses(answer: _Answer, stream: ChatStream) -> Generator[ChatResponse, None, None]:
    with closing(stream):
        for event in stream:
            if (response := answer.take(event)) is not None:
                yield response


async def _aresponses(answer: _Answer, stream: AsyncChatStream) -> AsyncGenerator[ChatResponse, None]:
    async with aclosing(stream):
        async for event in stream:
            if (response := answer.take(event)) is not None:
                yield response


class MeibelLLM(HostedLLM):
    """A Meibel agent as a LlamaIndex model, for agents, workflows, routers and evaluators.

    Every call is a session of its own that is given the whole message list; sources are in ``response.raw``.

    Args:
        agent_id, agent_name: the agent, by id, or by name for its newest published version.
        settings: the connection and ``include_thinking``, ``timeout_seconds`` …, as in
            :class:`~meibel_integrations.llamaindex.MeibelChatEngine`; and those of every LlamaIndex model.
    """

    service = MEIBEL

    def __init__(
        self,
        agent_id: str | None = None,
        agent_name: str | None = None,
        *,
        hosted: HostedAgent | None = None,
        **settings: Unpack[MeibelEngineKeywords],
    ) -> None:
        super().__init__(hosted, agent_id=agent_id, agent_name=agent_name, **settings)


class LlamaCloudChatLLM(HostedLLM):
    """LlamaCloud's Index v2 chat agent as a LlamaIndex model; see :class:`MeibelLLM`.

    The service takes prompts of at most 1,000 characters, so the prompt of a ``ReActAgent``, which is longer, raises
    ``PromptTooLongError`` before anything is sent.

    Args:
        index_ids: the indexes to answer from, at most 10.
        settings: as in :class:`~meibel_integrations.llamaindex.LlamaCloudChatEngine`.
    """

    service = LLAMA_CLOUD

    def __init__(
        self,
        index_ids: Sequence[str] | None = None,
        *,
        hosted: HostedAgent | None = None,
        **settings: Unpack[LlamaCloudEngineKeywords],
    ) -> None:
        super().__init__(hosted, index_ids=index_ids, **settings)
