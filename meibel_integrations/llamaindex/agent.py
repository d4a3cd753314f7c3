"""Whom the engines, query engines, retrievers, models and stores of this package ask: a hosted agent, connected.

Each of them is made with the same keywords; :class:`HostedAgent` checks these once and holds what comes of them.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.callbacks import CallbackManager
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.settings import Settings
from pydantic import ConfigDict, Field

from meibel_integrations.client import AsyncLlamaCloudChatClient, AsyncMeibelClient, LlamaCloudChatClient, MeibelClient
from meibel_integrations.client.inputs import File
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
from meibel_integrations.conversation.messages import NeutralMessage
from meibel_integrations.conversation.options import CheckHead, EditedAnswers, OnDivergence, RunOptions, Target
from meibel_integrations.conversation.run import ConversationRun
from meibel_integrations.errors import InvalidInputError
from meibel_integrations.llamaindex.messages import as_file, to_neutral
from meibel_integrations.protocol.agents import AgentRef
from meibel_integrations.protocol.text import Partials

__all__ = [
    "INSTEAD",
    "LLAMA_CLOUD",
    "MEIBEL",
    "EngineKeywords",
    "HostedAgent",
    "HostedService",
    "LlamaCloudEngineKeywords",
    "MeibelEngineKeywords",
    "show_settings",
]

_INSTRUCTIONS = (
    "a hosted agent's instructions are configured at the service; for one conversation, begin it with a system "
    "message: chat(message, chat_history=[ChatMessage(role='system', content=…)])"
)
_MEMORY = "the service keeps the conversation: use session_id=…, with_session(id), or chat(…, chat_history=[…])"
_RETRIEVAL = "a hosted agent retrieves by itself, as it is configured at the service"
INSTEAD = {
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


@dataclass(frozen=True, slots=True)
class HostedService:
    """A service: its clients, and the settings of whoever asks it."""

    client_type: Any
    async_client_type: Any
    options_type: type[MeibelEngineOptions | LlamaCloudEngineOptions]


MEIBEL = HostedService(MeibelClient, AsyncMeibelClient, MeibelEngineOptions)
LLAMA_CLOUD = HostedService(LlamaCloudChatClient, AsyncLlamaCloudChatClient, LlamaCloudEngineOptions)


class HostedAgent:
    """An agent and how it is asked.

    Attributes:
        ref: the agent.
        target: the agent, and how sessions with it are opened.
        options: all settings.
        running: those that say how a call behaves.
        clients: what reaches the service.

    Raises:
        ConfigurationError: a setting is unknown, wrong or missing.
    """

    def __init__(
        self,
        service: HostedService,
        owner: str,
        settings: Mapping[str, Any],
        instead: Mapping[str, str] | None = None,
    ) -> None:
        # None counts as not given, but for the one setting where it means something: no limit
        given = {name: value for name, value in settings.items() if value is not None or name == "max_prompt_chars"}
        options = checked(service.options_type, owner, given, INSTEAD if instead is None else instead)
        self.options = options
        self.clients: LazyClients[Any, Any] = LazyClients(
            service.client_type,
            service.async_client_type,
            client=options.client,
            async_client=options.async_client,
            api_key=options.api_key,
            service_settings=options.service_settings(),
            **{name: getattr(options, name) for name in CONNECTION & options.model_fields_set},
        )
        self.ref: AgentRef = options.agent_ref()
        require_all = isinstance(options, LlamaCloudEngineOptions) and options.require_all_indexes
        self.target = Target(self.ref, options.opening(), require_all)
        self.running = RunOptions(**{name: getattr(options, name) for name in RunOptions.model_fields})

    @property
    def callback_manager(self) -> CallbackManager:
        return self.options.callback_manager or Settings.callback_manager

    @property
    def provider(self) -> str:
        """The service's name, as answers tell it."""
        return self.clients.service.dialect.name

    @property
    def label(self) -> str:
        """What traces and agents call it."""
        return self.ref.label or self.running.session_id or self.provider

    def neutral(self, messages: Sequence[ChatMessage]) -> list[NeutralMessage]:
        """A message list, in which this agent's own answers name their sessions."""
        return to_neutral(messages, provider=self.provider, agent=self.ref if self.ref.known else None)

    def alone(self, messages: Sequence[NeutralMessage], files: Sequence[File] = (), **changes: Any) -> ConversationRun:
        """A call in a session of its own, which no later call goes on in."""
        options = self.running.model_copy(update={"session_id": None, "ephemeral": True, **changes})
        return ConversationRun(self.clients.service, self.clients.book, self.target, messages, options, files=files)

    def files_of(self, files: Sequence[Any]) -> Sequence[File]:
        """What rides along with a turn: files, and blocks of LlamaIndex that hold one.

        Raises:
            InvalidInputError: the service takes no files; or it is no list, which the run says, too.
        """
        if files and not self.clients.service.dialect.takes_files:
            raise InvalidInputError("LlamaCloud chat takes no files with a message; add them to an index.")
        return files if isinstance(files, str | bytes) else [as_file(each) for each in files]  # type: ignore[return-value]

    def shown(self, session_id: str | None) -> dict[str, Any]:
        """What may be shown of it: no secret."""
        return {**self.ref.to_json(), "session_id": session_id, "base_url": self.clients.config.base_url}


def show_settings(kind: type, service: HostedService, *, without: Sequence[str] = ()) -> None:
    """Shows all settings as a constructor's keywords: in ``help``, in notebooks, to whoever inspects them."""
    first = list(inspect.signature(vars(kind)["__init__"]).parameters.values())[1:]
    hidden = {parameter.name for parameter in first} | INSTEAD.keys() | set(without)
    rest = [p for p in inspect.signature(service.options_type).parameters.values() if p.name not in hidden]
    positional = [p for p in first if p.kind is not p.VAR_KEYWORD]
    kind.__signature__ = inspect.Signature([*positional, *rest])  # type: ignore[attr-defined]
