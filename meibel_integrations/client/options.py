"""Settings of models, engines and histories: named, documented and checked in one place.

Each class here is a part of an adapter's settings. LangChain's chat models inherit the parts as their fields, engines
and histories pass their keywords through :func:`checked`; so a setting has one name, one default, one check and one
error text everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator

from meibel_integrations.client.inputs import index_ids_of, session_options
from meibel_integrations.config import Timeouts
from meibel_integrations.errors import ConfigurationError, MeibelIntegrationError
from meibel_integrations.protocol.agents import AgentRef, ChatSessionOptions, SessionOptions, SharedAccess
from meibel_integrations.protocol.dialects.llamacloud import MAX_PROMPT_CHARS

__all__ = [
    "CONNECTION",
    "ClientOptions",
    "ConnectionOptions",
    "LlamaCloudAgentOptions",
    "MeibelAgentOptions",
    "checked",
    "configuration_error",
    "nearest",
]

M = TypeVar("M", bound=BaseModel)


class ConnectionOptions(BaseModel):
    """How an adapter reaches its service."""

    model_config = ConfigDict(arbitrary_types_allowed=True, use_attribute_docstrings=True, hide_input_in_errors=True)

    base_url: str | None = None
    """The service's address; from the environment or the hosted one if not given."""
    timeout: Timeouts | float | None = None
    """The longest silence of the service in seconds, or all limits as ``Timeouts``."""
    max_retries: int = Field(default=2, ge=0)
    """How often a request that provably never arrived, or does no harm when repeated, is sent again."""
    allow_insecure_http: bool = False
    """Send the key over plain ``http://`` to another machine."""
    default_headers: Mapping[str, str] | None = None
    """Headers of every request, besides the package's own."""
    http_client: Any = Field(default=None, exclude=True, repr=False)
    """Your own ``httpx.Client`` for the sync verbs; it stays yours to close."""
    http_async_client: Any = Field(default=None, exclude=True, repr=False)
    """Your own ``httpx.AsyncClient`` for the async verbs; it stays yours to close."""
    ledger: Any = Field(default=None, exclude=True, repr=False)
    """Where sessions are remembered; the process's own, in memory, unless given."""


class ClientOptions(ConnectionOptions):
    """How an adapter reaches its service, and with which key; or by which clients."""

    api_key: str | SecretStr | None = Field(default=None, exclude=True, repr=False)
    """The key; from the environment if not given."""
    client: Any = Field(default=None, exclude=True, repr=False)
    """Your own client instead of a key and an address. It stays open. Its async twin is made with the same settings."""
    async_client: Any = Field(default=None, exclude=True, repr=False)
    """Your own async client, likewise."""


CONNECTION = frozenset(ConnectionOptions.model_fields)


class MeibelAgentOptions(BaseModel):
    """Which Meibel agent, and how sessions with it are opened."""

    model_config = ConfigDict(use_attribute_docstrings=True, hide_input_in_errors=True)

    agent_id: str | None = None
    """The agent, by id."""
    agent_name: str | None = None
    """The agent by name, in its newest published version; instead of ``agent_id``."""
    session_options: dict[str, Any] = Field(default_factory=dict)
    """Fields of ``CreateSessionRequest`` for sessions that are opened."""

    @field_validator("session_options", mode="before")
    @classmethod
    def _as_dict(cls, value: Any) -> Any:
        return {} if value is None else value.model_dump(exclude_unset=True) if isinstance(value, BaseModel) else value

    @model_validator(mode="after")
    def _check_agent(self) -> Self:
        if self.agent_id is not None and self.agent_name is not None:
            raise ConfigurationError("Name the agent by agent_id or by agent_name, not by both.")
        if self.agent_id is None and self.agent_name is None and getattr(self, "session_id", None) is None:
            raise ConfigurationError(
                "Name the agent (agent_id=… or agent_name=…), or the session to go on in (session_id=…)."
            )
        session_options(self.session_options)
        return self

    def agent_ref(self) -> AgentRef:
        return AgentRef(self.agent_id, self.agent_name)

    def opening(self) -> SessionOptions | None:
        """How a session is opened."""
        return session_options(self.session_options or None)

    def service_settings(self) -> dict[str, Any]:
        """Settings of the service's clients besides those that all have."""
        return {}


