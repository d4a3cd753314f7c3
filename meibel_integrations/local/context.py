"""What the routes work with: the parts of one running service."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from meibel_integrations.local.answerers.interface import Answerer
from meibel_integrations.local.faults.catalogue import Faults
from meibel_integrations.local.limits import Limits
from meibel_integrations.local.page_tokens import PageTokens
from meibel_integrations.local.request_log import RequestLog
from meibel_integrations.local.store.database import Database
from meibel_integrations.local.store.tenants import IdSource, Keys
from meibel_integrations.local.turns.runner import TurnRunner
from meibel_integrations.local.wires.interface import Wire


@dataclass(frozen=True, slots=True)
class LocalContext:
    """``host`` is what the service is bound to; ``heartbeat`` is in seconds.

    With ``snapshots`` each ``partial_response`` is everything so far.
    """

    db: Database
    ids: IdSource
    keys: Keys
    wire: Wire
    runner: TurnRunner
    answerer_of: Callable[[str], Answerer]
    limits: Limits
    log: RequestLog
    faults: Faults
    page_tokens: PageTokens
    host: str
    heartbeat: float
    snapshots: bool = False
