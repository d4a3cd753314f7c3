"""Hosted agents as LangChain chat models.

Each call is one turn of a session at the service. A model object holds no conversation: ``conversation.run`` reads from
the messages which session a call goes on in, so one object serves any number of users and threads. The four verbs
(``_generate``, ``_stream`` and their async twins) differ only in how they run that one flow.
"""

from __future__ import annotations

import logging
import warnings
from abc import abstractmethod
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing, closing
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, ClassVar, Self

from langchain_core.caches import BaseCache
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import LangSmithParams, LanguageModelInput, ModelProfile
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable, RunnableSerializable
from langchain_core.runnables.configurable import RunnableConfigurableFields
from langchain_core.utils import secret_from_env
from pydantic import ConfigDict, Field, PrivateAttr, SecretStr, ValidationError, model_validator

from meibel_integrations import __version__
from meibel_integrations.client import AsyncLlamaCloudChatClient, AsyncMeibelClient, LlamaCloudChatClient, MeibelClient
from meibel_integrations.client.lazy_clients import LazyClients
from meibel_integrations.client.options import (
    CONNECTION,
    ConnectionOptions,
    LlamaCloudAgentOptions,
    MeibelAgentOptions,
    checked,
    configuration_error,
    nearest,
)
from meibel_integrations.conversation.options import RunOptions, Target
from meibel_integrations.conversation.run import ConversationRun
from meibel_integrations.errors import ConfigurationError, InvalidInputError, MeibelIntegrationError
from meibel_integrations.langchain.answers import Answer
from meibel_integrations.langchain.batching import PinnedInOrder, one_by_one
from meibel_integrations.langchain.errors import RETRYABLE, as_langchain_error
from meibel_integrations.langchain.messages import register, to_neutral
from meibel_integrations.models import Session
from meibel_integrations.protocol.agents import AgentRef, SessionOptions

__all__ = ["ChatLlamaCloud", "ChatMeibel", "HostedChatModel"]

logger = logging.getLogger(__name__)

# What other chat models take and a hosted agent decides for itself.
_WITHOUT_EFFECT = frozenset(
    {"temperature", "max_tokens", "max_completion_tokens", "top_p", "top_k", "stop", "stop_sequences", "seed", "n"}
    | {"frequency_penalty", "presence_penalty", "logprobs", "model", "model_name", "reasoning_effort", "stream_usage"}
)
_CONNECTED = ("client", "async_client", "http_client", "http_async_client", "ledger")
_RUN = frozenset(RunOptions.model_fields)
_CALL = _RUN - {"partials", "on_ambiguous", "reconcile_grace", "reconcile_deadline"}


