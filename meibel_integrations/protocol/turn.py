"""One turn of a session, streamed or answered whole.

::

    stream ─▶ [attempt] ─▶ send ─▶ Accepted ─▶ read events ─▶ DoneEvent
                  │  ▲                               │
                  │  └── send again (absent, and the caller allows it)
                  └── anything in doubt ─▶ LostTurn.find ─▶ DoneEvent, or a typed error

A turn is sent once. What provably did not arrive is sent again by ``Service.send``; everything ambiguous goes through
``recovery``. The last event is returned, not emitted, so that the caller can note the answer before anybody sees it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from meibel_integrations import errors
from meibel_integrations.config import RecoveryPolicy
from meibel_integrations.models import ChatMessageRequest, DoneEvent
from meibel_integrations.protocol.accumulator import Phase, TurnAccumulator
from meibel_integrations.protocol.commands import FINISH, READ, Accepted, Call, Emit, Flow, ResponseHead
from meibel_integrations.protocol.content_encoding import Decoder
from meibel_integrations.protocol.dialects.interface import Dialect, TurnRequest
from meibel_integrations.protocol.dialects.meibel import MeibelDialect
from meibel_integrations.protocol.events import Completed, Failed
from meibel_integrations.protocol.json_stream import JSONParser, parser_for
from meibel_integrations.protocol.lenient_json import mapping
from meibel_integrations.protocol.recovery import LostTurn
from meibel_integrations.protocol.requests import EVENT_STREAM, FilePart
from meibel_integrations.protocol.service import Service
from meibel_integrations.protocol.sse import SSEEvent, SSEParser
from meibel_integrations.protocol.text import Partials, ProvenReading

__all__ = ["check_turn", "send_turn", "stream_turn"]

_DEFAULT_RECOVERY = RecoveryPolicy()


def stream_turn(
    service: Service[Dialect],
    request: TurnRequest,
    *,
    read_files: Callable[[], Sequence[FilePart]] | None = None,
    partials: Partials = "auto",
    proven: ProvenReading | None = None,
    recovery: RecoveryPolicy = _DEFAULT_RECOVERY,
    turns_before: int | None = None,
) -> Flow[DoneEvent]:
    """Sends a turn and emits its events but the last one, which it returns.

    If the connection breaks after the request may have arrived, the turn is looked for in the session's history: a
    complete answer is delivered from there (only the text that was not emitted yet; ``recovered`` is set), a running
    one is waited for.

    Args:
        request: the turn; :func:`check_turn` has passed its message.
        read_files: reads the files that ride along; it may block.
        partials: what the caller says that partial texts are.
        proven: what earlier turns proved them to be; changed if this turn proves another reading.
        turns_before: how many user turns the session had before, ``None`` if unknown.

    Raises:
        APIError: the service refused the turn.
        NotSentError: it could not be reached; the turn was not sent.
        TurnOutcomeUnknown: the turn may have run, and the history does not tell, or does not show it.
        StreamInterrupted: the stream ended before the turn did, and the history could not be read.
        AgentTurnError: the agent reported a failure.
    """
    if read_files is not None:
        request = replace(request, files=tuple((yield Call(read_files))))

    def attempt(turn: TurnAccumulator) -> Flow[DoneEvent]:
        turn.phase = Phase.SENT
        head = yield from service.send(service.dialect.stream_turn(request))
        _check_stream(head)
        turn.phase = Phase.ACCEPTED
        yield Accepted()
        done = yield from _read_turn(service.dialect, turn, head)
        yield FINISH  # whoever keeps the last event keeps no connection
        return done

    def begin() -> TurnAccumulator:
        return TurnAccumulator(request.session_id, partials=partials, proven=proven)

    done = yield from _recovering(service, request, begin, recovery, turns_before, attempt)
    if request.require_all_indexes and done.reply.skipped_index_ids:
        raise errors.AgentTurnError(
            f"These indexes could not be queried: {', '.join(done.reply.skipped_index_ids)}.",
            session_id=request.session_id,
            signal_id=done.reply.signal_id,
            phase=Phase.COMPLETED,
            partial_text=done.reply.message,
        )
    return done


def send_turn(
    service: Service[MeibelDialect],
    request: TurnRequest,
    *,
    recovery: RecoveryPolicy = _DEFAULT_RECOVERY,
    turns_before: int | None = None,
) -> Flow[DoneEvent]:
    """One turn, answered whole. Fails, and is recovered, as :func:`stream_turn` is."""

    def attempt(turn: TurnAccumulator) -> Flow[DoneEvent]:
        turn.phase = Phase.SENT
        answer = yield from service.fetch(service.dialect.send_turn(request))
        answered = service.dialect.read_answer(answer)
        if isinstance(answered, Failed):
            raise _no_answer(answered)
        if isinstance(answered, Completed) and not answered.texts:
            raise errors.ProtocolError("The service's answer holds no text: neither clean_message nor message.")
        *_, done = turn.apply(answered)
        assert isinstance(done, DoneEvent)
        return done

    def begin() -> TurnAccumulator:
        return TurnAccumulator(request.session_id)

    return (yield from _recovering(service, request, begin, recovery, turns_before, attempt))


def _recovering(
    service: Service[Dialect],
    request: TurnRequest,
    begin: Callable[[], TurnAccumulator],
    recovery: RecoveryPolicy,
    turns_before: int | None,
    attempt: Callable[[TurnAccumulator], Flow[DoneEvent]],
) -> Flow[DoneEvent]:
    """Makes an attempt at a turn, and finds the turn again if the attempt ends in doubt."""
    may_resend = recovery.on_ambiguous == "resend_once"
    while True:
        turn = begin()
        try:
            return (yield from attempt(turn))
        except (errors.NotSentError, errors.RedirectError):
            raise
        except (
            errors.TransportError,
            errors.ServerError,
            errors.ProtocolError,
            errors.StreamInterrupted,
            errors.TurnOutcomeUnknown,
        ) as error:
            lost = LostTurn(turn, request.body.user_message, turns_before, error)
            done = yield from lost.find(service, recovery, may_resend=may_resend)
            if done is not None:
                return done
        may_resend = False


def _read_turn(dialect: Dialect, turn: TurnAccumulator, head: ResponseHead) -> Flow[DoneEvent]:
    """Emits the turn's events but the last, which is returned.

    Raises:
        StreamInterrupted: the stream ended, broke or was unreadable before the turn's end.
        TurnOutcomeUnknown: the service said that the stream ends, without an answer.
    """
    parser: SSEParser | JSONParser | None = None
    decode, apply = dialect.decode, turn.apply
    try:
        decoder = Decoder(head.headers.get("content-encoding"))
        while chunk := (yield READ):
            for piece in decoder.feed(chunk):
                if parser is None:
                    if not piece.strip():
                        continue
                    parser = parser_for(piece)
                for event in parser.feed(piece):
                    for shown in apply(decode(event)):
                        if isinstance(shown, DoneEvent):
                            return shown
                        yield Emit(shown)
        decoder.close()
    except (errors.TransportError, errors.ProtocolError) as error:
        raise turn.interrupted(str(error), error) from error
    return (yield from _read_end(dialect, turn, head, parser))


def _read_end(
    dialect: Dialect, turn: TurnAccumulator, head: ResponseHead, parser: SSEParser | JSONParser | None
) -> Flow[DoneEvent]:
    """The end of a response in which the turn did not end so far: a document, or an event without its blank line."""
    for last in map(dialect.decode, _left_over(parser)):
        # The specification drops an event without its blank line. A completion that is whole is an answer all the
        # same, and a failure's words are worth telling: there are servers that end a stream with it.
        if isinstance(parser, SSEParser) and not isinstance(last, Completed | Failed):
            break
        if isinstance(parser, JSONParser) and isinstance(last, Failed) and "type" not in mapping(last.data):
            raise _no_answer(last)
        for shown in turn.apply(last):
            if isinstance(shown, DoneEvent):
                return shown
            yield Emit(shown)
    if turn.phase is Phase.ACCEPTED and _media_type(head) != EVENT_STREAM:
        raise _no_stream(head)
    raise turn.interrupted("the connection was closed")


def _no_answer(said: Failed) -> errors.ProtocolError:
    """The error for an error body behind a status of success. A gateway may have sent it, so the turn is in doubt."""
    return errors.ProtocolError(f"The service answered with an error instead of an answer: {said.message}")


def _left_over(parser: SSEParser | JSONParser | None) -> list[SSEEvent]:
    if isinstance(parser, JSONParser):
        return parser.close()
    left = None if parser is None else parser.close()
    return [] if left is None else [left]


def check_turn(service: Service[Dialect], body: ChatMessageRequest) -> None:
    """Whether a message can be sent.

    Raises:
        PromptTooLongError: it is longer than the service accepts.
        InvalidInputError: it is empty, or no valid Unicode.
    """
    limit, length = service.dialect.max_prompt_chars, len(body.user_message)
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


def _check_stream(head: ResponseHead) -> None:
    """JSON is let through: it may be the answer, or say why there is none."""
    if _media_type(head) != EVENT_STREAM and "json" not in _media_type(head):
        raise _no_stream(head)


def _media_type(head: ResponseHead) -> str:
    return head.headers.get("content-type", "").partition(";")[0].strip().lower()


def _no_stream(head: ResponseHead) -> errors.ProtocolError:
    kind = head.headers.get("content-type")
    return errors.ProtocolError(
        f"The service answered {head.status} with {kind or 'no content type'} instead of an event stream. "
        "A proxy or a wrong base_url may be in between."
    )
