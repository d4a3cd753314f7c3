"""What a client needs to know before its first request: checked once, immutable, and never showing the key."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, Self
from urllib.parse import urlsplit

from pydantic import SecretStr

from meibel_integrations.errors import ConfigurationError

__all__ = [
    "ClientConfig",
    "OnAmbiguous",
    "RecoveryPolicy",
    "RetryPolicy",
    "ServiceDefaults",
    "Timeouts",
    "is_loopback",
    "resolve",
]

OnAmbiguous = Literal["raise", "resend_once"]


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Limits in seconds.

    ``idle`` is the longest silence between two bytes of an answer, so a stream may last as long as it keeps
    talking; ``total`` (``None``: no limit) ends the whole operation. ``pool`` is the wait for a free connection.
    """

    connect: float = 5.0
    write: float = 30.0
    pool: float = 10.0
    idle: float = 60.0
    total: float | None = None

    def __post_init__(self) -> None:
        for name in ("connect", "write", "pool", "idle", "total"):
            value = getattr(self, name)
            if name == "total" and value is None:
                continue
            if not isinstance(value, int | float) or isinstance(value, bool) or not value > 0:
                raise ConfigurationError(f"timeout {name!r} must be a number of seconds above 0, not {value!r}")

    @classmethod
    def of(cls, value: Timeouts | float | None) -> Timeouts:
        """A number is the idle limit, as most HTTP clients mean it; ``None`` is the default."""
        if isinstance(value, Timeouts):
            return value
        return cls() if value is None else cls(idle=value)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When and how often a request that did not arrive, or may be repeated, is sent again.

    Waits double from ``base`` to ``cap`` seconds, less up to a quarter at random. A ``Retry-After`` of the service is
    obeyed up to ``max_retry_after`` seconds; a longer one is an error that says so.
    """

    max_retries: int = 2
    base: float = 0.5
    cap: float = 8.0
    max_retry_after: float = 60.0

    def __post_init__(self) -> None:
        if not isinstance(self.max_retries, int) or isinstance(self.max_retries, bool) or self.max_retries < 0:
            raise ConfigurationError(f"max_retries must be a whole number from 0 up, not {self.max_retries!r}")


@dataclass(frozen=True, slots=True)
class RecoveryPolicy:
    """How hard to look for a turn whose answer did not arrive. Times are in seconds.

    Attributes:
        grace: how long a turn may stay invisible in the history before it counts as absent, and the history
            unreadable before it is given up.
        deadline: how long to wait for a turn that is still running.
        on_ambiguous: what to do about a turn that is absent: ``"raise"``, or ``"resend_once"``, which may repeat it if
            it was merely late.
    """

    grace: float = 5.0
    deadline: float = 120.0
    on_ambiguous: OnAmbiguous = "raise"

    def __post_init__(self) -> None:
        if self.on_ambiguous not in ("raise", "resend_once"):
            raise ConfigurationError(f"on_ambiguous must be 'raise' or 'resend_once', not {self.on_ambiguous!r}")
        for name, value in (("reconcile_grace", self.grace), ("reconcile_deadline", self.deadline)):
            if not isinstance(value, int | float) or isinstance(value, bool) or not value >= 0:
                raise ConfigurationError(f"{name} must be a number of seconds from 0 up, not {value!r}")


class ServiceDefaults(Protocol):
    """Where a service lives and which environment variables name its key (the first that is set) and address."""

    name: str
    default_base_url: str
    base_url_variable: str
    key_variables: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ClientConfig:
    """One client's settings. Equal settings share a connection pool."""

    base_url: str
    api_key: SecretStr = field(repr=False)
    timeouts: Timeouts = Timeouts()
    retry: RetryPolicy = RetryPolicy()
    headers: tuple[tuple[str, str], ...] = ()

    def __reduce__(self) -> Any:
        raise TypeError("A ClientConfig holds a key and cannot be pickled: resolve() it again where it is needed.")

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    @property
    def origin(self) -> str:
        """Scheme, host and port: the only place that the key is sent to."""
        parts = urlsplit(self.base_url)
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def is_loopback(self) -> bool:
        """Whether the service runs on this machine; its traffic then ignores proxy settings."""
        return is_loopback(urlsplit(self.base_url).hostname or "")


def is_loopback(host: str) -> bool:
    """Whether a host name or an address, with or without brackets, stays on this machine.

    ``localhost`` and every name below it do, in any case of letters (RFC 6761).
    """
    name = host.lower().removesuffix(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False


def resolve(
    service: ServiceDefaults,
    *,
    api_key: str | SecretStr | None = None,
    base_url: str | None = None,
    timeout: Timeouts | float | None = None,
    max_retries: int | None = None,
    allow_insecure_http: bool = False,
    headers: Mapping[str, str] | None = None,
) -> ClientConfig:
    """Fills the gaps from the environment and checks everything.

    Raises:
        ConfigurationError: no key, a malformed base URL, or plain ``http://`` to another machine.
    """
    variables = service.key_variables
    key = api_key if api_key is not None else next(filter(None, map(os.environ.get, variables)), None)
    secret = key if isinstance(key, SecretStr) else SecretStr(key or "")
    value = secret.get_secret_value()
    if not value.strip():
        raise ConfigurationError(
            f"No API key: pass api_key=…, or set {variables[0]}. "
            "Without an account, meibel_integrations.local.LocalMeibel serves your own documents."
        )
    if not value.isascii() or not value.isprintable() or value != value.strip():
        raise ConfigurationError("The API key holds spaces around it, line breaks or non-ASCII characters.")
    url = base_url or os.environ.get(service.base_url_variable) or service.default_base_url
    return ClientConfig(
        base_url=_checked_url(url, allow_insecure_http),
        api_key=secret,
        timeouts=Timeouts.of(timeout),
        retry=RetryPolicy() if max_retries is None else RetryPolicy(max_retries=max_retries),
        headers=_checked_headers(headers),
    )


def _checked_headers(headers: Mapping[str, str] | None) -> tuple[tuple[str, str], ...]:
    if not isinstance(headers or {}, Mapping):
        raise ConfigurationError(f"default_headers takes a mapping of names to values, not {type(headers).__name__}")
    for name, value in (headers or {}).items():
        if not all(isinstance(part, str) and part.isascii() and part.isprintable() for part in (name, value)):
            raise ConfigurationError(f"the header {name!r} must have a printable ASCII name and value")
    return tuple((headers or {}).items())


def _checked_url(url: str, allow_insecure_http: bool) -> str:
    try:
        parts = urlsplit(url.strip())
        host, _ = parts.hostname, parts.port
    except (ValueError, AttributeError) as error:
        raise ConfigurationError(f"base_url is not a URL: {error}") from error
    if parts.scheme not in ("http", "https") or not host:
        raise ConfigurationError(f"base_url must begin with https:// (or http:// on this machine), not {url[:80]!r}")
    if parts.username or parts.password:
        raise ConfigurationError("base_url must not hold a user name or password.")
    if parts.query or parts.fragment:
        raise ConfigurationError("base_url must not hold a query or a fragment.")
    if parts.scheme == "http" and not is_loopback(host) and not allow_insecure_http:
        raise ConfigurationError(
            f"Refusing to send the API key unencrypted to {host!r}: use https://, "
            "or pass allow_insecure_http=True if that is really meant."
        )
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
