"""What the routes work with: the parts of one running service."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from meibel_integrations.local.answerers.interface import Answerer
from meibel_integrations.local.faults.catalogue import Faults
from meibel_integrations.local.faults.fault_responses import broken
from meibel_integrations.local.http.auth import MEIBEL_KEY, KeyHeader, Keys
from meibel_integrations.local.http.refusals import not_found
from meibel_integrations.local.limits import Limits
from meibel_integrations.local.request_log import RequestEntry, RequestLog
from meibel_integrations.local.store import sessions
from meibel_integrations.local.store.database import Database
from meibel_integrations.local.store.sessions import ServiceName, SessionRow
from meibel_integrations.local.store.tenants import IdSource
from meibel_integrations.local.turns.runner import TurnEngine
from meibel_integrations.local.wires.interface import StreamWire, Wire

# The ASGI scope carries the request's log entry under this name, so that authentication can say whose it is.
LOG_ENTRY = "meibel_integrations.log_entry"

Endpoint = Callable[[Request, str], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Service:
    """``host`` is what the service is bound to; ``heartbeat`` is in seconds."""

    db: Database
    ids: IdSource
    keys: Keys
    wire: Wire
    engine: TurnEngine
    answerer_of: Callable[[str], Answerer]
    limits: Limits
    log: RequestLog
    faults: Faults
    host: str
    heartbeat: float

    def authenticated(
        self, endpoint: Endpoint, header: KeyHeader = MEIBEL_KEY
    ) -> Callable[[Request], Awaitable[Response]]:
        """The endpoint behind the key: it is called with the tenant whose key the request brings."""

        async def handle(request: Request) -> Response:
            tenant = self.keys.tenant(request.headers, header)
            entry = request.scope.get(LOG_ENTRY)
            if isinstance(entry, RequestEntry):
                entry.tenant = tenant
            return await endpoint(request, tenant)

        return handle

    def breakable(self, endpoint: Endpoint, wire: StreamWire, *, streamed: bool) -> Endpoint:
        """An endpoint of turns, as the faults that were asked for make it."""

        async def handle(request: Request, tenant: str) -> Response:
            fault = self.faults.take(tenant, streamed=streamed)
            if fault is None:
                return await endpoint(request, tenant)
            answer = await endpoint(request, tenant) if fault.turn_runs else None
            return broken(fault, answer, lambda message: wire.failure("", message))

        return handle

    async def session(self, tenant: str, session_id: str, service: ServiceName | None = None) -> SessionRow:
        """The tenant's session, of one service or of any.

        Raises:
            Refusal: 404, there is none of that id, or it is another tenant's.
        """
        found = await self.db.aread(lambda conn: sessions.find_session(conn, tenant, session_id, service))
        if found is None:
            raise not_found("session", session_id)
        return found
