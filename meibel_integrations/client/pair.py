"""A client and its async twin, made when they are first used: what the adapters hold."""

from __future__ import annotations

import copy
from typing import Any, Generic, TypeVar

from pydantic import SecretStr

from meibel_integrations.config import ClientConfig, Timeouts, resolve
from meibel_integrations.protocol.dialects.base import Dialect

__all__ = ["ClientPair"]

S = TypeVar("S")
A = TypeVar("A")


class ClientPair(Generic[S, A]):
    """Both clients of one service with the same settings. Those that were passed in stay open.

    Attributes:
        config: the settings that both have.
        dialect: the service's dialect that both speak.

    Raises:
        ConfigurationError: no client is given, and there is no key or the address is bad. Nothing is connected.
    """

    def __init__(
        self,
        client_type: type[S],
        async_client_type: type[A],
        *,
        client: S | None = None,
        async_client: A | None = None,
        api_key: str | SecretStr | None = None,
        base_url: str | None = None,
        timeout: Timeouts | float | None = None,
        max_retries: int = 2,
        allow_insecure_http: bool = False,
        **service_settings: Any,
    ) -> None:
        given: Any = client if client is not None else async_client
        service: Any = client_type
        self.dialect: Dialect = given.dialect if given is not None else service.dialect_for(**service_settings)
        self._service_settings = service_settings
        self.config: ClientConfig = (
            given.config
            if given is not None
            else resolve(
                service.dialect,
                api_key=api_key,
                base_url=base_url,
                timeout=timeout,
                max_retries=max_retries,
                allow_insecure_http=allow_insecure_http,
            )
        )
        self._types: tuple[Any, Any] = (client_type, async_client_type)
        self._given = (client, async_client)
        self._own: list[Any] = [None, None]

    @property
    def client(self) -> S:
        """The sync client."""
        return self._get(0)  # type: ignore[no-any-return]

    @property
    def async_client(self) -> A:
        """The async client."""
        return self._get(1)  # type: ignore[no-any-return]

    def sibling(self) -> ClientPair[S, A]:
        """Another pair with the same settings and the same clients that were passed in."""
        other = copy.copy(self)
        other._own = [None, None]
        return other

    def close(self) -> None:
        """Gives up the sync client's connections. A later use opens new ones."""
        client, self._own[0] = self._own[0], None
        if client is not None:
            client.close()

    async def aclose(self) -> None:
        """Gives up both clients' connections."""
        self.close()
        client, self._own[1] = self._own[1], None
        if client is not None:
            await client.aclose()

    def _get(self, which: int) -> Any:
        if self._given[which] is not None:
            return self._given[which]
        client = self._own[which]
        if client is None:
            client = self._own[which] = self._types[which](config=self.config, **self._service_settings)
            client.dialect = self.dialect
        return client
