"""Every operation, written once.

A flow is a generator: it yields commands, a driver (one sync, one async, in ``transports.base``) carries them out and
sends the result back in; a failed command raises inside the flow. A flow touches no socket, clock, lock or thread.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from meibel_integrations import errors
from meibel_integrations.config import RetryPolicy
from meibel_integrations.models import (
    ChatEvent,
    ChatMessageRequest,
    CreateSessionRequest,
    Message,
    Reply,
    Session,
    Usage,
)
from meibel_integrations.protocol import payloads
from meibel_integrations.protocol.agents import AgentRef
from meibel_integrations.protocol.dialects.base import Dialect
from meibel_integrations.protocol.dialects.llamacloud import LlamaCloudDialect
from meibel_integrations.protocol.dialects.meibel import MeibelDialect
from meibel_integrations.protocol.encoding import Decoder
from meibel_integrations.protocol.events import Completed, Failed
from meibel_integrations.protocol.reconcile import Found, Recovery, next_wait, search
from meibel_integrations.protocol.requests import EVENT_STREAM, FilePart, Request
from meibel_integrations.protocol.retry import retry_after, wait_before_retry
from meibel_integrations.protocol.sse import SSEParser
from meibel_integrations.protocol.text import Partials
from meibel_integrations.protocol.turn import Phase, Turn

__all__ = [
    "ACCEPTED",
    "MAX_BODY_BYTES",
    "Call",
    "Command",
    "Emit",
    "Finish",
    "Flow",
    "Head",
    "Now",
    "Random",
    "Read",
    "Send",
    "Sleep",
    "check_turn",
    "create_session",
    "fetch",
    "get_conversation",
    "get_failures",
    "get_history",
    "get_last_usage",
    "get_session",
    "has_ended",
    "list_chats",
    "list_sessions",
    "read_chat",
    "send_turn",
    "stream_turn",
]

MAX_BODY_BYTES = 64 * 1024 * 1024
"""Limit of a response that is read whole, in bytes."""


@dataclass(frozen=True, slots=True)
class Send:
    """Sends a request; the result is the :class:`Head` of its response. An earlier response is given up."""

    request: Request


@dataclass(frozen=True, slots=True)
class Read:
    """Reads on in the response; the result is the next bytes, ``b""`` at the end."""


@dataclass(frozen=True, slots=True)
class Finish:
    """Gives the response up, so that its connection is free."""


@dataclass(frozen=True, slots=True)
class Sleep:
    """Waits that many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Now:
    """The result is the time, an aware datetime."""


@dataclass(frozen=True, slots=True)
class Random:
    """The result is a random number in ``[0, 1)``."""


@dataclass(frozen=True, slots=True)
class Call:
    """Calls a function that may block; the result is its own. The async driver runs it in a thread."""

    function: Callable[[], Any]


@dataclass(slots=True)
class Emit:
    """Hands something to the caller: an event of a turn, an item of a list."""

    item: Any


Command = Send | Read | Finish | Sleep | Now | Random | Call | Emit
T = TypeVar("T")
Flow = Generator[Command, Any, T]

ACCEPTED = ChatEvent("status", message="accepted")
"""Emitted once by a streaming flow when the service has accepted the turn, so that a refusal is known before the first
event. The streams of ``client`` take it out."""

_READ, _FINISH, _NOW, _RANDOM = Read(), Finish(), Now(), Random()
_UNREADABLE = "its history could not be read"


@dataclass(frozen=True, slots=True)
class Head:
    """A response's status and headers (names in lower case)."""

    status: int
    headers: Mapping[str, str]


def fetch(request: Request, policy: RetryPolicy) -> Flow[Any]:
    """Sends a request and decodes its JSON answer (``None`` for an empty body), with retries where they do no harm."""
    head = yield from _send(request, policy)
    body = yield from _body(head)
    if not body.strip():
        return None
    try:
        return payloads.parse(body)
    except ValueError as error:
        kind = head.headers.get("content-type", "no content type")
        raise errors.ProtocolError(f"The service answered {head.status} with {kind}, which is not JSON.") from error


def create_session(
    dialect: Dialect, policy: RetryPolicy, agent: AgentRef, options: CreateSessionRequest | None = None
) -> Flow[Session]:
    """Opens a session."""
    body = yield from fetch(dialect.create_session(agent, options), policy)
    return dialect.read_session(body, agent)


