"""What the two httpx transports share: how a request is put, and what httpx's failures mean."""

from __future__ import annotations

from typing import Any

import httpx

from meibel_integrations import __version__
from meibel_integrations.config import ClientConfig, Timeouts
from meibel_integrations.errors import (
    ConfigurationError,
    ConnectionLostError,
    NotSentError,
    ReadTimeoutError,
    TransportError,
)
from meibel_integrations.protocol.requests import Request

__all__ = ["FAILURES", "build_request", "client_options", "translate", "without_key"]

# Beyond the number of connections requests queue, and httpcore looks through the whole queue for each of them.
_LIMITS = httpx.Limits(max_connections=1000, max_keepalive_connections=100, keepalive_expiry=30.0)


def client_options(config: ClientConfig) -> dict[str, Any]:
    """Arguments of an ``httpx.Client`` of ours. Loopback traffic ignores the environment's proxies; no redirect is
    followed, as the key would go along. Certificates, which take 45 ms to load, are for https only."""
    return {
        "verify": not config.base_url.startswith("http://"),
        "limits": _LIMITS,
        "timeout": _timeout(config.timeouts),
        "follow_redirects": False,
        "trust_env": not config.is_loopback,
    }


def build_request(
    client: httpx.Client | httpx.AsyncClient, config: ClientConfig, key_header: dict[str, str], request: Request
) -> httpx.Request:
    """The key rides on each request and nowhere else: no client object holds it."""
    arguments: dict[str, Any] = {}
    if request.json is not None:
        arguments["json"] = request.json
    if request.form:
        arguments["data"] = dict(request.form)
    if request.files:
        arguments["files"] = [(f.field, (f.name, f.content)) for f in request.files]
    built = client.build_request(
        request.method,
        config.base_url + request.path,
        params=request.query or None,
        headers={
            "Accept": request.accept,
            "Accept-Encoding": "identity",
            "User-Agent": f"meibel-integrations/{__version__}",
            **dict(config.headers),
            **key_header,
        },
        timeout=_timeout(config.timeouts),
        **arguments,
    )
    if f"{built.url.scheme}://{built.url.netloc.decode()}" != str(httpx.URL(config.origin)).rstrip("/"):
        raise ConfigurationError(f"A request to {built.url.host!r} would carry the key to a foreign origin.")
    return built


def _timeout(timeouts: Timeouts) -> httpx.Timeout:
    return httpx.Timeout(connect=timeouts.connect, read=timeouts.idle, write=timeouts.write, pool=timeouts.pool)


FAILURES = (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, RuntimeError)
"""What :func:`translate` knows; ``RuntimeError`` is how httpx says that a client was closed."""


_SHORTEST_SECRET = 8


def without_key(chunk: bytes, status: int, config: ClientConfig) -> bytes:
    """A piece of an error response without the key: some services repeat in their words what they were sent, and those
    words end in errors and logs. Answers stay as they are, and so does what a very short key would match by chance."""
    if status < 400:
        return chunk
    key = config.api_key.get_secret_value().encode()
    return chunk.replace(key, b"[key]") if len(key) >= _SHORTEST_SECRET else chunk


def translate(error: Exception, config: ClientConfig) -> Exception:
    """Our error for one of httpx's. The texts name the origin and the kind of failure, never a header."""
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout | httpx.ProxyError):
        return NotSentError(
            f"Could not reach {config.origin}: {_reason(error)}. Is that the right base_url, and is it running?"
        )
    if isinstance(error, httpx.ReadTimeout):
        return ReadTimeoutError(f"{config.origin} sent nothing for {config.timeouts.idle:g} s.")
    if isinstance(error, httpx.TransportError):
        return ConnectionLostError(f"The connection to {config.origin} broke: {_reason(error)}")
    if isinstance(error, httpx.InvalidURL):
        return ConfigurationError(f"base_url is not a URL: {error}")
    if isinstance(error, httpx.HTTPError | httpx.StreamError) or "closed" in str(error):
        return TransportError(f"The HTTP client failed: {_reason(error)}")
    return error


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
