"""Every way a connection can fail, in every way to ask.

Each ends in the whole answer, delivered once, or in an error that says what is known; the turn was sent as often as
the design's table says, nothing stays open, and nobody is told the key.
"""

from __future__ import annotations

import gzip
import logging
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from meibel_integrations import errors
from meibel_integrations.config import Timeouts
from tests.support import fault_wire as wire
from tests.support.asking import KEY, WAYS, Told, Way, active_connections
from tests.support.clock import FakeClock
from tests.support.fault_wire import ANSWERED, ASKED, CONNECTED, DELTA_EVENTS, ERROR, SESSION, SIGNAL, TEXT, TURN
from tests.support.servers import RawServer, Step, event_stream, json_answer

Script = Iterable[Step]
Kind = type[Exception]

# What the session's history shows of the turn when somebody looks for it.
HISTORIES: dict[str, list[Step]] = {
    "complete": [wire.history(ASKED, ANSWERED)],
    "late": [wire.history(), wire.history(ASKED), wire.history(ASKED, ANSWERED)],
    "running": [wire.history(ASKED)],
    "absent": [wire.history()],
    "unreachable": [wire.reset],
    "broken": [wire.page(503)],
    "back again": [wire.page(503), wire.page(503), wire.page(503), wire.reset, wire.history(ASKED, ANSWERED)],
}
UNKNOWN, CUT_OFF = errors.TurnOutcomeUnknown, errors.StreamInterrupted
Outcome = Kind | bool
"""An error, or the answer: whether it is marked as recovered."""

# The response never began, so the turn may or may not have run.
LOST: dict[str, Outcome] = {
    "complete": True,
    "late": True,
    "running": UNKNOWN,
    "absent": UNKNOWN,
    "unreachable": UNKNOWN,
    "broken": UNKNOWN,
    "back again": True,
}
FEW = ("complete", "absent", "unreachable")
# The stream had begun: where nothing more can be found out, that is what is known.
CUT: dict[str, Outcome] = {**LOST, "unreachable": CUT_OFF, "broken": CUT_OFF}
# What answered was not the service.
STRANGE: dict[str, Outcome] = {**LOST, "unreachable": errors.ProtocolError, "broken": errors.ProtocolError}


def always(outcome: Outcome) -> dict[str, Outcome]:
    """Nobody looks into the history."""
    return {"unreachable": outcome}


@dataclass(frozen=True)
class Fault:
    """Scripts for the turn's POSTs, of a stream and of the whole answer as JSON (``None``: cannot occur there)."""

    name: str
    stream: tuple[Script, ...] | None
    whole: tuple[Script, ...] | None
    outcomes: dict[str, Outcome]
    whole_outcomes: dict[str, Outcome] | None = None
    posts: int = 1
    slept: tuple[float, ...] | None = None
    histories: tuple[str, ...] = FEW
    timeouts: Timeouts = field(default_factory=Timeouts)
    tick: float = 0.0

    def __str__(self) -> str:
        return self.name

    def expected(self, way: Way) -> dict[str, Outcome]:
        outcomes = (self.whole_outcomes if way.whole_wire else None) or self.outcomes
        return {history: outcomes[history] for history in self.histories if history in outcomes}


def stream(*steps: Step, **headers: str) -> Script:
    return [event_stream(**headers), *steps]


def both(*scripts: Script) -> dict[str, Any]:
    """The same scripts whichever way the answer is asked for."""
    return {"stream": scripts, "whole": scripts}


