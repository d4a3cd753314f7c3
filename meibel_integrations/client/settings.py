"""What a client is set up with, sync or async, whatever the service."""

from __future__ import annotations

from typing import Any, TypedDict

from pydantic import SecretStr

from meibel_integrations.config import ClientConfig, RetryPolicy, Timeouts, resolve
from meibel_integrations.protocol.dialects.base import Dialect
from meibel_integrations.protocol.reconcile import OnAmbiguous, Recovery
from meibel_integrations.protocol.text import Partials
from meibel_integrations.transports.base import Clock, SystemClock

__all__ = ["ClientBase", "ClientSettings"]


class ClientSettings(TypedDict, total=False):
    """Settings that all clients take by keyword.

    Attributes:
        timeout: the longest silence of the service in seconds, or a :class:`~meibel_integrations.config.Timeouts`.
        max_retries: how often a request that never arrived, or does no harm when repeated, is sent again.
        partials: what the pieces of a streamed answer are: ``"delta"``, ``"snapshot"``, or ``"auto"`` to find out.
        on_ambiguous: what to do about a turn that may not have arrived and does not show in the history:
            ``"raise"``, or ``"resend_once"``.
        reconcile_grace, reconcile_deadline: seconds until a turn that does not show counts as absent, and until one
            that still runs is given up.
        allow_insecure_http: send the key over plain ``http://`` to another machine.
        clock: time and chance, for tests.
        config: settings that were resolved before, instead of the key, the address and all that concerns connections.
    """

    timeout: Timeouts | float | None
    max_retries: int
    partials: Partials
    on_ambiguous: OnAmbiguous
    reconcile_grace: float
    reconcile_deadline: float
    allow_insecure_http: bool
    clock: Clock | None
    config: ClientConfig | None


class ClientBase:
    """A client's settings, checked.

    Attributes:
        dialect: what the service is spoken to in.
        config: where it is, with which key, and how patiently.
        partials: what the pieces of a streamed answer are.
        recovery: how a turn is looked for whose answer got lost.
    """

    dialect: Dialect

    def __init__(
        self,
        api_key: str | SecretStr | None = None,
        base_url: str | None = None,
        *,
        timeout: Timeouts | float | None = None,
        max_retries: int = 2,
        partials: Partials = "auto",
        on_ambiguous: OnAmbiguous = "raise",
        reconcile_grace: float = 5.0,
        reconcile_deadline: float = 120.0,
        allow_insecure_http: bool = False,
        clock: Clock | None = None,
        config: ClientConfig | None = None,
    ) -> None:
        self.config: ClientConfig = config or resolve(
            self.dialect,
            api_key=api_key,
            base_url=base_url,
            timeout=timeout,
            max_retries=max_retries,
            allow_insecure_http=allow_insecure_http,
        )
        self.partials: Partials = partials
        self.recovery = Recovery(reconcile_grace, reconcile_deadline, on_ambiguous)
        self._clock = clock or SystemClock()
        self._ready()

    @classmethod
    def dialect_for(cls, **settings: Any) -> Dialect:
        """The dialect that a client with these settings of its service speaks."""
        return cls.dialect

    def _ready(self) -> None:
        """Called when the settings are complete: a service's client adds its calls."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(base_url={self.config.base_url!r})"

    @property
    def policy(self) -> RetryPolicy:
        """How requests are retried."""
        return self.config.retry

    def _key_header(self) -> dict[str, str]:
        return dict(self.dialect.key_header(self.config.api_key.get_secret_value()))
