"""What came of a call: the reply, and how its session was found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from meibel_integrations.conversation.messages import Lineage
from meibel_integrations.conversation.plan import Plan
from meibel_integrations.models import Reply, Source, Usage
from meibel_integrations.protocol.agents import AgentRef

__all__ = ["ANCHOR_FIELDS", "RunResult", "source_json", "usage_json"]


@dataclass(frozen=True, slots=True)
class RunResult:
    """What came of a call, for the answer's metadata."""

    reply: Reply
    plan: Plan
    agent: AgentRef
    lineage: Lineage
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
            "warnings": [*reply.warnings, *self._omission()],
            "skipped_index_ids": list(reply.skipped_index_ids),
            "recovered": reply.recovered,
            "extra": dict(reply.extra),
            "continuity": self.plan.continuity,
            "continuity_reason": self.plan.reason,
            "lineage": self.lineage.to_json(),
        }
        if reply.usage is not None:
            found["token_usage"] = usage_json(reply.usage)
        if reply.streamed_text is not None:
            found["completion_text"] = reply.message
        if self.ephemeral:
            # no later call may go on here, so the answer names no session
            for key in ANCHOR_FIELDS:
                found[key] = None
        return found

    def _omission(self) -> list[str]:
        if not self.plan.omitted:
            return []
        return [f"The conversation was too long to send: its oldest messages ({self.plan.omitted}) were left out."]


ANCHOR_FIELDS = ("session_id", "signal_id", "lineage")
"""What later calls find an answer's session by. An answer without them is transcript."""


def usage_json(usage: Usage) -> dict[str, int | float]:
    """Token counts as a plain dict, with all that the service counted."""
    return {
        **usage.details,
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
    }


def source_json(source: Source) -> dict[str, Any]:
    """A source as a plain dict: its title always, what else the service said, and ``score`` even if unknown."""
    given: dict[str, Any] = source.model_dump()
    return {"title": given.pop("title"), **given}
