"""An engine's session: what was read of its history, and for how long that counts."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from pydantic import SecretStr

from meibel_integrations.conversation.held import HeldSession
from meibel_integrations.conversation.messages import Lineage
from meibel_integrations.conversation.options import RunOptions, Target
from meibel_integrations.ledgers.entry import SessionBook
from meibel_integrations.ledgers.memory import MemoryLedger
from meibel_integrations.protocol.agents import AgentRef
from meibel_integrations.protocol.commands import Send
from tests.support.playing import SERVICE, answer, play


def history(*texts: str) -> Any:
    roles = ("user", "assistant")
    return answer({"messages": [{"type": roles[n % 2], "message": text} for n, text in enumerate(texts)]})


def held() -> HeldSession:
    book = SessionBook(MemoryLedger(), "http://x.test", SecretStr("k"))
    return HeldSession("s", service=SERVICE, book=book, target=Target(AgentRef("a")), options=RunOptions())


def texts(ran: Any) -> list[str]:
    return [message.message for message in ran.result]


def test_a_history_is_read_once_per_head() -> None:
    session = held()
    assert texts(play(session.read(), history("one", "first"))) == ["one", "first"]
    ran = play(session.read())
    assert (texts(ran), ran.sent) == (["one", "first"], [])


def test_a_history_without_its_newest_answer_is_read_again() -> None:
    session = held()
    play(session.read(), history("one"))
    assert play(session.read(), history("one", "first")).gets == 1


def test_what_was_read_while_a_turn_ended_does_not_count() -> None:
    session = held()
    run: Any = SimpleNamespace(session_id="s")
    result: Any = SimpleNamespace(reply=run, agent=AgentRef("a"), lineage=Lineage(None, (), ("answer",)))

    def interfere(command: Any) -> None:
        if isinstance(command, Send):
            session.adopt(run, own=True)
            session.settled(result)

    play(session.read(), history("one", "first"), before=interfere)
    ran = play(session.read(), history("one", "first", "two", "second"))
    assert texts(ran) == ["one", "first", "two", "second"]