class HostedChatModel(BaseChatModel, RunOptions, ConnectionOptions):
    """A chat model whose every answer is one turn of a hosted session."""

    model_config = ConfigDict(
        populate_by_name=True, arbitrary_types_allowed=True, hide_input_in_errors=True, use_attribute_docstrings=True
    )

    streaming: bool | None = None
    """``True`` makes ``invoke`` call back per token, ``False`` turns streaming off; as in other chat models."""
    cache: BaseCache | bool | None = Field(default=False, exclude=True)
    """Off unless asked for: a cached answer would name another conversation's session."""

    provider: ClassVar[str]
    client_type: ClassVar[Any]
    async_client_type: ClassVar[Any]
    key_field: ClassVar[str]
    """The field that holds the key: never shown, never dumped, never pickled."""

    _clients: LazyClients[Any, Any] | None = PrivateAttr(default=None)
    _connected_with: tuple[Any, ...] = PrivateAttr(default=())

    if not TYPE_CHECKING:

        def __init__(self, *args: Any, **settings: Any) -> None:
            self._check_names(settings)
            # an error keeps its input, and is often logged whole: the key must not be in there as text
            for name in ("api_key", self.key_field):
                if isinstance(settings.get(name), str):
                    settings[name] = SecretStr(settings[name])
            try:
                super().__init__(*args, **settings)
            except ValidationError as error:
                raise configuration_error(type(self).__name__, error) from None

    @classmethod
    def _check_names(cls, settings: dict[str, Any]) -> None:
        """Drops, with a warning, what has no effect; refuses what there is not."""
        known = set(cls.model_fields) | {field.alias for field in cls.model_fields.values() if field.alias}
        unknown = settings.keys() - known
        idle = sorted(unknown & _WITHOUT_EFFECT)
        if idle:
            warnings.warn(
                f"{cls.__name__}: {', '.join(idle)} has no effect; the hosted agent is configured at the service.",
                stacklevel=3,
            )
        wrong = sorted(unknown - _WITHOUT_EFFECT)
        if wrong:
            raise ConfigurationError(" ".join(nearest(cls.__name__, name, known) for name in wrong))
        for name in idle:
            del settings[name]

    @model_validator(mode="after")
    def _check_connection(self) -> Self:
        if hasattr(self, "_add_version"):
            self._add_version("meibel-integrations", __version__)
        self._connect()  # a missing key or a bad address shows at once; nothing is sent
        return self

    # What a service's model has to say; its agent options do

    @abstractmethod
    def agent_ref(self) -> AgentRef:
        """Whom this model asks."""

    @abstractmethod
    def opening(self) -> SessionOptions | None:
        """How a session is opened."""

    @abstractmethod
    def service_settings(self) -> dict[str, Any]:
        """Settings of the service's clients besides those that all have."""

    # Connections

    def close(self) -> None:
        """Gives up this model's connections. A later call opens new ones. Clients that were passed in stay open."""
        self._connect().close()

    async def aclose(self) -> None:
        """The async twin of :meth:`close`; it closes both kinds of connections."""
        await self._connect().aclose()

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """A copy shares what connects it."""
        memo = {} if memo is None else memo
        memo.update((id(getattr(self, name)), getattr(self, name)) for name in _CONNECTED)
        return super().__deepcopy__(memo)

    def __getstate__(self) -> dict[Any, Any]:
        """Neither the key nor a connection is ever pickled; the key comes from the environment again."""
        state = super().__getstate__()
        left_out = (self.key_field, *_CONNECTED)
        state["__dict__"] = {**state["__dict__"], **dict.fromkeys(left_out)}
        state["__pydantic_fields_set__"] = set(state["__pydantic_fields_set__"]) - set(left_out)
        state["__pydantic_private__"] = {
            **(state["__pydantic_private__"] or {}),
            "_clients": None,
            "_connected_with": (),
        }
        return state

    def _connect(self) -> LazyClients[Any, Any]:
        """The clients for the settings as they are now: they may have been assigned to, or updated in a copy."""
        given: dict[str, Any] = {name: getattr(self, name) for name in CONNECTION & self.model_fields_set}
        if self.key_field in self.model_fields_set:
            given["api_key"] = getattr(self, self.key_field)
        given["client"], given["async_client"] = (getattr(self, name) for name in ("client", "async_client"))
        given["service_settings"] = self.service_settings()
        settings = tuple(sorted(given.items()))
        if self._clients is None or self._connected_with != settings:
            self._clients = LazyClients(self.client_type, self.async_client_type, **given)
            self._connected_with = settings
        return self._clients

    # What LangChain asks

    @property
    def _model_label(self) -> str:
        return self.agent_ref().label or self.session_id or self.provider

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {**self.agent_ref().to_json(), "session_id": self.session_id}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        return LangSmithParams(
            ls_provider=self.provider, ls_model_type="chat", ls_model_name=kwargs.get("model") or self._model_label
        )

    def _resolve_model_profile(self) -> ModelProfile | None:
        return ModelProfile(
            text_inputs=True,
            text_outputs=True,
            image_inputs=False,
            audio_inputs=False,
            video_inputs=False,
            tool_calling=False,
            structured_output=False,
            reasoning_output=True,
        )

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[Any, AIMessage]:
        """Binds nothing if ``tools`` is empty.

        Raises:
            NotImplementedError: a hosted agent runs the tools that it is configured with, and no others.
        """
        if tools:
            raise NotImplementedError(
                f"{type(self).__name__} cannot take tools: a hosted agent runs the ones that it is configured with "
                "at the service. Configure them there, or let another model call this one as a tool."
            )
        kwargs.pop("tool_choice", None)
        return self.bind(**kwargs) if kwargs else self

    def with_retry(
        self, *, retry_if_exception_type: Any = RETRYABLE, **options: Any
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """As every runnable's, but unless told otherwise it repeats only what provably did not run: the errors that
        have ``is_retryable``. To repeat any other call may send the user's message twice."""
        return super().with_retry(retry_if_exception_type=retry_if_exception_type, **options)

    def batch(self, inputs: list[Any], config: Any = None, *, return_exceptions: bool = False, **kwargs: Any) -> Any:
        """As every ``batch``; the turns of one pinned session run in the order of the inputs."""
        config = self._in_order(config, kwargs)
        return super().batch(inputs, config, return_exceptions=return_exceptions, **kwargs)

    async def abatch(
        self, inputs: list[Any], config: Any = None, *, return_exceptions: bool = False, **kwargs: Any
    ) -> Any:
        """See :meth:`batch`."""
        config = self._in_order(config, kwargs)
        return await super().abatch(inputs, config, return_exceptions=return_exceptions, **kwargs)

    def configurable_fields(self, **kwargs: Any) -> RunnableSerializable[Any, AIMessage]:
        """As every ``configurable_fields``; a ``batch`` that the config pins to a session runs in the order of the
        inputs."""
        plain = super().configurable_fields(**kwargs)
        if not isinstance(plain, RunnableConfigurableFields):
            return plain
        return PinnedInOrder(default=plain.default, fields=plain.fields, config=plain.config)

    def _in_order(self, config: Any, kwargs: dict[str, Any]) -> Any:
        if self.session_id is None and kwargs.get("session_id") is None:
            return config
        return one_by_one(config)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        clients = self._connect()
        answer = self._answer(clients, messages, kwargs)
        try:
            with closing(clients.client.stream_flow(answer.run.flow())) as events:
                for event in events:
                    answer.take(event)
        except MeibelIntegrationError as error:
            raise as_langchain_error(error) from error.__cause__
        return answer.result()

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        clients = self._connect()
        answer = self._answer(clients, messages, kwargs)
        try:
            async with aclosing(clients.async_client.stream_flow(answer.run.flow())) as events:
                async for event in events:
                    answer.take(event)
        except MeibelIntegrationError as error:
            raise as_langchain_error(error) from error.__cause__
        return answer.result()

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        clients = self._connect()
        answer = self._answer(clients, messages, kwargs)
        try:
            with closing(clients.client.stream_flow(answer.run.flow())) as events:
                for event in events:
                    chunk = answer.chunk(event)
                    if chunk is not None:
                        if run_manager is not None:
                            run_manager.on_llm_new_token(str(chunk.message.content), chunk=chunk)
                        yield chunk
        except MeibelIntegrationError as error:
            raise as_langchain_error(error) from error.__cause__

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        clients = self._connect()
        answer = self._answer(clients, messages, kwargs)
        try:
            async with aclosing(clients.async_client.stream_flow(answer.run.flow())) as events:
                async for event in events:
                    chunk = answer.chunk(event)
                    if chunk is not None:
                        if run_manager is not None:
                            await run_manager.on_llm_new_token(str(chunk.message.content), chunk=chunk)
                        yield chunk
        except MeibelIntegrationError as error:
            raise as_langchain_error(error) from error.__cause__

    def _answer(
        self, clients: LazyClients[Any, Any], messages: Sequence[BaseMessage], kwargs: dict[str, Any]
    ) -> Answer:
        owner = type(self).__name__
        given = {name: value for name, value in kwargs.items() if name in _CALL and value is not None}
        for name in kwargs.keys() - _CALL - {"stream"}:
            if get_close_matches(name, _CALL, n=1, cutoff=0.8):
                raise InvalidInputError(nearest(owner, name, _CALL, "call option"))
            logger.debug("%s: %s has no effect on a hosted agent.", owner, name)
        options = checked(RunOptions, owner, {**{name: getattr(self, name) for name in _RUN}, **given})
        agent = self.agent_ref()
        # a model that only knows its session goes on behind any answer of it
        neutral = to_neutral(messages, provider=self.provider, agent=agent if agent.known else None)
        target = Target(agent, self.opening(), getattr(self, "require_all_indexes", False))
        run = ConversationRun(clients.service, clients.book, target, neutral, options)
        return Answer(run, self.provider, self._model_label)


class ChatMeibel(MeibelAgentOptions, HostedChatModel):
    """A Meibel agent as a chat model.

    Each call is one turn of a session at the service. The messages decide which: behind an answer of this agent the
    session goes on and only what is new is sent; otherwise a new session is opened and seeded with what came before.

    Example:
        ::

            model = ChatMeibel(agent_id="agent_123")
            answer = model.invoke("What are the key findings in the Q4 report?")
            print(answer.text, answer.content_blocks[0].get("annotations"))

    ``answer.response_metadata`` names the ``session_id``, the ``sources`` and ``citations`` (plain dicts), and by
    ``continuity`` how the session was found.

    Raises:
        ConfigurationError: neither an agent nor a session is named, there is no key, or a setting is unknown or wrong.
    """

    provider: ClassVar[str] = "meibel"
    client_type: ClassVar[Any] = MeibelClient
    async_client_type: ClassVar[Any] = AsyncMeibelClient
    key_field: ClassVar[str] = "meibel_api_key"

    meibel_api_key: SecretStr | str | None = Field(
        default_factory=secret_from_env("MEIBEL_API_KEY", default=None), alias="api_key", exclude=True, repr=False
    )
    """The key; from ``MEIBEL_API_KEY`` if not given."""
    client: MeibelClient | None = Field(default=None, exclude=True, repr=False)
    """Your own client instead of a key and an address; its async twin is made with the same settings."""
    async_client: AsyncMeibelClient | None = Field(default=None, exclude=True, repr=False)
    """Your own async client, likewise."""

    @property
    def _llm_type(self) -> str:
        return "meibel-chat"

    @property
    def lc_secrets(self) -> dict[str, str]:
        return {"meibel_api_key": "MEIBEL_API_KEY"}


class ChatLlamaCloud(LlamaCloudAgentOptions, HostedChatModel):
    """LlamaCloud's Index v2 chat agent over some indexes, as a chat model.

    The same as :class:`ChatMeibel` in every respect that the service allows: it has no signals, no citations (sources
    are what the agent retrieved, marked ``origin="retrieved"``), and takes prompts of at most 1,000 characters.

    Example:
        ::

            model = ChatLlamaCloud(index_ids=["index-1"])
            print(model.invoke("What are the key findings in the Q3 report?").text)

    Raises:
        ConfigurationError: neither indexes nor a session are named, there is no key, or a setting is unknown or wrong.
    """

    provider: ClassVar[str] = "llamacloud"
    client_type: ClassVar[Any] = LlamaCloudChatClient
    async_client_type: ClassVar[Any] = AsyncLlamaCloudChatClient
    key_field: ClassVar[str] = "llama_cloud_api_key"

    llama_cloud_api_key: SecretStr | str | None = Field(
        default_factory=secret_from_env(["LLAMA_CLOUD_API_KEY", "LLAMA_PARSE_API_KEY"], default=None),
        alias="api_key",
        exclude=True,
        repr=False,
    )
    """The key; from ``LLAMA_CLOUD_API_KEY``, else from ``LLAMA_PARSE_API_KEY``, if not given."""
    client: LlamaCloudChatClient | None = Field(default=None, exclude=True, repr=False)
    """Your own client instead of a key and an address; its async twin is made with the same settings."""
    async_client: AsyncLlamaCloudChatClient | None = Field(default=None, exclude=True, repr=False)
    """Your own async client, likewise."""

    def get_summary(self, session_id: str) -> Session:
        """A session without its events: its title, its indexes, and ``job_metadata`` of its last turn."""
        return self._connect().client.get_summary(session_id)  # type: ignore[no-any-return]

    async def aget_summary(self, session_id: str) -> Session:
        """The async twin of :meth:`get_summary`."""
        return await self._connect().async_client.get_summary(session_id)  # type: ignore[no-any-return]

    @property
    def _llm_type(self) -> str:
        return "llamacloud-chat"

    @property
    def lc_secrets(self) -> dict[str, str]:
        return {"llama_cloud_api_key": "LLAMA_CLOUD_API_KEY"}


register(ChatMeibel.provider)
register(ChatLlamaCloud.provider)
