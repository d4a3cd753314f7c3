"""Both clients over the local service, in both dialects: the guide's calls, as a user writes them."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from meibel_integrations import errors
from meibel_integrations.local import LocalMeibel
from meibel_integrations.models import ChatMessageRequest

from .conftest import Client

FACTS = {
    "zebra.md": "# The zebra\n\nThe zebra has black and white stripes. A zebra eats grass.\n",
    "whale.md": "# The whale\n\nThe whale is the largest animal. Whales eat krill.\n",
}


@pytest.fixture(scope="module", params=["v2", "guide"])
def local(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalMeibel]:
    folder = tmp_path_factory.mktemp("docs")
    for name, text in FACTS.items():
        (folder / name).write_text(text, "utf-8")
    with LocalMeibel(documents=[folder], dialect=request.param) as service:
        yield service


@pytest.fixture
def client(connect: Callable[..., Client], local: LocalMeibel) -> Client:
    return connect(api_key=local.api_key, base_url=local.base_url)


def test_a_conversation_from_beginning_to_end(client: Client, local: LocalMeibel) -> None:
    session = client.create(agent_id=local.agent_id)
    assert session.agent_id == local.agent_id

    reply = client.send(session.id, body=ChatMessageRequest(user_message="What does the zebra look like?"))
    assert "stripes" in reply.message
    assert reply.sources[0].title == "The zebra"
    assert [reply.sources[c.source].title for c in reply.citations] == ["The zebra"] * len(reply.citations)
    assert reply.citations
    assert reply.usage is not None

    events = client.stream(session.id, user_message="What does the whale eat?")
    assert "".join(e.delta for e in events if e.type == "content") == events[-1].reply.message  # type: ignore[union-attr]
    assert [e.type for e in events][-2:] == ["citations", "done"]
    assert "krill" in events[-1].reply.message  # type: ignore[union-attr]

    messages = client.messages(session.id)
    assert [m.role for m in messages] == ["user", "assistant"] * 2
    assert messages[0].message == "What does the zebra look like?"
    assert messages[3].message == events[-1].reply.message  # type: ignore[union-attr]
    assert all(m.timestamp is not None for m in messages)

    details = client.session(session.id)
    assert (details.id, details.agent_id) == (session.id, local.agent_id)
    assert details.created_at is not None


def test_the_streamed_answer_is_the_whole_answer(client: Client, local: LocalMeibel) -> None:
    question = "What does the zebra eat?"
    whole = client.send(client.create(agent_id=local.agent_id).id, user_message=question)
    streamed = client.stream(client.create(agent_id=local.agent_id).id, user_message=question)[-1].reply
    assert streamed is not None
    own = {"session_id": None, "signal_id": None}
    assert whole.model_copy(update=own) == streamed.model_copy(update=own)


def test_an_agent_can_be_named(client: Client, local: LocalMeibel) -> None:
    assert client.create(agent_name="docs").id
    with pytest.raises(errors.NotFoundError, match="nobody"):
        client.create(agent_name="nobody")


def test_all_sessions_of_an_agent_are_listed(client: Client, local: LocalMeibel) -> None:
    made = {client.create(agent_id=local.agent_id).id for _ in range(5)}
    listed = [s.id for s in client.sessions(local.agent_id, page_size=2)]
    assert made <= set(listed)
    assert len(listed) == len(set(listed))


@pytest.mark.parametrize("count", [1, 2])
def test_files_ride_on_a_streamed_turn(client: Client, local: LocalMeibel, tmp_path: Path, count: int) -> None:
    path = tmp_path / 'quoted "name"\u00e9.txt'
    path.write_text("The okapi lives in the Ituri forest.", "utf-8")
    files: list[Any] = [path, ("b.txt", b"The quokka lives on Rottnest Island.")][:count]
    session = client.create(agent_id=local.agent_id)
    reply = client.stream(session.id, user_message="Where does the okapi live?", files=files)[-1].reply
    assert reply is not None
    assert "Ituri forest" in reply.message
    if count == 2:
        reply = client.stream(session.id, user_message="Where does the quokka live?")[-1].reply
        assert reply is not None
        assert "Rottnest" in reply.message


def test_a_file_object_can_be_sent(client: Client, local: LocalMeibel) -> None:
    session = client.create(agent_id=local.agent_id)
    file = io.BytesIO(b"The numbat eats termites.")
    reply = client.stream(session.id, user_message="What does the numbat eat?", files=[file])[-1].reply
    assert reply is not None
    assert "termites" in reply.message


@pytest.mark.parametrize(
    "files",
    ["a.txt", [7], [("a", "text")], [Path("/no/such/file")], [io.StringIO("text")]],
    ids=["not a list", "a number", "text for bytes", "missing", "text mode"],
)
def test_what_is_not_a_file_is_refused_before_anything_is_sent(client: Client, local: LocalMeibel, files: Any) -> None:
    session = client.create(agent_id=local.agent_id)
    with pytest.raises(errors.InvalidInputError):
        client.stream(session.id, user_message="hi", files=files)
    assert client.messages(session.id) == []


@pytest.mark.parametrize(
    ("turn", "says"),
    [
        ({}, "user_message"),
        ({"user_message": "a", "body": ChatMessageRequest(user_message="b")}, "user_message"),
        ({"user_message": ""}, "empty"),
        ({"user_message": " \n"}, "empty"),
        ({"user_message": 7}, "user_message"),
        ({"body": "text"}, "model or a mapping"),
        ({"body": {"user_message": "a", "temperature": 1}}, "temperature"),
        ({"user_message": "a", "timeout_seconds": "soon"}, "timeout_seconds"),
    ],
    ids=str,
)
def test_a_turn_that_is_none_is_refused_before_anything_is_sent(
    client: Client, local: LocalMeibel, turn: dict[str, Any], says: str
) -> None:
    session = client.create(agent_id=local.agent_id)
    for act in (client.send, client.stream):
        with pytest.raises(errors.InvalidInputError, match=says):
            act(session.id, **turn)
    assert client.messages(session.id) == []


def test_the_services_words_are_in_the_error(
    client: Client, connect: Callable[..., Client], local: LocalMeibel
) -> None:
    with pytest.raises(errors.NotFoundError) as caught:
        client.messages("no-such-session")
    assert caught.value.server_message
    assert caught.value.server_message in str(caught.value)
    with pytest.raises(errors.AuthenticationError):
        connect(api_key="wrong", base_url=local.base_url).create(agent_id=local.agent_id)


def test_a_mapping_and_the_official_sdks_model_are_bodies_too(client: Client, local: LocalMeibel) -> None:
    from meibel.models import ChatMessageRequest as OfficialRequest

    session = client.create(agent_id=local.agent_id)
    for body in ({"user_message": "zebra?"}, OfficialRequest(user_message="zebra?")):
        assert client.send(session.id, body=body).message
