"""A service as flows speak to it: its dialect and how patiently it is asked, bound once.

Sending is where retries live. :meth:`Service.send` repeats a request only where that can do no harm
(``protocol.retry`` decides) and raises a typed error with the service's own words otherwise.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Generic, TypeVar
from urllib.parse import urlsplit

from meibel_integrations import errors
from meibel_integrations.config import RetryPolicy
from meibel_integrations.protocol import lenient_json
from meibel_integrations.protocol.commands import FINISH, NOW, RANDOM, READ, Flow, ResponseHead, Send, Sleep
from meibel_integrations.protocol.content_encoding import Decoder
from meibel_integrations.protocol.dialects.interface import Dialect
from meibel_integrations.protocol.requests import Request
from meibel_integrations.protocol.retry import retry_after, wait_before_retry

__all__ = ["MAX_BODY_BYTES", "Service"]

MAX_BODY_BYTES = 64 * 1024 * 1024
"""Limit of a response that is read whole, in bytes."""

D = TypeVar("D", bound=Dialect, covariant=True)


class Service(Generic[D]):
    """One hosted service.

    Attributes:
        dialect: its requests, and how its answers read.
        retry: when a request is sent again.
        base_url: where it is, for errors that name a wrong address.
    """

    def __init__(self, dialect: D, retry: RetryPolicy, base_url: str = "") -> None:
        self.dialect = dialect
        self.retry = retry
        self.base_url = base_url

    def send(self, request: Request) -> Flow[ResponseHead]:
        """Sends a request until it is accepted (2xx).

        Raises:
            APIError: the service refuses it.
            RedirectError: the service redirects.
            TransportError: the connection failed.
        """
        attempt = 0
        while True:
            try:
                head: ResponseHead = yield Send(request)
                if 200 <= head.status < 300:
                    return head
                raise (yield from self._refusal(request, head))
            except errors.MeibelIntegrationError as error:
                jitter: float = yield RANDOM
                wait = wait_before_retry(
                    error, attempt=attempt, policy=self.retry, repeatable=request.repeatable, jitter=jitter
                )
                if wait is None:
                    raise
                try:
                    yield Sleep(wait)
                except errors.TotalTimeoutError:
                    raise error from None  # no time for another attempt; this one's error says what became of it
            attempt += 1

    def fetch(self, request: Request) -> Flow[Any]:
        """Sends a request and decodes its JSON answer; ``None`` for an empty one.

        Raises:
            ProtocolError: the answer is not JSON.
            APIError, TransportError: as :meth:`send`.
        """
        head = yield from self.send(request)
        body = yield from _body(head)
        if not body.strip():
            return None
        try:
            return lenient_json.parse(body)
        except ValueError as error:
            kind = head.headers.get("content-type", "no content type")
            raise errors.ProtocolError(f"The service answered {head.status} with {kind}, which is not JSON.") from error

    def _refusal(self, request: Request, head: ResponseHead) -> Flow[errors.MeibelIntegrationError]:
        """The error for a response that is not a success."""
        status = head.status
        if status < 400:
            return errors.RedirectError(
                f"The service redirects ({status}) {request.method} {request.path}; redirects are not followed. "
                "Check base_url."
            )
        try:
            raw: bytes = yield from _body(head)
        except (errors.TransportError, errors.ProtocolError):
            raw = b""  # the status alone says enough
        error = _api_error(request, head, raw, self._hint(status))
        if isinstance(error, errors.RateLimitError):
            now: datetime = yield NOW
            error.retry_after = retry_after(head.headers, now, error.body)
        return error

    def _hint(self, status: int) -> str:
        expected, given = urlsplit(self.dialect.default_base_url).path, self.base_url
        if status == 401:
            return "Check the API key."
        if status == 404 and expected and given and not given.endswith(expected):
            return f"The base_url {given} does not end in {expected}, as the service's own does: that may be why."
        return ""


def _body(head: ResponseHead) -> Flow[bytes]:
    decoder = Decoder(head.headers.get("content-encoding"))
    pieces: list[bytes] = []
    size = 0
    while chunk := (yield READ):
        for piece in decoder.feed(chunk):
            pieces.append(piece)
            size += len(piece)
            if size > MAX_BODY_BYTES:
                raise errors.ResponseTooLargeError(f"The response is larger than {MAX_BODY_BYTES:,} bytes.")
    decoder.close()
    yield FINISH
    return b"".join(pieces)


_BY_STATUS: dict[int, type[errors.APIError]] = {
    401: errors.AuthenticationError,
    403: errors.PermissionDeniedError,
    404: errors.NotFoundError,
    409: errors.ConflictError,
    429: errors.RateLimitError,
}


def _api_error(request: Request, head: ResponseHead, raw: bytes, hint: str) -> errors.APIError:
    """The error for a status from 400 up, with the service's own words."""
    body: Any
    try:
        body = lenient_json.parse(raw)
    except ValueError:
        body = None
    status = head.status
    said = lenient_json.error_message(body)
    kind = _BY_STATUS.get(status, errors.ServerError if status >= 500 else errors.InvalidRequestError)
    outer = lenient_json.mapping(body)
    inner = lenient_json.mapping(outer.get("error"))
    return kind(
        f"{request.method} {request.path} was refused with {status}: {said or _no_words(head)}",
        status_code=status,
        server_message=said,
        code=lenient_json.text(outer.get("code")) or lenient_json.text(inner.get("code")),
        request_id=lenient_json.text(outer.get("request_id"))
        or lenient_json.text(inner.get("request_id"))
        or head.headers.get("x-request-id"),
        session_id=request.session_id,
        body=body,
        hint=hint,
    )


def _no_words(head: ResponseHead) -> str:
    kind = head.headers.get("content-type", "no content type")
    return f"the service gave no message ({kind})"
