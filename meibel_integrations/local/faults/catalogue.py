"""Faults on request: what a test asks the service to do wrong, for the next turns of its key.

How each is done is in ``fault_responses``.
"""

from __future__ import annotations

from collections import deque
from threading import Lock
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["FAULTS", "VARIANTS", "Fault", "FaultName", "Faults"]

FaultName = Literal[
    "reset_before_head",
    "reset_after_head",
    "cut_after_connected",
    "cut_inside_delta",
    "cut_inside_character",
    "no_blank_line",
    "stall",
    "slow_drip",
    "bad_gateway",
    "unavailable",
    "too_many_requests",
    "html",
    "redirect",
    "truncated_gzip",
    "gzip_bomb",
    "invalid_json",
    "error_event",
    "huge_event",
    "endless",
    "snapshots",
    "json_text",
    "nested_events",
    "upper_case",
    "repeated_events",
    "done_marker",
    "no_completion",
    "empty_completion",
    "trimmed_completion",
    "ndjson",
]

VARIANTS: dict[FaultName, str] = {
    "snapshots": "each partial text is everything so far, not the new text alone",
    "json_text": "the data of each event is JSON text inside of JSON",
    "nested_events": "each event is {event, data} inside of its data",
    "upper_case": "the kinds of the events are in upper case",
    "repeated_events": "each event with a sequence comes twice",
    "done_marker": "the stream ends with data: [DONE] behind the completion",
    "no_completion": "data: [DONE] comes in place of the completion",
    "empty_completion": "the completion has no text",
    "trimmed_completion": "the completion's text is without its last character",
    "ndjson": "the stream is JSON, one object a line",
}
"""Nothing breaks: the answer comes in another form, which the documents do not exclude."""

FAULTS: dict[FaultName, str] = {
    "reset_before_head": "the connection is reset before any answer",
    "reset_after_head": "the connection is reset after the response's head",
    "cut_after_connected": "the connection ends after the stream's first event",
    "cut_inside_delta": "the connection ends inside of an event",
    "cut_inside_character": "the connection ends inside of an event and of a UTF-8 character",
    "no_blank_line": "the stream ends without the blank line behind its last event",
    "stall": "nothing more is sent, and the connection stays open until the client leaves",
    "slow_drip": "the response comes a few bytes at a time",
    "bad_gateway": "502 with a page in HTML",
    "unavailable": "503 with Retry-After",
    "too_many_requests": "429 with Retry-After",
    "html": "200 with a page in HTML",
    "redirect": "302 to another address",
    "truncated_gzip": "the response is compressed, and its end is missing",
    "gzip_bomb": "the response is a few kilobytes that decompress to 64 MB",
    "invalid_json": "one event of the stream, or the whole answer, is not JSON",
    "error_event": "the stream ends with an error event",
    "huge_event": "one event of the stream has 10 MB",
    "endless": "the stream goes on with comments until the client leaves",
    **VARIANTS,
}

OF_STREAMS: frozenset[FaultName] = frozenset(VARIANTS) | {
    "cut_after_connected",
    "cut_inside_delta",
    "cut_inside_character",
    "no_blank_line",
    "error_event",
    "huge_event",
    "endless",
}
"""They wait for a streamed turn."""

INSTEAD: frozenset[FaultName] = frozenset(
    {"reset_before_head", "bad_gateway", "unavailable", "too_many_requests", "html", "redirect"}
)
"""They show nothing of the answer, so the turn may run or not."""

_REFUSALS: frozenset[FaultName] = frozenset({"too_many_requests", "redirect"})


class Fault(BaseModel):
    """One fault and how often it is to happen.

    Attributes:
        fault: its name.
        times: how many turn requests it strikes.
        runs: whether the turn runs all the same, so that its answer is in the session's history. Unless given, all
            turns run but those that are refused with 429 or redirected. A turn whose answer begins runs always.
        after: how many events are sent before the one that is struck.
        seconds: the pause between two pieces.
        retry_after: the wait that 429 and 503 ask for, in seconds.
        location: where the redirect leads.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    fault: FaultName
    times: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    runs: bool | None = None
    after: Annotated[int, Field(ge=0, le=1_000_000)] = 1
    seconds: Annotated[float, Field(ge=0, le=3600)] = 0.02
    retry_after: Annotated[int, Field(ge=0, le=1_000_000)] = 1
    location: str = "http://127.0.0.1:9/"

    @model_validator(mode="after")
    def _check_runs(self) -> Fault:
        if self.runs is False and self.fault not in INSTEAD:
            raise ValueError(f"runs=False: the turn of {self.fault!r} always runs, as its answer begins")
        return self

    @property
    def turn_runs(self) -> bool:
        """Whether the turn runs."""
        return self.fault not in _REFUSALS if self.runs is None else self.runs


class Faults:
    """The faults that were asked for, by tenant, in the order in which they will happen. Thread-safe."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._waiting: dict[str, deque[Fault]] = {}

    def add(self, tenant: str, fault: Fault) -> None:
        with self._lock:
            self._waiting.setdefault(tenant, deque()).append(fault)

    def clear(self, tenant: str) -> None:
        with self._lock:
            self._waiting.pop(tenant, None)

    def waiting(self, tenant: str) -> list[Fault]:
        """What is still to happen, each with the number of times that are left."""
        with self._lock:
            return list(self._waiting.get(tenant, ()))

    def take(self, tenant: str, *, streamed: bool) -> Fault | None:
        """The fault for a turn request that has come, ``None`` if it is to be answered well."""
        with self._lock:
            waiting = self._waiting.get(tenant, ())
            for i, fault in enumerate(waiting):
                if streamed or fault.fault not in OF_STREAMS:
                    left = fault.times - 1
                    assert isinstance(waiting, deque)
                    if left:
                        waiting[i] = fault.model_copy(update={"times": left})
                    else:
                        del waiting[i]
                    return fault
        return None