def list_sessions(
    dialect: MeibelDialect, policy: RetryPolicy, agent_id: str, *, page_size: int = 50, **filters: str | None
) -> Flow[int]:
    """Emits an agent's sessions, page by page; returns their number.

    Ends at the first page that is empty or brings nothing new, whatever ``total`` says.
    """
    seen: set[str] = set()
    offset = 0
    while True:
        body = yield from fetch(dialect.list_sessions(agent_id, offset=offset, limit=page_size, **filters), policy)
        page = payloads.mappings(body if isinstance(body, list) else payloads.mapping(body).get("data"))
        new = [s for s in (dialect.read_session(item, AgentRef(agent_id)) for item in page) if s.id not in seen]
        for session in new:
            seen.add(session.id)
            yield Emit(session)
        offset += len(page)
        total = payloads.integer(payloads.mapping(body).get("total"))
        if not new or (total is not None and offset >= total):
            return len(seen)


def list_chats(dialect: LlamaCloudDialect, policy: RetryPolicy, *, page_size: int = 50) -> Flow[int]:
    """Emits a key's LlamaCloud sessions, page by page; returns their number."""
    seen: set[str] = set()
    token: str | None = None
    while True:
        body = yield from fetch(dialect.list_sessions(page_size=page_size, page_token=token), policy)
        page = [dialect.read_session(item) for item in payloads.mappings(payloads.mapping(body).get("items"))]
        new = [session for session in page if session.id not in seen]
        for session in new:
            seen.add(session.id)
            yield Emit(session)
        token = payloads.text(payloads.mapping(body).get("next_page_token"))
        if not token or not new:
            return len(seen)


def read_chat(dialect: LlamaCloudDialect, policy: RetryPolicy, request: Request) -> Flow[Session]:
    """A LlamaCloud session, as a summary or in full."""
    return dialect.read_session((yield from fetch(request, policy)))


def get_session(dialect: Dialect, policy: RetryPolicy, session_id: str) -> Flow[Session]:
    body = yield from fetch(dialect.get_session(session_id), policy)
    return dialect.read_session({"session_id": session_id, **payloads.mapping(body)})


def has_ended(dialect: Dialect, policy: RetryPolicy, session_id: str) -> Flow[bool]:
    """Whether the session's own status says that it accepts no further turns."""
    body = yield from fetch(dialect.get_session(session_id), policy)
    return dialect.has_ended(body)


def get_last_usage(dialect: Dialect, policy: RetryPolicy, session_id: str) -> Flow[Usage | None]:
    """The token usage of the session's last turn, as its details tell it."""
    body = yield from fetch(dialect.get_session(session_id), policy)
    return dialect.read_last_usage(body)


def get_conversation(
    dialect: Dialect, policy: RetryPolicy, session_id: str
) -> Flow[tuple[list[Message], Mapping[str, str]]]:
    """A session's user and assistant messages, and the reasons of its failed turns where the history tells them."""
    body = yield from fetch(dialect.get_history(session_id), policy)
    talk = [message for message in dialect.read_history(body) if message.role in ("user", "assistant")]
    return talk, dialect.read_failures(body)


def get_failures(dialect: Dialect, policy: RetryPolicy, session_id: str) -> Flow[Mapping[str, str]]:
    """The reasons of a session's failed turns, where its details tell them."""
    return dialect.read_failures((yield from fetch(dialect.get_session(session_id), policy)))


def get_history(
    dialect: Dialect, policy: RetryPolicy, session_id: str, *, include_tools: bool = False
) -> Flow[list[Message]]:
    """A session's messages in order; tool entries only on request."""
    body = yield from fetch(dialect.get_history(session_id), policy)
    messages = dialect.read_history(body)
    return messages if include_tools else [m for m in messages if m.role in ("user", "assistant")]


