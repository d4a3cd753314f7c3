"""A local service with written answers, and engines over it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from meibel_integrations import MeibelClient
from meibel_integrations.llamaindex import HostedChatResponse, HostedStreamingResponse, MeibelChatEngine
from meibel_integrations.local import LocalMeibel, ScriptedAnswerer
from meibel_integrations.local.answerers.base import (
    AnswerCitation,
    AnswerSource,
    Delta,
    Done,
    Step,
    Thinking,
    ToolCall,
    ToolResult,
)

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

    def __init__(self, stack: ExitStack, dialect: str) -> None:
        self._stack = stack
        self.dialect = dialect
        self.local: LocalMeibel = None  # type: ignore[assignment]
        self.answerer: ScriptedAnswerer = None  # type: ignore[assignment]

    def start(self, answers: Any = None, **options: Any) -> Service:
        self.answerer = ScriptedAnswerer([CITED] if answers is None else answers, repeat_last=True)
        options = {"dialect": self.dialect, "answerer": self.answerer, **options}
        self.local = self._stack.enter_context(LocalMeibel(**options))
        return self

    def engine(self, **settings: Any) -> MeibelChatEngine:
        settings = {"agent_id": self.local.agent_id, **self.connection, "reconcile_grace": 0.0, **settings}
        engine = MeibelChatEngine.from_defaults(**settings)
        self._stack.callback(engine.close)
        return engine

    @property
    def connection(self) -> dict[str, Any]:
        return {"api_key": self.local.api_key, "base_url": self.local.base_url}

    def transcript(self, session_id: str | None) -> list[tuple[str, str]]:
        """What the service holds, raw."""
        assert session_id is not None
        with MeibelClient(**self.connection) as client:
            return [(m.role, m.message) for m in client.sessions.get_session_messages(session_id)]

    def asked(self, session_id: str | None) -> list[str]:
        return [text for role, text in self.transcript(session_id) if role == "user"]

    def requests(self) -> list[tuple[str, str]]:
        return [(entry["method"], entry["path"]) for entry in self.local.request_log()]
