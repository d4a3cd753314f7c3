"""Each hosted service, and models over it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from meibel_integrations.langchain import ChatLlamaCloud, ChatMeibel
from meibel_integrations.langchain.hosted import HostedChatModel
from meibel_integrations.local import (
    AnswerCitation,
    AnswerSource,
    Delta,
    Done,
    Question,
    ScriptedAnswerer,
    Step,
    Thinking,
    ToolCall,
    ToolResult,
)
from tests.support.hosted import SERVICES, Hosted, serving

ZEBRA = AnswerSource("The zebra", "file:///zebra.md", "Zebras have stripes.", 0.9, "doc-zebra")
WHALE = AnswerSource("The whale", None, "Whales eat krill.", None, "doc-whale")


def cited(question: Question) -> list[Step]:
    """An answer with all that an answer can have."""
    steps: list[Step] = [Delta("You said: "), Delta(question.text), Delta(". "), Delta("Zebras have stripes.")]
    end = len("".join(s.text for s in steps if isinstance(s, Delta)))
    if question.include_thinking:
        steps = [Thinking("Let me "), Thinking("think."), *steps]
    if question.include_tool_activity:
        steps = [ToolCall("t1", "search", {"query": question.text}), ToolResult("t1", "search", ["hit"]), *steps]
    usage = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
    citations = (AnswerCitation(9, (1,)), AnswerCitation(end, (0, 1)))
    return [
        *steps,
        Done(sources=(ZEBRA, WHALE), citations=citations, follow_up_questions=("And whales?",), usage=usage),
    ]


@pytest.fixture(scope="module", params=SERVICES)
def hosted(request: pytest.FixtureRequest) -> Iterator[Hosted]:
    with serving(request.param, answerer=ScriptedAnswerer(cited)) as service:
        yield service


Make = Callable[..., HostedChatModel]


def model_of(hosted: Hosted, **options: Any) -> HostedChatModel:
    """A model of the service's agent."""
    agent = {} if "agent_name" in options else hosted.agent
    kind = ChatLlamaCloud if hosted.is_cloud else ChatMeibel
    return kind(**{**hosted.connection, **agent, **options})


@pytest.fixture
def make(hosted: Hosted) -> Make:
    """Models of the service's agent."""
    return partial(model_of, hosted)
