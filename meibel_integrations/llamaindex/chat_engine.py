"""Hosted agents as LlamaIndex chat engines, one class a service."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, ParamSpec, Self, TypeVar, Unpack

from llama_index.core.base.llms.types import ChatMessage, MessageRole
from llama_index.core.callbacks import CallbackManager, trace_method
from llama_index.core.chat_engine.types import BaseChatEngine
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.settings import Settings
from pydantic import ConfigDict, Field

from meibel_integrations.client import AsyncLlamaCloudChatClient, AsyncMeibelClient, LlamaCloudChatClient, MeibelClient
from meibel_integrations.client.closing import AsyncClosing, Closing
from meibel_integrations.client.keywords import ClientKeywords, LlamaCloudSessionKeywords, MeibelSessionKeywords
from meibel_integrations.client.lazy_clients import LazyClients
from meibel_integrations.client.options import (
    CONNECTION,
    ClientOptions,
    LlamaCloudAgentOptions,
    MeibelAgentOptions,
    checked,
)
from meibel_integrations.config import OnAmbiguous
from meibel_integrations.conversation.held import HeldSession
from meibel_integrations.conversation.options import CheckHead, EditedAnswers, OnDivergence, RunOptions, Target
from meibel_integrations.errors import InvalidInputError
from meibel_integrations.llamaindex.messages import to_chat_messages, to_neutral
from meibel_integrations.llamaindex.responses import HostedChatResponse, HostedStreamingResponse
from meibel_integrations.llamaindex.run import EngineRun
from meibel_integrations.llamaindex.tracing import TurnTrace
from meibel_integrations.models import Session
from meibel_integrations.protocol.text import Partials

__all__ = ["HostedChatEngine", "LlamaCloudChatEngine", "MeibelChatEngine"]

P = ParamSpec("P")
T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

_INSTRUCTIONS = (
    "a hosted agent's instructions are configured at the service; for one conversation, begin it with a system "
    "message: chat(message, chat_history=[ChatMessage(role='system', content=…)])"
)
_MEMORY = "the service keeps the conversation: use session_id=…, with_session(id), or chat(…, chat_history=[…])"
_RETRIEVAL = "a hosted agent retrieves by itself, as it is configured at the service"
_INSTEAD = {
    "system_prompt": _INSTRUCTIONS,
    "prefix_messages": _INSTRUCTIONS,
    "memory": _MEMORY,
    "memory_cls": _MEMORY,
    "chat_store": _MEMORY,
    "chat_history": "pass it with the message that opens the conversation: chat(message, chat_history=[…])",
    "llm": "a hosted agent brings its own model",
    "index": _RETRIEVAL,
    "retriever": _RETRIEVAL,
    "query_engine": _RETRIEVAL,
    "similarity_top_k": _RETRIEVAL,
    "context_template": _RETRIEVAL,
    "condense_prompt": _RETRIEVAL,
    "tools": "a hosted agent runs the tools that it is configured with at the service",
    "ephemeral": "an engine is one conversation; make a new one for a question of its own, with_session(None)",
    "verbose": "add a handler to LlamaIndex's instrumentation, or use logging",
}


class EngineOptions(RunOptions, ClientOptions):
    """Settings of an engine besides whom it asks."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    node_postprocessors: list[BaseNodePostprocessor] = Field(default_factory=list)
    """Applied to each answer's ``source_nodes``, in order."""
    callback_manager: CallbackManager | None = None
    """``Settings.callback_manager`` if not given."""


class MeibelEngineOptions(MeibelAgentOptions, EngineOptions):
    """All settings of a Meibel engine."""


class LlamaCloudEngineOptions(LlamaCloudAgentOptions, EngineOptions):
    """All settings of a LlamaCloud engine."""


class EngineKeywords(ClientKeywords, total=False):
    """The settings, for type checkers; see :class:`EngineOptions`."""

    session_id: str | None
    on_divergence: OnDivergence | None
    edited_answers: EditedAnswers
    check_head: CheckHead
    max_seed_chars: int
    include_thinking: bool
    include_tool_activity: bool
    include_usage: bool
    timeout_seconds: int | None
    partials: Partials
    on_ambiguous: OnAmbiguous
    reconcile_grace: float
    reconcile_deadline: float
    node_postprocessors: Sequence[BaseNodePostprocessor] | None
    callback_manager: CallbackManager | None


class MeibelEngineKeywords(MeibelSessionKeywords, EngineKeywords, total=False):
    """The settings, for type checkers."""


class LlamaCloudEngineKeywords(LlamaCloudSessionKeywords, EngineKeywords, total=False):
    """The settings, for type checkers."""


def _traced(method: F) -> F:
    """LlamaIndex's ``trace_method``, which hides the method's type; and its annotations as types, not as their names,
    for whoever makes a schema of them, as ``FunctionTool`` does."""
    traced: Any = trace_method("chat")(method)
    traced.__signature__ = inspect.signature(method, eval_str=True)
    traced.__annotations__ = inspect.get_annotations(method, eval_str=True)
    return traced  # type: ignore[no-any-return]


