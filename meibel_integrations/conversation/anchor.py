"""What an answer says about where it belongs: its session, the head it made, and how it came about.

An anchor travels in the answer's own metadata, through checkpointers, stores and other processes. It is the only
memory that a model object has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from meibel_integrations.protocol.agents import NOBODY, AgentRef

__all__ = ["Anchor", "Lineage", "ordinal_marker"]


@dataclass(frozen=True, slots=True)
class Lineage:
    """How an answer came about, in digests.

    Attributes:
        parent: the marker of the head that the turn continued; ``None`` if it opened its session.
        carried: a digest of each message that the turn carried, in order, without system messages.
        answer: the digest of the answer itself.
        system: the digest of the instructions in force, ``None`` if there were none.
        ordinal: the number of user turns in the session with this one, ``None`` if that is not known.
    """

    parent: str | None
    carried: tuple[str, ...]
    answer: str
    system: str | None = None
    ordinal: int | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "parent": self.parent,
            "carried": list(self.carried),
            "answer": self.answer,
            "system": self.system,
            "ordinal": self.ordinal,
        }

    @classmethod
    def from_json(cls, value: Any) -> Lineage | None:
        """``None`` for anything that is not a lineage: stores may change or drop it."""
        if not isinstance(value, Mapping):
            return None
        parent, carried, answer = value.get("parent"), value.get("carried"), value.get("answer")
        if not isinstance(answer, str) or not isinstance(carried, Sequence) or isinstance(carried, str):
            return None
        system, ordinal = value.get("system"), value.get("ordinal")
        return cls(
            parent=parent if isinstance(parent, str) else None,
            carried=tuple(str(c) for c in carried),
            answer=answer,
            system=system if isinstance(system, str) else None,
            ordinal=ordinal if isinstance(ordinal, int) else None,
        )


@dataclass(frozen=True, slots=True)
class Anchor:
    """A place in a session: the head that an answer made.

    ``marker`` is the answer's signal where the wire has one, otherwise :func:`ordinal_marker`. ``lineage`` is ``None``
    for answers that were read from the server; they are trusted. ``agent`` is whom the answer names.
    """

    session_id: str
    marker: str
    lineage: Lineage | None = None
    agent: AgentRef = NOBODY

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any], *, provider: str, agent: AgentRef | None) -> Anchor | None:
        """Reads an answer's metadata; ``None`` if it is not this provider's, or (with ``agent``) another agent's."""
        if metadata.get("model_provider") != provider or (agent is not None and not agent.is_named_by(metadata)):
            return None
        session_id = metadata.get("session_id")
        lineage = Lineage.from_json(metadata.get("lineage"))
        marker = metadata.get("signal_id") or metadata.get("marker")
        if marker is None and lineage is not None:
            marker = ordinal_marker(lineage.ordinal, lineage.answer)
        if not isinstance(session_id, str) or not session_id or not isinstance(marker, str):
            return None
        id_, name = metadata.get("agent_id"), metadata.get("agent_name")
        named = AgentRef(id_ if isinstance(id_, str) else None, name if isinstance(name, str) else None)
        return cls(session_id, marker, lineage, named)


def ordinal_marker(ordinal: int | None, answer: str) -> str:
    """The head marker where the wire has no signals: the turn's ordinal and the digest of its answer."""
    return f"{'?' if ordinal is None else ordinal}:{answer}"
