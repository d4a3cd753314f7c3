"""A hosted agent as a LangChain chat model, whichever service it is at.

Each call is one turn of a session at the service. A model object holds no conversation: ``conversation.run`` reads from
the messages which session a call goes on in, so one object serves any number of users and threads. How an answer is
shown - whole, in chunks, as events - is the business of ``verbs``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Self

from langchain_core.caches import BaseCache
from langchain_core.language_models import LangSmithParams, LanguageModelInput, ModelProfile
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.messages.utils import count_tokens_approximately
from langchain_core.outputs import ChatResult
from langchain_core.runnables import Runnable, RunnableMap, RunnablePassthrough, RunnableSerializable
from langchain_core.runnables.configurable import RunnableConfigurableFields
from pydantic import ConfigDict, Field, PrivateAttr, model_validator

from meibel_integrations import __version__
from meibel_integrations.client.lazy_clients import LazyClients
from meibel_integrations.client.options import CONNECTION, ConnectionOptions, checked
from meibel_integrations.conversation.options import RunOptions, Target
from meibel_integrations.conversation.run import ConversationRun
from meibel_integrations.langchain.answers import Answer
from meibel_integrations.langchain.batching import InOrder, PinnedInOrder
from meibel_integrations.langchain.caching import safe_cache
from meibel_integrations.langchain.errors import RETRYABLE
from meibel_integrations.langchain.messages import to_neutral
from meibel_integrations.langchain.settings import FROM_LANGCHAIN, CheckedSettings, call_options, no_tools
from meibel_integrations.langchain.structured import AnswerForm, FormedRun, FormParser
from meibel_integrations.langchain.verbs import Verbs
from meibel_integrations.protocol.agents import AgentRef, SessionOptions

__all__ = ["HostedChatModel"]

_CONNECTED = ("client", "async_client", "http_client", "http_async_client", "ledger")
_RUN = frozenset(RunOptions.model_fields)
_CHARS_PER_TOKEN = 4


class HostedChatModel(InOrder, CheckedSettings, Verbs, BaseChatModel, RunOptions, ConnectionOptions):
    """A chat model whose every answer is one turn of a hosted session."""

    model_config = ConfigDict(
        populate_by_name=True, arbitrary_types_allowed=True, hide_input_in_errors=True, use_attribute_docstrings=True
    )

    streaming: bool | None = None
    """``True`` makes ``invoke`` call back per token, ``False`` turns streaming off; as in other chat models."""
    cache: BaseCache | bool | None = Field(default=False, exclude=True)
    """Off unless asked for. What a cache keeps names no session, so nobody gets into somebody else's conversation."""
    progress_events: bool = False
    """Tell what the agent is doing as custom events, ``meibel_progress``: they reach ``astream_events`` and LangGraph's
    ``custom`` stream."""

    provider: ClassVar[str]
    client_type: ClassVar[Any]
    async_client_type: ClassVar[Any]
    _clients: LazyClients[Any, Any] | None = PrivateAttr(default=None)
    _connected_with: tuple[Any, ...] = PrivateAttr(default=())

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
        takes_files = self._connect().service.dialect.takes_files
        profile = ModelProfile(
            text_inputs=True,
            text_outputs=True,
            image_inputs=takes_files,
            audio_inputs=takes_files,
            pdf_inputs=takes_files,
            video_inputs=False,
            tool_calling=False,
            structured_output=True,
            reasoning_output=True,
        )
        limit = self._connect().service.dialect.max_prompt_chars
        if limit is not None:
            profile["max_input_tokens"] = limit // _CHARS_PER_TOKEN
        return profile

    def get_num_tokens(self, text: str) -> int:
        """About how many tokens a text has: the service does not tell how it counts."""
        return -(-len(text) // _CHARS_PER_TOKEN)

    def get_num_tokens_from_messages(self, messages: list[BaseMessage], tools: Any = None) -> int:
        """About how many tokens the messages have, for ``trim_messages`` and the like."""
        return count_tokens_approximately(messages, chars_per_token=_CHARS_PER_TOKEN)

    def bind(self, **kwargs: Any) -> Any:
        """As every ``bind``; options that a call does not have are told at once."""
        known = call_options(type(self), kwargs).keys() | FROM_LANGCHAIN
        return super().bind(**{name: value for name, value in kwargs.items() if name in known})

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[Any, AIMessage]:
        """Binds what comes with the tools, such as ``response_format``, if ``tools`` is empty.

        Raises:
            ToolsNotTakenError: a hosted agent runs the tools that it is configured with, and no others. It is a
                ``NotImplementedError``, as LangChain's convention is.
        """
        if tools:
            raise no_tools(type(self).__name__)
        return self.bind(**kwargs) if kwargs else self

    def with_structured_output(
        self,
        schema: Any,
        *,
        include_raw: bool = False,
        method: str = "json_schema",
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        """Answers in the form of a pydantic class, a TypedDict or a JSON schema.

        The agent is asked in a session of its own, with the schema as instructions; an answer that does not fit is
        asked for once more there.

        Args:
            schema: the form.
            include_raw: return a dict with ``raw``, ``parsed`` and ``parsing_error``, and raise nothing for the latter.
            method, strict: accepted as by other models. There is one method, and an answer is always checked.
            kwargs: options of the call.

        Raises:
            StructuredOutputError: (by the call) neither answer has the form; it shows the answer.
        """
        form = AnswerForm(schema)
        traced = {"kwargs": {"method": method, "strict": strict}, "schema": form.schema}
        options = {"ephemeral": True, "response_format": form, "ls_structured_output_format": traced, **kwargs}
        model: Runnable[LanguageModelInput, AIMessage] = self.bind(**options)
        parser = FormParser(form=form)
        if not include_raw:
            return model | parser
        parsed = RunnablePassthrough.assign(
            parsed=lambda found: parser.invoke(found["raw"]), parsing_error=lambda _: None
        )
        failed = RunnablePassthrough.assign(parsed=lambda _: None)
        return RunnableMap(raw=model) | parsed.with_fallbacks([failed], exception_key="parsing_error")

    def with_retry(
        self, *, retry_if_exception_type: Any = RETRYABLE, **options: Any
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """As every runnable's, but unless told otherwise it repeats only what provably did not run: the errors that
        have ``is_retryable``. To repeat any other call may send the user's message twice."""
        return super().with_retry(retry_if_exception_type=retry_if_exception_type, **options)

    def configurable_fields(self, **kwargs: Any) -> RunnableSerializable[Any, AIMessage]:
        """As every ``configurable_fields``; a ``batch`` that the config pins to a session runs in the order of the
        inputs."""
        plain = super().configurable_fields(**kwargs)
        if not isinstance(plain, RunnableConfigurableFields):
            return plain
        return PinnedInOrder(default=plain.default, fields=plain.fields, config=plain.config)

    def _is_pinned(self, config: Any, options: dict[str, Any]) -> bool:
        return self.session_id is not None or options.get("session_id") is not None

    def _generate_with_cache(self, *args: Any, **kwargs: Any) -> ChatResult:
        self.cache = safe_cache(self.cache)
        return super()._generate_with_cache(*args, **kwargs)

    async def _agenerate_with_cache(self, *args: Any, **kwargs: Any) -> ChatResult:
        self.cache = safe_cache(self.cache)
        return await super()._agenerate_with_cache(*args, **kwargs)

    def _answer(
        self, clients: LazyClients[Any, Any], messages: Sequence[BaseMessage], kwargs: dict[str, Any]
    ) -> Answer:
        given = call_options(type(self), kwargs)
        files, wanted = given.pop("files", ()), given.pop("response_format", None)
        reports = given.pop("progress_events", self.progress_events)
        own = {name: getattr(self, name) for name in _RUN}
        options = checked(RunOptions, type(self).__name__, {**own, **given})
        form = wanted if isinstance(wanted, AnswerForm) or wanted is None else AnswerForm(wanted)
        agent = self.agent_ref()
        # a model that only knows its session goes on behind any answer of it
        neutral = to_neutral(messages, provider=self.provider, agent=agent if agent.known else None)
        target = Target(agent, self.opening(), getattr(self, "require_all_indexes", False))
        told = form.instructions if form is not None else None
        run = ConversationRun(clients.service, clients.book, target, neutral, options, files=files, answer_form=told)
        if form is None:
            return Answer(run, self.provider, self._model_label, reports=reports)
        return Answer(FormedRun(run, form), self.provider, self._model_label, form.as_json, reports=reports)
