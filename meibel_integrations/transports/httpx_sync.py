"""The sync transport over httpx."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import httpx

from meibel_integrations.config import ClientConfig
from meibel_integrations.protocol.commands import ResponseHead
from meibel_integrations.protocol.requests import Request
from meibel_integrations.transports.httpx_common import FAILURES, build_request, translate, without_key

__all__ = ["HttpClient", "HttpxExchange", "HttpxTransport"]

HttpClient = httpx.Client
"""What callers may bring: the one name of httpx that other layers know."""


class HttpxExchange:
    """One response that is being read. ``when_closed`` is called once, when it is given up."""

    def __init__(self, config: ClientConfig, response: httpx.Response) -> None:
        self.head = ResponseHead(response.status_code, dict(response.headers.items()))
        self._config = config
        self._response = response
        self._chunks = response.iter_raw()
        self.when_closed: Callable[[], None] | None = None

    def read(self) -> bytes:
        try:
            for chunk in self._chunks:
                if chunk:
                    return without_key(chunk, self.head.status, self._config)
            return b""
        except FAILURES as error:
            raise translate(error, self._config) from error

    def close(self) -> None:
        when_closed, self.when_closed = self.when_closed, None
        try:
            self._response.close()
        except FAILURES as error:
            raise translate(error, self._config) from error
        finally:
            if when_closed is not None:
                when_closed()


class HttpxTransport:
    """Sends requests through an ``httpx.Client``; closing that is its owner's business."""

    def __init__(self, config: ClientConfig, key_header: Mapping[str, str], client: httpx.Client) -> None:
        self._config = config
        self._key_header = dict(key_header)
        self._client = client

    def open(self, request: Request) -> HttpxExchange:
        try:
            built = build_request(self._client, self._config, self._key_header, request)
            response = self._client.send(built, stream=True, follow_redirects=False)
        except FAILURES as error:
            raise translate(error, self._config) from error
        return HttpxExchange(self._config, response)
