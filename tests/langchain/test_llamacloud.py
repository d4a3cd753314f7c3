"""What is LlamaCloud's own in the chat model and the engine: the prompt's limit, and how indexes are bound."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.exceptions import ContextOverflowError
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage

from meibel_integrations import LlamaCloudChatClient, errors
from meibel_integrations.langchain import ChatLlamaCloud, LlamaCloudChatMessageHistory
from meibel_integrations.ledgers.memory import PROCESS_LEDGER
from meibel_integrations.llamaindex import LlamaCloudChatEngine
from meibel_integrations.local import LocalMeibel
from tests.support.servers import RawServer, event_stream, json_answer
from tests.support.wire_turns import cloud_event

FACTS = {
    "animals": "# The zebra\n\nThe zebra has black and white stripes. A zebra eats grass.\n",
    "plants": "# The oak\n\nThe oak bears acorns. An oak lives for centuries.\n",
}
SEED: list[BaseMessage] = [HumanMessage("before " + "x" * 600), AIMessage("told " + "y" * 600)]


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalMeibel]:
    folder: Path = tmp_path_factory.mktemp("docs")
    for name, text in FACTS.items():
        (folder / name).mkdir()
        (folder / name / f"{name}.md").write_text(text, "utf-8")
    with LocalMeibel(agents={name: [folder / name] for name in FACTS}) as service:
        yield service


@pytest.fixture
def where(local: LocalMeibel) -> dict[str, Any]:
    return {"api_key": local.api_key, "base_url": local.llama_cloud_base_url}


@pytest.fixture
def make(local: LocalMeibel, where: dict[str, Any]) -> Callable[..., ChatLlamaCloud]:
    return lambda **options: ChatLlamaCloud(**{**where, "index_ids": [local.index_ids["animals"]], **options})


@pytest.fixture
def client(where: dict[str, Any]) -> Iterator[LlamaCloudChatClient]:
    with LlamaCloudChatClient(**where) as one:
        yield one


# The prompt's limit


@pytest.mark.parametrize("way", ["invoke", "stream"])
@pytest.mark.parametrize(
    ("messages", "says"),
    [
        ([HumanMessage("x" * 1_001)], "1,001 characters; the service accepts 1,000"),
        ([*SEED, HumanMessage("x" * 1_001)], "1,001 characters; the service accepts 1,000"),
        ([SystemMessage("Be brief."), HumanMessage("x" * 990)], "longest part is the question"),
        ([SystemMessage("z" * 1_000), HumanMessage("now?")], "longest part is the instructions"),
    ],
    ids=["a question", "a question with a seed", "a question with instructions", "instructions"],
)
def test_what_is_too_long_is_refused_before_any_request(
    make: Callable[..., ChatLlamaCloud], local: LocalMeibel, way: str, messages: list[BaseMessage], says: str
) -> None:
    before = len(local.request_log())
    model = make()
    with pytest.raises(errors.PromptTooLongError, match=says) as caught:
        list(model.stream(messages)) if way == "stream" else model.invoke(messages)
    assert isinstance(caught.value, ContextOverflowError)
    assert len(local.request_log()) == before


def test_a_long_seed_goes_with_its_oldest_left_out(make: Callable[..., ChatLlamaCloud]) -> None:
    answer = make().invoke([*SEED, HumanMessage("What has the zebra?")])
    assert "stripes" in answer.text
    assert answer.response_metadata["continuity"] == "seeded"
    assert "oldest messages (2) were left out" in answer.response_metadata["warnings"][0]
    # a question that fits alone is sent alone
    assert make().invoke([*SEED, HumanMessage("x" * 1_000)]).response_metadata["warnings"]


def test_long_messages_of_others_in_between_are_left_out_too(make: Callable[..., ChatLlamaCloud]) -> None:
    first = make().invoke("What has the zebra?")
    talk = [HumanMessage("What has the zebra?"), first, *SEED, HumanMessage("What does it eat?")]
    second = make().invoke(talk)
    assert second.response_metadata["continuity"] == "continued"
    assert second.response_metadata["warnings"]


def test_a_long_question_leaves_its_session_as_it_was(make: Callable[..., ChatLlamaCloud]) -> None:
    model = make()
    talk: list[BaseMessage] = [HumanMessage("What has the zebra?")]
    talk.append(model.invoke(talk))
    with pytest.raises(errors.PromptTooLongError):
        model.invoke([*talk, HumanMessage("x" * 1_001)])
    after = model.invoke([*talk, HumanMessage("x" * 1_000)])
    assert after.response_metadata["continuity"] == "continued"
    edited = [HumanMessage("edited"), *talk[1:], HumanMessage("x" * 900), after, HumanMessage("more?")]
    assert model.invoke(edited).response_metadata["continuity"] == "forked"


def test_an_engines_seed_counts_too(local: LocalMeibel, where: dict[str, Any]) -> None:
    from llama_index.core.base.llms.types import ChatMessage

    engine = LlamaCloudChatEngine.from_defaults(index_ids=[local.index_id], **where)
    before = len(local.request_log())
    for arguments in (["x" * 1_001], ["now?", [ChatMessage(role="system", content="x" * 1_000)]]):
        with pytest.raises(errors.PromptTooLongError):
            engine.chat(*arguments)
    assert engine.session_id is None
    assert len(local.request_log()) == before
    engine.close()


# Indexes


def test_a_bound_model_opens_bound_sessions(
    make: Callable[..., ChatLlamaCloud], client: LlamaCloudChatClient, local: LocalMeibel
) -> None:
    both = list(local.index_ids.values())
    answer = make(index_ids=both, shared_access="query").invoke("What does the oak bear?")
    assert "acorns" in answer.text
    session = client.get_summary(answer.response_metadata["session_id"])
    assert (session.index_ids, session.shared_access) == (both, "query")
    assert answer.response_metadata["index_ids"] == both


def test_an_unbound_model_names_its_indexes_with_each_message(
    make: Callable[..., ChatLlamaCloud], client: LlamaCloudChatClient, local: LocalMeibel
) -> None:
    animals = make(bound=False)
    first = animals.invoke("What has the zebra?")
    session_id = first.response_metadata["session_id"]
    assert client.get_summary(session_id).index_ids is None
    second = animals.invoke([HumanMessage("What has the zebra?"), first, HumanMessage("What does it eat?")])
    assert second.response_metadata["session_id"] == session_id
    # the same session over other indexes, as the caller says so
    plants = make(index_ids=[local.index_ids["plants"]], session_id=session_id)
    assert "acorns" in plants.invoke("What does the oak bear?").text


def test_another_models_indexes_are_another_agent(make: Callable[..., ChatLlamaCloud], local: LocalMeibel) -> None:
    first = make().invoke("What has the zebra?")
    plants = make(index_ids=[local.index_ids["plants"]])
    second = plants.invoke([HumanMessage("What has the zebra?"), first, HumanMessage("And the oak?")])
    assert second.response_metadata["continuity"] == "seeded"


def test_a_locked_sessions_mismatch_is_told(
    make: Callable[..., ChatLlamaCloud], client: LlamaCloudChatClient, local: LocalMeibel, where: dict[str, Any]
) -> None:
    session = client.create([local.index_ids["animals"]])
    plants = [local.index_ids["plants"]]
    engine = LlamaCloudChatEngine.from_defaults(index_ids=plants, session_id=session.id, **where)
    for ask in (make(index_ids=plants, session_id=session.id).invoke, engine.chat):
        with pytest.raises(errors.InvalidRequestError, match="locked to the indexes"):
            ask("What does the oak bear?")
    engine.close()
    assert client.get_messages(session.id) == []
    assert make(session_id=session.id).invoke("What has the zebra?").response_metadata["continuity"] == "continued"


def test_skipped_indexes_are_a_warning_beside_the_answer(
    make: Callable[..., ChatLlamaCloud], local: LocalMeibel, where: dict[str, Any]
) -> None:
    some = [local.index_ids["animals"], "index_none"]
    engine = LlamaCloudChatEngine.from_defaults(index_ids=some, **where)
    model = make(index_ids=some)
    *_, last = model.stream("What has the zebra?")
    for metadata in (
        model.invoke("What has the zebra?").response_metadata,
        last.response_metadata,
        engine.chat("What has the zebra?").metadata,
    ):
        assert metadata["skipped_index_ids"] == ["index_none"]
        (warning,) = metadata["warnings"]
        assert "index_none" in warning
    engine.close()


def test_skipped_indexes_are_an_error_where_all_are_required(
    make: Callable[..., ChatLlamaCloud], local: LocalMeibel
) -> None:
    model = make(index_ids=[local.index_ids["animals"], "index_none"], require_all_indexes=True)
    with pytest.raises(errors.InvalidRequestError, match="all indexes are required"):
        model.invoke("What has the zebra?")


def test_a_turn_that_ran_without_some_index_is_not_taken_for_one_that_did_not() -> None:
    """A service that tells of it only at the end has recorded the turn."""

    def turn(text: str, skipped: list[str]) -> list[bytes]:
        stop = cloud_event("stop", is_error=False, error=None, usage={}, skipped_index_ids=skipped)
        return [event_stream(), cloud_event("text", content=text), stop]

    def events(*talk: str) -> bytes:
        kinds = ("user_input", "text")
        told = [e for i, t in enumerate(talk) for e in ({"type": kinds[i % 2], "content": t}, *[END] * (i % 2))]
        return json_answer({"session_id": "s", "events": told})

    END = {"type": "stop", "is_error": False}
    opened = [json_answer({"session_id": "s"})]
    again = [json_answer({"session_id": "t"})]
    scripts = [opened, turn("One.", []), turn("Two, partly.", ["j"]), again, turn("Two.", [])]
    with RawServer(*scripts, history=[events("1?", "One.", "2?", "Two, partly.")]) as server:
        model = ChatLlamaCloud(index_ids=["i", "j"], api_key="k", base_url=server.base_url, require_all_indexes=True)
        talk: list[BaseMessage] = [HumanMessage("1?")]
        talk += [model.invoke(talk), HumanMessage("2?")]
        with pytest.raises(errors.AgentTurnError, match="could not be queried: j") as caught:
            model.invoke(talk)
        assert caught.value.partial_text == "Two, partly."
        assert not caught.value.is_retryable  # type: ignore[attr-defined]
        # the session went on, so that asking again is a fork
        retried = model.invoke(talk)
        assert retried.response_metadata["continuity"] == "forked"
        assert retried.response_metadata["session_id"] == "t"
        assert len(server.posts("/stream")) == 3


def test_an_engine_knows_of_the_turn_that_ran_without_some_index() -> None:
    stop = cloud_event("stop", is_error=False, error=None, usage={}, skipped_index_ids=["j"])
    asked = {"type": "user_input", "content": "1?"}
    told = [asked, {"type": "text", "content": "One, partly."}, {"type": "stop", "is_error": False}]
    history = json_answer({"session_id": "s", "events": told})
    turn = [event_stream(), cloud_event("text", content="One, partly."), stop]
    with RawServer([json_answer({"session_id": "s"})], turn, history=[history]) as server:
        engine = LlamaCloudChatEngine(["i", "j"], api_key="k", base_url=server.base_url, require_all_indexes=True)
        with pytest.raises(errors.AgentTurnError):
            engine.chat("1?")
        assert engine.session_id == "s"
        assert [m.content for m in engine.chat_history] == ["1?", "One, partly."]
        engine.close()


@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainDeprecationWarning")
def test_a_history_goes_on_with_the_indexes_of_its_session(
    make: Callable[..., ChatLlamaCloud], local: LocalMeibel, where: dict[str, Any]
) -> None:
    model = make()
    first = model.invoke("What has the zebra?")
    PROCESS_LEDGER.clear()
    history = LlamaCloudChatMessageHistory(first.response_metadata["session_id"], **where)
    second = model.invoke([*history.messages, HumanMessage("What does it eat?")])
    assert second.response_metadata["continuity"] == "continued"
    assert [message.text for message in history.messages][::2] == ["What has the zebra?", "What does it eat?"]
    history.clear()
    assert history.messages == []
