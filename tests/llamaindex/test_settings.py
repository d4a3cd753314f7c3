"""Settings, refusals and secrets."""

from __future__ import annotations

import builtins
import importlib
import pickle
import sys
from typing import Any

import pytest

from meibel_integrations import errors
from meibel_integrations.llamaindex import LlamaCloudChatEngine, MeibelChatEngine
from tests.support.hosted import only

from .service import Ask, Service

KEY = "sk-not-to-be-seen"


@pytest.mark.parametrize(
    ("setting", "advice"),
    [
        ("system_prompt", "chat_history=\\[ChatMessage\\(role='system'"),
        ("prefix_messages", "configured at the service"),
        ("memory", "session_id="),
        ("llm", "its own model"),
        ("chat_history", "chat\\(message, chat_history="),
        ("tools", "configured with at the service"),
        ("verbose", "logging"),
        ("retries", "has no setting 'retries'. Did you mean 'max_retries'"),
    ],
)
def test_what_it_does_not_take_says_what_to_do(setting: str, advice: str) -> None:
    with pytest.raises(errors.ConfigurationError, match=advice):
        MeibelChatEngine.from_defaults(agent_id="a", api_key=KEY, **{setting: "x"})
    with pytest.raises(errors.ConfigurationError, match=advice):
        LlamaCloudChatEngine.from_defaults(index_ids=["i"], api_key=KEY, **{setting: "x"})


def test_the_agent_the_key_and_the_address_are_checked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MEIBEL_API_KEY", raising=False)
    for settings in (
        {"agent_id": "a"},
        {"api_key": KEY},
        {"agent_id": "a", "agent_name": "b", "api_key": KEY},
        {"agent_id": "a", "api_key": KEY, "base_url": "http://example.org"},
    ):
        with pytest.raises(errors.ConfigurationError) as caught:
            MeibelChatEngine.from_defaults(**settings)
        assert KEY not in str(caught.value)
    with pytest.raises(errors.InvalidInputError, match="no field promt"):
        MeibelChatEngine.from_defaults(agent_id="a", api_key=KEY, session_options={"promt": ""})
    monkeypatch.setenv("MEIBEL_API_KEY", KEY)
    assert MeibelChatEngine("a").session_id is None


def test_the_indexes_are_checked_at_once() -> None:
    with pytest.raises(errors.ConfigurationError, match="Name the indexes"):
        LlamaCloudChatEngine.from_defaults(api_key=KEY)
    for wrong in (["i"] * 11, [""]):
        with pytest.raises(errors.InvalidInputError):
            LlamaCloudChatEngine.from_defaults(index_ids=wrong, api_key=KEY)
    with pytest.raises(errors.ConfigurationError, match="LLAMA_CLOUD_API_KEY"):
        LlamaCloudChatEngine.from_defaults(index_ids=["i"])


def test_the_key_is_nowhere(service: Service, ask: Ask) -> None:
    service.start(["An answer."], api_key=KEY)
    engine = service.engine()
    response = ask(engine, "1?")
    nobody = service.hosted.other_agent
    kind = errors.InvalidRequestError if service.hosted.is_cloud else errors.NotFoundError
    with pytest.raises(kind) as caught:
        ask(service.engine(**nobody), "1?")
    for shown in (repr(engine), repr(response), str(caught.value), repr(pickle.loads(pickle.dumps(caught.value)))):
        assert KEY not in shown
    assert KEY not in str(vars(engine))
    assert KEY not in str(response.metadata)
    assert KEY not in str(vars(caught.value))


def test_refusals_raise_from_the_verb(service: Service, ask: Ask) -> None:
    service.start(["An answer."])
    with pytest.raises(errors.AuthenticationError):
        service.engine(api_key="wrong").stream_chat("1?")
    engine = service.engine(session_id="00000000-0000-0000-0000-000000000000")
    with pytest.raises(errors.SessionEndedError):
        ask(engine, "1?")
    assert engine.session_id == "00000000-0000-0000-0000-000000000000"
    for message in ("", "  \n", None, 3):
        with pytest.raises(errors.InvalidInputError):
            ask(service.engine(), message)


def test_a_refused_turn_changes_nothing(service: Service, ask: Ask) -> None:
    service.start(["An answer."])
    engine = service.engine()
    with pytest.raises(errors.InvalidInputError):
        ask(engine, "half a surrogate pair: \ud800")
    assert engine.session_id is None
    ask(engine, "1?")
    first = engine.session_id
    with pytest.raises(errors.InvalidInputError):
        ask(engine, "half a surrogate pair: \ud800", chat_history=[])
    assert engine.session_id == first
    ask(engine, "2?")
    assert service.asked(first) == ["1?", "2?"]


@only("v2", "guide", because="LlamaCloud's sessions do not end; one that was deleted is gone")
def test_an_ended_session(service: Service, ask: Ask) -> None:
    service.start(["An answer."])
    engine = service.engine()
    ask(engine, "1?")
    assert engine.session_id is not None
    service.local.end_session(engine.session_id)
    with pytest.raises(errors.SessionEndedError):
        ask(engine, "2?")
    engine.reset()
    assert str(ask(engine, "3?")) == "An answer."


def test_without_llama_index_the_import_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *args: Any) -> Any:
        if name.startswith("llama_index"):
            raise ImportError(name)
        return real(name, *args)

    for name in [n for n in sys.modules if n.startswith("meibel_integrations.llamaindex")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ImportError, match=r"pip install 'meibel-integrations\[llamaindex\]'"):
        importlib.import_module("meibel_integrations.llamaindex")
