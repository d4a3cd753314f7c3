"""One turn, as LlamaIndex's instrumentation sees it: a model span with its events, and a retrieval span inside.

A streamed answer outlives the method that began it, and may be read in another thread or task. So the turn keeps a
context of its own: the spans have the right parent, nothing leaks into the caller's context, and whatever a handler
attaches at the start it can detach at the end. Only event classes of LlamaIndex are sent: handlers warn of others.
"""

from __future__ import annotations

import inspect
from contextvars import copy_context
from typing import Any
from uuid import uuid4

from llama_index.core.base.llms.types import ChatMessage, ChatResponse
from llama_index.core.callbacks import CallbackManager, CBEventType, EventPayload
from llama_index.core.instrumentation.events.chat_engine import (
    StreamChatDeltaReceivedEvent,
    StreamChatEndEvent,
    StreamChatErrorEvent,
    StreamChatStartEvent,
)
from llama_index.core.instrumentation.events.llm import LLMChatEndEvent, LLMChatStartEvent
from llama_index.core.instrumentation.events.retrieval import RetrievalEndEvent, RetrievalStartEvent
from llama_index.core.schema import NodeWithScore
from llama_index_instrumentation import get_dispatcher
from llama_index_instrumentation.base import BaseEvent
from llama_index_instrumentation.dispatcher import active_instrument_tags
from llama_index_instrumentation.span import active_span_id

from meibel_integrations.models import Usage

__all__ = ["TurnTrace", "token_counts"]

dispatcher = get_dispatcher(__name__)


def token_counts(usage: Usage | None) -> dict[str, int]:
    """Token usage under the names that tracing tools look for; empty where the service does not say."""
    if usage is None:
        return {}
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
    }


class TurnTrace:
    """Call :meth:`start`, then what happens, then exactly one of :meth:`end` and :meth:`fail`.

    Args:
        instance: the engine.
        messages: what the turn is about: the messages given, and the question.
        model: describes the agent; it reaches every handler, so no secret may be in it.
        streaming: whether the answer is handed out in pieces.
    """

    def __init__(
        self,
        instance: Any,
        messages: list[ChatMessage],
        model: dict[str, Any],
        callbacks: CallbackManager,
        *,
        streaming: bool,
    ) -> None:
        name = type(instance).__name__
        self._instance = instance
        self._messages = messages
        self._question = messages[-1].content or ""
        self._model = model
        self._callbacks = callbacks
        self._streaming = streaming
        self._streamed = False
        self._context = copy_context()
        self._span = f"{name}.turn-{uuid4()}"
        self._retrieval = f"{name}.retrieve-{uuid4()}"
        self._callback_event = ""

    def start(self) -> None:
        """The turn is about to be sent."""
        self._context.run(self._start)

    def accepted(self) -> None:
        """The service has accepted it."""
        if self._streaming:
            self._streamed = True
            self._send(StreamChatStartEvent(span_id=self._span))

    def delta(self, text: str) -> None:
        """A piece of the answer is about to be handed out."""
        if self._streaming:
            self._send(StreamChatDeltaReceivedEvent(span_id=self._span, delta=text))

    def retrieved(self, nodes: list[NodeWithScore]) -> None:
        """The answer names its sources."""
        self._context.run(self._retrieved, nodes)

    def end(self, message: ChatMessage, usage: Usage | None = None) -> None:
        """The answer is complete, or its reader has left and this is what had arrived."""
        self._context.run(self._end, message, usage)

    def fail(self, error: BaseException) -> None:
        """There will be no answer."""
        self._context.run(self._fail, error)

    def _send(self, event: BaseEvent) -> None:
        self._context.run(dispatcher.event, event)

    def _start(self) -> None:
        parent = active_span_id.get()
        active_span_id.set(self._span)
        self._enter(self._span, parent)
        event = LLMChatStartEvent(
            span_id=self._span, messages=self._messages, additional_kwargs={}, model_dict=self._model
        )
        dispatcher.event(event)
        self._callback_event = self._callbacks.on_event_start(
            CBEventType.LLM,
            payload={EventPayload.MESSAGES: self._messages, EventPayload.SERIALIZED: self._model},
        )

    def _retrieved(self, nodes: list[NodeWithScore]) -> None:
        self._enter(self._retrieval, self._span)
        dispatcher.event(RetrievalStartEvent(span_id=self._retrieval, str_or_query_bundle=self._question))
        dispatcher.event(RetrievalEndEvent(span_id=self._retrieval, str_or_query_bundle=self._question, nodes=nodes))
        dispatcher.span_exit(id_=self._retrieval, bound_args=self._arguments(), instance=self._instance, result=nodes)

    def _end(self, message: ChatMessage, usage: Usage | None) -> None:
        counts = token_counts(usage)
        response = ChatResponse(message=message, raw={"usage": counts}, additional_kwargs=dict(counts))
        dispatcher.event(LLMChatEndEvent(span_id=self._span, messages=self._messages, response=response))
        if self._streamed:
            dispatcher.event(StreamChatEndEvent(span_id=self._span))
        self._callbacks.on_event_end(
            CBEventType.LLM,
            payload={EventPayload.MESSAGES: self._messages, EventPayload.RESPONSE: response},
            event_id=self._callback_event,
        )
        dispatcher.span_exit(id_=self._span, bound_args=self._arguments(), instance=self._instance, result=response)

    def _fail(self, error: BaseException) -> None:
        if self._streamed and isinstance(error, Exception):
            dispatcher.event(StreamChatErrorEvent(span_id=self._span, exception=error))
        self._callbacks.on_event_end(
            CBEventType.LLM, payload={EventPayload.EXCEPTION: error}, event_id=self._callback_event
        )
        dispatcher.span_drop(id_=self._span, bound_args=self._arguments(), instance=self._instance, err=error)

    def _enter(self, span: str, parent: str | None) -> None:
        dispatcher.span_enter(
            id_=span,
            bound_args=self._arguments(),
            instance=self._instance,
            parent_id=parent,
            tags=active_instrument_tags.get(),
        )

    def _arguments(self) -> inspect.BoundArguments:
        return inspect.signature(_turn).bind(self._question)


def _turn(message: str) -> None:
    """Stands for the turn in spans: its arguments are shown as the span's input."""
