"""Every exception of the package, in one tree.

::

    MeibelIntegrationError
    ├── ConfigurationError          a setting is missing or wrong; nothing was sent        (ValueError)
    ├── InvalidInputError           the caller's input cannot be sent; nothing was sent    (ValueError)
    │   ├── PromptTooLongError      longer than the service accepts
    │   └── DivergenceError         the message list contradicts the session it names
    ├── TransportError              the connection, not the service, failed
    │   ├── NotSentError            DNS, connect, TLS or pool: the request never left
    │   ├── ConnectionLostError     the request left, the answer did not (all) arrive
    │   ├── ReadTimeoutError        no byte within the idle limit
    │   └── TotalTimeoutError       the operation's own deadline passed
    ├── ProtocolError               the other side does not speak the documented wire
    │   ├── RedirectError           it redirects; redirects are never followed
    │   └── ResponseTooLargeError   a size limit was passed
    ├── APIError                    the service answered with an error status
    │   ├── InvalidRequestError     400, 413, 422 and other 4xx
    │   ├── AuthenticationError     401
    │   ├── PermissionDeniedError   403
    │   ├── NotFoundError           404
    │   ├── ConflictError           409
    │   ├── RateLimitError          429, with ``retry_after``
    │   └── ServerError             5xx
    └── TurnError                   a turn was (or may have been) accepted                 (RuntimeError)
        ├── AgentTurnError          the agent itself reported a failure
        ├── StreamInterrupted       the stream ended before the turn did
        ├── TurnOutcomeUnknown      the turn may or may not have run
        ├── SessionBusyError        another turn of this session is still running
        └── SessionEndedError       the session accepts no further turns

Every error can be pickled, and none carries a request, a header or a key. An ``APIError``'s text contains the
server's own message.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "APIError",
    "AgentTurnError",
    "AuthenticationError",
    "ConfigurationError",
    "ConflictError",
    "ConnectionLostError",
    "DivergenceError",
    "InvalidInputError",
    "InvalidRequestError",
    "MeibelIntegrationError",
    "NotFoundError",
    "NotSentError",
    "PermissionDeniedError",
    "PromptTooLongError",
    "ProtocolError",
    "RateLimitError",
    "ReadTimeoutError",
    "RedirectError",
    "ResponseTooLargeError",
    "ServerError",
    "SessionBusyError",
    "SessionEndedError",
    "StreamInterrupted",
    "TotalTimeoutError",
    "TransportError",
    "TurnError",
    "TurnOutcomeUnknown",
]


def _rebuild(cls: type[MeibelIntegrationError], args: tuple[Any, ...], state: dict[str, Any]) -> Any:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class MeibelIntegrationError(Exception):
    """Base of every error that this package raises on purpose."""

    def __reduce__(self) -> Any:
        return _rebuild, (type(self), self.args, self.__dict__)


class ConfigurationError(MeibelIntegrationError, ValueError):
    """A setting is missing or wrong. Nothing was sent."""


class InvalidInputError(MeibelIntegrationError, ValueError):
    """The caller's input cannot be sent as it is. Nothing was sent."""


class PromptTooLongError(InvalidInputError):
    """The prompt is longer than the service accepts. Nothing was sent."""


class DivergenceError(InvalidInputError):
    """The message list contradicts the session that it names, and ``on_divergence="error"`` was asked for."""


class TransportError(MeibelIntegrationError):
    """The connection failed, not the service."""


class NotSentError(TransportError):
    """The request provably never left: name resolution, connect, TLS or pool failed. Safe to repeat."""


class ConnectionLostError(TransportError):
    """The connection broke after the request had (perhaps only partly) left."""


class ReadTimeoutError(TransportError):
    """No byte arrived within the idle limit."""


class TotalTimeoutError(TransportError):
    """The operation's own deadline passed."""


class ProtocolError(MeibelIntegrationError):
    """The other side does not speak the documented wire (wrong content type, malformed body)."""


class RedirectError(ProtocolError):
    """The service answered with a redirect. Redirects are never followed: they would carry the key elsewhere."""


class ResponseTooLargeError(ProtocolError):
    """A size limit was passed while reading a response."""


class APIError(MeibelIntegrationError):
    """The service answered with an error status.

    Attributes:
        status_code: the HTTP status.
        server_message: the service's own words, or ``""``.
        code: the service's error code, if it gave one.
        request_id: the service's id of the request, if it gave one.
        session_id: the session that the request named, if any.
        body: the decoded error body (whatever its shape), or ``None``.
        hint: what to look at, or ``""``; a part of the error's text.
    """

    def __init__(
        self,
        message: str,
        *,
        status_code: int,
        server_message: str = "",
        code: str | None = None,
        request_id: str | None = None,
        session_id: str | None = None,
        body: Any = None,
        hint: str = "",
    ) -> None:
        super().__init__(message)
        self.hint = hint
        self.status_code = status_code
        self.server_message = server_message
        self.code = code
        self.request_id = request_id
        self.session_id = session_id
        self.body = body

    def __str__(self) -> str:
        said = super().__str__()
        return f"{said}{'' if said.endswith(('.', '!', '?')) else '.'} {self.hint}" if self.hint else said


class InvalidRequestError(APIError):
    """400, 413, 422 or another 4xx: the service refuses the request as it is."""


class AuthenticationError(APIError):
    """401: the key is missing or wrong."""


class PermissionDeniedError(APIError):
    """403: the key may not do this."""


class NotFoundError(APIError):
    """404: no such session or agent for this key."""


class ConflictError(APIError):
    """409: the session is in a state that does not allow this."""


class RateLimitError(APIError):
    """429. ``retry_after`` is the wait in seconds that the service asked for, or ``None``."""

    retry_after: float | None = None


class ServerError(APIError):
    """5xx."""


class TurnError(MeibelIntegrationError, RuntimeError):
    """Something happened to a turn that was, or may have been, accepted by the service.

    It is a ``RuntimeError`` on purpose: generic retry layers that re-run on connection errors let it pass, and
    re-running would repeat the user's turn.

    Attributes:
        session_id: the session of the turn.
        signal_id: the turn's id where the wire gave one, else ``None``.
        phase: how far the turn provably got (a ``protocol.turn.Phase`` value).
        partial_text: the text that had arrived, ``""`` if none.
        cause: the underlying error of this package, if any.
    """

    def __init__(
        self,
        message: str,
        *,
        session_id: str | None = None,
        signal_id: str | None = None,
        phase: str | None = None,
        partial_text: str = "",
        cause: Exception | None = None,
    ) -> None:
        super().__init__(message)
        self.session_id = session_id
        self.signal_id = signal_id
        self.phase = phase
        self.partial_text = partial_text
        self.cause = cause


class AgentTurnError(TurnError):
    """The agent reported that this turn failed."""


class StreamInterrupted(TurnError):  # noqa: N818 - a public name of the design
    """The stream ended before the turn did. ``partial_text`` holds what had arrived."""


class TurnOutcomeUnknown(TurnError):  # noqa: N818 - a public name of the design
    """The turn may or may not have run. Look at the session's history before sending it again."""


class SessionBusyError(TurnError):
    """An earlier turn of this session is still running."""


class SessionEndedError(TurnError):
    """The session accepts no further turns."""
