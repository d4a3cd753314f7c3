"""The one conversation of an engine: which session it is in, and what that session holds.

An engine keeps its session itself, so a message alone goes on there. A message list that is given along is held against
what the session holds: the same list goes on, any other is a divergence, in the same words as for a chat model.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime

from meibel_integrations import errors
from meibel_integrations.conversation.lineage import Divergence
from meibel_integrations.conversation.messages import (
    NeutralMessage,
    digest,
    read_history,
    system_texts,
    without_system,
)
from meibel_integrations.conversation.options import RunOptions, Target
from meibel_integrations.conversation.results import RunResult
from meibel_integrations.conversation.run import ConversationRun
from meibel_integrations.ledgers import interface
from meibel_integrations.ledgers.entry import SessionBook
from meibel_integrations.ledgers.interface import SessionState
from meibel_integrations.ledgers.marks import TurnMark
from meibel_integrations.ledgers.memory import MemoryLedger
from meibel_integrations.protocol.agents import AgentRef
from meibel_integrations.protocol.commands import NOW, Flow, Wait
from meibel_integrations.protocol.dialects.interface import Dialect
from meibel_integrations.protocol.service import Service
from meibel_integrations.protocol.sessions import get_history

__all__ = ["HeldSession"]

logger = logging.getLogger(__name__)

_GATE = "gate"


class HeldSession:
    """Decides for each turn whether the session goes on, and keeps what was read of its history.

    Attributes:
        id: the session; ``None`` before the first turn of a conversation.
    """

    def __init__(
        self,
        session_id: str | None,
        *,
        service: Service[Dialect],
        book: SessionBook,
        target: Target,
        options: RunOptions,
    ) -> None:
        self.id = session_id
        self._service = service
        self._book = book
        self._target = target
        self._options = options
        self._gate = MemoryLedger()
        self._entered = TurnMark("", "", "")
        self._seen_agent = target.agent
        self._held: list[NeutralMessage] | None = None
        self._reads = 0
        self._unsettled = False
        self._streamed: dict[str, str] = {}  # what was received of an answer, by what the service holds of it

    def sibling(self, session_id: str | None) -> HeldSession:
        """Another conversation with the same agent and settings."""
        return HeldSession(
            session_id, service=self._service, book=self._book, target=self._target, options=self._options
        )

    def forget(self) -> None:
        """The next turn opens a new session. The present one stays at the service as it is."""
        self._move_to(None)

    # A turn's beginning

    def enter(self) -> Flow[None]:
        """Waits until no other turn of the engine is being sent: two at once would each open a session.

        Whoever entered has to :meth:`leave`.
        """
        started: datetime = yield NOW
        while True:
            state: SessionState = self._gate.update(_GATE, lambda state: (state, state))
            if self._gate.update(_GATE, interface.take(self._entered, state.version)):
                return
            now: datetime = yield NOW
            left = self._options.reconcile_deadline - (now - started).total_seconds()
            if left <= 0:
                raise errors.SessionBusyError(
                    "The engine is still sending another message. Use one engine per conversation: with_session(…)."
                )
            yield Wait(self._gate.watch(_GATE, state.version), left)

    def leave(self) -> None:
        """Another turn may be sent."""
        self._gate.update(_GATE, interface.forget(self._entered))

    def plan(self, message: str, given: Sequence[NeutralMessage] | None) -> Flow[ConversationRun]:
        """The run for a message: in the session, or in a new one, seeded with the list given.

        Raises:
            ConfigurationError: a new session is needed, and the engine knows no agent.
            DivergenceError: the list is not what the session holds, with ``on_divergence="error"``.
        """
        question = NeutralMessage("user", message)
        session_id = self.id
        if session_id is None:
            return self._run([*(given or ()), question], None, "the engine had no session yet")
        if given is None:
            return self._run([question], session_id, "it is the engine's session")
        if not without_system(given):
            return self._run([*given, question], None, "chat_history holds no message of the conversation")
        try:
            held = yield from self.read()
        except errors.NotFoundError:
            held = []
        if self._same(without_system(held), without_system(given)):
            instructions = [each for each in given if each.role == "system"]
            changed = system_texts(instructions) not in ([], system_texts(held))
            items = [*(instructions if changed else ()), question]
            return self._run(items, session_id, "chat_history is what the session holds")
        return self._diverged(session_id, [*given, question])

    def _same(self, held: Sequence[NeutralMessage], given: Sequence[NeutralMessage]) -> bool:
        """Whether both lists say the same. A stream may have shown an answer in other words than the service holds."""
        if len(held) != len(given):
            return False
        pairs = ((digest(ours), digest(theirs)) for ours, theirs in zip(held, given, strict=True))
        return all(theirs in (ours, self._streamed.get(ours)) for ours, theirs in pairs)

    def _diverged(self, session_id: str, messages: list[NeutralMessage]) -> ConversationRun:
        diverged = Divergence.OTHER_CONVERSATION
        if self._options.on_divergence == "error":
            raise errors.DivergenceError(f"chat_history is not what session {session_id!r} holds.")
        if self._options.on_divergence == "ignore":
            logger.info("Going on in session %s, although chat_history is not what it holds.", session_id)
            return self._run(messages[-1:], session_id, "chat_history is not what the session holds, which is ignored")
        logger.info("Starting a new session in place of %s: chat_history is not what it holds.", session_id)
        return self._run(messages, None, None, forked=diverged)

    def _run(
        self,
        messages: list[NeutralMessage],
        session_id: str | None,
        reason: str | None,
        *,
        forked: Divergence | None = None,
    ) -> ConversationRun:
        if session_id is None and not self._target.agent.known:
            raise errors.ConfigurationError(
                "This engine knows its session, but no agent or indexes to open another one with: "
                "also pass agent_id=…, agent_name=… or index_ids=…."
            )
        options = self._options.model_copy(update={"session_id": session_id, "on_divergence": None})
        return ConversationRun(self._service, self._book, self._target, messages, options, forked, reason)

    # A turn's end

    def adopt(self, run: ConversationRun) -> None:
        """The turn was, or may have been, accepted: its session is the engine's."""
        if run.session_id is not None:
            if run.session_id != self.id:
                self._move_to(run.session_id)
            self._change(unsettled=True)

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

    # The history

    def read(self) -> Flow[list[NeutralMessage]]:
        """What the session holds, as it was written: read once per head, and each time while a turn is not settled.

        With ``check_head="always"`` it is always read.
        """
        session_id, reads = self.id, self._reads
        if session_id is None:
            return []
        if self._held is not None:
            return list(self._held)
        history = yield from get_history(self._service, session_id)
        held = read_history(history)
        steady = not self._unsettled and self._options.check_head == "auto"
        if steady and reads == self._reads and history and history[-1].role == "assistant":
            self._held = list(held)
        return held

    def _move_to(self, session_id: str | None) -> None:
        self.id = session_id
        self._seen_agent = self._target.agent
        self._change(unsettled=False)

    def _change(self, *, unsettled: bool) -> None:
        self._unsettled = unsettled
        self._held = None
        self._reads += 1
