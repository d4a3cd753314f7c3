"""Reading requests: JSON, forms and files, checked before anything happens."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request

from meibel_integrations.local.documents.uploads import Upload
from meibel_integrations.local.http.refusals import invalid, invalid_fields, refuse
from meibel_integrations.local.limits import Limits
from meibel_integrations.models import CreateSessionRequest

M = TypeVar("M", bound=BaseModel)


def _empty_is_absent(value: object) -> object:
    return None if value == "" else value


def _storable(text: str) -> str:
    # JSON can spell half of a surrogate pair, which is no text.
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError("not valid Unicode text (a lone surrogate)") from error
    return text


# What SQLite can count, and a wait that a clock can add to its time.
_LARGEST = 2**63 - 1
_YEAR = 365 * 24 * 3600

_Text = Annotated[str, AfterValidator(_storable)]
# A form has no null: an empty field stands for it. Booleans come as true, True or 1.
_Flag = Annotated[bool | None, BeforeValidator(_empty_is_absent)]


class ChatFields(BaseModel):
    """The fields of one chat message."""

    user_message: _Text
    timeout_seconds: Annotated[int | None, Field(ge=1, le=_YEAR), BeforeValidator(_empty_is_absent)] = None
    include_thinking: _Flag = None
    include_tool_activity: _Flag = None


class SessionQuery(BaseModel):
    """How an agent's sessions are listed. The default of ``limit`` is inferred."""

    offset: int = Field(default=0, ge=0, le=_LARGEST)
    limit: int = Field(default=50, ge=1, le=1000)
    sort_by: Literal["start_time", "status"] = "start_time"
    sort_order: Literal["asc", "desc"] = "desc"
    status: Literal["RUNNING", "COMPLETED", "FAILED", "CANCELED", "TERMINATED"] | None = None


class PageQuery(BaseModel):
    offset: int = Field(default=0, ge=0, le=_LARGEST)
    limit: int = Field(default=50, ge=1, le=1000)


class EndSession(BaseModel):
    status: Literal["COMPLETED", "FAILED", "CANCELED", "TERMINATED"] = "COMPLETED"


class ChatOptions(BaseModel):
    """The options of a new LlamaCloud chat. ``shared_access`` is kept and shown; nothing is shared here."""

    index_ids: list[_Text] | None = None
    shared_access: Literal["query", "read_only"] | None = None


class PromptFields(BaseModel):
    """The fields of one message of a LlamaCloud chat."""

    index_ids: list[_Text]
    prompt: _Text
    require_all_indexes: bool = False


class ChatQuery(BaseModel):
    """How LlamaCloud chats are listed. The default and the limits of ``page_size`` are inferred."""

    page_size: int = Field(default=50, ge=1, le=1000)
    page_token: Annotated[str | None, BeforeValidator(_empty_is_absent)] = None


async def read_chat(request: Request, limits: Limits, *, files: bool) -> tuple[ChatFields, list[Upload]]:
    """A chat message from JSON, from a form, or from a form with files.

    Raises:
        Refusal: 422 with the field that is wrong, or 413.
    """
    kind = _media_type(request)
    uploads: list[Upload] = []
    if kind in ("application/x-www-form-urlencoded", "multipart/form-data"):
        async with request.form(
            max_files=limits.max_files, max_fields=100, max_part_size=limits.max_body_bytes
        ) as form:
            fields: Any = {name: value for name, value in form.items() if isinstance(value, str)}
            if files:
                uploads = await _read_files(form, limits)
    else:
        fields = await read_json(request)
    chat = _validated(ChatFields, fields)
    if not chat.user_message.strip():
        raise invalid(["body", "user_message"], "the message is empty", "string_too_short")
    if len(chat.user_message) > limits.max_message_chars:
        raise invalid(["body", "user_message"], f"longer than {limits.max_message_chars} characters", "string_too_long")
    return chat, uploads


async def read_prompt(request: Request, limits: Limits) -> PromptFields:
    """A message of a LlamaCloud chat.

    Raises:
        Refusal: 422 with the field that is wrong.
    """
    fields = await read_model(request, PromptFields)
    _require_few_indexes(fields.index_ids, limits)
    if not fields.prompt.strip():
        raise invalid(["body", "prompt"], "the prompt is empty", "string_too_short")
    if len(fields.prompt) > limits.max_prompt_chars:
        too_long = f"the prompt has {len(fields.prompt)} characters; at most {limits.max_prompt_chars} are accepted"
        raise invalid(["body", "prompt"], too_long, "string_too_long")
    return fields


async def read_chat_options(request: Request, limits: Limits) -> ChatOptions:
    """The options of a new LlamaCloud chat; the body may be missing.

    Raises:
        Refusal: 422 with the field that is wrong.
    """
    options = await read_model(request, ChatOptions)
    _require_few_indexes(options.index_ids or (), limits)
    return options


def _require_few_indexes(index_ids: Sequence[str], limits: Limits) -> None:
    if len(index_ids) > limits.max_indexes:
        too_many = f"{len(index_ids)} indexes were named; at most {limits.max_indexes} are accepted"
        raise invalid(["body", "index_ids"], too_many, "too_long")


async def _read_files(form: FormData, limits: Limits) -> list[Upload]:
    """Parts named ``file`` (the Python SDK) or ``files`` (the TypeScript SDK); text in their place is no file."""
    uploads = []
    for name, value in form.multi_items():
        if name not in ("file", "files") or not isinstance(value, UploadFile):
            continue
        filename = value.filename or "file"
        if value.size is not None and value.size > limits.max_file_bytes:
            raise refuse(413, "file_too_large", f"{filename!r} is larger than {limits.max_file_bytes} bytes")
        uploads.append(Upload(filename, value.content_type, await value.read()))
    return uploads


async def read_json(request: Request) -> Any:
    """The body as JSON; ``None`` for an empty one."""
    body = await request.body()
    if not body.strip():
        return None
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise invalid(["body"], f"the body is not JSON: {error}", "json_invalid") from error


async def read_options(request: Request) -> CreateSessionRequest:
    """The options of a new session; the body may be missing."""
    return _validated(CreateSessionRequest, await read_json(request) or {})


async def read_model(request: Request, model: type[M]) -> M:
    return _validated(model, await read_json(request) or {})


def read_query(request: Request, model: type[M]) -> M:
    try:
        return model.model_validate(dict(request.query_params))
    except ValidationError as error:
        raise invalid_fields("query", error) from error


def _validated(model: type[M], fields: Any) -> M:
    try:
        return model.model_validate({} if fields is None else fields)
    except ValidationError as error:
        raise invalid_fields("body", error) from error


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()
