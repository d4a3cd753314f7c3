"""The calls of the clients as flows: checked arguments in, one flow out; the same for sync and async."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

from meibel_integrations.client.arguments import File, file_reader, session_options, turn_body
from meibel_integrations.client.baselines import Baselines
from meibel_integrations.config import RetryPolicy
from meibel_integrations.models import ChatMessageRequest, Message, Reply, Session
from meibel_integrations.protocol import flows
from meibel_integrations.protocol.agents import AgentRef, SharedAccess
from meibel_integrations.protocol.dialects.base import Dialect
from meibel_integrations.protocol.dialects.llamacloud import LlamaCloudDialect
from meibel_integrations.protocol.dialects.meibel import MeibelDialect
from meibel_integrations.protocol.reconcile import Recovery
from meibel_integrations.protocol.requests import FilePart
from meibel_integrations.protocol.text import Partials

__all__ = ["LlamaCloudCalls", "MeibelCalls"]

D = TypeVar("D", bound=Dialect)


@dataclass(frozen=True, slots=True)
class _Calls(Generic[D]):
    """What the calls of every service share: the client's settings, the turns that it has counted, and streaming."""

    dialect: D
    policy: RetryPolicy
    partials: Partials
    recovery: Recovery
    baselines: Baselines = field(default_factory=Baselines)

    def stream_turn(
        self, session_id: str, turn: ChatMessageRequest, files: Callable[[], Sequence[FilePart]] | None, agent: AgentRef
    ) -> flows.Flow[Reply]:
        baseline = self.baselines.begin(session_id)
        return flows.stream_turn(
            self.dialect,
            self.policy,
            session_id,
            turn,
            files,
            partials=self.partials,
            recovery=replace(self.recovery, baseline=baseline),
            settle=lambda reply: self.baselines.settle(session_id, baseline, reply),
            agent=agent,
        )

    def messages(self, session_id: str, include_tools: bool = False) -> flows.Flow[list[Message]]:
        messages = yield from flows.get_history(self.dialect, self.policy, session_id, include_tools=include_tools)
        self.baselines.read(session_id, messages)
        return messages


class MeibelCalls(_Calls[MeibelDialect]):
    """The calls of a Meibel client."""

    def create_session(self, agent_id: str | None, agent_name: str | None, body: Any) -> flows.Flow[Session]:
        session = yield from flows.create_session(
            self.dialect, self.policy, AgentRef(agent_id, agent_name), session_options(body)
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
        return self.stream_turn(session_id, turn, parts, AgentRef())

    def session(self, session_id: str) -> flows.Flow[Session]:
        return flows.get_session(self.dialect, self.policy, session_id)


class LlamaCloudCalls(_Calls[LlamaCloudDialect]):
    """The calls of a LlamaCloud chat client."""

    def create(self, index_ids: Sequence[str] | None, shared_access: SharedAccess | None) -> flows.Flow[Session]:
        agent = AgentRef(index_ids=tuple(index_ids or ()), shared_access=shared_access)
        session = yield from flows.create_session(self.dialect, self.policy, agent)
        self.baselines.opened(session.id)
        return session

    def list(self, page_size: int) -> flows.Flow[int]:
        return flows.list_chats(self.dialect, self.policy, page_size=page_size)

    def retrieve(self, session_id: str) -> flows.Flow[Session]:
        return flows.read_chat(self.dialect, self.policy, self.dialect.get_session(session_id))

    def get_summary(self, session_id: str) -> flows.Flow[Session]:
        return flows.read_chat(self.dialect, self.policy, self.dialect.get_summary(session_id))

    def delete(self, session_id: str) -> flows.Flow[None]:
        yield from flows.fetch(self.dialect.delete_session(session_id), self.policy)

    def stream(
        self, session_id: str, prompt: str, index_ids: Sequence[str], require_all_indexes: bool
    ) -> flows.Flow[Reply]:
        turn = turn_body(None, prompt, {})
        agent = AgentRef(index_ids=tuple(index_ids), require_all_indexes=require_all_indexes)
        return self.stream_turn(session_id, turn, None, agent)
