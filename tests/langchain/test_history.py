"""MeibelChatMessageHistory, alone and in LangChain's own wrapper for it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain_core.chat_history import BaseChatMessageHistory
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder
from langchain_core.runnables import ConfigurableField, Runnable
from langchain_core.runnables.history import RunnableWithMessageHistory

from meibel_integrations import MeibelClient, errors
from meibel_integrations.langchain import MeibelChatMessageHistory
from meibel_integrations.local import LocalMeibel

from .conftest import Make

pytestmark = pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainDeprecationWarning")

PROMPT = ChatPromptTemplate.from_messages([("system", "Be brief."), MessagesPlaceholder("history"), ("human", "{q}")])


def history(local: LocalMeibel, **settings: Any) -> MeibelChatMessageHistory:
    agent = {} if settings else {"agent_id": local.agent_id}
    return MeibelChatMessageHistory(api_key=local.api_key, base_url=local.base_url, **agent, **settings)


def asked(local: LocalMeibel, session_id: str) -> list[str]:
    held = MeibelClient(local.api_key, local.base_url).sessions.get_session_messages(session_id)
    return [m.message for m in held if m.role == "user"]


def with_history(chain: Runnable[Any, Any], store: dict[str, BaseChatMessageHistory]) -> Runnable[Any, Any]:
    return RunnableWithMessageHistory(
        chain, lambda session_id: store[session_id], input_messages_key="q", history_messages_key="history"
    )


@pytest.mark.parametrize("way", ["sync", "async", "stream"])
def test_ten_turns_are_ten_messages_in_one_session(make: Make, local: LocalMeibel, way: str) -> None:
    mine = history(local)
    chain = with_history(PROMPT | make(), {"u": mine})
    config: Any = {"configurable": {"session_id": "u"}}

    async def aconverse() -> None:
        for i in range(10):
            await chain.ainvoke({"q": f"question {i}"}, config)

    if way == "async":
        asyncio.run(aconverse())
    for i in range(0 if way == "async" else 10):
        if way == "stream":
            assert list(chain.stream({"q": f"question {i}"}, config))
        else:
            chain.invoke({"q": f"question {i}"}, config)
    sent = asked(local, mine.session_id)
    assert len(sent) == 10
    assert sent[1:] == [f"question {i}" for i in range(1, 10)], "instructions were sent again"
    messages = mine.messages
    assert [m.type for m in messages] == ["human", "ai"] * 10
    assert [m.text for m in messages[::2]] == [f"question {i}" for i in range(10)]
    assert len({m.id for m in messages}) == 20


def test_with_a_parser_at_the_end_the_session_is_pinned(make: Make, local: LocalMeibel) -> None:
    model = make().configurable_fields(session_id=ConfigurableField(id="session_id"))
    store: dict[str, BaseChatMessageHistory] = {}
    session_id = history(local).session_id
    store[session_id] = history(local, session_id=session_id)
    chain = with_history(PROMPT | model | StrOutputParser(), store)
    for i in range(10):
        assert chain.invoke({"q": f"question {i}"}, {"configurable": {"session_id": session_id}})
    assert len(asked(local, session_id)) == 10
    assert [m.text for m in store[session_id].messages[::2]] == [f"question {i}" for i in range(10)]


def test_another_object_for_the_same_session_goes_on_in_it(make: Make, local: LocalMeibel) -> None:
    model = make()
    first = history(local)
    answer = model.invoke("one")
    first.add_messages([HumanMessage("one"), answer])
    for known in ({}, {"agent_id": local.agent_id}, {"agent_name": "docs"}):
        again = history(local, session_id=first.session_id, **known)
        following = model.invoke([*again.messages, HumanMessage(f"more {known}")])
        assert following.response_metadata["session_id"] == first.session_id


def test_a_new_history_opens_no_session(local: LocalMeibel, make: Make) -> None:
    client = MeibelClient(local.api_key, local.base_url)
    before = len(list(client.agents.list_sessions(local.agent_id)))
    mine = MeibelChatMessageHistory.create(agent_name="docs", api_key=local.api_key, base_url=local.base_url)
    assert mine.messages == []
    assert asyncio.run(mine.aget_messages()) == []
    mine.add_messages([])
    assert len(list(client.agents.list_sessions(local.agent_id))) == before
    assert mine.session_id == mine.session_id
    assert len(list(client.agents.list_sessions(local.agent_id))) == before + 1


def test_a_session_is_opened_by_asking_for_its_id_in_async_code(local: LocalMeibel) -> None:
    mine = history(local)

    async def twice() -> list[str]:
        return [await mine.aget_session_id(), await mine.aget_session_id()]

    assert len(set(asyncio.run(twice()))) == 1


def test_what_was_seeded_is_told_as_it_was_written(make: Make, local: LocalMeibel) -> None:
    told = [
        SystemMessage("Be kind."),
        HumanMessage("hi", name="Ann"),
        AIMessage("from elsewhere"),
        HumanMessage("and?"),
    ]
    answer = make().invoke(told)
    mine = history(local)
    mine.add_messages([*told[1:], answer])
    messages = mine.messages
    assert [(m.type, m.text, m.name) for m in messages[:3]] == [
        ("human", "hi", "Ann"),
        ("ai", "from elsewhere", None),
        ("human", "and?", None),
    ]
    assert messages[3].text == answer.text
    assert make().invoke([*messages, HumanMessage("more")]).response_metadata["continuity"] == "continued"


def test_what_the_session_does_not_have_is_refused(make: Make, local: LocalMeibel) -> None:
    mine = history(local)
    with pytest.raises(errors.InvalidInputError, match="not bound"):
        mine.add_messages([HumanMessage("hi"), AIMessage("parsed")])
    answer = make().invoke("hi")
    with pytest.raises(errors.InvalidInputError, match="does not have the user message 'other'"):
        mine.add_messages([HumanMessage("other"), answer])
    mine.add_messages([HumanMessage("hi"), answer])
    mine.add_messages([AIMessage(answer.text)])
    with pytest.raises(errors.InvalidInputError, match="only by a turn"):
        asyncio.run(mine.aadd_messages([HumanMessage("by hand")]))


def test_clearing_lets_go_and_deletes_nothing(make: Make, local: LocalMeibel) -> None:
    mine = history(local)
    mine.add_messages([HumanMessage("hi"), make().invoke("hi")])
    before = mine.session_id
    mine.clear()
    assert mine.messages == []
    assert mine.session_id != before
    assert asked(local, before) == ["hi"]
    with pytest.raises(errors.InvalidInputError, match="agent_id"):
        history(local, session_id=before).clear()


@pytest.mark.parametrize(
    "settings", [{}, {"agent_id": "a", "agent_name": "b"}, {"agent_id": "a", "session_options": {"nope": 1}}], ids=str
)
def test_wrong_settings_are_told(settings: dict[str, Any]) -> None:
    with pytest.raises(errors.InvalidInputError):
        MeibelChatMessageHistory(api_key="k", **settings)
    with pytest.raises(errors.InvalidInputError, match="create"):
        MeibelChatMessageHistory.create(session_id="s", api_key="k")
