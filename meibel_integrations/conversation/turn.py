"""One call of a model or an engine, from a message list to an answer: plan, check, create, send, record.

The only flow that the adapters run. It is written for any service; what differs is the dialect's.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, get_args

from meibel_integrations import errors
from meibel_integrations.config import RetryPolicy
from meibel_integrations.conversation.anchor import Anchor, Lineage, ordinal_marker
from meibel_integrations.conversation.heads import HEADS, Head, Heads, current_owner
from meibel_integrations.conversation.items import Item, digest, system_texts, turns
from meibel_integrations.conversation.lineage import walk_back
from meibel_integrations.conversation.plan import (
    CheckHead,
    OnDivergence,
    Plan,
    continue_pinned,
    continue_session,
    head_moved,
    newest_anchor,
    start_session,
)
from meibel_integrations.conversation.seeding import read_history, write
from meibel_integrations.models import ChatMessageRequest, CreateSessionRequest, Message, Reply
from meibel_integrations.protocol import flows
from meibel_integrations.protocol.agents import NOBODY, AgentRef
from meibel_integrations.protocol.dialects.base import Dialect
from meibel_integrations.protocol.reconcile import OnAmbiguous, Recovery
from meibel_integrations.protocol.requests import FilePart
from meibel_integrations.protocol.text import Partials

__all__ = ["CallOptions", "ConversationCall", "Outcome"]

logger = logging.getLogger(__name__)

# Seconds between two looks: at this process's own memory, and at the server's history.
_LOOK = 0.02
_POLL_FIRST, _POLL_LONGEST = 0.2, 5.0
# An event loop closes a stream that was left without being closed only some rounds later.
_ROUNDS = 10


@dataclass(frozen=True, slots=True)
class CallOptions:
    """How one call behaves. Times are in seconds.

    Attributes:
        session_id: the session to go on in whatever the list says.
        on_divergence: what to do when the list is not what its session holds; ``None`` is ``"fork"``, or
            ``"ignore"`` with ``session_id``.
        check_head: ``"always"`` asks the server before each continuation, ``"auto"`` only when this process does not
            hold the head itself.
        ephemeral: use a session of its own for this call, which no later call goes on in.
        on_ambiguous: what to do about a turn that may not have arrived and does not show in the history.
        reconcile_grace: how long a turn whose answer did not arrive, or whose stream was left, may stay invisible in
            the history before it counts as absent.
        reconcile_deadline: how long to wait for such a turn while it runs.
    """

    session_id: str | None = None
    on_divergence: OnDivergence | None = None
    check_head: CheckHead = "auto"
    ephemeral: bool = False
    max_seed_chars: int = 100_000
    include_thinking: bool = False
    include_tool_activity: bool = False
    include_usage: bool = False
    timeout_seconds: int | None = None
    session_options: CreateSessionRequest | None = None
    partials: Partials = "auto"
    on_ambiguous: OnAmbiguous = "raise"
    reconcile_grace: float = 5.0
    reconcile_deadline: float = 120.0
    files: Callable[[], Sequence[FilePart]] | None = None

    def __post_init__(self) -> None:
        """Raises ``InvalidInputError`` for a value that means nothing."""
        _require_one_of("on_divergence", self.on_divergence, (None, *get_args(OnDivergence)))
        _require_one_of("check_head", self.check_head, get_args(CheckHead))
        _require_one_of("partials", self.partials, get_args(Partials))
        _require_one_of("on_ambiguous", self.on_ambiguous, get_args(OnAmbiguous))
        if self.session_id is not None and not (isinstance(self.session_id, str) and self.session_id.strip()):
            raise errors.InvalidInputError(
                f"session_id must be the id of a session, as text, not {type(self.session_id).__name__} "
                f"{self.session_id!r:.60}."
            )
        if not isinstance(self.max_seed_chars, int) or self.max_seed_chars < 1:
            raise errors.InvalidInputError(f"max_seed_chars must be a number above 0, not {self.max_seed_chars!r}.")


def _require_one_of(name: str, value: object, allowed: tuple[object, ...]) -> None:
    if value not in allowed:
        known = ", ".join(repr(each) for each in allowed if each is not None)
        raise errors.InvalidInputError(f"{name} must be one of {known}, not {value!r}.")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a call, for the answer's metadata."""

    reply: Reply
    plan: Plan
    agent: AgentRef
    lineage: Lineage
    marker: str
    ephemeral: bool

    def metadata(self) -> dict[str, Any]:
        """The answer's metadata: plain JSON, and what later calls find the session by."""
        reply = self.reply
        found: dict[str, Any] = {
            **self.agent.to_json(),
            "session_id": reply.session_id,
            "signal_id": reply.signal_id,
            "finish_reason": reply.finish_reason or "stop",
            "sources": [source_json(source) for source in reply.sources],
            "citations": [citation.model_dump() for citation in reply.citations],
            "follow_up_questions": list(reply.follow_up_questions),
            "call_to_actions": [action.model_dump() for action in reply.call_to_actions],
            "artifacts": [artifact.model_dump() for artifact in reply.artifacts],
            "warnings": list(reply.warnings),
            "skipped_index_ids": list(reply.skipped_index_ids),
            "recovered": reply.recovered,
            "continuity": self.plan.continuity,
            "continuity_reason": self.plan.reason,
            "lineage": self.lineage.to_json(),
        }
        if self.ephemeral:
            # no later call may go on here, so the answer names no session
            for key in ("session_id", "signal_id", "lineage"):
                found[key] = None
        return found


