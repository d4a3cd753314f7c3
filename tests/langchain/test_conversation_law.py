"""The law: the result of a call depends on the message list alone.

After any call of a generated conversation the history of the session that answered, read back, is the list that the
model was called with - or, when only the list's head was dropped, ends with it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage

from meibel_integrations.conversation.messages import NeutralMessage, read_history, system_texts, without_system
from meibel_integrations.langchain.hosted import HostedChatModel
from meibel_integrations.langchain.messages import to_neutral
from meibel_integrations.ledgers.memory import PROCESS_LEDGER
from meibel_integrations.local import ScriptedAnswerer
from meibel_integrations.models import Message
from tests.support.hosted import SERVICES, serving

from .conftest import model_of

_numbers = itertools.count()

Read = Callable[[str], list[Message]]


@pytest.fixture(scope="module", params=SERVICES)
def model_and_read(request: pytest.FixtureRequest) -> Iterator[tuple[HostedChatModel, Read]]:
    """A model, and how its service's history is read."""
    # Short answers that repeat, so that texts alone cannot tell turns apart.
    answerer = ScriptedAnswerer(lambda question: f"answer {len(question.text) % 3} to it")
    with serving(request.param, answerer=answerer) as hosted:
        yield model_of(hosted, reconcile_grace=0), hosted.read


OPERATIONS = [
    *["ask"] * 4,
    *["edit a question", "edit an answer", "insert", "drop the head", "summarise", "branch", "replay"],
    *["two at once", "foreign answer", "new instructions", "no instructions", "leave a stream", "another process"],
]


class Conversation:
    """A user's side of a conversation: a message list, and a model that is called with it."""

    def __init__(self, model: HostedChatModel, read: Read, pick: Any) -> None:
        self.model = model
        self.read = read
        self.pick = pick
        self.messages: list[BaseMessage] = []
        self.trimmed = False

    def do(self, operation: str) -> None:
        talk = [i for i, m in enumerate(self.messages) if not isinstance(m, SystemMessage)]
        if operation.startswith("edit") and talk:
            kind: type[BaseMessage] = HumanMessage if "question" in operation else AIMessage
            among = [i for i in talk if isinstance(self.messages[i], kind)]
            at = self.pick(among)
            self.messages[at] = self.messages[at].model_copy(update={"content": f"edited {next(_numbers)}"})
        elif operation == "insert" and talk:
            self.messages.insert(self.pick(talk), HumanMessage(f"inserted {next(_numbers)}"))
        elif operation == "drop the head" and talk:
            self.messages = self.messages[self.pick([i for i in talk if self.messages[i].type == "human"]) :]
            self.trimmed = True
        elif operation == "summarise" and talk:
            self.messages = [HumanMessage(f"summary {next(_numbers)}"), *self.messages[self.pick(talk) :]]
        elif operation == "branch" and talk:
            self.messages = self.messages[: self.pick([i + 1 for i in talk if self.messages[i].type == "ai"])]
        elif operation == "replay" and self.messages:
            self.messages.pop()
            self.answer(new=False)
            return
        elif operation == "two at once":
            other = self.model.stream([*self.messages, HumanMessage(f"other {next(_numbers)}")])
            next(other)
            self.answer()
            for _ in other:
                pass
            return
        elif operation == "leave a stream":
            left = self.model.stream([*self.messages, HumanMessage(f"left {next(_numbers)}")])
            next(left)
            left.close()
        elif operation == "foreign answer":
            self.messages += [HumanMessage(f"foreign {next(_numbers)}"), AIMessage(f"from elsewhere {next(_numbers)}")]
        elif operation == "new instructions":
            rest = [m for m in self.messages if not isinstance(m, SystemMessage)]
            self.messages = [SystemMessage(f"instructions {next(_numbers)}"), *rest]
        elif operation == "no instructions":
            self.messages = [m for m in self.messages if not isinstance(m, SystemMessage)]
        elif operation == "another process":
            PROCESS_LEDGER.clear()
        self.answer()

    def answer(self, *, new: bool = True) -> None:
        if new:
            self.messages.append(HumanMessage(f"question {next(_numbers)}"))
        called = list(self.messages)
        answer = self.model.invoke(called)
        self.messages.append(answer)
        self.check([*called, answer])

    def check(self, messages: list[BaseMessage]) -> None:
        session_id = messages[-1].response_metadata["session_id"]
        held = read_history(self.read(session_id))
        wanted = to_neutral(messages, provider=self.model.provider, agent=None)
        assert ends_with(without_system(held), without_system(wanted), exactly=not self.trimmed)
        if system_texts(wanted) or not self.trimmed:
            assert system_texts(held) == system_texts(wanted)
        asked = [item.text for item in without_system(held) if item.role == "user"]
        assert len(asked) == len(set(asked)), "a session received the same exchange twice"


def ends_with(held: list[NeutralMessage], wanted: list[NeutralMessage], *, exactly: bool) -> bool:
    return held == wanted if exactly else held[-len(wanted) :] == wanted


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(operations=st.lists(st.sampled_from(OPERATIONS), min_size=2, max_size=9), data=st.data())
def test_the_session_holds_what_the_model_was_called_with(
    model_and_read: tuple[HostedChatModel, Read], operations: list[str], data: st.DataObject
) -> None:
    conversation = Conversation(*model_and_read, lambda among: data.draw(st.sampled_from(among or [0])))
    for operation in operations:
        conversation.do(operation)
