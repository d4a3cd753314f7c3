"""What stands before an endpoint: the key that tells its tenant, and the faults that a test asked for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response

from meibel_integrations.local.context import LocalContext
from meibel_integrations.local.faults.catalogue import Fault
from meibel_integrations.local.faults.fault_responses import broken
from meibel_integrations.local.http.refusals import not_found, refuse
from meibel_integrations.local.request_log import RequestEntry
from meibel_integrations.local.store import sessions
from meibel_integrations.local.store.sessions import ServiceName, SessionRow
from meibel_integrations.local.wires.interface import StreamWire

# The ASGI scope carries the request's log entry under this name, so that authentication can say whose it is.
LOG_ENTRY = "meibel_integrations.log_entry"

Endpoint = Callable[[Request, str], Awaitable[Response]]
"""Answers a request of a tenant."""


@dataclass(frozen=True, slots=True)
class KeyHeader:
    """Where a service's clients put their key: a header, perhaps behind the name of a scheme."""

    name: str
    scheme: str = ""

    def read(self, headers: Headers) -> str:
        """The key; ``""``: there is none."""
        value = headers.get(self.name, "")
        if not self.scheme:
            return value
        scheme, _, key = value.partition(" ")
        return key.strip() if scheme.lower() == self.scheme.lower() else ""

    def __str__(self) -> str:
        return f"{self.name}: {self.scheme}" if self.scheme else self.name


MEIBEL_KEY = KeyHeader("Meibel-API-Key")
LLAMA_CLOUD_KEY = KeyHeader("Authorization", "Bearer")


def tenant_of(context: LocalContext, headers: Headers, header: KeyHeader = MEIBEL_KEY) -> str:
    """The tenant whose key the request brings in ``header``.

    Raises:
        Refusal: 401, the key is missing or wrong.
    """
    given = header.read(headers)
    if not given:
        raise refuse(401, "unauthorized", f"the header {header} is missing")
    found = context.keys.find(given)
    if found is None:
        raise refuse(401, "unauthorized", f"the key in {header} is not one of this service's")
    return found


def authenticated(
    context: LocalContext, endpoint: Endpoint, header: KeyHeader = MEIBEL_KEY
) -> Callable[[Request], Awaitable[Response]]:
    """The endpoint behind the key: it is called with the tenant whose key the request brings."""

    async def handle(request: Request) -> Response:
        tenant = tenant_of(context, request.headers, header)
        entry = request.scope.get(LOG_ENTRY)
        if isinstance(entry, RequestEntry):
            entry.tenant = tenant
        return await endpoint(request, tenant)

    return handle


def breakable(context: LocalContext, endpoint: Endpoint, wire: StreamWire, *, streamed: bool) -> Endpoint:
    """An endpoint of turns, as the faults that were asked for make it."""

    async def handle(request: Request, tenant: str) -> Response:
        fault = context.faults.take(tenant, streamed=streamed)
        if fault is None and streamed and context.snapshots and wire is context.wire:
            fault = Fault(fault="snapshots")
        if fault is None:
            return await endpoint(request, tenant)
        answer = await endpoint(request, tenant) if fault.turn_runs else None
        return broken(fault, answer, lambda message: wire.failure("", message))

    return handle


async def find_session(
    context: LocalContext, tenant: str, session_id: str, service: ServiceName | None = None
) -> SessionRow:
    """The tenant's session, of one service or of any.

    Raises:
        Refusal: 404, there is none of that id, or it is another tenant's.
    """
    found = await context.db.aread(lambda conn: sessions.find_session(conn, tenant, session_id, service))
    if found is None:
        raise not_found("session", session_id)
    return found