def send_turn(
    dialect: MeibelDialect,
    policy: RetryPolicy,
    session_id: str,
    body: ChatMessageRequest,
    *,
    recovery: Recovery = Recovery(),  # noqa: B008 - frozen
) -> Flow[Reply]:
    """One turn, answered whole. Fails, and is recovered, as :func:`stream_turn` is."""
    check_turn(dialect, body)

    def attempt(turn: Turn) -> Flow[ChatEvent]:
        turn.phase = Phase.SENT
        answer = yield from fetch(dialect.send_turn(session_id, body), policy)
        completed = dialect.read_answer(answer)
        if not completed.texts:
            raise errors.ProtocolError("The service's answer holds no text: neither clean_message nor message.")
        *_, done = turn.apply(completed)
        return done

    done = yield from _recovering(dialect, policy, session_id, body, "auto", recovery, attempt)
    assert done.reply is not None
    return done.reply


def stream_turn(
    dialect: Dialect,
    policy: RetryPolicy,
    session_id: str,
    body: ChatMessageRequest,
    files: Callable[[], Sequence[FilePart]] | None = None,
    *,
    partials: Partials = "auto",
    recovery: Recovery = Recovery(),  # noqa: B008 - frozen
    settle: Callable[[Reply], Flow[Reply]] | None = None,
    agent: AgentRef | None = None,
) -> Flow[Reply]:
    """One turn, streamed. Emits :data:`ACCEPTED` and the turn's events; returns the whole reply.

    If the connection breaks after the request may have arrived, the turn is looked for in the session's history: a
    complete answer is delivered from there (only the text that was not emitted yet; ``recovered`` is set), a running
    one is waited for.

    ``settle`` runs when the turn is complete and before ``done`` is emitted, so that it runs even for callers who
    stop at that event.

    Raises:
        APIError: the service refused the turn.
        NotSentError: it could not be reached; the turn was not sent.
        TurnOutcomeUnknown: the turn may have run, and the history does not tell, or does not show it.
        StreamInterrupted: the stream ended before the turn did, and the history could not be read.
        AgentTurnError: the agent reported a failure.
    """
    check_turn(dialect, body)
    parts: Sequence[FilePart] = ()
    if files is not None:
        parts = yield Call(files)

    def attempt(turn: Turn) -> Flow[ChatEvent]:
        turn.phase = Phase.SENT
        head = yield from _send(dialect.stream_turn(session_id, body, parts, agent), policy)
        _check_event_stream(head)
        turn.phase = Phase.ACCEPTED
        yield Emit(ACCEPTED)
        done = yield from _read_turn(dialect, turn, head)
        yield _FINISH
        if done is None:
            raise turn.interrupted("the connection was closed")
        return done

    done = yield from _recovering(dialect, policy, session_id, body, partials, recovery, attempt)
    assert done.reply is not None
    if agent is not None and agent.require_all_indexes and done.reply.skipped_index_ids:
        raise errors.AgentTurnError(
            f"These indexes could not be queried: {', '.join(done.reply.skipped_index_ids)}.",
            session_id=session_id,
            signal_id=done.reply.signal_id,
            phase=Phase.COMPLETED,
            partial_text=done.reply.message,
        )
    if settle is not None:
        done.reply = yield from settle(done.reply)
    yield Emit(done)
    return done.reply


def _recovering(
    dialect: Dialect,
    policy: RetryPolicy,
    session_id: str,
    body: ChatMessageRequest,
    partials: Partials,
    recovery: Recovery,
    attempt: Callable[[Turn], Flow[ChatEvent]],
) -> Flow[ChatEvent]:
    """Makes an attempt at a turn, and finds the turn again if the attempt ends in doubt. Returns the last event."""
    resends = 1 if recovery.on_ambiguous == "resend_once" else 0
    while True:
        turn = Turn(session_id, partials=partials)
        try:
            return (yield from attempt(turn))
        except (errors.NotSentError, errors.RedirectError):
            raise
        except (
            errors.TransportError,
            errors.ServerError,
            errors.ProtocolError,
            errors.StreamInterrupted,
        ) as error:
            yield _FINISH
            done = yield from _reconcile(dialect, policy, turn, body.user_message, recovery, error, resends)
            if done is not None:
                return done
        resends -= 1


def _reconcile(
    dialect: Dialect,
    policy: RetryPolicy,
    turn: Turn,
    text: str,
    recovery: Recovery,
    error: errors.MeibelIntegrationError,
    resends: int,
) -> Flow[ChatEvent | None]:
    """Emits what of the turn's answer was not shown yet and returns the last event; ``None`` to send it again."""
    try:
        return (yield from _search_on(dialect, policy, turn, text, recovery, error, resends))
    except errors.TotalTimeoutError:
        raise _in_doubt(turn, error, _UNREADABLE) from error


