"""Conversations that travel as messages: through memories, stores, JSON, and servers that keep no engine."""

from __future__ import annotations

import gc
import json
from typing import Any

import pytest
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.memory import ChatMemoryBuffer, Memory

from meibel_integrations import errors
from meibel_integrations.llamaindex import MeibelChatStore
from tests.support.hosted import only

from .service import Ask, Service


def asked(text: str) -> ChatMessage:
    return ChatMessage(role="user", content=text)


def through_json(messages: list[ChatMessage]) -> list[ChatMessage]:
    return [ChatMessage.model_validate(json.loads(message.model_dump_json())) for message in messages]


def test_eight_engines_are_one_conversation_of_constant_cost(service: Service, ask: Ask) -> None:
    service.start([f"answer {n}" for n in range(8)])
    messages: list[ChatMessage] = []
    sessions = set()
    for n in range(8):
        engine = service.engine(max_prompt_chars=20) if service.hosted.is_cloud else service.engine()
        response = ask(engine, f"question {n}", chat_history=through_json(messages))
        sessions.add(response.metadata["session_id"])
        messages += [asked(f"question {n}"), response.message]
    assert service.requests() == ["open", *["turn"] * 8]
    (session_id,) = sessions
    assert service.asked(session_id) == [f"question {n}" for n in range(8)]
    assert len({len(body) for body in service.hosted.turn_bodies()}) == 1


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # LlamaIndex's Memory leaves its database open
@pytest.mark.parametrize("kind", [ChatMemoryBuffer, Memory])
def test_memories(service: Service, kind: Any) -> None:
    """A memory drops its head when it is full, and the white space at the edges of an answer."""
    service.start([f" An answer that takes some tokens, number {n}.\n" for n in range(8)])
    memory = kind.from_defaults(token_limit=60)
    dropped, sessions = False, set()
    for n in range(8):
        history = memory.get()
        dropped = dropped or len(history) < 2 * n
        response = service.engine().chat(f"question {n}?", chat_history=history)
        sessions.add(response.metadata["session_id"])
        memory.put(asked(f"question {n}?"))
        response.message.blocks[0].text = response.message.blocks[0].text.strip()
        memory.put(response.message)
    assert dropped
    assert len(sessions) == 1
    del memory
    gc.collect()


def test_lists_without_anchors_continue_in_the_engines_own_session(service: Service, ask: Ask) -> None:
    service.start(["One.\n", "Two.", "Three.", "Four."])
    engine = service.engine()
    ask(engine, "1?")
    plain = [asked("1?"), ChatMessage(role="assistant", content="One.")]
    assert ask(engine, "2?", chat_history=plain).metadata["continuity"] == "continued"
    headless = [ChatMessage(role="assistant", content="Two.")]
    assert ask(engine, "3?", chat_history=headless).metadata["continuity"] == "continued"
    assert service.asked(engine.session_id) == ["1?", "2?", "3?"]
    older = ask(engine, "4?", chat_history=headless)
    assert older.metadata["continuity"] == "forked", "its newest answer is not the session's"


def test_a_question_that_the_list_holds_is_not_asked_twice(service: Service, ask: Ask) -> None:
    service.start(["One.", "Two.", "Three."])
    first = ask(service.engine(), "1?", chat_history=[asked("1?")])
    assert first.metadata["continuity"] == "new"
    history = [asked("1?"), first.message, asked("2?")]
    engine = service.engine()
    ask(engine, "2?", chat_history=history)
    plain = [ChatMessage(role=m.role, content=m.content) for m in history]
    ask(engine, "3?", chat_history=[*plain, ChatMessage(role="assistant", content="Two."), asked("3?")])
    assert service.asked(first.metadata["session_id"]) == ["1?", "2?", "3?"]


