"""The one conversation of an engine: which session it is in, and which session each of its turns belongs to.

An engine keeps its session itself, so a message alone goes on there. A message list that is given along is planned like
a chat model's: an answer in it that names its session is found there, whichever engine it came from. A list whose
answers name no session is held against what the engine's own session holds.

An engine also knows, weakly, the answers that it handed out as streams. Web frameworks drop a generator without closing
it, and keep it alive in a traceback; the next turn of its session closes such a stream.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Protocol
from weakref import WeakValueDictionary

from meibel_integrations import errors
from meibel_integrations.conversation.gate import Gate
from meibel_integrations.conversation.lineage import Divergence
from meibel_integrations.conversation.messages import (
    NeutralMessage,
    digest,
    read_history,
    system_texts,
    without_system,
)
from meibel_integrations.conversation.options import RunOptions, Target
from meibel_integrations.conversation.plan import newest_anchor
from meibel_integrations.conversation.results import RunResult
from meibel_integrations.conversation.run import ConversationRun
from meibel_integrations.ledgers.entry import SessionBook
from meibel_integrations.ledgers.interface import head_marker
from meibel_integrations.models import Message
from meibel_integrations.protocol.agents import AgentRef
from meibel_integrations.protocol.commands import Call, Flow, Sleep
from meibel_integrations.protocol.dialects.interface import Dialect
from meibel_integrations.protocol.service import Service
from meibel_integrations.protocol.sessions import get_history, get_session

__all__ = ["HeldSession", "OpenStream", "without_copy"]

logger = logging.getLogger(__name__)

# A reader whose client has left steps out of its stream with the next piece, and does not come back.
_LOOK_AGAIN, _STEPS_OUT = 0.05, 1.0
_MAX_SOURCES = 1_000


class OpenStream(Protocol):
    """An answer that was handed out and may not have been read to its end.

    Attributes:
        steps: counts how often a reader stepped in or out.
    """

    steps: int

    @property
    def conversation(self) -> ConversationRun:
        """The call that it answers."""

    def cut(self) -> bool:
        """Ends it, unless a reader is inside of it; returns whether it has ended."""

    async def acut(self) -> bool: ...


class HeldSession:
    """Decides for each turn which session goes on, and keeps what was read of the engine's own.

    Attributes:
        id: the session; ``None`` before the first turn of a conversation.
        target: whom the engine asks.
        sources: what the engine's answers rest on, by session and marker.
    """

    def __init__(
        self,
        session_id: str | None,
        *,
        service: Service[Dialect],
        book: SessionBook,
        target: Target,
        options: RunOptions,
        streams: WeakValueDictionary[str, OpenStream] | None = None,
    ) -> None:
        self.id = session_id
        self.target = target
        self.sources: dict[str, list[dict[str, Any]]] = {}
        self._service = service
        self._book = book
        self._options = options
        # Engines that were made from each other share it: a server makes one for each request.
        self._streams = WeakValueDictionary[str, OpenStream]() if streams is None else streams
        self._gate = Gate()
        self._first_id = session_id
        self._seen_agent = target.agent
        self._held: list[Message] | None = None
        self._reads = 0
        self._unsettled = False
        self._streamed: dict[str, str] = {}  # what was received of an answer, by what the service holds of it

    def sibling(self, session_id: str | None) -> HeldSession:
        """Another conversation with the same agent and settings."""
        other = HeldSession(
            session_id,
            service=self._service,
            book=self._book,
            target=self.target,
            options=self._options,
            streams=self._streams,
        )
        other._first_id = session_id or self._first_id
        return other

    def forget(self) -> None:
        """The next turn opens a new session. The present one stays at the service as it is."""
        self._move_to(None)

    # A turn's beginning

    def is_own(self, given: Sequence[NeutralMessage] | None) -> bool:
        """Whether a turn with this list is the engine's own: the engine is then where the turn is."""
        return given is None or self.id is None or not without_system(given)

    def enter(self) -> Flow[None]:
        """Waits until no other turn of the engine's own is being sent: two at once would each open a session.

        Whoever entered has to :meth:`leave`.
        """
        if not (yield from self._gate.enter(self._options.reconcile_deadline)):
            raise errors.SessionBusyError(
                "The engine is still sending another message. Use one engine per conversation: with_session(…)."
            )

    def leave(self) -> None:
        """Another turn may be sent."""
        self._gate.leave()

    def plan(self, question: NeutralMessage, given: Sequence[NeutralMessage] | None) -> Flow[ConversationRun]:
        """The run for a question: in a session, or in a new one that is seeded with the list given.

        Raises:
            ConfigurationError: a new session is needed, and no agent is known to open it with.
            DivergenceError: the list is not what its session holds, with ``on_divergence="error"``.
            SessionBusyError: a reader is inside of an answer of the session.
        """
        session_id = self.id
        if given is None:
            if session_id is None:
                return (yield from self._begin([question], "the engine had no session yet"))
            yield from self._close_left(session_id)
            return self._run([question], session_id, "it is the engine's session")
        at = newest_anchor(given)
        anchor = None if at is None else given[at].anchor
        if anchor is not None:
            yield from self._close_left(anchor.session_id)
            return self._run([*given, question], None, None, planned=True)
        if session_id is None:
            return (yield from self._begin([*given, question], "the engine had no session yet"))
        if not without_system(given):
            return (yield from self._begin([*given, question], "chat_history holds no message of the conversation"))
        try:
            held = read_history((yield from self.read()))
        except errors.NotFoundError:
            held = []
        new = _what_follows(held, given, self._streamed)
        if new is None:
            return (yield from self._diverged(session_id, [*given, question]))
        yield from self._close_left(session_id)
        instructions = [each for each in given if each.role == "system"]
        changed = system_texts(instructions) not in ([], system_texts(held))
        items = [*(instructions if changed else ()), *new, question]
        return self._run(items, session_id, "chat_history is what the session holds")

    def _close_left(self, session_id: str) -> Flow[None]:
        """Ends the session's open stream if nobody is inside of it.

        Raises:
            SessionBusyError: a reader is.
        """
        stream = self._streams.get(session_id)
        if stream is None:
            return
        cut = Call(stream.cut, stream.acut)
        waited = 0.0
        while not (yield cut):
            steps = -1
            while steps != stream.steps:
                if waited >= _STEPS_OUT:
                    raise errors.SessionBusyError(
                        f"Session {session_id!r} is busy: an earlier answer is being read. "
                        "Read it to its end, or close it, before the next message.",
                        session_id=session_id,
                    )
                steps = stream.steps
                waited += _LOOK_AGAIN
                yield Sleep(_LOOK_AGAIN)
        yield from stream.conversation.leave()

    def _diverged(self, session_id: str, messages: list[NeutralMessage]) -> Flow[ConversationRun]:
        diverged = Divergence.OTHER_CONVERSATION
        if self._options.on_divergence == "error":
            raise errors.DivergenceError(f"chat_history is not what session {session_id!r} holds.")
        if self._options.on_divergence == "ignore":
            yield from self._close_left(session_id)
            logger.info("Going on in session %s, although chat_history is not what it holds.", session_id)
            return self._run(messages[-1:], session_id, "chat_history is not what the session holds, which is ignored")
        logger.info("Starting a new session beside %s: chat_history is not what it holds.", session_id)
        return (yield from self._begin(messages, None, diverged))

    def _begin(
        self, messages: list[NeutralMessage], reason: str | None, forked: Divergence | None = None
    ) -> Flow[ConversationRun]:
        """A new session. An engine that knows a session only asks the service whose it is."""
        if not self.target.agent.known and self._first_id is not None:
            session = yield from get_session(self._service, self._first_id)
            indexes = None if session.index_ids is None else tuple(session.index_ids)
            agent = AgentRef(session.agent_id, None if session.agent_id else session.agent_name, indexes)
            self.target = dataclasses.replace(self.target, agent=agent)
        if not self.target.agent.known:
            raise errors.ConfigurationError(
                "This engine knows its session, but no agent or indexes to open another one with, nor does the "
                "service tell them: also pass agent_id=…, agent_name=… or index_ids=…."
            )
        return self._run(messages, None, reason, forked=forked)

    def _run(
        self,
        messages: list[NeutralMessage],
        session_id: str | None,
        reason: str | None,
        *,
        forked: Divergence | None = None,
        planned: bool = False,
    ) -> ConversationRun:
        """``planned``: the messages themselves name the session."""
        changes = {"session_id": session_id, "on_divergence": self._options.on_divergence if planned else None}
        options = self._options.model_copy(update=changes)
        return ConversationRun(self._service, self._book, self.target, messages, options, forked, reason)

    # A turn's end

    def adopt(self, run: ConversationRun, *, own: bool) -> None:
        """The turn was, or may have been, accepted. If it is the engine's ``own``, its session is the engine's."""
        if run.session_id is None:
            return
        if own and run.session_id != self.id:
            self._move_to(run.session_id)
        if run.session_id == self.id:
            self._change(unsettled=True)

    def hand_out(self, stream: OpenStream) -> None:
        """The answer is read by the caller; the session's next turn closes it."""
        if stream.conversation.session_id is not None:
            self._streams[stream.conversation.session_id] = stream

    def settled(self, result: RunResult) -> AgentRef:
        """The turn is complete. Returns the agent as fully as the service has named it."""
        if result.reply.session_id == self.id:
            self._seen_agent = result.agent.completed_by(self._seen_agent.id, self._seen_agent.name)
            self._change(unsettled=False)
            received, completed = result.lineage.answers[0], result.lineage.answers[-1]
            if received != completed:
                self._streamed[completed] = received
            return self._seen_agent
        return result.agent

    def keep_sources(self, result: RunResult, sources: list[dict[str, Any]]) -> None:
        """Remembers what an answer rests on: the service's history does not tell."""
        marker = head_marker(result.reply.signal_id, result.plan.turn, result.lineage.answers[-1])
        self.sources[f"{result.reply.session_id} {marker}"] = sources
        while len(self.sources) > _MAX_SOURCES:
            del self.sources[next(iter(self.sources))]

    # The history

    def read(self) -> Flow[list[Message]]:
        """What the session holds: read once per head, and each time while a turn is not settled.

        With ``check_head="always"`` it is always read.
        """
        session_id, reads = self.id, self._reads
        if session_id is None:
            return []
        if self._held is not None:
            return list(self._held)
        history = yield from get_history(self._service, session_id)
        steady = not self._unsettled and self._options.check_head == "auto"
        if steady and reads == self._reads and history and history[-1].role == "assistant":
            self._held = list(history)
        return history

    def _move_to(self, session_id: str | None) -> None:
        self.id = session_id
        self._seen_agent = self.target.agent
        self._change(unsettled=False)

    def _change(self, *, unsettled: bool) -> None:
        self._unsettled = unsettled
        self._held = None
        self._reads += 1


def without_copy(given: Sequence[NeutralMessage], question: NeutralMessage) -> Sequence[NeutralMessage]:
    """The list without its last message if that is the question itself: many servers add it to both."""
    if given and given[-1].role == "user" and digest(given[-1]) == digest(question):
        return given[:-1]
    return given


def _what_follows(
    held: Sequence[NeutralMessage], given: Sequence[NeutralMessage], streamed: Mapping[str, str]
) -> list[NeutralMessage] | None:
    """What a list adds to what its session holds; ``None`` if it is another conversation.

    Its newest answer has to be the session's, and what stands before has to match as far as the list goes back. A
    stream may have shown an answer in other words than the service holds: ``streamed`` has those digests.
    """
    talk = without_system(given)
    end = max((i + 1 for i, message in enumerate(talk) if message.role == "assistant"), default=0)
    known = [digest(message) for message in without_system(held)][-end:]
    said = [digest(message) for message in talk[:end]]
    if not end or len(known) != len(said):
        return None
    if any(theirs not in (ours, streamed.get(ours)) for ours, theirs in zip(known, said, strict=True)):
        return None
    return talk[end:]
