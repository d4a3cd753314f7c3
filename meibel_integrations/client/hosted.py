"""What a client is set up with, sync or async, whatever the service."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Generic, TypedDict, TypeVar, get_args

from pydantic import SecretStr

from meibel_integrations.config import ClientConfig, OnAmbiguous, RecoveryPolicy, Timeouts, resolve
from meibel_integrations.errors import ConfigurationError
from meibel_integrations.ledgers.entry import SessionBook
from meibel_integrations.ledgers.interface import Ledger
from meibel_integrations.ledgers.memory import PROCESS_LEDGER
from meibel_integrations.protocol.dialects.interface import Dialect
from meibel_integrations.protocol.service import Service
from meibel_integrations.protocol.text import Partials
from meibel_integrations.transports.clock import Clock, SystemClock

__all__ = ["ClientCore", "ClientSettings"]

D = TypeVar("D", bound=Dialect)


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
        default_headers: headers of every request, besides the client's own.
        ledger: where the sessions are remembered; the process's own, in memory, unless given.
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
    default_headers: Mapping[str, str] | None
    ledger: Ledger | None
    clock: Clock | None
    config: ClientConfig | None


class ClientCore(Generic[D]):
    """A client's settings, checked.

    Attributes:
        service: its dialect, and how requests are retried.
        config: its address, key and limits.
        book: its sessions in the ledger.
        partials: what the pieces of a streamed answer are.
        recovery: how a turn is looked for whose answer got lost.
        owns_http: whether its connections are its own, not those of an HTTP client that it was given.
    """

    _dialect_type: ClassVar[Any]

    def __init__(
        self,
        dialect: D,
        api_key: str | SecretStr | None = None,
        base_url: str | None = None,
        *,
        owns_http: bool = True,
        timeout: Timeouts | float | None = None,
        max_retries: int = 2,
        partials: Partials = "auto",
        on_ambiguous: OnAmbiguous = "raise",
        reconcile_grace: float = 5.0,
        reconcile_deadline: float = 120.0,
        allow_insecure_http: bool = False,
        default_headers: Mapping[str, str] | None = None,
        ledger: Ledger | None = None,
        clock: Clock | None = None,
        config: ClientConfig | None = None,
    ) -> None:
        self.config: ClientConfig = config or resolve(
            dialect,
            api_key=api_key,
            base_url=base_url,
            timeout=timeout,
            max_retries=max_retries,
            allow_insecure_http=allow_insecure_http,
            headers=default_headers,
        )
        if partials not in get_args(Partials):
            raise ConfigurationError(f"partials must be 'auto', 'delta' or 'snapshot', not {partials!r}")
        self.service = Service(dialect, self.config.retry, self.config.base_url)
        self.book = SessionBook(ledger or PROCESS_LEDGER, self.config.base_url, self.config.api_key)
        self.partials: Partials = partials
        self.recovery = RecoveryPolicy(reconcile_grace, reconcile_deadline, on_ambiguous)
        self.owns_http = owns_http
        self._clock = clock or SystemClock()

    @classmethod
    def make_dialect(cls, **settings: Any) -> D:
        """The dialect of a client with these settings of its service."""
        return cls._dialect_type(**settings)  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        return f"{type(self).__name__}(base_url={self.config.base_url!r})"

    @property
    def dialect(self) -> D:
        """The service's requests, and how its answers read."""
        return self.service.dialect

    def _key_header(self) -> dict[str, str]:
        return dict(self.dialect.key_header(self.config.api_key.get_secret_value()))