BODY = wire.whole_body()
CUT_DELTA = DELTA_EVENTS[1][: len(DELTA_EVENTS[1]) // 2]
HUGE = wire.delta("x" * 10_000_000)
HUGE_BODY = BODY.replace(TEXT.encode(), TEXT.encode() + b"x" * 10_000_000)
PACKED = gzip.compress(b"".join(TURN))
REDIRECT = wire.page(302, b"", location="http://elsewhere.test/v2/sessions/s1/chat")
BUSY = json_answer({"message": "slow down"}, 429, retry_after="7")
FULL = json_answer({"message": "come back tomorrow"}, 429, retry_after="86400")
SOON = Timeouts(idle=0.08)

FAULTS = [
    Fault("nothing", (stream(*TURN),), ([json_answer(wire.WHOLE)],), always(False)),
    Fault("reset before the head", outcomes=LOST, histories=tuple(HISTORIES), **both([wire.reset])),
    Fault("closed before the head", outcomes=LOST, **both([])),
    Fault("half a head", outcomes=LOST, **both([b"HTTP/1.1 200 OK\r\ncontent-ty", wire.reset])),
    Fault("no HTTP", outcomes=LOST, **both([b"SSH-2.0-OpenSSH_9.6\r\n\r\n"])),
    Fault("reset after the head", (stream(wire.reset),), ([wire.json_head(99), wire.reset],), CUT, LOST),
    Fault("cut after connected", (stream(CONNECTED),), None, CUT),
    Fault("cut between deltas", (stream(CONNECTED, *DELTA_EVENTS[:3]),), None, CUT),
    Fault(
        "cut inside a delta",
        (stream(CONNECTED, DELTA_EVENTS[0], CUT_DELTA),),
        ([wire.json_head(len(BODY)), BODY[:30]],),
        CUT,
        LOST,
        histories=tuple(HISTORIES),
    ),
    Fault(
        "cut inside a character",
        (stream(CONNECTED, wire.inside_a_character(DELTA_EVENTS[0])),),
        ([wire.json_head(len(BODY)), wire.inside_a_character(BODY)],),
        CUT,
        LOST,
    ),
    Fault("cut without a completion", (stream(*TURN[:-1]),), None, CUT),
    Fault("cut inside the completion", (stream(*TURN[:-1], TURN[-1][:-9]),), None, CUT),
    Fault("completion without its blank line", (stream(*TURN[:-1], TURN[-1].rstrip(b"\n")),), None, always(False)),
    Fault("reset after the completion", (stream(*TURN, wire.reset),), None, always(False)),
    Fault("silence before the head", outcomes=LOST, timeouts=SOON, **both([wire.quiet])),
    Fault(
        "stall",
        (stream(*TURN[:3], wire.quiet),),
        ([wire.json_head(len(BODY)), BODY[:30], wire.quiet],),
        CUT,
        LOST,
        timeouts=SOON,
    ),
    Fault(
        "slow drip",
        (wire.dripping(b"".join([event_stream(), *TURN]), 12, 0.01),),
        (wire.dripping(json_answer(wire.WHOLE), 12, 0.01),),
        always(False),
        timeouts=SOON,
    ),
    Fault("byte by byte", (stream(*(bytes([b]) for event in TURN for b in event)),), None, always(False)),
    Fault("502 in HTML", outcomes=LOST, **both([wire.page(502)])),
    Fault("503 with Retry-After", outcomes=LOST, **both([wire.page(503, retry_after="3")])),
    Fault("500 with a body that never ends", outcomes=LOST, timeouts=SOON, **both([wire.page(500)[:-5], wire.quiet])),
    Fault(
        "429, then the answer",
        ([BUSY], stream(*TURN)),
        ([BUSY], [json_answer(wire.WHOLE)]),
        always(False),
        posts=2,
        slept=(7.0,),
    ),
    Fault(
        "429 three times", outcomes=always(errors.RateLimitError), posts=3, slept=(7, 7), **both([BUSY], [BUSY], [BUSY])
    ),
    Fault("429 beyond the limit", outcomes=always(errors.RateLimitError), slept=(), **both([FULL])),
    Fault("401", outcomes=always(errors.AuthenticationError), **both([json_answer({"message": "who?"}, 401)])),
    Fault("422", outcomes=always(errors.InvalidRequestError), **both([json_answer({"detail": [None, {}]}, 422)])),
    Fault("200 in HTML", outcomes=STRANGE, **both([wire.page(200)])),
    Fault("200 and nothing", outcomes=STRANGE, **both([json_answer(None)])),
    Fault("200 and an error in JSON", outcomes=STRANGE, **both([json_answer({"error": {"code": 7}})])),
    Fault("204", outcomes=STRANGE, **both([b"HTTP/1.1 204 X\r\n\r\n"])),
    Fault("302 to another host", outcomes=always(errors.RedirectError), **both([REDIRECT])),
    Fault(
        "gzip",
        (stream(PACKED, content_encoding="gzip"),),
        ([wire.json_head(len(gzip.compress(BODY)), content_encoding="gzip"), gzip.compress(BODY)],),
        always(False),
    ),
    Fault(
        "truncated gzip",
        (stream(wire.cut_gzip(b"".join(TURN)), content_encoding="gzip"),),
        ([wire.json_head(len(wire.cut_gzip(BODY)), content_encoding="gzip"), wire.cut_gzip(BODY)],),
        CUT,
        STRANGE,
    ),
    Fault(
        "gzip bomb",
        (stream(wire.bomb(), content_encoding="gzip"),),
        ([wire.json_head(len(wire.bomb()), content_encoding="gzip"), wire.bomb()],),
        CUT,
        STRANGE,
    ),
    Fault("no gzip at all", (stream(*TURN, content_encoding="gzip"),), None, CUT),
    Fault("an encoding that nobody asked for", (stream(*TURN, content_encoding="br"),), None, CUT),
    Fault(
        "invalid JSON in one event",
        (stream(*TURN[:3], b'event: partial_response\ndata: {"data": {"mess\n\n', *TURN[3:]),),
        ([json_answer(None).replace(b"null", b"{...")],),
        always(False),
        STRANGE,
    ),
    Fault("an error event", (stream(*TURN[:3], ERROR),), None, always(errors.AgentTurnError)),
    Fault("a 10 MB event", (stream(*TURN[:3], HUGE, *TURN[3:]),), None, CUT),
    Fault(
        "endless stream",
        (stream(*TURN[:3], wire.endless(b": still here\n\n" * 50)),),
        ([wire.json_head(10**9), wire.endless(b" " * 500)],),
        always(CUT_OFF),
        always(UNKNOWN),
        timeouts=Timeouts(total=3.0),
        tick=0.1,
    ),
    Fault("endless line", (stream(*TURN[:3], wire.endless(b"x" * 100_000)),), None, CUT),
]

CASES = [
    pytest.param(fault, history, way, id=f"{fault}-{history}-{way}")
    for fault in FAULTS
    for way in WAYS
    if (fault.whole if way.whole_wire else fault.stream) is not None
    for history in fault.expected(way)
]


@pytest.fixture
def written(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], str]]:
    """Everything that was logged, at any level, by anybody."""
    with caplog.at_level(logging.DEBUG):
        for name in ("httpx", "httpcore", "meibel_integrations", "asyncio"):
            caplog.set_level(logging.DEBUG, logger=name)
        yield lambda: "\n".join(f"{r.getMessage()} {r.args!r} {r.exc_text or ''}" for r in caplog.records)


