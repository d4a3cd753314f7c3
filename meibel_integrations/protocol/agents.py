"""Whom a conversation is with, and how a session with them is opened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from meibel_integrations.models import CreateSessionRequest

__all__ = ["NOBODY", "AgentRef", "ChatSessionOptions", "SessionOptions", "SharedAccess"]

SharedAccess = Literal["query", "read_only"]


@dataclass(frozen=True, slots=True)
class AgentRef:
    """A Meibel agent, by id or by name; or LlamaCloud's chat agent over some indexes."""

    id: str | None = None
    name: str | None = None
    index_ids: tuple[str, ...] | None = None

    @property
    def known(self) -> bool:
        """Whether anything is named at all."""
        return self.id is not None or self.name is not None or self.index_ids is not None

    @property
    def label(self) -> str | None:
        """A short name for it, for traces."""
        return self.id or self.name or ",".join(self.index_ids or ()) or None

    def is_named_by(self, metadata: Mapping[str, Any]) -> bool:
        """Whether an answer's metadata names this agent."""
        if self.index_ids is not None:
            named = metadata.get("index_ids")
            return isinstance(named, list) and sorted(map(str, named)) == sorted(self.index_ids)
        if self.id is not None:
            return metadata.get("agent_id") == self.id
        return self.name is not None and metadata.get("agent_name") == self.name

    def to_json(self) -> dict[str, Any]:
        """What an answer's metadata says of it, for :meth:`is_named_by`."""
        if self.index_ids is not None:
            return {"index_ids": list(self.index_ids)}
        return {"agent_id": self.id, "agent_name": self.name}

    def completed_by(self, id: str | None, name: str | None) -> AgentRef:
        """The same agent with the id and name that a session told, where they were not known."""
        if self.index_ids is not None:
            return self
        return AgentRef(self.id or id, self.name or name)


NOBODY = AgentRef()
"""No agent at all."""


@dataclass(frozen=True, slots=True)
class ChatSessionOptions:
    """How a LlamaCloud session is opened.

    Attributes:
        bound: whether it is bound to the agent's indexes for good, or takes them with each message.
        shared_access: what its share link grants.
    """

    bound: bool = True
    shared_access: SharedAccess | None = None


SessionOptions = CreateSessionRequest | ChatSessionOptions
