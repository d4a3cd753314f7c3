"""One call of a model or an engine, from a message list to an answer: the only flow that the adapters run.

::

    messages ─▶ plan: pinned, anchored or new? ──▶ the ledger, and the history where it does not know enough
                  │                                  │ anything that departs: fork, error or ignore
                  ▼                                  ▼
                take the turn in the ledger ◀── Plan: which session, what to send, why
                  │ somebody else took it: plan again
                  ▼
                open a session if needed ─▶ stream the turn ─▶ settle the ledger ─▶ DoneEvent
                                              │ refused as ended or busy: fork

The ledger is read first and taken last, and nothing is held while the history is asked. A call that loses the race for
a session twice forks. It is written for any service; what differs is the dialect's.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from meibel_integrations import errors
from meibel_integrations.client.inputs import File
from meibel_integrations.conversation.lineage import Divergence
from meibel_integrations.conversation.messages import (
    Anchor,
    Lineage,
    NeutralMessage,
    digest,
    read_history,
    without_system,
)
from meibel_integrations.conversation.options import RunOptions, Target
from meibel_integrations.conversation.outgoing import Outgoing, prepare
from meibel_integrations.conversation.plan import (
    Plan,
    continue_pinned,
    continue_session,
    departure,
    head_moved,
    newest_anchor,
    require_question,
    start_session,
)
from meibel_integrations.conversation.results import RunResult
from meibel_integrations.conversation.settling import until_settled
from meibel_integrations.ledgers.entry import SessionBook
from meibel_integrations.ledgers.interface import head_marker
from meibel_integrations.models import Reply
from meibel_integrations.protocol.agents import NOBODY
from meibel_integrations.protocol.commands import Emit, Flow
from meibel_integrations.protocol.dialects.interface import Dialect, TurnRequest
from meibel_integrations.protocol.service import Service
from meibel_integrations.protocol.sessions import create_session, get_history, get_last_usage, has_ended
from meibel_integrations.protocol.turn import stream_turn

__all__ = ["ConversationRun"]

logger = logging.getLogger(__name__)

_ATTEMPTS = 3


@dataclass(slots=True)
class ConversationRun:
    """One call. Run :meth:`flow` with a client.

    Attributes:
        service, book: the client's.
        target: whom the call asks.
        messages: the conversation; the newest ones are the question.
        options: how the call behaves.
        forked: why the session that the messages belong to cannot go on, where the caller found that out; a new one
            takes its place.
        reason: why the call goes where it goes, where the caller knows better than the plan.
        files: what rides along, besides what is attached to the question.
        answer_form: how this one answer has to look. It is sent with the turn and is no part of the conversation.
        session_id: the session that answers; set before the turn is sent.
        result: what came of it; set before the ``done`` event is emitted.
    """

    service: Service[Dialect]
    book: SessionBook
    target: Target
    messages: Sequence[NeutralMessage]
    options: RunOptions
    forked: Divergence | None = None
    reason: str | None = None
    files: Sequence[File] = ()
    answer_form: str | None = None
    session_id: str | None = None
    result: RunResult | None = None

    def flow(self) -> Flow[RunResult]:
        """Emits the turn's events.

        Raises:
            InvalidInputError: the list holds nothing to answer.
            DivergenceError: the list is not what its session holds, with ``on_divergence="error"``.
            SessionEndedError: the session accepts no further turns and may not be forked.
            SessionBusyError: an earlier turn of a pinned session is still running.
        """
        try:
            turn = yield from self._plan()
        except errors.NotFoundError as gone:
            raise _ended(self.options.session_id or "", gone) from gone
        try:
            return (yield from self._send(turn))
        except (errors.ConflictError, errors.NotFoundError, errors.InvalidRequestError) as refusal:
            if turn.plan.session_id is None:
                raise
            fork = yield from self._after_refusal(turn.plan.session_id, refusal)
        return (yield from self._send(fork))

    # Plan

    def _plan(self) -> Flow[Outgoing]:
        options = self.options
        if options.session_id is not None and not options.ephemeral:
            return (yield from self._plan_pinned(options.session_id))
        at = None if options.ephemeral or self.forked is not None else newest_anchor(self.messages)
        if at is None:
            return self._start(self.forked)
        require_question(self.messages, at)  # nothing else matters if there is nothing to answer
        return (yield from self._plan_anchored(at))

    def _plan_anchored(self, at: int) -> Flow[Outgoing]:
        anchor = self._anchor(at)
        session_id, entry = anchor.session_id, self.book.entry(anchor.session_id)
        ignoring = self.options.on_divergence == "ignore"
        diverged = None if ignoring else self._departure(at)
        if diverged is Divergence.EDITED_ANSWER and anchor.reason == diverged.value:
            logger.warning(
                "An answer of the agent was edited for the second time in a row, and each edit begins a new session. "
                "If middleware does that (it redacts answers, or adds a footer), set edited_answers='continue'."
            )
        attempts = 0
        while diverged is None:
            state = yield from entry.read()
            attempts += 1
            if state.mark is not None or attempts > _ATTEMPTS:
                if not ignoring:
                    diverged = Divergence.UNSETTLED
                    break
                state = yield from until_settled(self.service, entry, session_id, self.options.recovery)
            turns: int | None = None
            moved = anchor.marker in state.superseded
            if not moved and (state.head != anchor.marker or self.options.check_head == "always"):
                try:
                    history = yield from get_history(self.service, session_id)
                except errors.NotFoundError:
                    diverged = Divergence.GONE
                    break
                turns = sum(message.role == "user" for message in history)
                moved = head_moved(history, anchor)
            if moved and not ignoring:
                diverged = Divergence.WENT_ON
                break
            turn = self._prepared(continue_session(self.messages, at, state, turns))
            mark = yield from entry.take(state, turn.digest)
            if mark is not None:
                return dataclasses.replace(turn, mark=mark)
        return self._fork(session_id, diverged)

    def _plan_pinned(self, session_id: str) -> Flow[Outgoing]:
        entry = self.book.entry(session_id)
        strict = self.options.on_divergence == "error"
        at = newest_anchor(self.messages, session_id)
        answered = any(message.role == "assistant" for message in self.messages)
        while True:
            state = yield from entry.read()
            if state.mark is not None:
                state = yield from until_settled(self.service, entry, session_id, self.options.recovery)
            empty = False
            if strict and answered:
                yield from self._require_agreement(session_id, at)
            elif at is None and answered and state.head is None:
                empty = not (yield from get_history(self.service, session_id))
            reason = self.reason or "the caller named it"
            turn = self._prepared(continue_pinned(self.messages, session_id, state, empty=empty, reason=reason))
            mark = yield from entry.take(state, turn.digest)
            if mark is not None:
                return dataclasses.replace(turn, mark=mark)

    def _departure(self, at: int) -> Divergence | None:
        return departure(self.messages, at, ignore_edited_answers=self.options.edited_answers == "continue")

    def _require_agreement(self, session_id: str, at: int | None) -> Flow[None]:
        """Raises ``DivergenceError`` unless the list is what a pinned session holds, up to its newest answer."""
        diverged = None if at is None else self._departure(at)
        if diverged is None:
            history = yield from get_history(self.service, session_id)
            if at is not None:
                diverged = Divergence.WENT_ON if head_moved(history, self._anchor(at)) else None
            else:
                talk = without_system(self.messages)
                last = max(i for i, message in enumerate(talk) if message.role == "assistant")
                held = without_system(read_history(history))
                same = [digest(message) for message in held] == [digest(message) for message in talk[: last + 1]]
                diverged = None if same else Divergence.OTHER_CONVERSATION
        if diverged is not None:
            raise _divergence(session_id, diverged)

    def _fork(self, session_id: str, diverged: Divergence) -> Outgoing:
        if self.options.on_divergence == "error":
            raise _divergence(session_id, diverged)
        logger.info("Starting a new session in place of %s: %s.", session_id, diverged.value)
        return self._start(diverged)

    def _start(self, forked: Divergence | None) -> Outgoing:
        reason = {} if self.reason is None else {"reason": self.reason}
        longest = self.options.max_seed_chars
        return self._prepared(start_session(self.messages, max_seed_chars=longest, forked=forked, **reason))

    def _anchor(self, at: int) -> Anchor:
        anchor = self.messages[at].anchor
        assert anchor is not None
        return anchor

    # Send

    def _send(self, prepared: Outgoing) -> Flow[RunResult]:
        options, plan, mark = self.options, prepared.plan, prepared.mark
        agent = self.target.agent
        if plan.session_id is not None and mark is not None:
            session_id, entry = plan.session_id, self.book.entry(plan.session_id)
            at = newest_anchor(self.messages, session_id)
            named = NOBODY if at is None else self._anchor(at).agent
            seen = agent.completed_by(named.id, named.name)
        else:
            session = yield from create_session(self.service, agent, self.target.opening)
            session_id, entry = session.id, self.book.entry(session.id)
            mark = yield from entry.open(prepared.digest)
            seen = agent.completed_by(session.agent_id, session.agent_name)
        self.session_id = session_id
        turn = self.book.reading_partials(
            agent.label,
            lambda proven: stream_turn(
                self.service,
                TurnRequest(session_id, prepared.body, agent, self.target.require_all_indexes),
                read_files=prepared.read_files,
                partials=options.partials,
                proven=proven,
                recovery=options.recovery,
                turns_before=None if plan.turn is None else plan.turn - 1,
            ),
        )
        done = yield from entry.record(mark, turn)
        reply = done.reply
        if reply.usage is None and options.include_usage:
            reply = yield from self._with_usage(session_id, reply)
        answer = digest(NeutralMessage("assistant", reply.message))
        marker = head_marker(reply.signal_id, plan.turn, answer)
        yield from entry.settle(mark, head=marker, turns=plan.turn, instructions=plan.system)
        received = reply.message if reply.streamed_text is None else reply.streamed_text
        answers = tuple(dict.fromkeys((digest(NeutralMessage("assistant", received)), answer)))
        lineage = Lineage(plan.parent, plan.carried, answers, plan.system, plan.turn)
        self.result = RunResult(reply, plan, seen, lineage, options.ephemeral)
        yield Emit(dataclasses.replace(done, reply=reply))
        return self.result

    def _prepared(self, plan: Plan) -> Outgoing:
        return prepare(self.service, plan, self.options, files=self.files, answer_form=self.answer_form)

    def _with_usage(self, session_id: str, reply: Reply) -> Flow[Reply]:
        try:
            usage = yield from get_last_usage(self.service, session_id)
        except errors.MeibelIntegrationError as error:
            logger.warning("The token usage of session %s could not be read: %s", session_id, error)
            return reply
        return reply.model_copy(update={"usage": usage})

    def _after_refusal(self, session_id: str, refusal: errors.APIError) -> Flow[Outgoing]:
        """A continuation was refused. If its session has ended or is busy elsewhere, a fork takes its place."""
        ended = refusal.status_code in (404, 410)
        if not ended:
            try:
                ended = yield from has_ended(self.service, session_id)
            except errors.MeibelIntegrationError as error:
                logger.debug("The status of session %s could not be read: %s", session_id, error)
        if not ended and not isinstance(refusal, errors.ConflictError):
            raise refusal
        pinned = self.options.session_id is not None
        if not pinned and self.options.on_divergence in (None, "fork"):
            return self._fork(session_id, Divergence.ENDED if ended else Divergence.BUSY)
        if ended:
            raise _ended(session_id, refusal) from refusal
        raise errors.SessionBusyError(
            f"Session {session_id!r} is busy with another turn: {refusal.server_message or refusal}",
            session_id=session_id,
            cause=refusal,
        ) from refusal


def _divergence(session_id: str, diverged: Divergence) -> errors.DivergenceError:
    return errors.DivergenceError(f"The messages are not what session {session_id!r} holds: {diverged.value}.")


def _ended(session_id: str, refusal: errors.APIError) -> errors.SessionEndedError:
    return errors.SessionEndedError(
        f"Session {session_id!r} accepts no further messages: {refusal.server_message or refusal}",
        session_id=session_id,
        cause=refusal,
    )
