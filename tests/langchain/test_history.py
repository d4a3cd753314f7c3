"""The histories of every hosted service, alone and in LangChain's own wrapper for them."""

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

from meibel_integrations import errors
from meibel_integrations.langchain import LlamaCloudChatMessageHistory, MeibelChatMessageHistory
from meibel_integrations.langchain.history import HostedChatMessageHistory
from tests.support.hosted import Hosted, only

from .conftest import Make

pytestmark = pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainDeprecationWarning")

PROMPT = ChatPromptTemplate.from_messages([("system", "Be brief."), MessagesPlaceholder("history"), ("human", "{q}")])


def kind_of(hosted: Hosted) -> type[HostedChatMessageHistory]:
    return LlamaCloudChatMessageHistory if hosted.is_cloud else MeibelChatMessageHistory


def history(hosted: Hosted, **settings: Any) -> HostedChatMessageHistory:
    kind: Any = kind_of(hosted)
    return kind(**hosted.connection, **(settings or hosted.agent))  # type: ignore[no-any-return]


def with_history(chain: Runnable[Any, Any], store: dict[str, BaseChatMessageHistory]) -> Runnable[Any, Any]:
    return RunnableWithMessageHistory(
        chain, lambda session_id: store[session_id], input_messages_key="q", history_messages_key="history"
    )


@pytest.mark.parametrize("way", ["sync", "async", "stream"])
def test_ten_turns_are_ten_messages_in_one_session(make: Make, hosted: Hosted, way: str) -> None:
    mine = history(hosted)
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
    sent = hosted.asked(mine.session_id)
    assert len(sent) == 10
    assert sent[1:] == [f"question {i}" for i in range(1, 10)], "instructions were sent again"
    messages = mine.messages
    assert [m.type for m in messages] == ["human", "ai"] * 10
    assert [m.text for m in messages[::2]] == [f"question {i}" for i in range(10)]
    assert len({m.id for m in messages}) == 20


def test_with_a_parser_at_the_end_the_session_is_pinned(make: Make, hosted: Hosted) -> None:
    model = make().configurable_fields(session_id=ConfigurableField(id="session_id"))
    store: dict[str, BaseChatMessageHistory] = {}
    session_id = history(hosted).session_id
    store[session_id] = history(hosted, session_id=session_id)
    chain = with_history(PROMPT | model | StrOutputParser(), store)
    for i in range(10):
        assert chain.invoke({"q": f"question {i}"}, {"configurable": {"session_id": session_id}})
    assert len(hosted.asked(session_id)) == 10
    assert [m.text for m in store[session_id].messages[::2]] == [f"question {i}" for i in range(10)]


def test_another_object_for_the_same_session_goes_on_in_it(make: Make, hosted: Hosted) -> None:
    model = make()
    first = history(hosted)
    answer = model.invoke("one")
    first.add_messages([HumanMessage("one"), answer])
    by_name = {} if hosted.is_cloud else {"agent_name": "docs"}
    for known in ({}, hosted.agent, by_name):
        again = history(hosted, session_id=first.session_id, **known)
        following = model.invoke([*again.messages, HumanMessage(f"more {known}")])
        assert following.response_metadata["session_id"] == first.session_id


def test_a_new_history_opens_no_session(hosted: Hosted, make: Make) -> None:
    before = hosted.sessions()
    mine = kind_of(hosted).create(**hosted.agent, **hosted.connection)
    assert mine.messages == []
    assert asyncio.run(mine.aget_messages()) == []
    mine.add_messages([])
    assert hosted.sessions() == before
    assert mine.session_id == mine.session_id
    assert hosted.sessions() == before + 1


def test_a_session_is_opened_by_asking_for_its_id_in_async_code(hosted: Hosted) -> None:
    mine = history(hosted)

    async def twice() -> list[str]:
        return [await mine.aget_session_id(), await mine.aget_session_id()]

    assert len(set(asyncio.run(twice()))) == 1


