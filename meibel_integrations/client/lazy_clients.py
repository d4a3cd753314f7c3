"""A client and its async twin, made when they are first used: what the adapters hold."""

from __future__ import annotations

import copy
from typing import Any, Generic, TypeVar

from meibel_integrations.client.aio import AsyncHostedClient
from meibel_integrations.client.sync import HostedClient
from meibel_integrations.config import ClientConfig, resolve
from meibel_integrations.errors import ConfigurationError
from meibel_integrations.ledgers.entry import SessionBook
from meibel_integrations.ledgers.memory import PROCESS_LEDGER
from meibel_integrations.protocol.dialects.interface import Dialect
from meibel_integrations.protocol.service import Service

__all__ = ["LazyClients"]

S = TypeVar("S", bound=HostedClient[Any])
A = TypeVar("A", bound=AsyncHostedClient[Any])


class LazyClients(Generic[S, A]):
    """Both clients of one service with the same settings. Those that were passed in stay open.

    Args:
        client_type, async_client_type: the service's clients.
        client, async_client: clients that the caller made, instead of all that follows; one is enough.
        service_settings: settings that only this service's clients have.
        connection: ``api_key`` and the fields of :class:`~meibel_integrations.client.options.ConnectionOptions`; those
            that are ``None`` count as not given.

    Attributes:
        service: the service that both speak to.
        config: the address, key and limits that both have.
        book: their sessions in the ledger.

    Raises:
        ConfigurationError: no client is given and there is no key, or the address is bad; or a client is given and
            other settings, which it could not obey. Nothing is connected.
    """

    def __init__(
        self,
        client_type: type[S],
        async_client_type: type[A],
        *,
        client: S | None = None,
        async_client: A | None = None,
        service_settings: dict[str, Any] | None = None,
        **connection: Any,
    ) -> None:
        given = {name: value for name, value in connection.items() if value is not None}
        settings = {name: value for name, value in (service_settings or {}).items() if value is not None}
        _check_type("client", client, client_type, async_client_type)
        _check_type("async_client", async_client, async_client_type, client_type)
        self._types: tuple[type[S], type[A]] = (client_type, async_client_type)
        self._given: tuple[S | None, A | None] = (client, async_client)
        self._client: S | None = None
        self._async_client: A | None = None
        self.service: Service[Dialect]
        self.config: ClientConfig
        self.book: SessionBook
        passed: Any = client if client is not None else async_client
        if passed is not None:
            _refuse_settings({**given, **settings}, "client" if client is not None else "async_client")
            _require_same_service(client, async_client)
            self.service, self.config, self.book = passed.service, passed.config, passed.book
            self._http: tuple[Any, Any] = (None, None)
            return
        self._http = (given.pop("http_client", None), given.pop("http_async_client", None))
        ledger = given.pop("ledger", None) or PROCESS_LEDGER
        headers = given.pop("default_headers", None)
        dialect = client_type.make_dialect(**(service_settings or {}))
        self.config = resolve(dialect, headers=headers, **given)
        self.service = Service(dialect, self.config.retry, self.config.base_url)
        self.book = SessionBook(ledger, self.config.base_url, self.config.api_key)

    @property
    def client(self) -> S:
        """The sync client.

        Raises:
            ConfigurationError: only an async client was given, and it has an HTTP client of the caller's.
        """
        given, other = self._given
        if given is not None:
            return given
        if self._client is None:
            self._client = self._make(self._types[0], self._http, other, "client")
        return self._client

    @property
    def async_client(self) -> A:
        """The async client.

        Raises:
            ConfigurationError: only a sync client was given, and it has an HTTP client of the caller's.
        """
        other, given = self._given
        if given is not None:
            return given
        if self._async_client is None:
            self._async_client = self._make(self._types[1], self._http[::-1], other, "async_client")
        return self._async_client

    def sibling(self) -> LazyClients[S, A]:
        """Another pair with the same settings and the same clients that were passed in."""
        other = copy.copy(self)
        other._client = other._async_client = None
        return other

    def __deepcopy__(self, memo: dict[int, Any]) -> LazyClients[S, A]:
        return self.sibling()

    def close(self) -> None:
        """Gives up the sync client's connections. A later use opens new ones."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    async def aclose(self) -> None:
        """Gives up both clients' connections."""
        self.close()
        client, self._async_client = self._async_client, None
        if client is not None:
            await client.aclose()

    def _make(self, kind: Any, http: tuple[Any, Any], twin: Any, name: str) -> Any:
        own, twins = http
        if own is None and (twins is not None or (twin is not None and not twin.owns_http)):
            also = f"{name}={kind.__name__}(…)" if twin is not None else f"http_{name}=…"
            raise ConfigurationError(
                "This verb needs the other kind of connection. The HTTP client that was given has a proxy and "
                f"certificates of its own, which another one would go without: also pass {also}."
            )
        made = kind(config=self.config, ledger=self.book.ledger, http_client=own)
        made.service = self.service
        return made


def _check_type(name: str, client: Any, wanted: type, other: type) -> None:
    if client is None or isinstance(client, wanted):
        return
    hint = (
        f" Pass it as {'client' if name == 'async_client' else 'async_client'}=." if isinstance(client, other) else ""
    )
    raise ConfigurationError(f"{name}= takes a {wanted.__name__}, not {type(client).__name__}.{hint}")


def _refuse_settings(settings: dict[str, Any], name: str) -> None:
    if settings:
        raise ConfigurationError(
            f"{name}= brings its own connection, so {', '.join(f'{each}=' for each in sorted(settings))} would have no "
            "effect. Set it on the client, or leave the client out."
        )


def _require_same_service(client: HostedClient[Any] | None, async_client: AsyncHostedClient[Any] | None) -> None:
    if client is not None and async_client is not None and client.config.base_url != async_client.config.base_url:
        raise ConfigurationError(
            f"client= and async_client= are for one service, not for {client.config.base_url} and "
            f"{async_client.config.base_url}."
        )
