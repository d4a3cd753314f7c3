"""The one conversation of an engine: which session it is in, and what that session holds."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from threading import Lock

from meibel_integrations import errors
from meibel_integrations.config import ClientConfig
from meibel_integrations.conversation.items import Item, system_texts, turns
from meibel_integrations.conversation.plan import OnDivergence
from meibel_integrations.conversation.seeding import read_history
from meibel_integrations.conversation.turn import CallOptions, ConversationCall, Outcome
from meibel_integrations.protocol import flows
from meibel_integrations.protocol.agents import AgentRef
from meibel_integrations.protocol.dialects.base import Dialect

__all__ = ["HeldSession"]

logger = logging.getLogger(__name__)

_GATE_WAIT = 0.05


class HeldSession:
    """Decides for each turn whether the session goes on, and keeps what was read of its history.

    Attributes:
        id: the session; ``None`` before the first turn of a conversation.
    """

    def __init__(
        self,
        session_id: str | None,
        *,
        agent: AgentRef,
        dialect: Dialect,
        config: ClientConfig,
        options: CallOptions,
        on_divergence: OnDivergence | None,
    ) -> None:
        self.id = session_id
        self._agent = agent
        self._dialect = dialect
        self._config = config
        self._options = options
        self._on_divergence = on_divergence
        self._gate = Lock()
        self._seen_agent = agent
        self._held: list[Item] | None = None
        self._reads = 0
        self._unsettled = False

    def sibling(self, session_id: str | None) -> HeldSession:
        """Another conversation with the same agent and settings."""
        return HeldSession(
            session_id,
            agent=self._agent,
            dialect=self._dialect,
            config=self._config,
            options=self._options,
            on_divergence=self._on_divergence,
        )

    def forget(self) -> None:
        """The next turn opens a new session. The present one stays at the service as it is."""
        self._move_to(None)

    # A turn's beginning

    def enter(self) -> flows.Flow[None]:
        """Waits until no other turn of the engine is being sent: two at once would each open a session.

        Whoever entered has to :meth:`leave`.
        """
        started: datetime = yield flows.Now()
        while not self._gate.acquire(blocking=False):
            now: datetime = yield flows.Now()
            if now - started >= timedelta(seconds=self._options.reconcile_deadline):
                raise errors.SessionBusyError(
                    "The engine is still sending another message. Use one engine per conversation: with_session(…)."
                )
            yield flows.Sleep(_GATE_WAIT)

    def leave(self) -> None:
        """Another turn may be sent."""
        self._gate.release()

    def plan(self, message: str, given: Sequence[Item] | None) -> flows.Flow[tuple[ConversationCall, str]]:
        """The call for a message, and why it is that: in the session, or in a new one, seeded with the list given.

        Raises:
            ConfigurationError: a new session is needed, and the engine knows no agent.
            DivergenceError: the list is not what the session holds, with ``on_divergence="error"``.
        """
        question = Item("user", message)
        session_id = self.id
        if session_id is None:
            return self._call([*(given or ()), question], None), "the engine had no session yet"
        if given is None:
            return self._call([question], session_id), "it is the engine's session"
        if not given:
            return self._call([question], None), "an empty chat_history was given"
        try:
            held = yield from self.read()
        except errors.NotFoundError:
            held = []
        if turns(held) == turns(given):
            instructions = [item for item in given if item.role == "system"]
            changed = system_texts(instructions) not in ([], system_texts(held))
            items = [*(instructions if changed else ()), question]
            return self._call(items, session_id), "chat_history is what the session holds"
        return self._diverged(session_id, [*given, question])

    def _diverged(self, session_id: str, items: list[Item]) -> tuple[ConversationCall, str]:
        reason = "chat_history is not what the session held"
        if self._on_divergence == "error":
            raise errors.DivergenceError(f"chat_history is not what session {session_id!r} holds.")
        if self._on_divergence == "ignore":
            logger.info("Going on in session %s, although chat_history is not what it holds.", session_id)
            return self._call(items[-1:], session_id), f"{reason}, which is ignored"
        logger.info("Starting a new session in place of %s: chat_history is not what it holds.", session_id)
        return self._call(items, None), reason

    def _call(self, items: list[Item], session_id: str | None) -> ConversationCall:
        if session_id is None and not self._agent.known:
            raise errors.ConfigurationError(
                "This engine knows its session, but no agent or indexes to open another one with: "
                "also pass agent_id=…, agent_name=… or index_ids=…."
            )
        return ConversationCall(
            self._dialect,
            self._config.retry,
            self._config.base_url,
            self._agent,
            items,
            replace(self._options, session_id=session_id),
        )

    # A turn's end

    def adopt(self, call: ConversationCall) -> None:
        """The turn was, or may have been, accepted: its session is the engine's."""
        if call.session_id is not None:
            if call.session_id != self.id:
                self._move_to(call.session_id)
            self._change(unsettled=True)

    def settled(self, outcome: Outcome) -> AgentRef:
        """The turn is complete. Returns the agent as fully as the service has named it."""
        if outcome.reply.session_id == self.id:
            self._seen_agent = outcome.agent.with_seen(self._seen_agent.id, self._seen_agent.name)
            self._change(unsettled=False)
            return self._seen_agent
        return outcome.agent

    # The history

    def read(self) -> flows.Flow[list[Item]]:
        """What the session holds, as it was written: read once per head, and each time while a turn is not settled.

        With ``check_head="always"`` it is always read.
        """
        session_id, reads = self.id, self._reads
        if session_id is None:
            return []
        if self._held is not None:
            return list(self._held)
        history = yield from flows.get_history(self._dialect, self._config.retry, session_id)
        held = read_history(history)
        steady = not self._unsettled and self._options.check_head == "auto"
        if steady and reads == self._reads and history and history[-1].role == "assistant":
            self._held = list(held)
        return held

    def _move_to(self, session_id: str | None) -> None:
        self.id = session_id
        self._seen_agent = self._agent
        self._change(unsettled=False)

    def _change(self, *, unsettled: bool) -> None:
        self._unsettled = unsettled
        self._held = None
        self._reads += 1