class LlamaCloudAgentOptions(BaseModel):
    """Which of LlamaCloud's indexes, and how sessions over them are opened."""

    model_config = ConfigDict(use_attribute_docstrings=True, hide_input_in_errors=True)

    index_ids: list[str] = Field(default_factory=list)
    """The indexes to answer from, at most 10."""
    bound: bool = True
    """Whether sessions that are opened are bound to these indexes, or take them with each message."""
    require_all_indexes: bool = False
    """Whether an index that cannot be queried is an error; otherwise it is a warning."""
    shared_access: SharedAccess | None = None
    """What the share link of sessions that are opened grants."""
    organization_id: str | None = None
    """Sent with every call."""
    project_id: str | None = None
    """Sent with every call."""
    max_prompt_chars: int | None = MAX_PROMPT_CHARS
    """The longest text that is sent; a longer one raises ``PromptTooLongError`` before any request."""

    @field_validator("index_ids", mode="before")
    @classmethod
    def _as_list(cls, value: Any) -> list[str]:
        return list(index_ids_of(value))

    @model_validator(mode="after")
    def _check_indexes(self) -> Self:
        if not self.index_ids and getattr(self, "session_id", None) is None:
            raise ConfigurationError("Name the indexes (index_ids=[…]), or the session to go on in (session_id=…).")
        return self

    def agent_ref(self) -> AgentRef:
        return AgentRef(index_ids=tuple(self.index_ids) or None)

    def opening(self) -> SessionOptions | None:
        """How a session is opened."""
        return ChatSessionOptions(self.bound, self.shared_access)

    def service_settings(self) -> dict[str, Any]:
        """Settings of the service's clients besides those that all have; only those that were set."""
        names = ("organization_id", "project_id", "max_prompt_chars")
        return {name: getattr(self, name) for name in names if name in self.model_fields_set}


def checked(model: type[M], owner: str, settings: Mapping[str, Any], instead: Mapping[str, str] | None = None) -> M:
    """An owner's settings, all known and all valid.

    Args:
        model: the settings that there are.
        owner: whose they are, for errors.
        settings: what was given.
        instead: for settings that others have, what to do here.

    Raises:
        ConfigurationError: a setting is unknown or wrong.
        InvalidInputError: an id or an option of a session is none.
    """
    hints = instead or {}
    unknown = sorted(settings.keys() - (model.model_fields.keys() - hints.keys()))
    if unknown:
        raise ConfigurationError(
            " ".join(
                f"{owner} takes no {name}=: {hints[name]}."
                if name in hints
                else nearest(owner, name, model.model_fields)
                for name in unknown
            )
        )
    try:
        return model(**settings)
    except ValidationError as error:
        raise configuration_error(owner, error) from None


def nearest(owner: str, name: str, known: Any, kind: str = "setting") -> str:
    """Says that there is no such setting, and which one was probably meant."""
    meant = get_close_matches(name, list(known), n=1, cutoff=0.6)
    hint = f" Did you mean {meant[0]!r}?" if meant else ""
    return f"{owner} has no {kind} {name!r}.{hint}"


def configuration_error(owner: str, error: ValidationError) -> MeibelIntegrationError:
    """Our error for pydantic's, without what was given: it may be a key."""
    issues = error.errors(include_input=False, include_url=False)
    for issue in issues:
        own = issue.get("ctx", {}).get("error")
        if isinstance(own, MeibelIntegrationError):
            return own
    told = (f"{'.'.join(str(part) for part in issue['loc']) or 'settings'}: {issue['msg']}" for issue in issues)
    return ConfigurationError(f"{owner}: {'; '.join(dict.fromkeys(told))}.")
