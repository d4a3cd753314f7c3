"""What callers may pass, turned into what flows take; the same for the sync and the async clients."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from pydantic import BaseModel, ValidationError

from meibel_integrations.errors import InvalidInputError
from meibel_integrations.models import ChatMessageRequest, CreateSessionRequest
from meibel_integrations.protocol.dialects.llamacloud import checked_indexes
from meibel_integrations.protocol.requests import FilePart

__all__ = ["File", "file_reader", "index_ids_of", "session_options", "turn_body"]

File = str | os.PathLike[str] | tuple[str, bytes] | BinaryIO
"""A file to send along: a path, a name with its bytes, or an open binary file."""

_M = TypeVar("_M", bound=BaseModel)


def turn_body(body: Any, user_message: str | None, options: Mapping[str, Any]) -> ChatMessageRequest:
    """``body=`` may be ours, the official SDK's model, or a mapping; ``user_message=`` is the short form.

    Raises:
        InvalidInputError: both or neither are given, or a field is unknown or of the wrong type.
    """
    if (body is None) == (user_message is None):
        raise InvalidInputError("Pass the message as body=ChatMessageRequest(user_message=…) or as user_message=….")
    given = {key: value for key, value in options.items() if value is not None}
    if body is None:
        return _validated(ChatMessageRequest, {"user_message": user_message, **given})
    return _validated(ChatMessageRequest, {**_fields(body), **given})


def session_options(options: Any) -> CreateSessionRequest | None:
    """Options of a new session as ours, the official SDK's model, a mapping, or ``None``."""
    return None if options is None else _validated(CreateSessionRequest, _fields(options))


def index_ids_of(index_ids: Sequence[str] | None) -> tuple[str, ...]:
    """The indexes of a session or a message.

    Raises:
        InvalidInputError: more than the service takes, an id that is none, or one id that is not in a list.
    """
    if isinstance(index_ids, str):
        raise InvalidInputError(f"index_ids takes a list: index_ids=[{index_ids!r}].")
    try:
        found = tuple(index_ids or ())
    except TypeError:
        raise InvalidInputError(f"index_ids takes a list of ids, not {type(index_ids).__name__}.") from None
    return checked_indexes(found)


def _fields(value: Any) -> dict[str, Any]:
    if isinstance(value, BaseModel):
        return value.model_dump(exclude_unset=True)
    if isinstance(value, Mapping):
        return dict(value)
    raise InvalidInputError(f"A request body must be a model or a mapping, not {type(value).__name__}.")


def _validated(model: type[_M], fields: dict[str, Any]) -> _M:
    unknown = sorted(fields.keys() - model.model_fields.keys())
    if unknown:
        known = ", ".join(model.model_fields)
        raise InvalidInputError(f"{model.__name__} has no field {', '.join(unknown)}; it has: {known}.")
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        issues = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_input=False))
        raise InvalidInputError(f"{model.__name__}: {issues}") from None


_FILE_FIELD = "files"
"""Also for a single file: the SDK's body model has only ``files``, and the TypeScript SDK, the Python SDK 2.0.1 and the
API page send it. The Python SDK from 2.0.2 on sends one file as ``file``, which a FastAPI server ignores in silence."""


def file_reader(files: Sequence[File] | None) -> Callable[[], list[FilePart]] | None:
    """A function that reads the files (it blocks), or ``None`` without files.

    Raises:
        InvalidInputError: at once for what is not a file, from the function for a file that cannot be read.
    """
    if not files:
        return None
    if isinstance(files, str | bytes | os.PathLike):
        raise InvalidInputError("files= takes a list: files=[path].")
    for file in files:
        if not (isinstance(file, str | os.PathLike) or _is_named_bytes(file) or callable(getattr(file, "read", None))):
            raise InvalidInputError(f"A file must be a path, a (name, bytes) pair or a binary file, not {file!r:.80}.")
    return lambda: [_read(file) for file in files]


def _is_named_bytes(file: Any) -> bool:
    return isinstance(file, tuple) and len(file) == 2 and isinstance(file[0], str) and isinstance(file[1], bytes)


def _read(file: Any) -> FilePart:
    if isinstance(file, tuple):
        return FilePart(_FILE_FIELD, file[0], file[1])
    if isinstance(file, str | os.PathLike):
        path = Path(file)
        try:
            return FilePart(_FILE_FIELD, path.name, path.read_bytes())
        except OSError as error:
            raise InvalidInputError(f"The file {str(path)!r} cannot be read: {error.strerror or error}.") from error
    content = file.read()
    if not isinstance(content, bytes):
        raise InvalidInputError("A file object must be open in binary mode ('rb').")
    name = getattr(file, "name", None)
    return FilePart(_FILE_FIELD, Path(name).name if isinstance(name, str) else "file", content)