def source_json(source: Any) -> dict[str, Any]:
    """A source as a plain dict: its title always, what else the service said, and ``score`` even if unknown."""
    given: dict[str, Any] = source.model_dump()
    return {"title": given.pop("title"), **given}


@dataclass(slots=True)
class ConversationCall:
    """One call. Run :meth:`flow` with a client; ``outcome`` is set before the ``done`` event is emitted, and
    ``session_id`` before the turn is sent.

    ``service`` tells services apart in what this process remembers (the base URL does).
    """

    dialect: Dialect
    policy: RetryPolicy
    service: str
    agent: AgentRef
    items: Sequence[Item]
    options: CallOptions = field(default_factory=CallOptions)
    heads: Heads = HEADS
    outcome: Outcome | None = None
    session_id: str | None = None

    def flow(self) -> flows.Flow[Outcome]:
        """Emits the turn's events.

        Raises:
            InvalidInputError: the list holds nothing to answer.
            DivergenceError: the list is not what its session holds, with ``on_divergence="error"``.
            SessionEndedError: the session accepts no further turns and may not be forked.
            SessionBusyError: an earlier turn of a pinned session is still running.
        """
        try:
            plan = yield from self._plan()
        except errors.NotFoundError as gone:
            raise _ended(self.options.session_id or "", gone) from gone
        if plan.session_id is None:
            yield from self._run(plan)
        else:
            try:
                yield from self._run(plan)
            except (errors.ConflictError, errors.NotFoundError, errors.InvalidRequestError) as refusal:
                fork = yield from self._after_refusal(plan, refusal)
                yield from self._run(fork)
        assert self.outcome is not None
        return self.outcome

    # Plan and check

    def _plan(self) -> flows.Flow[Plan]:
        options = self.options
        if options.ephemeral:
            return self._start()
        if options.session_id is not None:
            return (yield from self._plan_pinned(options.session_id))
        at = newest_anchor(self.items)
        if at is None:
            return self._start()
        anchor = self.items[at].anchor
        assert anchor is not None
        # first of all, as nothing else matters if there is nothing to answer
        continue_session(self.items, at, Head())
        reason = self._departure(at)
        if reason is None or self.options.on_divergence == "ignore":
            plan, reason = yield from self._take(at, anchor)
            if plan is not None:
                return plan
        return self._diverged(anchor.session_id, reason or "")

    def _take(self, at: int, anchor: Anchor) -> flows.Flow[tuple[Plan | None, str | None]]:
        """Marks the turn as in flight and checks the head; a plan to go on, or the reason not to."""
        session_id = anchor.session_id
        known, flight = self.heads.take(self.service, session_id, current_owner())
        if flight is not None:
            if self.options.on_divergence != "ignore":
                return None, "an earlier turn of the session is not settled"
            known = yield from self._wait(session_id)
        try:
            reason = None
            if anchor.marker in known.superseded:
                reason = "the session went on without these messages"
            elif known.settled != anchor.marker or self.options.check_head == "always":
                try:
                    history = yield from self._history(session_id)
                except errors.NotFoundError:
                    reason = "the session is gone"
                else:
                    reason = head_moved(history, anchor, has_signals=any(m.signal_id for m in history))
            if reason is None or (self.options.on_divergence == "ignore" and reason != "the session is gone"):
                return continue_session(self.items, at, known), None
        except BaseException:
            self.heads.release(self.service, session_id)
            raise
        self.heads.release(self.service, session_id)
        return None, reason

    def _plan_pinned(self, session_id: str) -> flows.Flow[Plan]:
        strict = self.options.on_divergence == "error"
        at = newest_anchor(self.items, session_id)
        known, flight = self.heads.take(self.service, session_id, current_owner())
        if flight is not None:
            known = yield from self._wait(session_id)
        try:
            empty = False
            answered = any(item.role == "assistant" for item in self.items)
            if strict and answered:
                yield from self._require_agreement(session_id, at)
            elif at is None and answered and known.settled is None:
                empty = not (yield from self._history(session_id))
            return continue_pinned(self.items, session_id, known, empty=empty)
        except BaseException:
            self.heads.release(self.service, session_id)
            raise

    def _require_agreement(self, session_id: str, at: int | None) -> flows.Flow[None]:
        """Raises ``DivergenceError`` unless the list is what a pinned session holds, up to its newest answer."""
        reason = None if at is None else self._departure(at)
        if reason is None:
            history = yield from self._history(session_id)
            anchor = None if at is None else self.items[at].anchor
            if anchor is not None:
                reason = head_moved(history, anchor, has_signals=any(m.signal_id for m in history))
            else:
                talk = turns(self.items)
                last = max(i for i, item in enumerate(talk) if item.role == "assistant")
                if turns(read_history(history)) != talk[: last + 1]:
                    reason = "they are another conversation"
        if reason is not None:
            raise errors.DivergenceError(f"The messages are not what session {session_id!r} holds: {reason}.")

    def _departure(self, at: int) -> str | None:
        """Where the list departs from what its session holds."""
        walk = walk_back(turns(self.items), len(turns(self.items[:at])))
        anchor = self.items[at].anchor
        lineage = anchor.lineage if anchor is not None else None
        if walk.whole and lineage is not None and lineage.system is not None and not system_texts(self.items):
            # a list that lost its head may have lost them with it; this one has its head
            return "the instructions were withdrawn"
        return walk.reason

    def _diverged(self, session_id: str, reason: str) -> Plan:
        if self.options.on_divergence == "error":
            raise errors.DivergenceError(f"The messages are not what session {session_id!r} holds: {reason}.")
        logger.info("Starting a new session in place of %s: %s.", session_id, reason)
        return self._start(forked=reason)

    def _start(self, forked: str | None = None) -> Plan:
        return start_session(self.items, max_seed_chars=self.options.max_seed_chars, forked=forked)

    def _history(self, session_id: str) -> flows.Flow[list[Message]]:
        return flows.get_history(self.dialect, self.policy, session_id)

    def _wait(self, session_id: str) -> flows.Flow[Head]:
        """Waits until the session's unsettled turn is over, and takes the session.

        Raises:
            SessionBusyError: the caller itself holds the unfinished stream, or the turn is still running at the
                deadline.
        """
        started: datetime = yield flows.Now()
        waits = _POLL_FIRST
        rounds = 0
        while True:
            known, flight = self.heads.take(self.service, session_id, current_owner())
            if flight is None:
                return known
            if flight.mine and rounds >= _ROUNDS:
                raise errors.SessionBusyError(
                    f"Session {session_id!r} is busy: an earlier answer is still being streamed here. "
                    "Read it to its end, or close it, before the next message.",
                    session_id=session_id,
                )
            if flight.mine:
                rounds += 1
                yield flows.Sleep(0)
                continue
            now: datetime = yield flows.Now()
            waited = (now - started).total_seconds()
            if not flight.open:
                asked, running = yield from self._running(session_id)
                # without a number to count from, the text tells whether the turn has arrived
                arrived = len(asked) > known.ordinal if known.ordinal is not None else known.text in asked[-1:]
                if not running and (arrived or waited >= self.options.reconcile_grace):
                    self.heads.reconciled(self.service, session_id, len(asked))
                    continue
            if waited >= self.options.reconcile_deadline:
                raise errors.SessionBusyError(
                    f"Session {session_id!r} is busy: an earlier turn is still running after "
                    f"{self.options.reconcile_deadline:g} s.",
                    session_id=session_id,
                )
            if flight.open:
                yield flows.Sleep(_LOOK)
            else:
                yield flows.Sleep(waits)
                waits = min(waits * 2, _POLL_LONGEST)

    def _running(self, session_id: str) -> flows.Flow[tuple[list[str], bool]]:
        """What the session was asked, and whether one of its turns has neither an answer nor failed."""
        history, failures = yield from flows.get_conversation(self.dialect, self.policy, session_id)
        asked = [message.message for message in history if message.role == "user"]
        open_turns = 2 * len(asked) - len(history)
        if open_turns > 0 and not failures:
            failures = yield from flows.get_failures(self.dialect, self.policy, session_id)
        return asked, open_turns > len(failures)

    # Send and record

    def _run(self, plan: Plan) -> flows.Flow[None]:
        options = self.options
        body = ChatMessageRequest(
            user_message=write(plan.items, omitted=plan.omitted),
            timeout_seconds=options.timeout_seconds,
            include_thinking=options.include_thinking or None,
            include_tool_activity=options.include_tool_activity or None,
        )
        self._check(plan, body)
        session_id, agent = yield from self._session(plan, body)
        self.session_id = session_id

        def settle(reply: Reply) -> flows.Flow[Reply]:
            if reply.usage is None and options.include_usage:
                reply = yield from self._with_usage(session_id, reply)
            self._record(plan, agent, session_id, reply)
            return reply

        recovery = Recovery(
            options.reconcile_grace,
            options.reconcile_deadline,
            options.on_ambiguous,
            baseline=None if plan.ordinal is None else plan.ordinal - 1,
        )
        try:
            yield from flows.stream_turn(
                self.dialect,
                self.policy,
                session_id,
                body,
                options.files,
                partials=options.partials,
                recovery=recovery,
                settle=settle,
                agent=self.agent,
            )
        except (errors.APIError, errors.NotSentError, errors.RedirectError, errors.InvalidInputError):
            self.heads.release(self.service, session_id)  # provably not run
            raise
        except errors.AgentTurnError:
            self.heads.reconciled(self.service, session_id, None)  # over, and without an answer
            raise
        except BaseException:
            if self.outcome is None:
                self.heads.abandon(self.service, session_id)
            raise

    def _check(self, plan: Plan, body: ChatMessageRequest) -> None:
        try:
            flows.check_turn(self.dialect, body)
        except errors.InvalidInputError as error:
            if plan.session_id is not None:
                self.heads.release(self.service, plan.session_id)
            if isinstance(error, errors.PromptTooLongError) and len(plan.items) > 1:
                asked = sum(len(item.text) for item in plan.items if item.role == "user")
                raise errors.PromptTooLongError(
                    f"{error} It carries instructions or earlier messages besides the question: {len(plan.items)} "
                    f"messages, {asked:,} characters of them the user's. A session that goes on needs to be sent the "
                    "new question only; continue one, pass a shorter list, or let the oldest messages be left out "
                    f"(max_seed_chars={self.dialect.max_prompt_chars})."
                ) from None
            raise

    def _session(self, plan: Plan, body: ChatMessageRequest) -> flows.Flow[tuple[str, AgentRef]]:
        """The session to send to, with the turn in flight; a new one only for a message that can be sent."""
        if plan.session_id is not None:
            self.heads.sending(self.service, plan.session_id, body.user_message, plan.ordinal)
            at = newest_anchor(self.items, plan.session_id)
            anchor = None if at is None else self.items[at].anchor
            named = NOBODY if anchor is None else anchor.agent
            return plan.session_id, self.agent.with_seen(named.id, named.name)
        session = yield from flows.create_session(self.dialect, self.policy, self.agent, self.options.session_options)
        self.heads.open(self.service, session.id, current_owner())
        self.heads.sending(self.service, session.id, body.user_message, 1)
        return session.id, self.agent.with_seen(session.agent_id, session.agent_name)

    def _record(self, plan: Plan, agent: AgentRef, session_id: str, reply: Reply) -> None:
        answer = digest(Item("assistant", reply.message))
        marker = reply.signal_id or ordinal_marker(plan.ordinal, answer)
        lineage = Lineage(plan.parent, plan.carried, answer, plan.system, plan.ordinal)
        self.heads.settle(self.service, session_id, marker=marker, ordinal=plan.ordinal, system=plan.system)
        self.outcome = Outcome(reply, plan, agent, lineage, marker, self.options.ephemeral)

    def _with_usage(self, session_id: str, reply: Reply) -> flows.Flow[Reply]:
        try:
            usage = yield from flows.get_last_usage(self.dialect, self.policy, session_id)
        except errors.MeibelIntegrationError as error:
            logger.warning("The token usage of session %s could not be read: %s", session_id, error)
            return reply
        return reply.model_copy(update={"usage": usage})

    def _after_refusal(self, plan: Plan, refusal: errors.APIError) -> flows.Flow[Plan]:
        """A continuation was refused. If its session has ended or is busy elsewhere, a fork takes its place."""
        session_id = plan.session_id
        assert session_id is not None
        ended = refusal.status_code in (404, 410)
        if not ended:
            try:
                ended = yield from flows.has_ended(self.dialect, self.policy, session_id)
            except errors.MeibelIntegrationError as error:
                logger.debug("The status of session %s could not be read: %s", session_id, error)
        busy = not ended and isinstance(refusal, errors.ConflictError)
        if not ended and not busy:
            raise refusal
        pinned = self.options.session_id is not None
        if not pinned and self.options.on_divergence in (None, "fork"):
            return self._diverged(session_id, "the session has ended" if ended else "the session is busy elsewhere")
        if ended:
            raise _ended(session_id, refusal) from refusal
        raise errors.SessionBusyError(
            f"Session {session_id!r} is busy with another turn: {refusal.server_message or refusal}",
            session_id=session_id,
            cause=refusal,
        ) from refusal


def _ended(session_id: str, refusal: errors.APIError) -> errors.SessionEndedError:
    return errors.SessionEndedError(
        f"Session {session_id!r} accepts no further messages: {refusal.server_message or refusal}",
        session_id=session_id,
        cause=refusal,
    )
