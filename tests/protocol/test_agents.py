"""Whom a conversation is with, and whose answer a message is."""

from __future__ import annotations

from typing import Any

import pytest

from meibel_integrations.protocol.agents import AgentRef

BY_ID, BY_NAME, BY_INDEXES = AgentRef("a"), AgentRef(name="docs"), AgentRef(index_ids=("i", "j"))


@pytest.mark.parametrize(
    ("agent", "metadata", "own"),
    [
        (BY_ID, {"agent_id": "a"}, True),
        (BY_ID, {"agent_id": "b", "agent_name": "docs"}, False),
        (BY_NAME, {"agent_id": "a", "agent_name": "docs"}, True),
        (BY_NAME, {"agent_name": None}, False),
        (BY_INDEXES, {"index_ids": ["j", "i"]}, True),
        (BY_INDEXES, {"index_ids": ["i"]}, False),
        (BY_INDEXES, {"index_ids": "ij"}, False),
        (BY_INDEXES, {"agent_id": "i"}, False),
        (AgentRef(), {"agent_name": None}, False),
    ],
)
def test_an_answer_names_its_agent(agent: AgentRef, metadata: dict[str, Any], own: bool) -> None:
    assert agent.is_named_by(metadata) is own


@pytest.mark.parametrize(
    ("agent", "label", "known"), [(BY_ID, "a", True), (BY_NAME, "docs", True), (BY_INDEXES, "i,j", True)]
)
def test_an_agent_is_known_by_what_names_it(agent: AgentRef, label: str, known: bool) -> None:
    assert (agent.label, agent.known) == (label, known)
    assert agent.is_named_by(agent.to_json())
    assert (AgentRef().label, AgentRef().known) == (None, False)


def test_what_a_session_tells_of_its_agent_completes_it() -> None:
    assert BY_ID.completed_by("b", "docs").to_json() == {"agent_id": "a", "agent_name": "docs"}
    assert BY_NAME.completed_by("b", "other").to_json() == {"agent_id": "b", "agent_name": "docs"}
    assert BY_INDEXES.completed_by("b", "other") == BY_INDEXES