def test_what_was_seeded_is_told_as_it_was_written(make: Make, hosted: Hosted) -> None:
    told = [
        SystemMessage("Be kind."),
        HumanMessage("hi", name="Ann"),
        AIMessage("from elsewhere"),
        HumanMessage("and?"),
    ]
    answer = make().invoke(told)
    mine = history(hosted)
    mine.add_messages([*told[1:], answer])
    messages = mine.messages
    assert [(m.type, m.text, m.name) for m in messages[:3]] == [
        ("human", "hi", "Ann"),
        ("ai", "from elsewhere", None),
        ("human", "and?", None),
    ]
    assert messages[3].text == answer.text
    assert make().invoke([*messages, HumanMessage("more")]).response_metadata["continuity"] == "continued"


def test_what_the_session_does_not_have_is_refused(make: Make, hosted: Hosted) -> None:
    mine = history(hosted)
    with pytest.raises(errors.InvalidInputError, match="not bound"):
        mine.add_messages([HumanMessage("hi"), AIMessage("parsed")])
    answer = make().invoke("hi")
    with pytest.raises(errors.InvalidInputError, match="does not have the user message 'other'"):
        mine.add_messages([HumanMessage("other"), answer])
    mine.add_messages([HumanMessage("hi"), answer])
    mine.add_messages([AIMessage(answer.text)])
    with pytest.raises(errors.InvalidInputError, match="only by a turn"):
        asyncio.run(mine.aadd_messages([HumanMessage("by hand")]))


@only("v2", "guide", because="LlamaCloud has a call that deletes, and its history uses it")
def test_clearing_lets_go_and_deletes_nothing(make: Make, hosted: Hosted) -> None:
    mine = history(hosted)
    mine.add_messages([HumanMessage("hi"), make().invoke("hi")])
    before = mine.session_id
    mine.clear()
    assert mine.messages == []
    assert mine.session_id != before
    assert hosted.asked(before) == ["hi"]
    with pytest.raises(errors.InvalidInputError, match="agent_id"):
        history(hosted, session_id=before).clear()


@only("llamacloud", because="Meibel has no call that deletes")
@pytest.mark.parametrize("way", ["sync", "async"])
def test_clearing_deletes(make: Make, hosted: Hosted, way: str) -> None:
    def clear(one: HostedChatMessageHistory) -> None:
        return asyncio.run(one.aclear()) if way == "async" else one.clear()

    mine = history(hosted)
    clear(mine)  # nothing there, nothing sent
    model = make()
    answer = model.invoke("hi")
    mine.add_messages([HumanMessage("hi"), answer])
    before, count = mine.session_id, hosted.sessions()
    other = history(hosted, session_id=before)
    clear(mine)
    assert hosted.sessions() == count - 1
    with pytest.raises(errors.NotFoundError):
        hosted.read(before)
    assert mine.messages == []
    clear(other)  # what is gone already needs no deleting
    assert other.messages == []
    # a list that names the session starts another one, and the history goes on there
    following = model.invoke([HumanMessage("hi"), answer, HumanMessage("more")])
    assert following.response_metadata["continuity"] == "forked"
    assert "ended" in following.response_metadata["continuity_reason"]
    mine.add_messages([HumanMessage("more"), following])
    assert mine.session_id == following.response_metadata["session_id"] != before


@only("llamacloud", because="Meibel has no call that deletes")
def test_a_session_that_could_not_be_deleted_is_not_forgotten(hosted: Hosted) -> None:
    session_id = hosted.open_session()
    mine = LlamaCloudChatMessageHistory(session_id, **{**hosted.connection, "api_key": "wrong"})
    with pytest.raises(errors.AuthenticationError):
        mine.clear()
    assert mine.session_id == session_id
    assert hosted.read(session_id) == []


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (MeibelChatMessageHistory, {}),
        (MeibelChatMessageHistory, {"agent_id": "a", "agent_name": "b"}),
        (MeibelChatMessageHistory, {"agent_id": "a", "session_options": {"nope": 1}}),
        (LlamaCloudChatMessageHistory, {}),
        (LlamaCloudChatMessageHistory, {"index_ids": []}),
        (LlamaCloudChatMessageHistory, {"index_ids": ["i"] * 11}),
        (LlamaCloudChatMessageHistory, {"index_ids": [""]}),
    ],
    ids=str,
)
def test_wrong_settings_are_told(kind: Any, settings: dict[str, Any]) -> None:
    with pytest.raises((errors.ConfigurationError, errors.InvalidInputError)):
        kind(api_key="k", **settings)
    with pytest.raises(errors.InvalidInputError, match="create"):
        kind.create(session_id="s", api_key="k")
