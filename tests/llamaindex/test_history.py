"""``chat_history`` in and out, ``reset`` and ``with_session``: which session a turn belongs to."""

from __future__ import annotations

import asyncio
import logging

import pytest
from llama_index.core.base.llms.types import ChatMessage, ImageBlock, MessageRole, TextBlock, ToolCallBlock

from meibel_integrations import errors
from meibel_integrations.conversation.messages import read_history
from meibel_integrations.llamaindex.chat_engine import HostedChatEngine

from .service import Ask, Service


def user(text: str) -> ChatMessage:
    return ChatMessage(role=MessageRole.USER, content=text)


def assistant(text: str) -> ChatMessage:
    return ChatMessage(role=MessageRole.ASSISTANT, content=text)


def system(text: str) -> ChatMessage:
    return ChatMessage(role=MessageRole.SYSTEM, content=text)


def told(messages: list[ChatMessage]) -> list[ChatMessage]:
    """Messages without what the service knows besides who said what."""
    return [ChatMessage(role=message.role, content=message.content) for message in messages]


def held(service: Service, engine: HostedChatEngine) -> list[tuple[str, str]]:
    """What the session holds as it was written."""
    assert engine.session_id is not None
    return [(i.role, i.text) for i in read_history(service.hosted.read(engine.session_id))]


def history_reads(service: Service) -> int:
    return service.requests().count("read")


def test_chat_history_is_empty_without_a_session(service: Service) -> None:
    service.start()
    engine = service.engine()
    assert engine.chat_history == []
    assert asyncio.run(engine.aget_chat_history()) == []
    assert service.requests() == []


def test_chat_history_is_read_once_per_head(service: Service, ask: Ask) -> None:
    service.start(["One.", "Two."])
    engine = service.engine()
    ask(engine, "1?")
    expected = [user("1?"), assistant("One.")]
    assert told(engine.chat_history) == expected
    assert told(engine.chat_history) == expected
    assert told(asyncio.run(engine.aget_chat_history())) == expected
    assert history_reads(service) == 1
    engine.chat_history.clear()
    assert told(engine.chat_history) == expected, "a caller's list is its own"
    ask(engine, "2?")
    assert told(engine.chat_history) == [*expected, user("2?"), assistant("Two.")]
    assert history_reads(service) == 2


def test_check_head_always_reads_each_time(service: Service) -> None:
    service.start(["One.", "Two."])
    engine = service.engine(check_head="always")
    engine.chat("1?")
    assert len(engine.chat_history) == 2
    engine.with_session(engine.session_id).chat("2?")
    assert len(engine.chat_history) == 4


def test_an_empty_list_starts_a_new_session(service: Service, ask: Ask) -> None:
    service.start(["One.", "Two."])
    engine = service.engine()
    ask(engine, "1?")
    first = engine.session_id
    response = ask(engine, "2?", chat_history=[])
    assert engine.session_id not in (None, first)
    assert response.metadata["continuity"] == "new"
    assert service.transcript(first) == [("user", "1?"), ("assistant", "One.")]
    assert service.transcript(engine.session_id) == [("user", "2?"), ("assistant", "Two.")]


def test_the_list_that_the_session_holds_goes_on(service: Service, ask: Ask) -> None:
    service.start(["One.", "Two.", "Three."])
    engine = service.engine()
    ask(engine, "1?")
    first = engine.session_id
    response = ask(engine, "2?", chat_history=engine.chat_history)
    assert response.metadata["continuity"] == "continued"
    ask(engine, "3?", chat_history=[user("1?"), assistant("One."), user("2?"), assistant("Two.")])
    assert engine.session_id == first
    assert service.asked(first) == ["1?", "2?", "3?"]


def test_any_other_list_forks_beside_the_engine(service: Service, ask: Ask, caplog: pytest.LogCaptureFixture) -> None:
    service.start(["One.", "Two.", "Three.", "Four."])
    engine = service.engine()
    ask(engine, "1?")
    first = engine.session_id
    edited = [user("1, edited?"), assistant("One.")]
    with caplog.at_level(logging.INFO, "meibel_integrations"):
        response = ask(engine, "2?", chat_history=edited)
    assert first is not None
    assert len(caplog.records) == 1
    assert first in caplog.text
    assert response.metadata["continuity"] == "forked"
    assert response.metadata["continuity_reason"] == "the messages are another conversation"
    fork = engine.with_session(response.metadata["session_id"])
    assert held(service, fork) == [
        ("user", "1, edited?"),
        ("assistant", "One."),
        ("user", "2?"),
        ("assistant", "Two."),
    ]
    # the fork goes on where its messages say, whichever engine is asked; the engine itself is where it was
    again = ask(engine, "3?", chat_history=fork.chat_history)
    assert again.metadata["session_id"] == fork.session_id != first
    assert engine.session_id == first
    ask(engine, "4?")
    assert service.asked(first) == ["1?", "4?"]
    fork.close()


def test_a_list_seeds_the_first_session(service: Service, ask: Ask) -> None:
    service.start(["Two.", "Three."])
    engine = service.engine()
    given = [system("Be brief."), user("1?"), assistant("One.")]
    ask(engine, "2?", chat_history=given)
    assert told(engine.chat_history) == [*given, user("2?"), assistant("Two.")]
    ask(engine, "3?")
    # instructions that are in force are not sent again
    assert service.asked(engine.session_id)[1:] == ["3?"]


