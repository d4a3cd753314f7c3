"""What an answerer is: the part of the local service that turns a question into an answer.

The service hands over the conversation and a way to search the agent's documents, and receives a stream of steps.
Answerers are synchronous generators; the service runs each in a worker thread, so one may block.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

from meibel_integrations.local.search.passages import Search
from meibel_integrations.local.store.steps import Step


@dataclass(frozen=True, slots=True)
class HistoryTurn:
    """One earlier message of the session, oldest first. ``document_ids`` are those that an answer cited."""

    role: Literal["user", "assistant"]
    text: str
    document_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Question:
    """One turn to answer.

    Attributes:
        text: what was asked.
        history: the messages of the session's newest turns (at most 50 turns), oldest first.
        search: over the documents that this turn may see.
        uploaded_document_ids: the files that came with this very message.
        earlier_document_ids: the files of the whole session, the newest first.
        instructions: the system messages that came with this message.
        whole_passages: the client is shown what a search found in full, not only its beginning.
    """

    text: str
    history: tuple[HistoryTurn, ...]
    search: Search
    uploaded_document_ids: tuple[str, ...] = ()
    include_thinking: bool = False
    include_tool_activity: bool = False
    whole_passages: bool = False
    earlier_document_ids: tuple[str, ...] = ()
    instructions: str = ""


class Answerer(Protocol):
    """Turns a question into steps. Raising means that the turn failed; the message reaches the client.

    An answerer that computes its steps, and never waits for anything, has an attribute ``computes`` that is true: such
    answers take turns, so that streams begin at once however many are asked for.
    """

    def answer(self, question: Question) -> Iterator[Step]: ...