def shown_of(error: BaseException | None) -> str:
    """All that an error, its causes and its attributes say."""
    seen: list[BaseException] = []
    waiting = [error]
    while waiting:
        each = waiting.pop()
        if each is None or any(each is other for other in seen):
            continue
        seen.append(each)
        waiting += [each.__cause__, each.__context__, getattr(each, "cause", None)]
    if error is None:
        return ""
    said = [f"{each} {each!r} {each.args!r} {vars(each)!r}" for each in seen]
    return "\n".join([*said, *traceback.format_exception(error)])


def check(told: Told, way: Way, expected: Outcome) -> None:
    if isinstance(expected, bool):
        assert told.error is None, shown_of(told.error)
        assert told.text == TEXT
        assert told.recovered is expected
        if way.streamed:
            assert "".join(told.pieces) == TEXT
        return
    assert isinstance(told.error, expected), shown_of(told.error)
    assert told.text is None
    if isinstance(told.error, errors.TurnError):
        assert told.error.session_id == "s1"
        assert told.error.phase
        assert TEXT.startswith(told.error.partial_text)
        if way.streamed:
            assert "".join(told.pieces) == told.error.partial_text


@pytest.mark.parametrize(("fault", "history", "way"), CASES)
def test_a_fault(fault: Fault, history: str, way: Way, written: Callable[[], str]) -> None:
    expected = fault.expected(way)[history]
    scripts = fault.whole if way.whole_wire else fault.stream
    assert scripts is not None
    clock = FakeClock(fault.tick)
    with RawServer([SESSION], *scripts, history=HISTORIES[history]) as server:
        options = {"base_url": server.base_url, "clock": clock, "timeout": fault.timeouts}
        with way.client(**options) as ask:
            told = ask()
            check(told, way, expected)
            assert len(server.posts("/chat" if way.whole_wire else "/chat/stream")) == fault.posts
            assert len(server.posts()) == fault.posts + 1
            assert active_connections(ask.client) == 0  # type: ignore[attr-defined]
            if fault.slept is not None:
                assert clock.slept == list(fault.slept)
        ask = None  # type: ignore[assignment]
        assert all(connection.gone.wait(10) for connection in server.connections)
    assert KEY not in shown_of(told.error) + written() + repr(told)


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
        assert clock.slept == [0.5, 1.0]
        ask = None  # type: ignore[assignment]
        assert all(connection.gone.wait(10) for connection in server.connections)
    assert KEY not in shown_of(told.error) + written()


@pytest.mark.parametrize("way", [w for w in WAYS if not w.whole_wire], ids=str)
def test_what_is_known_of_a_cut_turn_is_told(way: Way) -> None:
    with (
        RawServer([SESSION], stream(*TURN[:4]), history=[wire.history()]) as server,
        way.client(base_url=server.base_url, clock=FakeClock()) as ask,
    ):
        told = ask()
    error = told.error
    assert isinstance(error, errors.TurnOutcomeUnknown)
    assert (error.session_id, error.signal_id, error.phase) == ("s1", SIGNAL, "streaming")
    assert isinstance(error.cause, errors.MeibelIntegrationError) or error.cause is None
    assert error.partial_text
    assert isinstance(error, RuntimeError)


@pytest.mark.parametrize("way", WAYS, ids=str)
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
