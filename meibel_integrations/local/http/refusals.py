"""Every way in which the service says no, as JSON that the clients in the field understand.

``{code, message}`` is Meibel's error body; validation errors are FastAPI's ``{detail: [{loc, msg, type}]}``. The codes
are this service's own words (inferred: the API documents none). LlamaCloud's errors are all FastAPI's: ``{detail}``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from meibel_integrations.errors import InvalidInputError, SessionBusyError, SessionEndedError
from meibel_integrations.local.store.database import StorageError
from meibel_integrations.local.turns.runner import ClosingError, TooManyTurnsError

LLAMA_CLOUD_PREFIX = "/api/"


class Refusal(Exception):  # noqa: N818 - an answer, not a defect
    """Ends the handling of a request with an error answer."""

    def __init__(self, status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> None:
        super().__init__(body.get("message") or body.get("detail"))
        self.status = status
        self.body = body
        self.headers = headers

    def response(self, path: str) -> Response:
        """The answer, in the shape of the API that ``path`` belongs to."""
        body = self.body
        if path.startswith(LLAMA_CLOUD_PREFIX) and "detail" not in body:
            body = {"detail": body["message"]}
        return JSONResponse(body, self.status, headers=self.headers)


def refuse(status: int, code: str, message: str, *, headers: Mapping[str, str] | None = None, **more: Any) -> Refusal:
    return Refusal(status, {"code": code, "message": message, **more}, headers)


def not_found(what: str, name: str) -> Refusal:
    """The same answer for what is not there and for what belongs to another key."""
    return refuse(404, "not_found", f"there is no {what} {name!r}")


def not_emulated(method: str, path: str) -> Refusal:
    return refuse(404, "not_emulated", f"{method} {path} is not emulated by the local service of meibel-integrations")


def invalid(loc: Sequence[str | int], msg: str, kind: str = "value_error") -> Refusal:
    return Refusal(422, {"detail": [{"loc": list(loc), "msg": msg, "type": kind}]})


def invalid_fields(where: str, error: ValidationError) -> Refusal:
    """A pydantic error as FastAPI shows it, without the input (which may be long, or secret)."""
    items = [
        {"loc": [where, *item["loc"]], "msg": item["msg"], "type": item["type"]}
        for item in error.errors(include_url=False, include_input=False, include_context=False)
    ]
    return Refusal(422, {"detail": items})


async def answer_refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return error.response(request.url.path)


async def answer_busy(request: Request, error: Exception) -> Response:
    return refuse(409, "session_busy", str(error)).response(request.url.path)


async def answer_ended(request: Request, error: Exception) -> Response:
    """What a POST to an ended session answers is not documented; 409 is inferred."""
    return refuse(409, "session_ended", str(error)).response(request.url.path)


async def answer_storage(request: Request, error: Exception) -> Response:
    """The database file is at fault, and nothing of the request was stored."""
    assert isinstance(error, StorageError)
    return refuse(507 if error.full else 503, "storage_failed", str(error)).response(request.url.path)


async def answer_closing(request: Request, error: Exception) -> Response:
    return refuse(503, "closing", str(error)).response(request.url.path)


async def answer_full(request: Request, error: Exception) -> Response:
    return refuse(429, "too_many_turns", str(error), headers={"Retry-After": "1"}).response(request.url.path)


async def answer_unreadable(request: Request, error: Exception) -> Response:
    return invalid(["body", "file"], str(error)).response(request.url.path)


async def answer_http(request: Request, error: Exception) -> Response:
    """Starlette's own errors: no route for the path, or none for the method; a form that does not parse."""
    status = getattr(error, "status_code", 500)
    if status in (404, 405):
        return not_emulated(request.method, request.url.path).response(request.url.path)
    return refuse(status, "bad_request", str(getattr(error, "detail", error))).response(request.url.path)


async def answer_defect(request: Request, error: Exception) -> Response:
    """A defect of ours. The server logs the traceback; the client gets no inner detail."""
    refused = refuse(500, "internal_error", f"the local service failed ({type(error).__name__}); see its log")
    return refused.response(request.url.path)


async def answer_nobody(_: Request, __: Exception) -> Response:
    """The client left while it was still sending; nothing was begun, and nobody reads this."""
    return Response(status_code=400)


HANDLERS = {
    ClientDisconnect: answer_nobody,
    ClosingError: answer_closing,
    TooManyTurnsError: answer_full,
    Refusal: answer_refusal,
    SessionBusyError: answer_busy,
    SessionEndedError: answer_ended,
    InvalidInputError: answer_unreadable,
    StorageError: answer_storage,
}
