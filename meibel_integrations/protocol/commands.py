"""What a flow may ask for.

A flow is a generator that does no I/O. It yields a command, a driver (one sync, one async, in ``transports.drivers``)
carries it out and sends the result back in; a command that fails raises inside the flow. So each operation is written
once, and a test can play it against a list of answers.

::

    def fetch(request):                      driver
        head = yield Send(request)      →    opens the exchange, answers with its ResponseHead
        body = b""
        while chunk := (yield Read()):  →    reads on, answers with bytes
            body += chunk
        yield Finish()                  →    frees the connection
        return body

A flow that is closed before its end can yield nothing more. What must happen then is named beforehand, by
:class:`WhenLeft`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from meibel_integrations.protocol.requests import Request

__all__ = [
    "FINISH",
    "NOW",
    "RANDOM",
    "READ",
    "Accepted",
    "Call",
    "Command",
    "Emit",
    "Finish",
    "Flow",
    "Now",
    "Random",
    "Read",
    "ResponseHead",
    "Send",
    "Sleep",
    "Wait",
    "Wakeup",
    "WhenLeft",
]


@dataclass(frozen=True, slots=True)
class ResponseHead:
    """A response's status and headers (names in lower case)."""

    status: int
    headers: Mapping[str, str]


class Wakeup(Protocol):
    """Something to wait for, at most some seconds."""

    def wait(self, seconds: float) -> bool:
        """Returns whether it came."""

    async def await_(self, seconds: float) -> bool: ...


@dataclass(frozen=True, slots=True)
class Send:
    """Sends a request; the result is the :class:`ResponseHead`. An earlier response is given up."""

    request: Request


@dataclass(frozen=True, slots=True)
class Read:
    """Reads on in the response; the result is the next bytes, ``b""`` at the end."""


@dataclass(frozen=True, slots=True)
class Finish:
    """Gives the response up, so that its connection is free."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The service has accepted the turn. Whoever waits for that goes on; the flow continues when it is read."""


@dataclass(slots=True)
class Emit:
    """Hands something to the caller: an event of a turn, an item of a list."""

    item: Any


@dataclass(frozen=True, slots=True)
class Sleep:
    """Waits that many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Wait:
    """Waits until something happens in this process or elsewhere, at most that many seconds."""

    wakeup: Wakeup
    seconds: float


@dataclass(frozen=True, slots=True)
class Now:
    """The result is the time, an aware datetime."""


@dataclass(frozen=True, slots=True)
class Random:
    """The result is a random number in ``[0, 1)``."""


@dataclass(frozen=True, slots=True)
class Call:
    """Calls a function; the result is its own. The async driver awaits ``asynchronously`` instead, and runs a function
    that has no such twin in a thread, as it may block."""

    function: Callable[[], Any]
    asynchronously: Callable[[], Awaitable[Any]] | None = None


@dataclass(frozen=True, slots=True)
class WhenLeft:
    """Names what the driver calls if the flow is closed before its end; ``None`` takes the name back."""

    call: Call | None


Command = Send | Read | Finish | Accepted | Emit | Sleep | Wait | Now | Random | Call | WhenLeft
T = TypeVar("T")
Flow = Generator[Command, Any, T]

# Commands without arguments need no second object.
READ, FINISH, NOW, RANDOM = Read(), Finish(), Now(), Random()