def _search_on(
    dialect: Dialect,
    policy: RetryPolicy,
    turn: Turn,
    text: str,
    recovery: Recovery,
    error: errors.MeibelIntegrationError,
    resends: int,
) -> Flow[ChatEvent | None]:
    """:func:`_reconcile`, within the total limit."""
    started: datetime = yield _NOW
    wait: float | None = None
    while True:
        found = yield from _look(dialect, policy, turn, text, recovery.baseline, error)
        if found.answer is not None:
            if turn.phase in (Phase.NOT_SENT, Phase.SENT):
                yield Emit(ACCEPTED)
            *before, done = turn.recover(found.answer)
            for shown in before:
                yield Emit(shown)
            return done
        if found.state == "failed":
            turn.apply(Failed(found.reason))
        if found.state == "unclear":
            raise _in_doubt(turn, error, "its history does not tell this turn from another") from error
        now: datetime = yield _NOW
        waited = (now - started).total_seconds()
        if found.state == "hidden" and waited >= recovery.grace:
            raise _in_doubt(turn, error, _UNREADABLE) from error
        if found.state == "absent" and waited >= recovery.grace:
            if resends > 0 and not turn.partial_text:
                return None
            raise _in_doubt(turn, error, "its history does not show it") from error
        if waited >= recovery.deadline:
            raise _in_doubt(turn, error, f"it is still running after {recovery.deadline:g} s") from error
        limit = recovery.deadline if found.state == "running" else recovery.grace
        wait = next_wait(wait)
        yield Sleep(min(wait, max(limit - waited, 0.01)))


def _look(
    dialect: Dialect,
    policy: RetryPolicy,
    turn: Turn,
    text: str,
    baseline: int | None,
    error: errors.MeibelIntegrationError,
) -> Flow[Found]:
    """What the history says of the turn now."""
    try:
        history, failures = yield from get_conversation(dialect, policy, turn.session_id or "")
    except errors.TotalTimeoutError:
        raise
    except (errors.TransportError, errors.ServerError):
        return Found("hidden")  # what broke the turn's connection may last a while
    except (errors.APIError, errors.ProtocolError):
        raise _in_doubt(turn, error, _UNREADABLE) from error
    return search(history, failures, text=text, signal_id=turn.signal_id, baseline=baseline)


def _in_doubt(turn: Turn, error: errors.MeibelIntegrationError, why: str) -> errors.MeibelIntegrationError:
    """The error for a turn of which nothing more can be found out. An answer that began to stream, and a response
    that was no answer, are told as that if there is no history to say more."""
    if why == _UNREADABLE and isinstance(error, errors.StreamInterrupted | errors.ProtocolError):
        return error
    cause = error.cause if isinstance(error, errors.StreamInterrupted) and error.cause is not None else error
    return errors.TurnOutcomeUnknown(
        f"The turn may or may not have run: {why}. ({error}) "
        "Read the session's history before sending the message again.",
        session_id=turn.session_id,
        signal_id=turn.signal_id,
        phase=turn.phase,
        partial_text=turn.partial_text,
        cause=cause,
    )


def _read_turn(dialect: Dialect, turn: Turn, head: Head) -> Flow[ChatEvent | None]:
    """Emits the turn's events but the last, ``done``, which is returned; ``None`` if the stream ended without it."""
    try:
        return (yield from _read_events(dialect, turn, head))
    except (errors.TransportError, errors.ProtocolError) as error:
        raise turn.interrupted(str(error), error) from error


def _read_events(dialect: Dialect, turn: Turn, head: Head) -> Flow[ChatEvent | None]:
    parser = SSEParser()
    decode, apply = dialect.decode, turn.apply
    decoder = Decoder(head.headers.get("content-encoding"))
    while chunk := (yield _READ):
        for piece in decoder.feed(chunk):
            for event in parser.feed(piece):
                for shown in apply(decode(event)):
                    if shown.type == "done":
                        return shown
                    yield Emit(shown)
    decoder.close()
    # The specification drops an event without its blank line. A completion that is whole is an answer all the
    # same: there are servers that end a stream with it.
    left = parser.close()
    last = None if left is None else decode(left)
    if isinstance(last, Completed):
        *before, done = apply(last)
        for shown in before:
            yield Emit(shown)
        return done
    return None


