"""Every way a turn can fail, once: as bytes for a real socket, and as what a transport tells of those bytes.

A fault is clear, and then nobody looks into the session's history; or it leaves a doubt, and then the history decides.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from meibel_integrations import errors
from meibel_integrations.config import Timeouts
from tests.support import fault_wire as wire
from tests.support.fault_wire import ANSWERED, ASKED, CONNECTED, DELTA_EVENTS, ERROR, SIGNAL, TEXT, TURN
from tests.support.playing import Answer
from tests.support.servers import Step, event_stream, json_answer

__all__ = ["FAULTS", "HISTORIES", "LOOKS", "Doubt", "Fault", "Outcome", "expected", "told_of"]

Script = Iterable[Step]
Kind = type[Exception]
Outcome = Kind | bool
"""An error, or the answer: whether it is marked as recovered."""

HISTORIES: dict[str, list[Step]] = {
    "complete": [wire.history(ASKED, ANSWERED)],
    "late": [wire.history(), wire.history(ASKED), wire.history(ASKED, ANSWERED)],
    "running": [wire.history(ASKED)],
    "absent": [wire.history()],
    "failed": [
        json_answer(
            {
                "messages": [{"type": "user", "message": wire.QUESTION, "signal_id": SIGNAL}],
                "failed_turns": [{"signal_id": SIGNAL, "message": "no disk"}],
            }
        )
    ],
    "another turn": [
        json_answer(
            {
                "messages": [
                    {"type": "user", "message": "Who else is here?", "signal_id": "sig-0"},
                    {"type": "assistant", "message": "Me.", "signal_id": "sig-0"},
                ]
            }
        )
    ],
    "refused": [wire.page(403)],
    "unreachable": [wire.reset],
    "broken": [wire.page(503)],
    "back again": [wire.page(503), wire.page(503), wire.page(503), wire.reset, wire.history(ASKED, ANSWERED)],
}
"""What the session's history shows of the turn when somebody looks for it."""

LOOKS = {"complete": 1, "late": 3, "absent": 5, "failed": 1, "another turn": 1, "refused": 1, "back again": 5}
"""How many GETs that takes, where it does not depend on the deadline."""

UNKNOWN = errors.TurnOutcomeUnknown


@dataclass(frozen=True)
class Doubt:
    """The turn may have run.

    Attributes:
        cause: what is told as the cause where the history does not show the turn.
        unreadable: the error where the history cannot be read.
    """

    cause: Kind
    unreadable: Kind = UNKNOWN


@dataclass(frozen=True)
class Fault:
    """Scripts for the turn's POSTs, of a stream and of the whole answer as JSON (``None``: cannot occur there)."""

    name: str
    stream: tuple[Script, ...] | None
    whole: tuple[Script, ...] | None
    outcome: Outcome | Doubt
    whole_outcome: Outcome | Doubt | None = None
    posts: int = 1
    slept: tuple[float, ...] | None = None
    timeouts: Timeouts = field(default_factory=Timeouts)
    tick: float = 0.0

    def __str__(self) -> str:
        return self.name

    def scripts(self, *, whole: bool) -> tuple[Script, ...]:
        scripts = self.whole if whole else self.stream
        assert scripts is not None
        return scripts

    def result(self, *, whole: bool) -> Outcome | Doubt:
        return self.outcome if not whole or self.whole_outcome is None else self.whole_outcome


def expected(result: Outcome | Doubt, history: str) -> Outcome:
    """What a fault ends in with this history."""
    if not isinstance(result, Doubt):
        return result
    match history:
        case "complete" | "late" | "back again":
            return True
        case "failed":
            return errors.AgentTurnError
        case "refused" | "unreachable" | "broken":
            return result.unreadable
        case _:
            return UNKNOWN


