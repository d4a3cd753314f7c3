"""What LangChain chat models over hosted agents have in common, whichever the service."""

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
from pydantic import ConfigDict, Field, PrivateAttr, SecretStr, model_validator

from meibel_integrations import __version__
from meibel_integrations.client.pair import ClientPair
from meibel_integrations.config import Timeouts
from meibel_integrations.conversation.plan import CheckHead, OnDivergence
from meibel_integrations.conversation.turn import CallOptions, ConversationCall
from meibel_integrations.errors import InvalidInputError, MeibelIntegrationError
from meibel_integrations.langchain.answers import Answer
from meibel_integrations.langchain.errors import RETRYABLE, as_langchain_error
from meibel_integrations.langchain.messages import to_items
from meibel_integrations.models import CreateSessionRequest
from meibel_integrations.protocol.agents import AgentRef
from meibel_integrations.protocol.reconcile import OnAmbiguous
from meibel_integrations.protocol.text import Partials

__all__ = ["HostedChatModel"]

logger = logging.getLogger(__name__)

# What other chat models take and a hosted agent decides for itself.
_WITHOUT_EFFECT = frozenset(
    {"temperature", "max_tokens", "max_completion_tokens", "top_p", "top_k", "stop", "stop_sequences", "seed", "n"}
    | {"frequency_penalty", "presence_penalty", "logprobs", "model", "model_name", "reasoning_effort", "stream_usage"}
)
_CALL_OPTIONS = frozenset(
    {"session_id", "on_divergence", "check_head", "ephemeral", "include_thinking", "include_tool_activity"}
    | {"include_usage", "max_seed_chars", "timeout_seconds"}
)


