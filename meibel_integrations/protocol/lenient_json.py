"""Reading JSON that nobody vouches for.

Every optional field may be missing, ``null`` or of another type than documented; what cannot be read as meant is
treated as not said, and never fails a turn.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic_core import from_json

from meibel_integrations.models import Usage

__all__ = [
    "error_message",
    "integer",
    "leftover",
    "mapping",
    "mappings",
    "number",
    "parse",
    "parse_text",
    "sequence",
    "text",
    "timestamp",
    "usage",
    "whole_characters",
]

_INPUT = ("input_tokens", "prompt_tokens", "total_input_tokens")
_OUTPUT = ("output_tokens", "completion_tokens", "total_output_tokens")
_TOTAL = ("total_tokens", "total")


def parse(raw: str | bytes) -> Any:
    """Decodes JSON; half a surrogate pair, which some servers cut text at, becomes the replacement character.

    Raises:
        ValueError: it is not JSON.
    """
    return parse_text(raw)[1]


def parse_text(raw: str | bytes) -> tuple[Any, Any]:
    """Decodes JSON twice over: with the halves of surrogate pairs as they are, as their other halves may follow in
    another text, and as :func:`parse` does. Without halves both are one object.

    Raises:
        ValueError: it is not JSON.
    """
    try:
        value = from_json(raw)
    except ValueError:
        value = json.loads(raw)
        return value, _without_surrogates(value)
    return value, value


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return whole_characters(value)
    if isinstance(value, list):
        return [_without_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(item) for key, item in value.items()}
    return value


def whole_characters(value: str) -> str:
    """A text whose halves of surrogate pairs are joined, or replaced where the other half is missing."""
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def text(value: Any) -> str | None:
    """A string, or ``None``. Ids that arrive as integers are strings, too."""
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def integer(value: Any) -> int | None:
    """A whole number, or ``None``; ``3.0`` and ``"3"`` count, ``True`` does not."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    if isinstance(value, str) and value.strip().lstrip("-").isdecimal():
        return int(value)
    return None


def number(value: Any) -> float | None:
    """A finite number, or ``None``."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def mapping(value: Any) -> Mapping[str, Any]:
    """An object, or an empty one."""
    return value if isinstance(value, dict) else {}


def sequence(value: Any) -> list[Any]:
    """An array, or an empty one."""
    return value if isinstance(value, list) else []


def mappings(value: Any) -> list[Mapping[str, Any]]:
    """The objects of an array; anything else in it is left out."""
    return [item for item in sequence(value) if isinstance(item, dict)]


def timestamp(value: Any) -> datetime | None:
    """An ISO 8601 text or a Unix time in seconds as an aware UTC datetime. A time without a zone is taken for UTC."""
    try:
        if isinstance(value, str):
            found = datetime.fromisoformat(value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found = datetime.fromtimestamp(value, UTC)
        else:
            return None
    except (ValueError, OverflowError, OSError):
        return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def leftover(body: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    """What an object holds besides what is known of it; empty fields say nothing."""
    return {key: value for key, value in body.items() if key not in known and value not in (None, "", [], {})}


def usage(value: Any) -> Usage | None:
    """Token counts. The keys of the hosted service are not documented: the common names of the field are read, all
    others are kept in ``details``, those of inner objects too. Without an input and an output count there is no usage:
    nothing is invented."""
    details = _counts(mapping(value))
    counts = {key: count for key, raw in details.items() if (count := integer(raw)) is not None}
    given, made = _first(counts, _INPUT), _first(counts, _OUTPUT)
    if given is None or made is None:
        return None
    total = _first(counts, _TOTAL)
    return Usage(
        input_tokens=given, output_tokens=made, total_tokens=given + made if total is None else total, details=details
    )


def _counts(body: Mapping[str, Any]) -> dict[str, int | float]:
    """The numbers of an object and of those inside it; an outer one stands before an inner one of the same name."""
    found: dict[str, int | float] = {}
    for inner in body.values():
        if isinstance(inner, dict):
            found.update(_counts(inner))
    for key, raw in body.items():
        count = integer(raw)
        exact = number(raw) if count is None else count
        if exact is not None:
            found[key] = exact
    return found


def _first(counts: Mapping[str, int], names: tuple[str, ...]) -> int | None:
    return next((counts[name] for name in names if name in counts), None)


def error_message(body: Any) -> str:
    """The service's own words in an error body of any shape, or ``""``."""
    if isinstance(body, str):
        return body.strip()
    for key in ("message", "error", "detail", "reason", "description", "content", "text"):
        value = mapping(body).get(key)
        if isinstance(value, str) and value:
            return value
        if isinstance(value, dict) and (inner := error_message(value)):
            return inner
        if isinstance(value, list):
            parts = [_issue(item) for item in value]
            return "; ".join(part for part in parts if part)
    return ""


def _issue(item: Any) -> str:
    """One entry of FastAPI's validation errors."""
    if not isinstance(item, dict):
        return str(item)
    where = ".".join(str(part) for part in sequence(item.get("loc")))
    what = text(item.get("msg")) or ""
    return f"{where}: {what}" if where and what else where or what
