"""One turn, as LlamaIndex's instrumentation sees it: a model span with its events, tool and retrieval spans inside.

A streamed answer outlives the method that began it, and may be read in another thread or task. So the turn keeps a
context of its own: the spans have the right parent, nothing leaks into the caller's context, and whatever a handler
attaches at the start it can detach at the end. For the same reason the span of a streaming verb is the turn's, too:
LlamaIndex would end it when the verb returns, with an empty answer. Only event classes of LlamaIndex are sent: handlers
warn of others.
"""

from __future__ import annotations

import inspect
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any, TypeVar
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
from llama_index.core.tools import BaseTool, ToolMetadata, ToolOutput
from llama_index_instrumentation import get_dispatcher
from llama_index_instrumentation.base import BaseEvent
from llama_index_instrumentation.dispatcher import DISPATCHER_SPAN_DECORATED_ATTR, active_instrument_tags
from llama_index_instrumentation.events.span import SpanDropEvent
from llama_index_instrumentation.span import active_span_id

from meibel_integrations.models import ToolActivity, Usage

__all__ = ["TurnTrace", "opens_its_own_span", "token_counts"]

F = TypeVar("F", bound=Callable[..., Any])

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


def opens_its_own_span(method: F) -> F:
    """Keeps LlamaIndex from opening a span for a method, which would end when the method returns."""
    setattr(method, DISPATCHER_SPAN_DECORATED_ATTR, True)
    return method


class AgentTool(BaseTool):
    """A tool of the agent's own, for spans: it cannot be called from here."""

    def __init__(self, name: str) -> None:
        self._metadata = ToolMetadata(f"{name}, a tool of the hosted agent", name)

    @property
    def metadata(self) -> ToolMetadata:
        return self._metadata

    def __call__(self, input: Any) -> ToolOutput:
        raise NotImplementedError("The hosted agent calls this tool at the service.")


