"""The response of a streamed turn: it follows the turn's event log, and owns nothing of the turn.

What is sent was stored before. A reader that is slow holds up its own response only; one that leaves ends it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from starlette.responses import StreamingResponse

from meibel_integrations.local.turns.live_turn import LiveTurn, Shown
from meibel_integrations.local.wires.interface import StreamWire
from meibel_integrations.protocol.sse import encode_comment

_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
_KEEP_ALIVE = encode_comment("keep-alive")


def stream_response(
    live: LiveTurn, wire: StreamWire, shown: Shown, *, heartbeat: float, patience: float | None
) -> StreamingResponse:
    events = follow(live, wire, shown, heartbeat=heartbeat, patience=patience)
    return StreamingResponse(events, media_type="text/event-stream", headers=_HEADERS)


async def follow(
    live: LiveTurn, wire: StreamWire, shown: Shown, *, heartbeat: float, patience: float | None
) -> AsyncIterator[bytes]:
    """The bytes of the stream. A comment keeps it alive whenever ``heartbeat`` seconds brought nothing.

    After ``patience`` seconds (the request's ``timeout_seconds``) the stream ends with an error event; that the turn
    itself goes on is inferred.
    """
    signal_id = live.turn.signal_id
    deadline = None if patience is None else asyncio.get_running_loop().time() + patience
    seen = position = 0
    pending = wire.opening(live.turn)
    while True:
        changed = live.changed
        for batch in live.batches[seen:]:
            pending += wire.steps(batch, shown)
            position = batch.first + len(batch.steps)
            seen += 1
        if live.turn.state != "running":
            yield pending + wire.closing(live.turn, position, shown)
            return
        if live.ended:
            yield pending + wire.failure(signal_id, live.lost or "the turn was dropped")
            return
        if pending:
            yield pending
            pending = b""
        while not await _happened(changed, heartbeat, deadline):
            if deadline is not None and asyncio.get_running_loop().time() >= deadline:
                yield wire.failure(signal_id, f"no answer within {patience:g} seconds; the turn goes on")
                return
            yield _KEEP_ALIVE


async def _happened(changed: asyncio.Event, heartbeat: float, deadline: float | None) -> bool:
    """Whether the event comes before the next heartbeat and the deadline."""
    next_beat = asyncio.get_running_loop().time() + heartbeat
    try:
        async with asyncio.timeout_at(next_beat if deadline is None else min(next_beat, deadline)):
            await changed.wait()
    except TimeoutError:
        return False
    return True
