"""What the service accepts from outside: sizes, numbers, and the names under which it may be addressed."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from starlette.types import Message, Receive

from meibel_integrations.local.http.refusals import refuse

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """Every limit of the service.

    Attributes:
        max_message_chars: of a ``user_message``.
        max_body_bytes: of a request's body without files.
        max_file_bytes: of one uploaded file.
        max_files: uploaded in one message.
        max_answer_chars: an answerer that says more has failed.
        max_running_turns: in the whole service; more are refused with 429.
        max_sessions: per tenant; more are refused with 429.
        max_prompt_chars: of a LlamaCloud ``prompt``.
        max_indexes: of a LlamaCloud session or message.
    """

    max_message_chars: int = 200_000
    max_body_bytes: int = 4 * MIB
    max_file_bytes: int = 20 * MIB
    max_files: int = 10
    max_answer_chars: int = 4_000_000
    max_running_turns: int = 1_000
    max_sessions: int = 100_000
    max_prompt_chars: int = 1_000
    max_indexes: int = 10

    def body_limit(self, content_type: str) -> int:
        if content_type.lower().startswith("multipart/form-data"):
            return self.max_body_bytes + self.max_files * self.max_file_bytes
        return self.max_body_bytes


class LimitedBody:
    """An ASGI ``receive`` that counts the body and keeps its beginning for the request log.

    What is too long is read on and thrown away for a while before it is refused: a client that is still sending when
    the answer comes would otherwise see a broken connection and not the answer.
    """

    def __init__(self, receive: Receive, limit: int, keep: int) -> None:
        self._receive = receive
        self._limit = limit
        self._drain = 4 * limit
        self._keep = keep
        self._size = 0
        self.beginning = bytearray()

    async def __call__(self) -> Message:
        message = await self._receive()
        self._count(message)
        while self._size > self._limit:
            if not message.get("more_body", False) or self._size > self._drain:
                raise refuse(413, "body_too_large", f"the request's body is longer than {self._limit} bytes")
            message = await self._receive()
            self._count(message)
        return message

    def _count(self, message: Message) -> None:
        if message["type"] == "http.request":
            body = message.get("body", b"")
            self._size += len(body)
            self.beginning += body[: max(0, self._keep - len(self.beginning))]


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens on ``host``."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def host_allowed(header: str, bound_to: str) -> bool:
    """Whether a request's ``Host`` may be answered.

    A web page can make its own name resolve to 127.0.0.1 (DNS rebinding) and so reach a loopback service with the
    page's origin; it cannot change the ``Host`` that the browser then sends. A service that is open to a network has
    names that it does not know; its key protects it.
    """
    if not is_loopback(bound_to):
        return True
    name = header.rsplit(":", 1)[0] if not header.endswith("]") else header
    return name == "localhost" or is_loopback(name)