def test_system_messages(service: Service, ask: Ask) -> None:
    service.start(["An answer."])
    engine = service.engine()
    ask(engine, "1?", chat_history=[system("Be brief.")])
    first = engine.session_id
    # the same, or left out: nothing new to say
    ask(engine, "2?", chat_history=engine.chat_history)
    ask(engine, "3?", chat_history=[m for m in engine.chat_history if m.role is not MessageRole.SYSTEM])
    assert service.asked(first)[1:] == ["2?", "3?"]
    # changed: the session goes on under the new ones
    ask(engine, "4?", chat_history=[system("Be verbose."), *engine.chat_history[1:]])
    assert engine.session_id == first
    assert held(service, engine)[0] == ("system", "Be verbose.")
    assert [text for role, text in held(service, engine) if role == "user"] == ["1?", "2?", "3?", "4?"]


def test_a_list_of_a_session_that_is_gone_seeds_a_new_one(service: Service, ask: Ask) -> None:
    service.start(["An answer."])
    engine = service.engine(session_id="00000000-0000-0000-0000-000000000000")
    response = ask(engine, "2?", chat_history=[user("1?"), assistant("One.")])
    assert len(held(service, engine.with_session(response.metadata["session_id"]))) == 4


def test_on_divergence(service: Service, ask: Ask) -> None:
    service.start(["An answer."])
    strict = service.engine(on_divergence="error")
    ask(strict, "1?", chat_history=[user("0?"), assistant("Nil.")])
    with pytest.raises(errors.DivergenceError):
        ask(strict, "2?", chat_history=[user("other?"), assistant("Nil.")])
    assert len(service.asked(strict.session_id)) == 1
    lax = service.engine(on_divergence="ignore")
    ask(lax, "1?")
    first = lax.session_id
    ask(lax, "2?", chat_history=[user("other?"), assistant("Nil.")])
    assert lax.session_id == first
    assert service.asked(first) == ["1?", "2?"]


def test_reset_sends_nothing_and_keeps_the_session(service: Service, ask: Ask) -> None:
    service.start(["An answer."])
    engine = service.engine()
    engine.reset()
    ask(engine, "1?")
    first = engine.session_id
    before = service.requests()
    engine.reset()
    assert engine.session_id is None
    assert engine.chat_history == []
    assert service.requests() == before
    ask(engine, "2?")
    assert engine.session_id != first
    assert service.asked(first) == ["1?"]


def test_with_session_leaves_the_engine_alone(service: Service, ask: Ask) -> None:
    service.start(["An answer."])
    engine = service.engine()
    ask(engine, "1?")
    other = engine.with_session(None)
    assert type(other) is type(engine)
    ask(other, "2?")
    assert other.session_id != engine.session_id
    third = engine.with_session(other.session_id)
    ask(third, "3?")
    assert service.asked(engine.session_id) == ["1?"]
    assert service.asked(other.session_id) == ["2?", "3?"]
    for one in (other, third):
        one.close()


def test_long_seeds_leave_out_the_oldest(service: Service, ask: Ask) -> None:
    service.start(["An answer."])
    engine = service.engine(max_seed_chars=600)
    given = [message for n in range(20) for message in (user(f"question {n} {'x' * 40}"), assistant(f"answer {n}"))]
    ask(engine, "and now?", chat_history=given)
    texts = [text for _, text in held(service, engine)]
    assert texts[-2:] == ["and now?", "An answer."]
    assert "answer 19" in texts
    assert "answer 0" not in texts


def test_messages_that_name_their_speakers_and_tools_read_back(service: Service, ask: Ask) -> None:
    service.start(["An answer."])
    engine = service.engine()
    given = [
        ChatMessage(role=MessageRole.USER, content="1?", additional_kwargs={"name": "Ann"}),
        ChatMessage(
            role=MessageRole.ASSISTANT,
            blocks=[TextBlock(text="I look."), ToolCallBlock(tool_name="look", tool_kwargs={"at": "pond"})],
        ),
        ChatMessage(role=MessageRole.TOOL, content="a heron", additional_kwargs={"name": "look", "tool_call_id": "1"}),
        ChatMessage(role=MessageRole.CHATBOT, content="A heron."),
    ]
    ask(engine, "2?", chat_history=given)
    first = engine.session_id
    history = engine.chat_history
    assert history[0].additional_kwargs["name"] == "Ann"
    assert history[1].content == 'I look.\n[called look({"at": "pond"})]'
    assert (history[2].role, history[2].additional_kwargs["name"]) == (MessageRole.TOOL, "look")
    ask(engine, "3?", chat_history=[*given, *history[4:]])
    assert engine.session_id == first


@pytest.mark.parametrize(
    "given", [[ChatMessage(role="user", blocks=[ImageBlock(image=b"aGk=")])], ["hello"], [{"role": "user"}]]
)
def test_lists_that_cannot_be_sent_are_refused_before_any_request(service: Service, ask: Ask, given: list) -> None:
    service.start()
    with pytest.raises(errors.InvalidInputError):
        ask(service.engine(), "2?", chat_history=given)
    assert service.requests() == []