class _SameAsConstructor:
    """A class method that makes an object as the constructor does, with the constructor's signature."""

    def __get__(self, instance: object, owner: Callable[P, T]) -> Callable[P, T]:
        def from_defaults(*args: P.args, **kwargs: P.kwargs) -> T:
            return owner(*args, **kwargs)

        from_defaults.__doc__ = "The constructor, under the name that LlamaIndex's engines have for it."
        from_defaults.__signature__ = inspect.signature(owner)  # type: ignore[attr-defined]
        return from_defaults


class HostedChatEngine(BaseChatEngine, Closing, AsyncClosing):
    """A chat engine whose every answer is one turn of a hosted session.

    One engine is one conversation: it opens a session with its first message and goes on in it. Make an engine per
    user, or :meth:`with_session` for each; they share their settings and connections.
    """

    client_type: ClassVar[Any]
    async_client_type: ClassVar[Any]
    options_type: ClassVar[type[MeibelEngineOptions | LlamaCloudEngineOptions]]

    from_defaults = _SameAsConstructor()

    def __init_subclass__(cls) -> None:
        """Shows all settings as the constructor's keywords: in ``help``, in notebooks, to whoever inspects them."""
        super().__init_subclass__()
        first = list(inspect.signature(cls.__init__).parameters.values())[1:]
        named = {parameter.name for parameter in first}
        rest = [
            p for p in inspect.signature(cls.options_type).parameters.values() if p.name not in named | _INSTEAD.keys()
        ]
        positional = [p for p in first if p.kind is not p.VAR_KEYWORD]
        cls.__signature__ = inspect.Signature([*positional, *rest])  # type: ignore[attr-defined]

    def __init__(self, **settings: Any) -> None:
        given = {name: value for name, value in settings.items() if value is not None}
        options = checked(self.options_type, type(self).__name__, given, _INSTEAD)
        self._clients: LazyClients[Any, Any] = LazyClients(
            self.client_type,
            self.async_client_type,
            client=options.client,
            async_client=options.async_client,
            api_key=options.api_key,
            service_settings=options.service_settings(),
            **{name: getattr(options, name) for name in CONNECTION & options.model_fields_set},
        )
        self._options = options
        self._agent = options.agent_ref()
        require_all = isinstance(options, LlamaCloudEngineOptions) and options.require_all_indexes
        self._session = HeldSession(
            options.session_id,
            service=self._clients.service,
            book=self._clients.book,
            target=Target(self._agent, options.opening(), require_all),
            options=RunOptions(**{name: getattr(options, name) for name in RunOptions.model_fields}),
        )
        self.callback_manager = options.callback_manager or Settings.callback_manager

    # The conversation

    @property
    def session_id(self) -> str | None:
        """The session that this engine is in; ``None`` until the first message opens one."""
        return self._session.id

    def with_session(self, session_id: str | None) -> Self:
        """An engine with the same settings that goes on in another session (``None``: opens its own)."""
        other = copy.copy(self)
        other._session = self._session.sibling(session_id)
        other._clients = self._clients.sibling()
        return other

    def reset(self) -> None:
        """Forgets the session: the next message opens a new one. Nothing is sent, and nothing is deleted."""
        self._session.forget()

    @property
    def chat_history(self) -> list[ChatMessage]:
        """The session's messages as they were written, read from the service; empty before the first message.

        What other engines and processes add shows after this engine's next turn, or with ``check_head="always"``.
        """
        return to_chat_messages(self._clients.client.run_flow(self._session.read()))

    async def aget_chat_history(self) -> list[ChatMessage]:
        """The async twin of :attr:`chat_history`."""
        return to_chat_messages(await self._clients.async_client.run_flow(self._session.read()))

    @_traced
    def chat(self, message: str, chat_history: list[ChatMessage] | None = None) -> HostedChatResponse:
        """One message and its whole answer.

        Args:
            message: the user's message.
            chat_history: ``None`` goes on; ``[]``, or system messages alone, start a new session; a list that is what
                the session holds goes on, at the price of reading the session; any other list starts a new session
                that is seeded with it.
        """
        run = self._run(message, chat_history, streaming=False)
        stream = run.open(self._clients.client)
        while run.advance(stream) is not None:
            continue
        return HostedChatResponse.of(run)

    @_traced
    async def achat(self, message: str, chat_history: list[ChatMessage] | None = None) -> HostedChatResponse:
        """The async twin of :meth:`chat`."""
        run = self._run(message, chat_history, streaming=False)
        stream = await run.aopen(self._clients.async_client)
        while await run.aadvance(stream) is not None:
            continue
        return HostedChatResponse.of(run)

    @_traced
    def stream_chat(self, message: str, chat_history: list[ChatMessage] | None = None) -> HostedStreamingResponse:
        """As :meth:`chat`, but returns once the service has accepted the message; the answer is read from there."""
        run = self._run(message, chat_history, streaming=True)
        return HostedStreamingResponse.of(run, run.open(self._clients.client))

    @_traced
    async def astream_chat(
        self, message: str, chat_history: list[ChatMessage] | None = None
    ) -> HostedStreamingResponse:
        """The async twin of :meth:`stream_chat`."""
        run = self._run(message, chat_history, streaming=True)
        return HostedStreamingResponse.of(run, await run.aopen(self._clients.async_client))

    def _run(self, message: str, chat_history: list[ChatMessage] | None, *, streaming: bool) -> EngineRun:
        if not isinstance(message, str):
            raise InvalidInputError(f"The message must be a str, not {type(message).__name__}.")
        if not message.strip():
            raise InvalidInputError("The message is empty: the agent needs something to answer.")
        given = None if chat_history is None else to_neutral(chat_history)
        question = ChatMessage(role=MessageRole.USER, content=message)
        model = {
            "class_name": type(self).__name__,
            "model": self._agent.label or self.session_id or "",
            **self._agent.to_json(),
            "session_id": self.session_id,
        }
        trace = TurnTrace(self, [*(chat_history or ()), question], model, self.callback_manager, streaming=streaming)
        return EngineRun(
            self._session,
            trace,
            message,
            given,
            self._options.node_postprocessors,
            show_thinking=self._options.include_thinking,
            show_tools=self._options.include_tool_activity,
        )

    # Connections

    def close(self) -> None:
        """Gives up this engine's connections. A later call opens new ones. Clients that were passed in stay open."""
        self._clients.close()

    async def aclose(self) -> None:
        """The async twin of :meth:`close`; it closes both kinds of connections."""
        await self._clients.aclose()

    def __repr__(self) -> str:
        shown = {**self._agent.to_json(), "session_id": self.session_id, "base_url": self._clients.config.base_url}
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in shown.items())})"