def told_of(script: Script) -> Answer | Exception:
    """What a transport tells of a script: an answer, or the error that sending ended in."""
    head, chunks = b"", list[bytes | Exception]()
    for step in script:
        if isinstance(step, bytes) and not _is_whole(head):
            before, blank, after = (head + step).partition(b"\r\n\r\n")
            head = before + blank
            if after:
                chunks.append(after)
        elif isinstance(step, bytes):
            chunks.append(step)
        elif step is wire.reset:
            chunks.append(errors.ConnectionLostError("reset"))
        elif step is wire.quiet:
            chunks.append(errors.ReadTimeoutError("quiet"))
        elif hasattr(step, "piece"):
            chunks += [step.piece] * 100 + [errors.TotalTimeoutError("too long")]
    if not _is_whole(head):
        return next((c for c in chunks if isinstance(c, Exception)), errors.ConnectionLostError("no answer"))
    status, *lines = head.decode().strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    received = sum(len(chunk) for chunk in chunks if isinstance(chunk, bytes))
    ended = bool(chunks) and isinstance(chunks[-1], Exception)
    if received < int(headers.get("content-length", "0")) and not ended:
        chunks.append(errors.ConnectionLostError("incomplete"))
    return Answer(int(status.split(" ")[1]), headers, chunks)


def _is_whole(head: bytes) -> bool:
    return head.startswith(b"HTTP/1.1 ") and head.endswith(b"\r\n\r\n")


def _stream(*steps: Step, **headers: str) -> Script:
    return [event_stream(**headers), *steps]


def _json(data: bytes, *steps: Step, **headers: str) -> Script:
    return [wire.json_head(len(data), **headers), *(steps or [data])]


def _both(*scripts: Script) -> dict[str, Any]:
    """The same scripts whichever way the answer is asked for."""
    return {"stream": scripts, "whole": scripts}