class HostedChatModel(BaseChatModel):
    """A chat model whose every answer is one turn of a hosted session.

    It holds no conversation: which session a call goes on in is read from the messages, so one object serves any
    number of users and threads.
    """

    model_config = ConfigDict(populate_by_name=True, arbitrary_types_allowed=True, hide_input_in_errors=True)

    session_id: str | None = None
    """Go on in this session whatever the messages say. Calls may name one, too, which is stronger."""
    base_url: str | None = None
    """The service's address; from the environment or the hosted one if not given."""
    timeout: Timeouts | float | None = None
    """The longest silence of the service in seconds, or all limits as ``Timeouts``."""
    max_retries: int = 2
    """How often a request that provably never arrived, or does no harm when repeated, is sent again."""
    allow_insecure_http: bool = False
    include_thinking: bool = False
    """Ask for the agent's thinking; it becomes a reasoning block."""
    include_tool_activity: bool = False
    """Ask for the agent's own tool calls; they become server tool blocks."""
    include_usage: bool = False
    """Ask the session for the token usage after a turn whose stream did not tell it (one more request)."""
    partials: Partials = "auto"
    """Whether the stream's pieces are deltas or snapshots; ``"auto"`` finds out."""
    on_divergence: OnDivergence | None = None
    """What to do when the messages are not what their session holds: ``"fork"`` (a new session with these messages; the
    default), ``"error"``, or ``"ignore"`` (the default with ``session_id``)."""
    check_head: CheckHead = "auto"
    """``"always"`` asks the server before each continuation whether the session went on elsewhere."""
    ephemeral: bool = False
    """Use a session of its own for each call, which no later call goes on in."""
    max_seed_chars: int = Field(default=100_000, gt=0)
    """The longest text that a new session is started with; older messages are left out of a longer one."""
    timeout_seconds: int | None = Field(default=None, gt=0)
    """How long the service may work on an answer."""
    on_ambiguous: OnAmbiguous = "raise"
    """What to do about a turn that may not have arrived and does not show in the history: ``"raise"``, or
    ``"resend_once"``, which may repeat it if it was merely late."""
    reconcile_grace: float = Field(default=5.0, ge=0)
    """Seconds until a turn whose answer did not arrive, and that does not show in the history, counts as absent."""
    reconcile_deadline: float = Field(default=120.0, ge=0)
    """Seconds to wait for such a turn while it runs."""
    streaming: bool | None = None
    """``True`` makes ``invoke`` call back per token, ``False`` turns streaming off; as in other chat models."""
    cache: BaseCache | bool | None = Field(default=False, exclude=True)
    """Off unless asked for: a cached answer would name another conversation's session."""

    provider: ClassVar[str]
    client_type: ClassVar[Any]
    async_client_type: ClassVar[Any]
    key_field: ClassVar[str]
    """The field that holds the key: never shown, never dumped, never pickled."""

    _pair: ClientPair[Any, Any] | None = PrivateAttr(default=None)

    if not TYPE_CHECKING:

        def __init__(self, *args: Any, **settings: Any) -> None:
            # a validation error keeps its input, and is often logged whole: the key must not be in there as text
            for name in ("api_key", self.key_field):
                if isinstance(settings.get(name), str):
                    settings[name] = SecretStr(settings[name])
            super().__init__(*args, **settings)

    @model_validator(mode="before")
    @classmethod
    def _check_names(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        fields = cls.model_fields
        known = set(fields) | {field.alias for field in fields.values() if field.alias}
        unknown = values.keys() - known
        idle = sorted(unknown & _WITHOUT_EFFECT)
        if idle:
            warnings.warn(
                f"{cls.__name__}: {', '.join(idle)} has no effect; the hosted agent is configured at the service.",
                stacklevel=2,
            )
        wrong = sorted(unknown - _WITHOUT_EFFECT)
        if wrong:
            raise ValueError(f"{cls.__name__} has no setting {', '.join(wrong)}. It has: {', '.join(sorted(known))}.")
        return {key: value for key, value in values.items() if key in known}

    @model_validator(mode="after")
    def _record_version(self) -> Self:
        if hasattr(self, "_add_version"):
            self._add_version("meibel-integrations", __version__)
        return self

    # What a service's model has to say

    @abstractmethod
    def _agent(self) -> AgentRef: ...

    def _session_options(self) -> CreateSessionRequest | None:
        return None

    def _service_settings(self) -> dict[str, Any]:
        """Settings of the service's clients besides those that all have."""
        return {}

    # Connections

    def close(self) -> None:
        """Gives up this model's connections. A later call opens new ones. Clients that were passed in stay open."""
        self._connect().close()

    async def aclose(self) -> None:
        """The async twin of :meth:`close`; it closes both kinds of connections."""
        await self._connect().aclose()

    def __getstate__(self) -> dict[Any, Any]:
        """Neither the key nor a connection is ever pickled; the key comes from the environment again."""
        state = super().__getstate__()
        state["__dict__"] = {**state["__dict__"], **dict.fromkeys((self.key_field, "client", "async_client"))}
        state["__pydantic_private__"] = {**(state["__pydantic_private__"] or {}), "_pair": None}
        return state

    def _client(self) -> Any:
        return self._connect().client

    def _async_client(self) -> Any:
        return self._connect().async_client

    def _connect(self) -> ClientPair[Any, Any]:
        if self._pair is None:
            self._pair = ClientPair(
                self.client_type,
                self.async_client_type,
                client=getattr(self, "client"),  # noqa: B009 - declared by the service's model, with its type
                async_client=getattr(self, "async_client"),  # noqa: B009
                api_key=getattr(self, self.key_field),
                base_url=self.base_url,
                timeout=self.timeout,
                max_retries=self.max_retries,
                allow_insecure_http=self.allow_insecure_http,
                **self._service_settings(),
            )
        return self._pair

    # What LangChain asks

    @property
    def _model_label(self) -> str:
        return self._agent().label or self.session_id or self.provider

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {**self._agent().to_json(), "session_id": self.session_id}

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
        return _one_by_one(config)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        client = self._client()
        answer = self._answer(client, messages, kwargs)
        try:
            with closing(client.stream_flow(answer.call.flow())) as events:
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
        client = self._async_client()
        answer = self._answer(client, messages, kwargs)
        try:
            async with aclosing(client.stream_flow(answer.call.flow())) as events:
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
        client = self._client()
        answer = self._answer(client, messages, kwargs)
        try:
            with closing(client.stream_flow(answer.call.flow())) as events:
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
        client = self._async_client()
        answer = self._answer(client, messages, kwargs)
        try:
            async with aclosing(client.stream_flow(answer.call.flow())) as events:
                async for event in events:
                    chunk = answer.chunk(event)
                    if chunk is not None:
                        if run_manager is not None:
                            await run_manager.on_llm_new_token(str(chunk.message.content), chunk=chunk)
                        yield chunk
        except MeibelIntegrationError as error:
            raise as_langchain_error(error) from error.__cause__

    def _answer(self, client: Any, messages: Sequence[BaseMessage], kwargs: dict[str, Any]) -> Answer:
        given = {key: value for key, value in kwargs.items() if key in _CALL_OPTIONS and value is not None}
        for name in kwargs.keys() - _CALL_OPTIONS - {"stream"}:
            meant = get_close_matches(name, _CALL_OPTIONS, n=1, cutoff=0.8)
            if meant:
                raise InvalidInputError(f"There is no option {name!r}. Did you mean {meant[0]!r}?")
            logger.debug("%s: %s has no effect on a hosted agent.", type(self).__name__, name)
        options = CallOptions(
            **{**{name: getattr(self, name) for name in _CALL_OPTIONS}, **given},
            partials=self.partials,
            on_ambiguous=self.on_ambiguous,
            reconcile_grace=self.reconcile_grace,
            reconcile_deadline=self.reconcile_deadline,
            session_options=self._session_options(),
        )
        agent = self._agent()
        # a model that only knows its session goes on behind any answer of it
        items = to_items(messages, provider=self.provider, agent=agent if agent.known else None)
        call = ConversationCall(client.dialect, client.policy, client.config.base_url, agent, items, options)
        return Answer(call, self.provider, self._model_label)


# A parametrised base class would lose its fields to pydantic.
class PinnedInOrder(RunnableConfigurableFields):  # type: ignore[type-arg]
    """A configurable chat model whose batch is one turn after the other where the config pins a session: LangChain
    itself would run each input in a thread of its own, in any order."""

    def batch(self, inputs: list[Any], config: Any = None, **kwargs: Any) -> Any:
        return super().batch(inputs, self._in_order(inputs, config), **kwargs)

    async def abatch(self, inputs: list[Any], config: Any = None, **kwargs: Any) -> Any:
        return await super().abatch(inputs, self._in_order(inputs, config), **kwargs)

    def _in_order(self, inputs: list[Any], config: Any) -> Any:
        configs = config if isinstance(config, list) else [config] * len(inputs)
        pinned = any(getattr(self.prepare(each)[0], "session_id", None) for each in configs)
        return _one_by_one(config) if pinned else config


def _one_by_one(config: Any) -> Any:
    """A config, or a list of them, that lets one input run at a time."""
    if isinstance(config, list):
        return [{**(each or {}), "max_concurrency": 1} for each in config]
    return {**(config or {}), "max_concurrency": 1}
