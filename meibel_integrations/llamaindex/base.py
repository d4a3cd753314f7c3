"""What LlamaIndex chat engines over hosted agents have in common, whichever the service."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, ClassVar, Self

from llama_index.core.base.llms.types import ChatMessage, MessageRole
from llama_index.core.callbacks import CallbackManager, trace_method
from llama_index.core.chat_engine.types import BaseChatEngine
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.settings import Settings
from pydantic import SecretStr

from meibel_integrations.client.pair import ClientPair
from meibel_integrations.config import Timeouts
from meibel_integrations.conversation.plan import CheckHead, OnDivergence
from meibel_integrations.conversation.turn import CallOptions
from meibel_integrations.errors import ConfigurationError, InvalidInputError
from meibel_integrations.llamaindex.messages import to_chat_messages, to_items
from meibel_integrations.llamaindex.session import HeldSession
from meibel_integrations.llamaindex.streaming import HostedChatResponse, HostedStreamingResponse
from meibel_integrations.llamaindex.tracing import TurnTrace
from meibel_integrations.llamaindex.turns import EngineTurn
from meibel_integrations.models import CreateSessionRequest
from meibel_integrations.protocol.agents import AgentRef
from meibel_integrations.protocol.reconcile import OnAmbiguous
from meibel_integrations.protocol.text import Partials

__all__ = ["HostedChatEngine"]

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
    "verbose": "add a handler to LlamaIndex's instrumentation, or use logging",
}


class HostedChatEngine(BaseChatEngine):
    """A chat engine whose every answer is one turn of a hosted session.

    One engine is one conversation: it opens a session with its first message and goes on in it. Make an engine per
    user, or :meth:`with_session` for each; they share their settings and connections.

    A service's engine names its two kinds of clients, and its constructor makes of its own arguments an agent and the
    options of new sessions, and names its clients' own settings: the first three here.

    Args:
        session_id: the session to go on in; otherwise the first message opens one.
        api_key: the key; from the environment if not given.
        base_url: the service's address; from the environment or the hosted one if not given.
        timeout: the longest silence of the service in seconds, or all limits as ``Timeouts``.
        max_retries: how often a request that provably never arrived, or does no harm when repeated, is sent again.
        include_thinking: ask for the agent's thinking; it becomes a ``ThinkingBlock`` of ``response.message``.
        include_tool_activity: ask for the agent's own tool calls; they become ``response.sources``.
        include_usage: ask the session for the token usage after a turn whose stream did not tell it.
        partials: whether the stream's pieces are deltas or snapshots; ``"auto"`` finds out.
        on_divergence: what to do with a ``chat_history`` that is not what the session holds: ``"fork"`` (a new session
            with these messages; the default), ``"error"``, or ``"ignore"`` (go on without it).
        on_ambiguous: what to do about a turn that may not have arrived and does not show in the history: ``"raise"``,
            or ``"resend_once"``, which may repeat it if it was merely late.
        check_head: ``"always"`` reads the history from the server whenever it is needed, never from the cache.
        max_seed_chars: the longest text that a new session is started with; older messages are left out.
        timeout_seconds: how long the service may work on an answer.
        reconcile_grace, reconcile_deadline: how long to wait, in seconds, for a turn whose answer did not arrive or
            whose stream was left: until one that does not show counts as absent, and while one runs.
        client, async_client: your own clients instead of a key and an address; one is enough. They stay open.
        node_postprocessors: applied to each answer's ``source_nodes``.
        callback_manager: ``Settings.callback_manager`` if not given.
    """

    client_type: ClassVar[Any]
    async_client_type: ClassVar[Any]

    def __init__(
        self,
        agent: AgentRef,
        session_options: CreateSessionRequest | None,
        service_settings: Mapping[str, Any] | None = None,
        /,
        *,
        session_id: str | None = None,
        api_key: str | SecretStr | None = None,
        base_url: str | None = None,
        timeout: Timeouts | float | None = None,
        max_retries: int = 2,
        allow_insecure_http: bool = False,
        include_thinking: bool = False,
        include_tool_activity: bool = False,
        include_usage: bool = False,
        partials: Partials = "auto",
        on_divergence: OnDivergence | None = None,
        on_ambiguous: OnAmbiguous = "raise",
        check_head: CheckHead = "auto",
        max_seed_chars: int = 100_000,
        timeout_seconds: int | None = None,
        reconcile_grace: float = 5.0,
        reconcile_deadline: float = 120.0,
        client: Any = None,
        async_client: Any = None,
        node_postprocessors: Sequence[BaseNodePostprocessor] | None = None,
        callback_manager: CallbackManager | None = None,
        **unsupported: Any,
    ) -> None:
        if unsupported:
            raise ConfigurationError(self._refusal(unsupported))
        self._clients: ClientPair[Any, Any] = ClientPair(
            self.client_type,
            self.async_client_type,
            client=client,
            async_client=async_client,
            api_key=api_key,
            base_url=base_url,
            timeout=timeout,
            max_retries=max_retries,
            allow_insecure_http=allow_insecure_http,
            **(service_settings or {}),
        )
        self._postprocessors = list(node_postprocessors or ())
        self._show_thinking = include_thinking
        self._show_tools = include_tool_activity
        self._agent = agent
        self._session = HeldSession(
            session_id,
            agent=agent,
            dialect=self._clients.dialect,
            config=self._clients.config,
            options=CallOptions(
                check_head=check_head,
                max_seed_chars=max_seed_chars,
                include_thinking=include_thinking,
                include_tool_activity=include_tool_activity,
                include_usage=include_usage,
                timeout_seconds=timeout_seconds,
                on_ambiguous=on_ambiguous,
                session_options=session_options,
                partials=partials,
                reconcile_grace=reconcile_grace,
                reconcile_deadline=reconcile_deadline,
            ),
            on_divergence=on_divergence,
        )
        self.callback_manager = callback_manager or Settings.callback_manager

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

    @trace_method("chat")
    def chat(self, message: str, chat_history: list[ChatMessage] | None = None) -> HostedChatResponse:
        """One message and its whole answer.

        Args:
            message: the user's message.
            chat_history: ``None`` goes on; ``[]`` starts a new session; a list that is what the session holds goes
                on, at the price of reading the session; any other list starts a new session that is seeded with it.
        """
        turn = self._turn(message, chat_history, streaming=False)
        stream = turn.open(self._clients.client)
        while turn.advance(stream) is not None:
            continue
        return HostedChatResponse.of(turn)

    @trace_method("chat")
    async def achat(self, message: str, chat_history: list[ChatMessage] | None = None) -> HostedChatResponse:
        """The async twin of :meth:`chat`."""
        turn = self._turn(message, chat_history, streaming=False)
        stream = await turn.aopen(self._clients.async_client)
        while await turn.aadvance(stream) is not None:
            continue
        return HostedChatResponse.of(turn)

    @trace_method("chat")
    def stream_chat(self, message: str, chat_history: list[ChatMessage] | None = None) -> HostedStreamingResponse:
        """As :meth:`chat`, but returns once the service has accepted the message; the answer is read from there."""
        turn = self._turn(message, chat_history, streaming=True)
        return HostedStreamingResponse.of(turn, turn.open(self._clients.client))

    @trace_method("chat")
    async def astream_chat(
        self, message: str, chat_history: list[ChatMessage] | None = None
    ) -> HostedStreamingResponse:
        """The async twin of :meth:`stream_chat`."""
        turn = self._turn(message, chat_history, streaming=True)
        return HostedStreamingResponse.of(turn, await turn.aopen(self._clients.async_client))

    def _turn(self, message: str, chat_history: list[ChatMessage] | None, *, streaming: bool) -> EngineTurn:
        if not isinstance(message, str):
            raise InvalidInputError(f"The message must be a str, not {type(message).__name__}.")
        if not message.strip():
            raise InvalidInputError("The message is empty: the agent needs something to answer.")
        given = None if chat_history is None else to_items(chat_history)
        question = ChatMessage(role=MessageRole.USER, content=message)
        agent = self._agent
        model = {
            "class_name": type(self).__name__,
            "model": agent.label or self.session_id or "",
            **agent.to_json(),
            "session_id": self.session_id,
        }
        trace = TurnTrace(self, [*(chat_history or ()), question], model, self.callback_manager, streaming=streaming)
        return EngineTurn(
            self._session,
            trace,
            message,
            given,
            self._postprocessors,
            show_thinking=self._show_thinking,
            show_tools=self._show_tools,
        )

    # Connections

    def close(self) -> None:
        """Gives up this engine's connections. A later call opens new ones. Clients that were passed in stay open."""
        self._clients.close()

    async def aclose(self) -> None:
        """The async twin of :meth:`close`; it closes both kinds of connections."""
        await self._clients.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        agent = self._agent
        return (
            f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in agent.to_json().items())}, "
            f"session_id={self.session_id!r}, base_url={self._clients.config.base_url!r})"
        )

    @classmethod
    def _refusal(cls, unsupported: dict[str, Any]) -> str:
        name = cls.__name__
        known = {
            parameter.name
            for base in cls.__mro__
            if issubclass(base, HostedChatEngine)
            for parameter in inspect.signature(base.__init__).parameters.values()
            if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY) and parameter.name != "self"
        }
        lines = [f"{name} takes no {key}=: {_INSTEAD[key]}." for key in sorted(unsupported) if key in _INSTEAD]
        strange = [key for key in sorted(unsupported) if key not in _INSTEAD]
        if strange:
            lines.append(f"{name} has no setting {', '.join(strange)}. It has: {', '.join(sorted(known))}.")
        return " ".join(lines)