def check_turn(dialect: Dialect, body: ChatMessageRequest) -> None:
    """Whether a message can be sent.

    Raises:
        PromptTooLongError: it is longer than the service accepts.
        InvalidInputError: it is empty, or no valid Unicode.
    """
    limit, length = dialect.max_prompt_chars, len(body.user_message)
    if limit is not None and length > limit:
        raise errors.PromptTooLongError(
            f"The message has {length:,} characters; the service accepts {limit:,}. Shorten it."
        )
    if not body.user_message.strip():
        raise errors.InvalidInputError("The message is empty: the agent needs something to answer.")
    try:
        body.user_message.encode()
    except UnicodeEncodeError as error:
        raise errors.InvalidInputError(f"The message holds half a surrogate pair at {error.start}.") from None


def _send(request: Request, policy: RetryPolicy) -> Flow[Head]:
    """Sends a request until it is accepted (2xx) or its error stands."""
    attempt = 0
    while True:
        try:
            head: Head = yield Send(request)
            if 200 <= head.status < 300:
                return head
            raise (yield from _refusal(request, head))
        except errors.MeibelIntegrationError as error:
            jitter: float = yield _RANDOM
            wait = wait_before_retry(
                error, attempt=attempt, policy=policy, repeatable=request.repeatable, jitter=jitter
            )
            if wait is None:
                raise
            try:
                yield Sleep(wait)
            except errors.TotalTimeoutError:
                raise error from None  # no time for another attempt; this one's error says what became of it
        attempt += 1


def _body(head: Head) -> Flow[bytes]:
    decoder = Decoder(head.headers.get("content-encoding"))
    pieces: list[bytes] = []
    size = 0
    while chunk := (yield _READ):
        for piece in decoder.feed(chunk):
            pieces.append(piece)
            size += len(piece)
            if size > MAX_BODY_BYTES:
                raise errors.ResponseTooLargeError(f"The response is larger than {MAX_BODY_BYTES:,} bytes.")
    decoder.close()
    yield _FINISH
    return b"".join(pieces)


_BY_STATUS: dict[int, type[errors.APIError]] = {
    401: errors.AuthenticationError,
    403: errors.PermissionDeniedError,
    404: errors.NotFoundError,
    409: errors.ConflictError,
    429: errors.RateLimitError,
}


_HINTS = {401: " (Check the API key.)"}


def _refusal(request: Request, head: Head) -> Flow[errors.MeibelIntegrationError]:
    """The error for a response that is not a success."""
    status = head.status
    if status < 400:
        return errors.RedirectError(
            f"The service redirects ({status}) {request.method} {request.path}; redirects are not followed. "
            "Check base_url."
        )
    try:
        raw: bytes = yield from _body(head)
    except (errors.TransportError, errors.ProtocolError):
        raw = b""  # the status alone says enough
    body: Any
    try:
        body = payloads.parse(raw)
    except ValueError:
        body = None
    said = payloads.error_message(body)
    kind = _BY_STATUS.get(status, errors.ServerError if status >= 500 else errors.InvalidRequestError)
    detail = payloads.mapping(body)
    inner = payloads.mapping(detail.get("error"))
    error = kind(
        f"{request.method} {request.path} was refused with {status}: {said or _no_words(head)}{_HINTS.get(status, '')}",
        status_code=status,
        server_message=said,
        code=payloads.text(detail.get("code")) or payloads.text(inner.get("code")),
        request_id=payloads.text(detail.get("request_id"))
        or payloads.text(inner.get("request_id"))
        or head.headers.get("x-request-id"),
        session_id=request.session_id,
        body=body,
    )
    if isinstance(error, errors.RateLimitError):
        now: datetime = yield _NOW
        error.retry_after = retry_after(head.headers, now)
    return error


def _no_words(head: Head) -> str:
    kind = head.headers.get("content-type", "no content type")
    return f"the service gave no message ({kind})"


def _check_event_stream(head: Head) -> None:
    kind = head.headers.get("content-type", "")
    if kind.partition(";")[0].strip().lower() != EVENT_STREAM:
        raise errors.ProtocolError(
            f"The service answered {head.status} with {kind or 'no content type'} instead of an event stream. "
            "A proxy or a wrong base_url may be in between."
        )