BODY = wire.whole_body()
CUT_DELTA = DELTA_EVENTS[1][: len(DELTA_EVENTS[1]) // 2]
HUGE = wire.delta("x" * 10_000_000)
REDIRECT = wire.page(302, b"", location="http://elsewhere.test/v2/sessions/s1/chat")
BUSY = json_answer({"message": "slow down"}, 429, retry_after="7")
FULL = json_answer({"message": "come back tomorrow"}, 429, retry_after="86400")
SOON = Timeouts(idle=0.2)
CUT_STREAM, CUT_BODY = wire.cut_gzip(b"".join(TURN)), wire.cut_gzip(BODY)
GZIP = {"content_encoding": "gzip"}

# The response never began; it began and broke, or ended; what answered was not the service.
LOST = Doubt(errors.ConnectionLostError)
BROKEN = Doubt(errors.ConnectionLostError, errors.StreamInterrupted)
ENDED = Doubt(errors.StreamInterrupted, errors.StreamInterrupted)
SILENT = Doubt(errors.ReadTimeoutError)
DOWN = Doubt(errors.ServerError)
STRANGE = Doubt(errors.ProtocolError, errors.ProtocolError)
UNREADABLE = Doubt(errors.ProtocolError, errors.StreamInterrupted)
TOO_LARGE = Doubt(errors.ResponseTooLargeError, errors.StreamInterrupted)

FAULTS = [
    Fault("nothing", (_stream(*TURN),), ([json_answer(wire.WHOLE)],), False),
    Fault("reset before the head", outcome=LOST, **_both([wire.reset])),
    Fault("closed before the head", outcome=LOST, **_both([])),
    Fault("half a head", outcome=LOST, **_both([b"HTTP/1.1 200 OK\r\ncontent-ty", wire.reset])),
    Fault("no HTTP", outcome=LOST, **_both([b"SSH-2.0-OpenSSH_9.6\r\n\r\n"])),
    Fault("reset after the head", (_stream(wire.reset),), (_json(BODY, wire.reset),), BROKEN, LOST),
    Fault("cut after connected", (_stream(CONNECTED),), None, ENDED),
    Fault("cut between deltas", (_stream(CONNECTED, *DELTA_EVENTS[:3]),), None, ENDED),
    Fault(
        "cut inside a delta", (_stream(CONNECTED, DELTA_EVENTS[0], CUT_DELTA),), (_json(BODY, BODY[:30]),), ENDED, LOST
    ),
    Fault(
        "cut inside a character",
        (_stream(CONNECTED, wire.inside_a_character(DELTA_EVENTS[0])),),
        (_json(BODY, wire.inside_a_character(BODY)),),
        ENDED,
        LOST,
    ),
    Fault("cut without a completion", (_stream(*TURN[:-1]),), None, ENDED),
    Fault("cut inside the completion", (_stream(*TURN[:-1], TURN[-1][:-9]),), None, ENDED),
    Fault("completion without its blank line", (_stream(*TURN[:-1], TURN[-1].rstrip(b"\n")),), None, False),
    Fault("reset after the completion", (_stream(*TURN, wire.reset),), None, False),
    Fault("silence before the head", outcome=SILENT, timeouts=SOON, **_both([wire.quiet])),
    Fault(
        "stall",
        (_stream(*TURN[:3], wire.quiet),),
        (_json(BODY, BODY[:30], wire.quiet),),
        Doubt(errors.ReadTimeoutError, errors.StreamInterrupted),
        SILENT,
        timeouts=SOON,
    ),
    Fault(
        "slow drip",
        (wire.dripping(b"".join([event_stream(), *TURN]), 12, 0.01),),
        (wire.dripping(json_answer(wire.WHOLE), 12, 0.01),),
        False,
        timeouts=SOON,
    ),
    Fault("byte by byte", (_stream(*(bytes([b]) for event in TURN for b in event)),), None, False),
    Fault("502 in HTML", outcome=DOWN, **_both([wire.page(502)])),
    Fault("503 with Retry-After", outcome=DOWN, **_both([wire.page(503, retry_after="3")])),
    Fault("500 with a body that never ends", outcome=DOWN, timeouts=SOON, **_both([wire.page(500)[:-5], wire.quiet])),
    Fault(
        "429, then the answer",
        ([BUSY], _stream(*TURN)),
        ([BUSY], [json_answer(wire.WHOLE)]),
        False,
        posts=2,
        slept=(7.0,),
    ),
    Fault("429 three times", outcome=errors.RateLimitError, posts=3, slept=(7, 7), **_both([BUSY], [BUSY], [BUSY])),
    Fault("429 beyond the limit", outcome=errors.RateLimitError, slept=(), **_both([FULL])),
    Fault("401", outcome=errors.AuthenticationError, **_both([json_answer({"message": "who?"}, 401)])),
    Fault("422", outcome=errors.InvalidRequestError, **_both([json_answer({"detail": [None, {}]}, 422)])),
    Fault("200 in HTML", outcome=STRANGE, **_both([wire.page(200)])),
    Fault("200 and nothing", outcome=STRANGE, **_both([json_answer(None)])),
    Fault("200 and an error in JSON", outcome=STRANGE, **_both([json_answer({"error": {"code": 7}})])),
    Fault("204", outcome=STRANGE, **_both([b"HTTP/1.1 204 X\r\n\r\n"])),
    Fault("302 to another host", outcome=errors.RedirectError, **_both([REDIRECT])),
    Fault(
        "gzip",
        (_stream(gzip.compress(b"".join(TURN)), **GZIP),),
        (_json(gzip.compress(BODY), **GZIP),),
        False,
    ),
    Fault("truncated gzip", (_stream(CUT_STREAM, **GZIP),), (_json(CUT_BODY, **GZIP),), UNREADABLE, STRANGE),
    Fault(
        "gzip bomb",
        (_stream(wire.bomb(), **GZIP),),
        (_json(wire.bomb(), **GZIP),),
        TOO_LARGE,
        Doubt(errors.ResponseTooLargeError, errors.ProtocolError),
    ),
    Fault("no gzip at all", (_stream(*TURN, **GZIP),), None, UNREADABLE),
    Fault("an encoding that nobody asked for", (_stream(*TURN, content_encoding="br"),), None, UNREADABLE),
    Fault(
        "invalid JSON in one event",
        (_stream(*TURN[:3], b'event: partial_response\ndata: {"data": {"mess\n\n', *TURN[3:]),),
        ([json_answer(None).replace(b"null", b"{...")],),
        False,
        STRANGE,
    ),
    Fault("an error event", (_stream(*TURN[:3], ERROR),), None, errors.AgentTurnError),
    Fault("a 10 MB event", (_stream(*TURN[:3], HUGE, *TURN[3:]),), None, TOO_LARGE),
    Fault(
        "endless stream",
        (_stream(*TURN[:3], wire.endless(b": still here\n\n" * 50)),),
        ([wire.json_head(10**9), wire.endless(b" " * 500)],),
        errors.StreamInterrupted,
        UNKNOWN,
        timeouts=Timeouts(total=3.0),
        tick=0.1,
    ),
    Fault("endless line", (_stream(*TURN[:3], wire.endless(b"x" * 100_000)),), None, TOO_LARGE),
]
"""``TEXT`` is the answer of all that have one."""
assert TEXT.encode() in BODY