class MeibelChatEngine(HostedChatEngine):
    """A Meibel agent as a chat engine. One engine is one conversation, held in one session at the service.

    Example:
        ::

            engine = MeibelChatEngine.from_defaults(agent_id="agent_123")
            for piece in engine.stream_chat("What are the key findings in the Q4 report?").response_gen:
                print(piece, end="")
            print(engine.chat("And in Q3?").source_nodes)

    Args:
        agent_id, agent_name: the agent, by id, or by name for its newest published version. An engine that has only a
            ``session_id`` goes on in that session and can open no other.
        settings: ``session_id``, ``session_options``, ``api_key`` (or ``MEIBEL_API_KEY``), ``base_url`` (or
            ``MEIBEL_BASE_URL``), ``timeout``, ``include_thinking`` …: see the classes that :class:`MeibelEngineOptions`
            is made of.

    Raises:
        ConfigurationError: neither an agent nor a session is named, there is no key, or a setting is unknown or wrong.
    """

    client_type: ClassVar[Any] = MeibelClient
    async_client_type: ClassVar[Any] = AsyncMeibelClient
    options_type = MeibelEngineOptions

    def __init__(
        self, agent_id: str | None = None, agent_name: str | None = None, **settings: Unpack[MeibelEngineKeywords]
    ) -> None:
        super().__init__(agent_id=agent_id, agent_name=agent_name, **settings)


class LlamaCloudChatEngine(HostedChatEngine):
    """LlamaCloud's Index v2 chat agent over some indexes, as a chat engine. One engine is one conversation.

    The same as :class:`MeibelChatEngine` in every respect that the service allows: source nodes are what the agent
    retrieved (``metadata["origin"] == "retrieved"``), and a message has at most 1,000 characters.

    Args:
        index_ids: the indexes to answer from, at most 10. An engine that has only a ``session_id`` goes on in that
            session, with the indexes that it is bound to, and can open no other.
        settings: ``session_id``, ``api_key`` (or ``LLAMA_CLOUD_API_KEY``), ``base_url`` (or ``LLAMA_CLOUD_BASE_URL``),
            ``bound``, ``require_all_indexes``, ``timeout`` …: see the classes that :class:`LlamaCloudEngineOptions` is
            made of.

    Raises:
        ConfigurationError: neither indexes nor a session are named, there is no key, or a setting is unknown or wrong.
        InvalidInputError: more than 10 indexes, or something that is no list of ids.
    """

    client_type: ClassVar[Any] = LlamaCloudChatClient
    async_client_type: ClassVar[Any] = AsyncLlamaCloudChatClient
    options_type = LlamaCloudEngineOptions

    def __init__(self, index_ids: Sequence[str] | None = None, **settings: Unpack[LlamaCloudEngineKeywords]) -> None:
        super().__init__(index_ids=index_ids, **settings)

    def get_summary(self) -> Session:
        """The engine's session without its events: its title, its indexes, and ``job_metadata`` of its last turn.

        Raises:
            InvalidInputError: the engine has no session yet.
        """
        return self._clients.client.get_summary(self._known_session())  # type: ignore[no-any-return]

    async def aget_summary(self) -> Session:
        """The async twin of :meth:`get_summary`."""
        return await self._clients.async_client.get_summary(self._known_session())  # type: ignore[no-any-return]

    def _known_session(self) -> str:
        if self.session_id is None:
            raise InvalidInputError("This engine has no session yet: the first message opens one.")
        return self.session_id