def test_two_users_of_one_engine(service: Service, ask: Ask) -> None:
    """As servers do it that keep the messages and share an engine."""
    service.start(lambda question: f"about {question.text}")
    engine = service.engine()
    users: dict[str, list[ChatMessage]] = {"ann": [], "bob": []}
    sessions: dict[str, set[str]] = {"ann": set(), "bob": set()}
    for n in range(3):
        for name, messages in users.items():
            response = ask(engine, f"{name} {n}?", chat_history=through_json(messages))
            sessions[name].add(response.metadata["session_id"])
            messages += [asked(f"{name} {n}?"), response.message]
    (ann,), (bob,) = sessions.values()
    assert service.asked(ann) == ["ann 0?", "ann 1?", "ann 2?"]
    assert service.asked(bob) == ["bob 0?", "bob 1?", "bob 2?"]


def test_an_edited_list_forks(service: Service, ask: Ask) -> None:
    service.start(["One.", "Two.", "Three."])
    first = ask(service.engine(), "1?")
    edited = [asked("1, edited?"), first.message]
    assert ask(service.engine(), "2?", chat_history=edited).metadata["continuity"] == "forked"
    with pytest.raises(errors.DivergenceError):
        ask(service.engine(on_divergence="error"), "2?", chat_history=edited)


def test_what_the_history_tells(service: Service) -> None:
    service.start()
    engine = service.engine()
    engine.chat("Herons?")
    question, answer = engine.chat_history
    assert question.additional_kwargs.get("timestamp", "").startswith("2") or service.hosted.is_cloud
    assert [source["title"] for source in answer.additional_kwargs["sources"]] == ["Birds", "Birds", "Ponds"]
    assert ("signal_id" in answer.additional_kwargs) == service.hosted.has_signals
    response = service.engine().chat("And again?", chat_history=through_json(engine.chat_history))
    assert response.metadata["session_id"] == engine.session_id


@only("v2", "guide", because="the store is Meibel's")
async def test_the_chat_store_reads_sessions(service: Service) -> None:
    service.start(["One.", "Two."])
    engine = service.engine()
    engine.chat("1?")
    store = MeibelChatStore(**service.hosted.agent, **service.hosted.connection)
    assert store.get_keys() == await store.aget_keys() == [engine.session_id]
    messages = store.get_messages(engine.session_id)
    assert [m.content for m in messages] == ["1?", "One."]
    assert messages == await store.aget_messages(engine.session_id)
    memory = ChatMemoryBuffer.from_defaults(chat_store=store, chat_store_key=engine.session_id)
    response = service.engine().chat("2?", chat_history=memory.get())
    assert response.metadata["session_id"] == engine.session_id
    with pytest.raises(NotImplementedError, match="only be read"):
        memory.put(asked("3?"))
    await store.aclose()


def test_sessions_are_listed_and_deleted(service: Service) -> None:
    service.start(["An answer."])
    engine = service.engine()
    engine.chat("1?")
    assert [session.id for session in engine.list_sessions()] == [engine.session_id]
    if not service.hosted.is_cloud:
        for delete in (lambda: engine.reset(delete=True), lambda: engine.delete_session("s")):
            with pytest.raises(errors.ConfigurationError, match="deletes no sessions"):
                delete()
        return
    engine.reset(delete=True)
    assert engine.session_id is None
    assert list(engine.list_sessions()) == []
    engine.chat("2?")
    engine.delete_session(engine.session_id)
    assert service.hosted.sessions() == 0


def test_an_engine_that_knows_a_session_alone_survives_a_reset(service: Service, ask: Ask) -> None:
    service.start(["One.", "Two.", "Three."])
    first = service.engine()
    ask(first, "1?")
    alone = dict.fromkeys(service.hosted.agent)
    engine = service.engine(**alone, session_id=first.session_id)
    ask(engine, "2?")
    engine.reset()
    ask(engine, "3?")
    assert engine.session_id not in (None, first.session_id)
    assert service.asked(first.session_id) == ["1?", "2?"]


def test_enter_in_the_repl(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    service.start(["One."])
    engine = service.engine()
    for repl in (engine.chat_repl, engine.streaming_chat_repl):
        said = iter(["", "1?", "exit"])
        monkeypatch.setattr("builtins.input", lambda _, said=said: next(said))
        repl()
        assert service.asked(engine.session_id) == ["1?"]
