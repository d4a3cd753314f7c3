"""A local service with written answers, and engines over it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from meibel_integrations.llamaindex import (
    HostedChatResponse,
    HostedStreamingResponse,
    LlamaCloudChatEngine,
    MeibelChatEngine,
)
from meibel_integrations.llamaindex.chat_engine import HostedChatEngine
from meibel_integrations.local import (
    AnswerCitation,
    AnswerSource,
    Delta,
    Done,
    LocalMeibel,
    ScriptedAnswerer,
    Step,
    Thinking,
    ToolCall,
    ToolResult,
)
from tests.support.hosted import Hosted, serving

CITED: list[Step] = [
    Thinking("Let me see. "),
    ToolCall("t1", "search", {"query": "herons"}),
    ToolResult("t1", "search", [{"title": "Birds"}]),
    Delta("Herons "),
    Delta("wait. "),
    Delta("Then they strike."),
    Done(
        sources=(
            AnswerSource("Birds", "file:///birds.md", "A heron waits.", 2.5, "doc-birds"),
            AnswerSource("Birds", "file:///birds.md", "It strikes at last.", 1.25, "doc-birds"),
            AnswerSource("Ponds", None, None, None, "doc-ponds"),
        ),
        citations=(AnswerCitation(13, (0,)), AnswerCitation(30, (1, 2))),
        follow_up_questions=("What do they eat?",),
        usage={"input_tokens": 7, "output_tokens": 5, "total_tokens": 12},
    ),
]
CITED_TEXT = "Herons wait. Then they strike."

Ask = Callable[..., HostedChatResponse | HostedStreamingResponse]
"""``ask(engine, message, **arguments)`` through one of the four verbs, read to the end."""


class Service:
    """A running service whose answers a test has written down."""

    def __init__(self, stack: ExitStack, name: str) -> None:
        self._stack = stack
        self.name = name
        self.hosted: Hosted = None  # type: ignore[assignment]
        self.answerer: ScriptedAnswerer = None  # type: ignore[assignment]

    def start(self, answers: Any = None, **options: Any) -> Service:
        self.answerer = ScriptedAnswerer([CITED] if answers is None else answers, repeat_last=True)
        self.hosted = self._stack.enter_context(serving(self.name, **{"answerer": self.answerer, **options}))
        return self

    @property
    def local(self) -> LocalMeibel:
        return self.hosted.local

    @property
    def kind(self) -> Any:
        """The service's engine."""
        return kind_of(self.name)

    def engine(self, **settings: Any) -> HostedChatEngine:
        settings = {**self.hosted.agent, **self.hosted.connection, "reconcile_grace": 0.0, **settings}
        engine: HostedChatEngine = self.kind.from_defaults(**settings)
        self._stack.callback(engine.close)
        return engine

    def transcript(self, session_id: str | None) -> list[tuple[str, str]]:
        """What the service holds, raw."""
        assert session_id is not None
        return [(m.role, m.message) for m in self.hosted.read(session_id)]

    def asked(self, session_id: str | None) -> list[str]:
        return [text for role, text in self.transcript(session_id) if role == "user"]

    def requests(self) -> list[str]:
        return self.hosted.requests()


def kind_of(name: str) -> Any:
    """The engine of a service."""
    return LlamaCloudChatEngine if name == "llamacloud" else MeibelChatEngine
