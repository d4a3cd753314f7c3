"""Every fault on real sockets, with both clients: what the transports tell, and what they leave behind."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import pytest

from meibel_integrations import errors
from tests.support import fault_wire as wire
from tests.support.asking import KEY, WAYS, Told, Way, active_connections, check, shown_of
from tests.support.clock import FakeClock
from tests.support.fault_wire import SESSION
from tests.support.faults import FAULTS, HISTORIES, LOOKS, Doubt, Fault, expected
from tests.support.servers import RawServer, json_answer

CLIENTS = [way for way in WAYS if way.library == "client"]
CASES = [
    pytest.param(fault, way, id=f"{fault}-{way}")
    for fault in FAULTS
    for way in CLIENTS
    if (fault.whole if way.whole_wire else fault.stream) is not None
]


@pytest.fixture
def written(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], str]]:
    """Everything that was logged, at any level, by anybody."""
    with caplog.at_level(logging.DEBUG):
        for name in ("httpx", "httpcore", "meibel_integrations", "asyncio"):
            caplog.set_level(logging.DEBUG, logger=name)
        yield lambda: "\n".join(f"{r.getMessage()} {r.args!r} {r.exc_text or ''}" for r in caplog.records)


def ask_once(fault: Fault, history: str, way: Way) -> tuple[Told, int]:
    """Asks, and checks that the turn was sent as often as it should be and that nothing stays open. Returns what was
    told and how often the history was read."""
    clock = FakeClock(fault.tick)
    with RawServer([SESSION], *fault.scripts(whole=way.whole_wire), history=HISTORIES[history]) as server:
        with way.client(base_url=server.base_url, clock=clock, timeout=fault.timeouts) as ask:
            told = ask()
            assert len(server.posts("/chat" if way.whole_wire else "/chat/stream")) == fault.posts
            assert len(server.posts()) == fault.posts + 1
            assert active_connections(ask.client) == 0  # type: ignore[attr-defined]
            if fault.slept is not None:
                assert clock.slept == list(fault.slept)
        ask = None  # type: ignore[assignment]
        assert all(connection.gone.wait(10) for connection in server.connections)
        return told, server.gets()


@pytest.mark.parametrize(("fault", "way"), CASES)
def test_a_fault(fault: Fault, way: Way, written: Callable[[], str]) -> None:
    result = fault.result(whole=way.whole_wire)
    told, looks = ask_once(fault, "complete", way)
    check(told, expected(result, "complete"), streamed=way.streamed)
    if isinstance(result, Doubt):
        assert looks == LOOKS["complete"]
        told, looks = ask_once(fault, "absent", way)
        check(told, expected(result, "absent"), streamed=way.streamed)
        assert isinstance(told.error, errors.TurnOutcomeUnknown)
        assert type(told.error.cause) is result.cause, "the transport tells what happened"
        assert looks == LOOKS["absent"]
    else:
        assert looks == 0, "nobody looks for what is clear"
    assert KEY not in shown_of(told.error) + written() + repr(told)


@pytest.mark.parametrize("way", CLIENTS, ids=str)
@pytest.mark.parametrize("history", ["back again", "unreachable"])
def test_a_history_that_breaks_too(way: Way, history: str) -> None:
    (fault,) = (each for each in FAULTS if each.name == "cut inside a delta")
    told, looks = ask_once(fault, history, way)
    check(told, expected(fault.result(whole=way.whole_wire), history), streamed=way.streamed)
    assert looks == LOOKS.get(history, looks) > 1


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_nobody_listens_when_the_turn_is_sent(way: Way, written: Callable[[], str]) -> None:
    """The one failure after which a turn is sent again without a look: it provably never left."""
    clock = FakeClock()
    closing = SESSION.replace(b"content-type:", b"connection: close\r\ncontent-type:")
    with RawServer([lambda _: server.refuse(), closing]) as server:
        with way.client(base_url=server.base_url, clock=clock) as ask:
            told = ask()
        assert isinstance(told.error, errors.NotSentError)
        assert len(server.posts()) == 1
        assert server.gets() == 0
        assert clock.slept == [0.5, 1.0]
        ask = None  # type: ignore[assignment]
        assert all(connection.gone.wait(10) for connection in server.connections)
    assert KEY not in shown_of(told.error) + written()


@pytest.mark.parametrize("way", CLIENTS, ids=str)
@pytest.mark.parametrize("status", [401, 429, 502])
def test_the_services_words_are_told(way: Way, status: int) -> None:
    refusal = json_answer({"message": "no herons today"}, status, retry_after="999")
    with (
        RawServer([SESSION], [refusal], history=[wire.history()]) as server,
        way.client(base_url=server.base_url, clock=FakeClock()) as ask,
    ):
        told = ask()
    assert "no herons today" in str(told.error)
    if status == 429:
        assert isinstance(told.error, errors.RateLimitError)
        assert told.error.retry_after == 999
