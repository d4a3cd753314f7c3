"""The package's errors as LangChain's: each is both, so callers may catch either.

LangChain's retry layers ask ``is_retryable``. It is true only where the turn provably did not run: repeating a turn
that may have run would send the user's message twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from langchain_core.exceptions import (
    ContextOverflowError,
    ModelAPIError,
    ModelAuthenticationError,
    ModelConnectionError,
    ModelError,
    ModelInvalidRequestError,
    ModelNotFoundError,
    ModelPermissionDeniedError,
    ModelRateLimitError,
    ModelTimeoutError,
    OutputParserException,
)

from meibel_integrations import errors

__all__ = [
    "RETRYABLE",
    "ChatInvalidInputError",
    "StructuredOutputError",
    "ToolsNotTakenError",
    "as_langchain_error",
    "in_langchains_words",
]


class ChatConfigurationError(errors.ConfigurationError, ModelInvalidRequestError):
    """A setting is missing or wrong."""


class ChatInvalidInputError(errors.InvalidInputError, ModelInvalidRequestError):
    """The input cannot be sent as it is."""


class ChatDivergenceError(errors.DivergenceError, ModelInvalidRequestError):
    """The messages contradict their session."""


class ToolsNotTakenError(ChatInvalidInputError, NotImplementedError):
    """A hosted agent takes no tools from its caller. LangChain's own word for that, and nothing retries it."""


class StructuredOutputError(errors.MeibelIntegrationError, ModelError, OutputParserException):
    """An answer does not have the form that was asked for.

    Attributes:
        answer: its text; also ``llm_output``.
    """

    def __init__(self, message: str, *, answer: str = "") -> None:
        super().__init__(message)
        self.answer = self.llm_output = answer


class ChatNotSentError(errors.NotSentError, ModelConnectionError):
    """The service could not be reached; the turn was not sent."""


class ChatConnectionLostError(errors.ConnectionLostError, ModelConnectionError):
    """The connection broke before a turn was sent (while a session was opened or read)."""


class ChatReadTimeoutError(errors.ReadTimeoutError, ModelTimeoutError):
    """The service was silent before a turn was sent (while a session was opened or read)."""


class ChatTotalTimeoutError(errors.TotalTimeoutError, ModelTimeoutError):
    """The call's own deadline passed before a turn was sent."""


class ChatAuthenticationError(errors.AuthenticationError, ModelAuthenticationError):
    """401."""


class ChatPermissionDeniedError(errors.PermissionDeniedError, ModelPermissionDeniedError):
    """403."""


class ChatNotFoundError(errors.NotFoundError, ModelNotFoundError):
    """404."""


class ChatRateLimitError(errors.RateLimitError, ModelRateLimitError):
    """429."""


class ChatConflictError(errors.ConflictError, ModelInvalidRequestError):
    """409."""


class ChatInvalidRequestError(errors.InvalidRequestError, ModelInvalidRequestError):
    """400, 413, 422."""


class ChatServerError(errors.ServerError, ModelAPIError):
    """5xx before a turn was sent."""


class ChatPromptTooLongError(errors.PromptTooLongError, ContextOverflowError):
    """The message is longer than the service accepts."""


class ChatProtocolError(errors.ProtocolError, ModelError, RuntimeError):
    """The other side does not speak the wire.

    A ``RuntimeError`` as every ``TurnError`` is: it may be what answered a turn that runs all the same, and generic
    retry layers (LangGraph's ``RetryPolicy``) let those pass.
    """


class ChatRedirectError(errors.RedirectError, ChatProtocolError):
    """The service redirects."""


class ChatResponseTooLargeError(errors.ResponseTooLargeError, ChatProtocolError):
    """A size limit was passed."""


class ChatAgentTurnError(errors.AgentTurnError, ModelError):
    """The agent reported a failure."""


class ChatStreamInterrupted(errors.StreamInterrupted, ModelError):  # noqa: N818 - named after its base
    """The stream ended before the turn did."""


class ChatTurnOutcomeUnknown(errors.TurnOutcomeUnknown, ModelError):  # noqa: N818 - named after its base
    """The turn may or may not have run."""


class ChatSessionBusyError(errors.SessionBusyError, ModelError):
    """An earlier turn is still running."""


class ChatSessionEndedError(errors.SessionEndedError, ModelError):
    """The session accepts no further turns."""


_TWINS: dict[type[errors.MeibelIntegrationError], type[errors.MeibelIntegrationError]] = {
    twin.__mro__[1]: twin
    for twin in (
        ChatConfigurationError,
        ChatInvalidInputError,
        ChatDivergenceError,
        ChatNotSentError,
        ChatConnectionLostError,
        ChatReadTimeoutError,
        ChatTotalTimeoutError,
        ChatAuthenticationError,
        ChatPermissionDeniedError,
        ChatNotFoundError,
        ChatRateLimitError,
        ChatConflictError,
        ChatInvalidRequestError,
        ChatServerError,
        ChatPromptTooLongError,
        ChatProtocolError,
        ChatRedirectError,
        ChatResponseTooLargeError,
        ChatAgentTurnError,
        ChatStreamInterrupted,
        ChatTurnOutcomeUnknown,
        ChatSessionBusyError,
        ChatSessionEndedError,
    )
}


RETRYABLE: tuple[type[Exception], ...] = tuple(
    twin for twin in _TWINS.values() if issubclass(twin, ModelError) and twin.is_retryable
)
"""The errors after which the turn provably did not run, and may yet."""


def as_langchain_error(error: errors.MeibelIntegrationError) -> errors.MeibelIntegrationError:
    """The same error as one of LangChain's, too."""
    twin = next((_TWINS[base] for base in type(error).__mro__ if base in _TWINS), None)
    if twin is None or isinstance(error, ModelError):
        return error
    found = twin.__new__(twin)
    found.args = error.args
    found.__dict__.update(error.__dict__)
    found.__cause__ = error.__cause__
    return found


@contextmanager
def in_langchains_words() -> Iterator[None]:
    """Raises the package's errors as LangChain's, too."""
    try:
        yield
    except errors.MeibelIntegrationError as error:
        raise as_langchain_error(error) from error.__cause__
