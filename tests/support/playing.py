"""Flows, played against a list of answers: no socket, no event loop, no time."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from meibel_integrations import errors
from meibel_integrations.config import RetryPolicy
from meibel_integrations.models import ChatMessageRequest
from meibel_integrations.protocol.commands import (
    Call,
    Emit,
    Now,
    Random,
    Read,
    ResponseHead,
    Send,
    Sleep,
    Wait,
)
from meibel_integrations.protocol.dialects.interface import TurnRequest
from meibel_integrations.protocol.dialects.meibel import MeibelDialect
from meibel_integrations.protocol.requests import Request
from meibel_integrations.protocol.service import Service
from meibel_integrations.protocol.turn import stream_turn
from meibel_integrations.transports.drivers import NotSentInTimeError

__all__ = ["GET", "HI", "SERVICE", "Answer", "Ran", "answer", "play", "stream", "turn"]

SERVICE = Service(MeibelDialect(), RetryPolicy())
NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
GET = Request("GET", "/x", repeatable=True)
HI = TurnRequest("s-1", ChatMessageRequest(user_message="hi"))
STREAM = {"content-type": "text/event-stream; charset=utf-8"}


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    chunks: list[bytes | Exception]


class Ran(NamedTuple):
    result: Any
    error: BaseException | None
    emitted: list[Any]
    commands: list[Any]

    @property
    def sent(self) -> list[Request]:
        return [c.request for c in self.commands if isinstance(c, Send)]

    @property
    def posts(self) -> int:
        return sum(request.method == "POST" for request in self.sent)

    @property
    def gets(self) -> int:
        return sum(request.method == "GET" for request in self.sent)

    @property
    def slept(self) -> list[float]:
        return [c.seconds for c in self.commands if isinstance(c, Sleep)]


def answer(body: Any, status: int = 200, **headers: str) -> Answer:
    return Answer(status, {"content-type": "application/json", **headers}, [json.dumps(body).encode()])


def stream(*chunks: bytes | Exception, **headers: str) -> Answer:
    return Answer(200, {**STREAM, **headers}, list(chunks))


def play(
    flow: Generator[Any, Any, Any],
    *answers: Answer | Exception,
    total: float | None = None,
    history: Sequence[Answer | Exception] = (),
    before: Callable[[Any], object] = id,
) -> Ran:
    """Runs a flow against these answers, one for each request; further requests get a 404.

    Args:
        total: from so many seconds on every wait fails.
        history: where given, GETs are answered from here, the last answer again and again.
        before: called with each command before it is carried out.
    """
    waiting, looks, body = list(answers), list(history), list[bytes | Exception]()
    emitted: list[Any] = []
    commands: list[Any] = []
    result: Any = None
    now = NOW
    over = False
    while True:
        try:
            command = flow.throw(result) if isinstance(result, Exception) else flow.send(result)
        except StopIteration as stop:
            return Ran(stop.value, None, emitted, commands)
        except errors.MeibelIntegrationError as error:
            return Ran(None, error, emitted, commands)
        before(command)
        if over and isinstance(command, Send | Sleep | Wait):
            result = NotSentInTimeError("no time left")
            continue
        commands.append(command)
        result = None
        match command:
            case Send(request):
                found = _next(request, waiting, looks)
                if isinstance(found, Exception):
                    result = found
                else:
                    result, body = ResponseHead(found.status, found.headers), list(found.chunks)
            case Read():
                result = body.pop(0) if body else b""
                over = isinstance(result, errors.TotalTimeoutError)
            case Emit(item):
                emitted.append(item)
            case Now():
                result = now
            case Sleep(seconds) if total is not None and now - NOW >= timedelta(seconds=total):
                result = errors.TotalTimeoutError("too long")
            case Sleep(seconds) | Wait(_, seconds):
                now += timedelta(seconds=seconds)
            case Random():
                result = 0.0
            case Call(function):
                result = function()


def _next(request: Request, waiting: list[Answer | Exception], looks: list[Answer | Exception]) -> Answer | Exception:
    if looks and request.method == "GET":
        return looks.pop(0) if len(looks) > 1 else looks[0]
    return waiting.pop(0) if waiting else answer({"message": "no such session"}, 404)


def turn(*answers: Answer | Exception, total: float | None = None, **options: Any) -> Ran:
    return play(stream_turn(SERVICE, HI, **options), *answers, total=total)
