"""A request as data: what the transports send, without any HTTP library."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote

from meibel_integrations.errors import InvalidInputError

__all__ = ["EVENT_STREAM", "JSON", "FilePart", "Request", "path"]

JSON = "application/json"
EVENT_STREAM = "text/event-stream"


@dataclass(frozen=True, slots=True)
class FilePart:
    """A file of a multipart body, read already, so that it can be sent again."""

    field: str
    name: str
    content: bytes = dataclasses.field(repr=False)


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request, relative to the base URL. At most one of ``json`` and ``form`` is set.

    ``repeatable`` says that sending it twice does no harm, so that it may be retried after an ambiguous failure.
    """

    method: Literal["GET", "POST", "DELETE"]
    path: str
    query: tuple[tuple[str, str], ...] = ()
    json: Any = None
    form: tuple[tuple[str, str], ...] = ()
    files: tuple[FilePart, ...] = ()
    accept: str = JSON
    repeatable: bool = False
    session_id: str | None = None


def path(template: str, **parts: str) -> str:
    """Fills a path template; every part is quoted, so that an id can never name another route.

    Raises:
        InvalidInputError: a part is empty, not text, or a dot segment.
    """
    quoted = {}
    for name, value in parts.items():
        if not isinstance(value, str) or not value.strip():
            raise InvalidInputError(f"{name} must be a text that is not empty, not {value!r}")
        if value in (".", ".."):
            raise InvalidInputError(f"{name} cannot be {value!r}")
        quoted[name] = quote(value, safe="")
    return template.format(**quoted)
