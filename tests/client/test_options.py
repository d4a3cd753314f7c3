"""One set of settings for models, engines and histories: the same names, checks and words everywhere."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any, get_type_hints

import httpx
import pytest
from langchain_core.language_models.chat_models import BaseChatModel

from meibel_integrations import AsyncLlamaCloudChatClient, AsyncMeibelClient, LlamaCloudChatClient, MeibelClient, errors
from meibel_integrations.langchain import (
    ChatLlamaCloud,
    ChatMeibel,
    LlamaCloudChatMessageHistory,
    MeibelChatMessageHistory,
)
from meibel_integrations.langchain.history import LlamaCloudHistorySettings, MeibelHistorySettings
from meibel_integrations.llamaindex import LlamaCloudChatEngine, MeibelChatEngine
from meibel_integrations.llamaindex.chat_engine import LlamaCloudEngineKeywords, MeibelEngineKeywords

MEIBEL: list[Callable[..., Any]] = [ChatMeibel, MeibelChatEngine, MeibelChatMessageHistory]
CLOUD: list[Callable[..., Any]] = [ChatLlamaCloud, LlamaCloudChatEngine, LlamaCloudChatMessageHistory]
MEIBEL_AGENT, CLOUD_AGENT = {"agent_id": "a", "api_key": "key-12345"}, {"index_ids": ["i"], "api_key": "key-12345"}
EVERYWHERE = [(make, MEIBEL_AGENT) for make in MEIBEL] + [(make, CLOUD_AGENT) for make in CLOUD]
RUNNING = [each for each in EVERYWHERE if "History" not in each[0].__name__]


def refusal(make: Callable[..., Any], **settings: Any) -> str:
    with pytest.raises(errors.ConfigurationError) as caught:
        make(**settings)
    assert "key-12345" not in f"{caught.value!r}{caught.value.__cause__!r}{caught.value.__context__!r}"
    return str(caught.value)


@pytest.mark.parametrize(("make", "agent"), EVERYWHERE)
def test_every_adapter_says_what_was_probably_meant(make: Callable[..., Any], agent: dict[str, Any]) -> None:
    assert "Did you mean 'max_retries'?" in refusal(make, **agent, retries=3)
    assert "Did you mean 'base_url'?" in refusal(make, **agent, baseurl="x")


@pytest.mark.parametrize(("make", "agent"), EVERYWHERE)
@pytest.mark.parametrize(
    "wrong",
    [{"max_retries": -1}, {"timeout": 0}, {"base_url": "ftp://x"}, {"default_headers": "X-A: b"}, {"base_url": 7}],
    ids=str,
)
def test_every_adapter_checks_its_connection(
    make: Callable[..., Any], agent: dict[str, Any], wrong: dict[str, Any]
) -> None:
    (name,) = wrong
    assert name in refusal(make, **agent, **wrong)


@pytest.mark.parametrize(("make", "agent"), RUNNING)
@pytest.mark.parametrize(
    "wrong",
    [
        {"on_divergence": "eror"},
        {"check_head": "never"},
        {"partials": "snapshots"},
        {"on_ambiguous": "resend"},
        {"reconcile_deadline": "x"},
        {"reconcile_grace": -1},
        {"max_seed_chars": 0},
        {"timeout_seconds": 0},
        {"session_id": " "},
    ],
    ids=str,
)
def test_every_adapter_checks_how_it_runs(
    make: Callable[..., Any], agent: dict[str, Any], wrong: dict[str, Any]
) -> None:
    (name,) = wrong
    assert name in refusal(make, **agent, **wrong)


@pytest.mark.parametrize("make", CLOUD)
def test_one_index_is_not_a_list_of_letters(make: Callable[..., Any]) -> None:
    with pytest.raises(errors.InvalidInputError, match=r"index_ids=\['idx_1'\]"):
        make(index_ids="idx_1", api_key="k")
    with pytest.raises(errors.InvalidInputError, match=r"index_ids=\['idx_1'\]"):
        LlamaCloudChatClient("k").create("idx_1")


@pytest.mark.parametrize(("make", "agent"), EVERYWHERE)
def test_the_other_kind_of_client_is_told(make: Callable[..., Any], agent: dict[str, Any]) -> None:
    agent = {name: value for name, value in agent.items() if name != "api_key"}
    cloud = "index_ids" in agent
    wrong: Any = AsyncLlamaCloudChatClient("k") if cloud else AsyncMeibelClient("k")
    assert "async_client" in refusal(make, **agent, client=wrong) or make in (ChatMeibel, ChatLlamaCloud)


@pytest.mark.parametrize(("make", "agent"), EVERYWHERE)
@pytest.mark.parametrize(
    "other", [{"base_url": "http://127.0.0.1:9"}, {"api_key": "key-other"}, {"timeout": 3}, {"max_retries": 1}], ids=str
)
def test_a_client_takes_no_settings_beside_it(
    make: Callable[..., Any], agent: dict[str, Any], other: dict[str, Any]
) -> None:
    agent = {name: value for name, value in agent.items() if name != "api_key"}
    client: Any = LlamaCloudChatClient("k") if "index_ids" in agent else MeibelClient("k")
    (name,) = other
    said = refusal(make, **agent, client=client, **other)
    assert f"{name}=" in said
    assert "no effect" in said


def test_what_type_checkers_see_is_what_there_is() -> None:
    for keywords, made, positional in (
        (MeibelEngineKeywords, MeibelChatEngine, {"agent_id", "agent_name"}),
        (LlamaCloudEngineKeywords, LlamaCloudChatEngine, {"index_ids"}),
    ):
        shown = set(inspect.signature(made).parameters)
        assert shown == set(inspect.signature(made.from_defaults).parameters)
        assert shown == set(keywords.__annotations__) | positional
    for keywords, history in (
        (MeibelHistorySettings, MeibelChatMessageHistory),
        (LlamaCloudHistorySettings, LlamaCloudChatMessageHistory),
    ):
        assert set(history.options_type.model_fields) == set(keywords.__annotations__) | {"session_id"}


@pytest.mark.parametrize("model", [ChatMeibel, ChatLlamaCloud])
def test_every_field_says_what_it_is_for(model: type[BaseChatModel]) -> None:
    ours = model.model_fields.keys() - (BaseChatModel.model_fields.keys() - {"cache"})
    assert [name for name in sorted(ours) if not model.model_fields[name].description] == []


@pytest.mark.parametrize(
    "made",
    [
        MeibelClient("k").sessions,
        AsyncMeibelClient("k").sessions,
        MeibelClient("k").agents,
        AsyncMeibelClient("k").agents,
        LlamaCloudChatClient("k"),
        AsyncLlamaCloudChatClient("k"),
        MeibelChatEngine("a", api_key="k"),
        MeibelChatMessageHistory("s", api_key="k"),
    ],
    ids=lambda made: type(made).__name__,
)
def test_every_method_has_resolvable_types_and_a_text(made: Any) -> None:
    kind = type(made)
    public = [name for name in dir(kind) if not name.startswith("_")]
    names = [name for name in public if callable(getattr(kind, name)) and not isinstance(getattr(kind, name), type)]
    assert names
    for name in names:
        method = getattr(made, name)
        assert method.__doc__, name
        assert "return" in get_type_hints(method), name


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("given", ["client", "http client"])
def test_no_verb_goes_without_the_callers_proxy_and_certificates(asynchronous: bool, given: str) -> None:
    """Who brings an HTTP client for one kind of verbs has to bring one for the other kind, too."""
    if asynchronous:
        http: Any = httpx.Client()
        settings: dict[str, Any] = {"http_client": http, "api_key": "k"}
        clients: dict[str, Any] = {"client": MeibelClient("k", http_client=http)}
    else:
        http = httpx.AsyncClient()
        settings = {"http_async_client": http, "api_key": "k"}
        clients = {"async_client": AsyncMeibelClient("k", http_client=http)}
    model = ChatMeibel(agent_id="a", **(clients if given == "client" else settings))
    missing = ("" if given == "client" else "http_") + ("async_client" if asynchronous else "client")
    ask = (lambda: asyncio.run(model.ainvoke("hello"))) if asynchronous else (lambda: model.invoke("hello"))
    with pytest.raises(errors.ConfigurationError, match=f"also pass {missing}="):
        ask()


def test_the_async_clients_methods_say_that_they_are() -> None:
    sync, other = MeibelClient("k"), AsyncMeibelClient("k")
    assert inspect.iscoroutinefunction(other.sessions.get_session)
    assert not inspect.iscoroutinefunction(sync.sessions.get_session)
    for client, listing, stream in ((sync, "Iterator", "ChatStream"), (other, "AsyncIterator", "AsyncChatStream")):
        assert get_type_hints(client.agents.list)["return"].__origin__.__name__ == listing
        assert get_type_hints(client.sessions.send_chat_message_stream)["return"].__name__ == stream