class TurnTrace:
    """Call :meth:`start`, then what happens, then exactly one of :meth:`end` and :meth:`fail`.

    Args:
        instance: the engine.
        model: the agent as a LlamaIndex model: tracing tools read from it that a span is a model's, and its name.
        messages: what the turn is about: the messages given, and the question.
        described: describes the agent; it reaches every handler, so no secret may be in it.
        verb: the streaming verb whose span the turn opens; ``None`` if the answer is not handed out in pieces.
    """

    def __init__(
        self,
        instance: Any,
        model: Any,
        messages: list[ChatMessage],
        described: dict[str, Any],
        callbacks: CallbackManager,
        *,
        verb: str | None,
    ) -> None:
        name = type(instance).__name__
        self._instance = instance
        self._model = model
        self._messages = messages
        self._question = messages[-1].content or ""
        self._described = described
        self._callbacks = callbacks
        self._streaming = verb is not None
        self._begun = False
        self._context = copy_context()
        self._root = f"{name}.{verb}-{uuid4()}" if verb else None
        self._span = f"{name}.turn-{uuid4()}"
        self._name = name
        self._tools: dict[str, tuple[AgentTool, str, str]] = {}
        self._parent: str | None = None
        self._callback_event = ""

    def start(self) -> None:
        """The turn is about to be sent."""
        self._context.run(self._start)

    def accepted(self, session_id: str | None) -> None:
        """The service has accepted it, in this session, which the model's span then shows from its beginning."""
        self._context.run(self._accepted, session_id)

    def delta(self, text: str) -> None:
        """A piece of the answer is about to be handed out."""
        if self._streaming:
            self._send(StreamChatDeltaReceivedEvent(span_id=self._span, delta=text))

    def tool_called(self, tool: ToolActivity) -> None:
        """The agent calls one of its tools."""
        self._context.run(self._tool_called, tool)

    def tool_returned(self, tool: ToolActivity) -> None:
        """A tool returned."""
        self._context.run(self._tool_returned, tool)

    def retrieved(self, nodes: list[NodeWithScore]) -> None:
        """The answer names its sources."""
        self._context.run(self._retrieved, nodes)

    def end(self, message: ChatMessage, usage: Usage | None, shown: Any, told: dict[str, Any] | None = None) -> None:
        """The answer is complete, or its reader has left and this is what had arrived.

        Args:
            shown: the response, for the span of a streaming verb.
            told: what readers of traces should know of the answer besides its usage.
        """
        self._context.run(self._end, message, usage, shown, told or {})

    def fail(self, error: BaseException) -> None:
        """There will be no answer."""
        self._context.run(self._fail, error)

    @contextmanager
    def active(self) -> Iterator[None]:
        """What the caller runs meanwhile belongs to the turn."""
        before = active_span_id.set(self._root or active_span_id.get())
        try:
            yield
        finally:
            active_span_id.reset(before)

    def _send(self, event: BaseEvent) -> None:
        self._context.run(dispatcher.event, event)

    def _start(self) -> None:
        self._parent = active_span_id.get()
        _show_session(self._described.get("session_id"))
        if self._root is not None:
            self._enter(self._root, self._parent, self._instance)
            self._parent = self._root

    def _accepted(self, session_id: str | None) -> None:
        self._begun = True
        self._described["session_id"] = session_id
        _show_session(session_id)
        active_span_id.set(self._span)
        self._enter(self._span, self._parent, self._model)
        event = LLMChatStartEvent(
            span_id=self._span, messages=self._messages, additional_kwargs={}, model_dict=self._described
        )
        dispatcher.event(event)
        self._callback_event = self._callbacks.on_event_start(
            CBEventType.LLM,
            payload={EventPayload.MESSAGES: self._messages, EventPayload.SERIALIZED: self._described},
        )
        if self._streaming:
            dispatcher.event(StreamChatStartEvent(span_id=self._span))

    def _tool_called(self, tool: ToolActivity) -> None:
        name = tool.name or "tool"
        instance, span = AgentTool(name), f"{name}.call-{uuid4()}"
        event = self._callbacks.on_event_start(
            CBEventType.FUNCTION_CALL,
            payload={EventPayload.FUNCTION_CALL: tool.arguments, EventPayload.TOOL: instance.metadata},
        )
        self._tools[tool.id or name] = instance, span, event
        self._enter(span, self._span, instance, _called(tool))

    def _tool_returned(self, tool: ToolActivity) -> None:
        key = tool.id or tool.name or "tool"
        if key not in self._tools:
            self._tool_called(tool)
        instance, span, event = self._tools.pop(key)
        self._callbacks.on_event_end(
            CBEventType.FUNCTION_CALL, payload={EventPayload.FUNCTION_OUTPUT: tool.result}, event_id=event
        )
        dispatcher.span_exit(id_=span, bound_args=_called(tool), instance=instance, result=tool.result)

    def _retrieved(self, nodes: list[NodeWithScore]) -> None:
        span = f"{self._name}.retrieve-{uuid4()}"
        event = self._callbacks.on_event_start(CBEventType.RETRIEVE, payload={EventPayload.QUERY_STR: self._question})
        self._enter(span, self._span, self._instance)
        dispatcher.event(RetrievalStartEvent(span_id=span, str_or_query_bundle=self._question))
        dispatcher.event(RetrievalEndEvent(span_id=span, str_or_query_bundle=self._question, nodes=nodes))
        dispatcher.span_exit(id_=span, bound_args=self._arguments(), instance=self._instance, result=nodes)
        self._callbacks.on_event_end(CBEventType.RETRIEVE, payload={EventPayload.NODES: nodes}, event_id=event)

    def _end(self, message: ChatMessage, usage: Usage | None, shown: Any, told: dict[str, Any]) -> None:
        arguments = self._arguments()
        if self._begun:
            self._end_tools()
            counts = token_counts(usage)
            response = ChatResponse(message=message, raw={"usage": counts, **told}, additional_kwargs=dict(counts))
            dispatcher.event(LLMChatEndEvent(span_id=self._span, messages=self._messages, response=response))
            if self._streaming:
                dispatcher.event(StreamChatEndEvent(span_id=self._span))
            self._callbacks.on_event_end(
                CBEventType.LLM,
                payload={EventPayload.MESSAGES: self._messages, EventPayload.RESPONSE: response},
                event_id=self._callback_event,
            )
            dispatcher.span_exit(id_=self._span, bound_args=arguments, instance=self._model, result=response)
        if self._root is not None:
            dispatcher.span_exit(id_=self._root, bound_args=arguments, instance=self._instance, result=shown)

    def _fail(self, error: BaseException) -> None:
        arguments = self._arguments()
        if self._begun:
            self._end_tools()
            if self._streaming and isinstance(error, Exception):
                # Of no span: tracing tools would record the exception there a second time.
                dispatcher.event(StreamChatErrorEvent(span_id=None, exception=error))
            self._callbacks.on_event_end(
                CBEventType.LLM, payload={EventPayload.EXCEPTION: error}, event_id=self._callback_event
            )
            # The verb's span tells the error, this one only that there is no answer.
            dispatcher.span_drop(id_=self._span, bound_args=arguments, instance=self._model, err=None)
        if self._root is not None:
            dispatcher.event(SpanDropEvent(span_id=self._root, err_str=str(error)))
            dispatcher.span_drop(id_=self._root, bound_args=arguments, instance=self._instance, err=error)

    def _end_tools(self) -> None:
        """Calls whose results were never told."""
        for key, (instance, _, _) in list(self._tools.items()):
            self._tool_returned(ToolActivity(id=key, name=instance.metadata.name))

    def _enter(self, span: str, parent: str | None, instance: Any, arguments: Any = None) -> None:
        dispatcher.span_enter(
            id_=span,
            bound_args=self._arguments() if arguments is None else arguments,
            instance=instance,
            parent_id=parent,
            tags=active_instrument_tags.get(),
        )

    def _arguments(self) -> inspect.BoundArguments:
        return inspect.signature(_turn).bind(self._question)


def _show_session(session_id: Any) -> None:
    """Tells OpenTelemetry's context the session, where OpenTelemetry is in use: its tools group traces by it."""
    context = sys.modules.get("opentelemetry.context")
    if context is not None and session_id:
        context.attach(context.set_value("session.id", str(session_id)))


def _called(tool: ToolActivity) -> inspect.BoundArguments:
    """A tool's arguments as a span's input; their names need not be names in Python."""
    return inspect.BoundArguments(inspect.Signature(), OrderedDict(tool.arguments))


def _turn(message: str) -> None:
    """Stands for the turn in spans: its arguments are shown as the span's input."""
