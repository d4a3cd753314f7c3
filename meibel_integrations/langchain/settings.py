"""Settings of models and retrievers, and options of calls: nothing that somebody asks for is silently left out."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import SecretStr, ValidationError

from meibel_integrations.client.options import configuration_error, nearest
from meibel_integrations.conversation.options import RunOptions
from meibel_integrations.errors import ConfigurationError
from meibel_integrations.langchain.errors import ChatInvalidInputError, ToolsNotTakenError

__all__ = ["CALL_OPTIONS", "FROM_LANGCHAIN", "CheckedSettings", "call_options", "no_tools"]

CALL_OPTIONS = frozenset(RunOptions.model_fields) - {
    "partials",
    "on_ambiguous",
    "reconcile_grace",
    "reconcile_deadline",
}
"""Options of a run that a call may set, too."""
_ALSO_IN_CALLS = frozenset({"files", "response_format", "progress_events"})
# What other chat models take and a hosted agent decides for itself.
_WITHOUT_EFFECT = frozenset(
    {"temperature", "max_tokens", "max_completion_tokens", "top_p", "top_k", "stop", "stop_sequences", "seed", "n"}
    | {"frequency_penalty", "presence_penalty", "logprobs", "model", "model_name", "reasoning_effort", "stream_usage"}
)
FROM_LANGCHAIN = frozenset(
    {"stream", "strict", "tool_choice", "parallel_tool_calls", "ls_structured_output_format"}
    | {"structured_output_format"}
)
"""What LangChain itself passes along, for its traces or for models with tools."""
_FRAMEWORKS = {"meibel_integrations", "langchain_core", "langchain", "langgraph", "langsmith", "pydantic"}
_PLUMBING = {"asyncio", "concurrent", "contextlib", "threading", "functools"}


class CheckedSettings:
    """A pydantic model whose unknown settings are told, and whose key is in no error."""

    key_field: ClassVar[str]
    """The field that holds the key: never shown, never dumped, never pickled."""

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
        fields = cls.model_fields  # type: ignore[attr-defined]
        known = set(fields) | {field.alias for field in fields.values() if field.alias}
        unknown = settings.keys() - known
        wrong = sorted(unknown - _WITHOUT_EFFECT)
        if wrong:
            raise ConfigurationError(" ".join(nearest(cls.__name__, name, known) for name in wrong))
        _warn_of(cls.__name__, unknown)
        for name in unknown:
            del settings[name]


def call_options(owner: type[Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a call that have an effect.

    Raises:
        InvalidInputError: one belongs elsewhere, or is misspelt.
    """
    found, idle = {}, set()
    settings = owner.model_fields
    for name, value in given.items():
        if value is None or name in FROM_LANGCHAIN:
            continue
        if name in CALL_OPTIONS or name in _ALSO_IN_CALLS:
            found[name] = value
        elif name == "tools":
            if value:
                raise no_tools(owner.__name__)
        elif name in settings or name == "api_key":
            raise ChatInvalidInputError(_belongs_to_the_model(owner.__name__, name))
        elif name in _WITHOUT_EFFECT or not get_close_matches(name, CALL_OPTIONS | _ALSO_IN_CALLS, n=1, cutoff=0.8):
            idle.add(name)
        else:
            raise ChatInvalidInputError(nearest(owner.__name__, name, CALL_OPTIONS | _ALSO_IN_CALLS, "call option"))
    _warn_of(owner.__name__, idle)
    return found


def no_tools(owner: str) -> ToolsNotTakenError:
    """The error for tools, with the ways that work."""
    return ToolsNotTakenError(
        f"{owner} cannot take tools: a hosted agent runs the ones that it is configured with at the service. "
        "Configure them there; or give this agent, as meibel_tool(…) or llama_cloud_tool(…), to a model that takes "
        "tools. For create_agent(response_format=Schema), pass ProviderStrategy(Schema) instead of ToolStrategy."
    )


def _belongs_to_the_model(owner: str, name: str) -> str:
    message = f"{name}= is a setting of {owner}, not of a call. "
    if name == "timeout":
        return message + "For one call, timeout_seconds= bounds the service's work."
    if name in ("agent_id", "agent_name", "index_ids"):
        return message + f"model.model_copy(update={{'{name}': …}}) asks another agent over the same connections."
    return message + "Set it when you make the model."


def _warn_of(owner: str, names: set[str]) -> None:
    """Warns at the caller's own line, once for each."""
    if names:
        told = ", ".join(sorted(names))
        warnings.warn(
            f"{owner}: {told} has no effect; the hosted agent is configured at the service.", stacklevel=_caller()
        )


def _caller() -> int:
    """How far up the stack, as ``warnings.warn`` in the function above counts, the first line is that belongs to
    neither a framework nor its plumbing."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None:
        root = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if root not in _FRAMEWORKS | _PLUMBING:
            return level
        frame, level = frame.f_back, level + 1
    return 3
