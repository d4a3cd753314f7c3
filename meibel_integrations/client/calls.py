"""The calls of the Meibel clients as flows: checked arguments in, one flow out; the same for sync and async."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from meibel_integrations.client.arguments import File, file_reader, session_options, turn_body
from meibel_integrations.client.baselines import Baselines
from meibel_integrations.config import RetryPolicy
from meibel_integrations.models import Message, Reply, Session
from meibel_integrations.protocol import flows
from meibel_integrations.protocol.dialects.meibel import MeibelDialect
from meibel_integrations.protocol.reconcile import Recovery
from meibel_integrations.protocol.text import Partials

__all__ = ["MeibelCalls"]


@dataclass(frozen=True, slots=True)
class MeibelCalls:
    """One client's calls, with its settings."""

    dialect: MeibelDialect
    policy: RetryPolicy
    partials: Partials
    recovery: Recovery
    baselines: Baselines = field(default_factory=Baselines)

    def create_session(self, agent_id: str | None, agent_name: str | None, body: Any) -> flows.Flow[Session]:
        session = yield from flows.create_session(
            self.dialect, self.policy, agent_id=agent_id, agent_name=agent_name, options=session_options(body)
        )
        self.baselines.opened(session.id)
        return session

    def list_sessions(self, agent_id: str, page_size: int, **filters: str | None) -> flows.Flow[int]:
        return flows.list_sessions(self.dialect, self.policy, agent_id, page_size=page_size, **filters)

    def send(self, session_id: str, body: Any, user_message: str | None, options: dict[str, Any]) -> flows.Flow[Reply]:
        turn = turn_body(body, user_message, options)
        baseline = self.baselines.begin(session_id)
        recovery = replace(self.recovery, baseline=baseline)
        reply = yield from flows.send_turn(self.dialect, self.policy, session_id, turn, recovery=recovery)
        self.baselines.settled(session_id, baseline)
        return reply

    def stream(
        self,
        session_id: str,
        body: Any,
        user_message: str | None,
        files: Sequence[File] | None,
        options: dict[str, Any],
    ) -> flows.Flow[Reply]:
        turn = turn_body(body, user_message, options)
        parts = file_reader(files, self.dialect.file_field)
        baseline = self.baselines.begin(session_id)
        return flows.stream_turn(
            self.dialect,
            self.policy,
            session_id,
            turn,
            parts,
            partials=self.partials,
            recovery=replace(self.recovery, baseline=baseline),
            settle=lambda reply: self.baselines.settle(session_id, baseline, reply),
        )

    def messages(self, session_id: str, include_tools: bool) -> flows.Flow[list[Message]]:
        messages = yield from flows.get_history(self.dialect, self.policy, session_id, include_tools=include_tools)
        self.baselines.read(session_id, messages)
        return messages

    def session(self, session_id: str) -> flows.Flow[Session]:
        return flows.get_session(self.dialect, self.policy, session_id)
