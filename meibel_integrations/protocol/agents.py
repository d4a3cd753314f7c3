"""Whom a conversation is with, as the caller names it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["NOBODY", "AgentRef", "SharedAccess"]

SharedAccess = Literal["query", "read_only"]


@dataclass(frozen=True, slots=True)
class AgentRef:
    """A Meibel agent, by id or by name; or LlamaCloud's chat agent over some indexes.

    Attributes:
        id, name: the Meibel agent.
        index_ids: the indexes that LlamaCloud's agent retrieves from.
        bound: whether a new session is bound to these indexes for good.
        require_all_indexes: whether a turn that cannot query one of them fails.
        shared_access: what the session's share link grants.
    """

    id: str | None = None
    name: str | None = None
    index_ids: tuple[str, ...] | None = None
    bound: bool = True
    require_all_indexes: bool = False
    shared_access: SharedAccess | None = None

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

    def with_seen(self, id: str | None, name: str | None) -> AgentRef:
        """The same with what a session told of its agent, where that was not known."""
        if self.index_ids is not None:
            return self
        return AgentRef(
            self.id or id, self.name or name, self.index_ids, self.bound, self.require_all_indexes, self.shared_access
        )


NOBODY = AgentRef()
"""No agent at all."""
