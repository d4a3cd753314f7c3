"""Both LlamaCloud clients over the local service, and over exact bytes where a turn is in doubt."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from meibel_integrations import AsyncLlamaCloudChatClient, LlamaCloudChatClient, errors
from meibel_integrations.local import Delta, LocalMeibel, Pause, Question, ScriptedAnswerer
from meibel_integrations.models import ChatEvent, Session
from tests.support.hosted import WIRES
from tests.support.servers import RawServer, event_stream, json_answer
from tests.support.wire_turns import DELTAS, TEXT, cloud_event, cloud_turn

FACTS = {
    "animals": "# The zebra\n\nThe zebra has black and white stripes. A zebra eats grass.\n",
    "plants": "# The oak\n\nThe oak bears acorns. An oak lives for centuries.\n",
}


class Cloud:
    """One face for both clients: each call runs to its end."""

    def __init__(self, client: Any, run: Callable[[Any], Any]) -> None:
        self.client = client
        self._run = run

    def __getattr__(self, name: str) -> Any:
        """A call of the client; a list of what an iterator yields."""

        def call(*arguments: Any, **named: Any) -> Any:
            made = getattr(self.client, name)(*arguments, **named)
            return self._run(made)

        return call

    def stream(self, session_id: str, see: Callable[[ChatEvent], Any] = lambda _: None, **turn: Any) -> list[ChatEvent]:
        seen: list[ChatEvent] = []

        def read() -> None:
            with self.client.stream(session_id, **turn) as events:
                for event in events:
                    seen.append(event)
                    see(event)

        async def aread() -> None:
            async with self.client.stream(session_id, **turn) as events:
                async for event in events:
                    seen.append(event)
                    see(event)

        if isinstance(self.client, AsyncLlamaCloudChatClient):
            self._run(aread())
        else:
            read()
        return seen


@pytest.fixture(params=["sync", "async"])
def connect(request: pytest.FixtureRequest) -> Iterator[Callable[..., Cloud]]:
    """Makes clients of one kind and closes them again."""
    with asyncio.Runner() as runner:
        made: list[Any] = []

        def run_sync(result: Any) -> Any:
            return list(result) if isinstance(result, Iterator) else result

        def run_async(result: Any) -> Any:
            async def collect() -> list[Session]:
                return [item async for item in result]

            return runner.run(collect() if hasattr(result, "__anext__") else result)

        def make(**options: Any) -> Cloud:
            kind = AsyncLlamaCloudChatClient if request.param == "async" else LlamaCloudChatClient
            made.append(kind(**{"api_key": "key-1", **options}))
            return Cloud(made[-1], run_async if request.param == "async" else run_sync)

        yield make
        for client in made:
            if request.param == "async":
                runner.run(client.aclose())
            else:
                client.close()


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalMeibel]:
    folder: Path = tmp_path_factory.mktemp("docs")
    for name, text in FACTS.items():
        (folder / name).mkdir()
        (folder / name / f"{name}.md").write_text(text, "utf-8")
    with LocalMeibel(agents={name: [folder / name] for name in FACTS}) as service:
        yield service


@pytest.fixture
def cloud(connect: Callable[..., Cloud], local: LocalMeibel) -> Cloud:
    return connect(api_key=local.api_key, base_url=local.llama_cloud_base_url)


@pytest.fixture
def indexes(local: LocalMeibel) -> list[str]:
    return [local.index_ids[name] for name in FACTS]


def text_of(seen: list[ChatEvent]) -> str:
    return "".join(event.delta for event in seen if event.type == "content")


def test_a_session_from_its_beginning_to_its_end(cloud: Cloud, indexes: list[str]) -> None:
    session = cloud.create(indexes, shared_access="query")
    assert (session.index_ids, session.shared_access, session.title) == (indexes, "query", None)

    seen = cloud.stream(session.id, prompt="What does the zebra look like?", index_ids=indexes[:1])
    assert seen[0].type == "connected"
    assert [e.type for e in seen][-2:] == ["citations", "done"]
    assert {"tool_call", "tool_result", "thinking", "content"} <= {e.type for e in seen}
    reply = seen[-1].reply
    assert reply is not None
    assert reply.message == text_of(seen)
    assert "stripes" in reply.message
    assert reply.sources[0].title == "The zebra"
    assert {source.origin for source in reply.sources} == {"retrieved"}
    assert reply.usage is not None

    # a bound session's own indexes may be left out, and all of them are searched
    assert "acorns" in text_of(cloud.stream(session.id, prompt="What does the oak bear?"))

    messages = cloud.get_messages(session.id)
    assert [m.role for m in messages] == ["user", "assistant"] * 2
    assert messages[1].message == reply.message
    summary = cloud.get_summary(session.id)
    assert (summary.title, summary.events) == ("What does the zebra look like?", [])
    assert summary.job_metadata["turns"] == 1
    full = cloud.retrieve(session.id)
    assert [event["type"] for event in full.events].count("stop") == 2
    assert full.updated_at is not None

    cloud.delete(session.id)
    for act in (cloud.retrieve, cloud.get_summary, cloud.get_messages, cloud.delete):
        with pytest.raises(errors.NotFoundError, match=session.id):
            act(session.id)
    with pytest.raises(errors.NotFoundError):
        cloud.stream(session.id, prompt="hi")


def test_an_unbound_session_takes_its_indexes_with_each_message(cloud: Cloud, indexes: list[str]) -> None:
    session = cloud.create()
    assert session.index_ids is None
    assert "stripes" in text_of(cloud.stream(session.id, prompt="What has the zebra?", index_ids=indexes[:1]))
    assert "acorns" in text_of(cloud.stream(session.id, prompt="What does the oak bear?", index_ids=indexes[1:]))
    with pytest.raises(errors.InvalidRequestError, match="bound to no index"):
        cloud.stream(session.id, prompt="hi")


def test_a_bound_session_is_locked(cloud: Cloud, indexes: list[str]) -> None:
    session = cloud.create(indexes[:1])
    with pytest.raises(errors.InvalidRequestError, match="locked to the indexes"):
        cloud.stream(session.id, prompt="hi", index_ids=indexes[1:])
    assert cloud.get_messages(session.id) == []


def test_all_sessions_are_listed(cloud: Cloud) -> None:
    made = {cloud.create().id for _ in range(5)}
    listed = [session.id for session in cloud.list(page_size=2)]
    assert made <= set(listed)
    assert len(listed) == len(set(listed))


def test_eleven_indexes_are_refused_before_any_request(cloud: Cloud, local: LocalMeibel) -> None:
    session = cloud.create()
    before = len(local.request_log())
    for act in (lambda: cloud.create(["i"] * 11), lambda: cloud.stream(session.id, prompt="hi", index_ids=["i"] * 11)):
        with pytest.raises(errors.InvalidInputError, match="at most 10 indexes, not 11"):
            act()
    assert len(local.request_log()) == before


@pytest.mark.parametrize(
    ("prompt", "kind"),
    [
        ("x" * 1_001, errors.PromptTooLongError),
        ("", errors.InvalidInputError),
        (" \n", errors.InvalidInputError),
        ("\ud800", errors.InvalidInputError),
        (7, errors.InvalidInputError),
    ],
    ids=["too long", "empty", "blank", "half a pair", "a number"],
)
def test_a_prompt_that_is_none_is_refused_before_any_request(
    cloud: Cloud, local: LocalMeibel, indexes: list[str], prompt: Any, kind: type[Exception]
) -> None:
    session = cloud.create(indexes)
    before = len(local.request_log())
    with pytest.raises(kind):
        cloud.stream(session.id, prompt=prompt)
    assert len(local.request_log()) == before


def test_the_limit_is_a_setting_and_the_service_has_its_own(
    connect: Callable[..., Cloud], local: LocalMeibel, indexes: list[str]
) -> None:
    where = {"api_key": local.api_key, "base_url": local.llama_cloud_base_url}
    short, free = connect(**where, max_prompt_chars=10), connect(**where, max_prompt_chars=None)
    session = free.create(indexes)
    with pytest.raises(errors.PromptTooLongError, match="11 characters; the service accepts 10"):
        short.stream(session.id, prompt="x" * 11)
    with pytest.raises(errors.InvalidRequestError, match="1001 characters; at most 1000"):
        free.stream(session.id, prompt="x" * 1_001)
    assert free.stream(session.id, prompt="x" * 1_000)[-1].type == "done"


def test_an_unknown_index_is_skipped_with_a_warning(cloud: Cloud, indexes: list[str]) -> None:
    session = cloud.create([indexes[0], "index_none"])
    seen = cloud.stream(session.id, prompt="What does the zebra eat?")
    reply = seen[-1].reply
    assert reply is not None
    assert reply.skipped_index_ids == ["index_none"]
    (warning,) = reply.warnings
    assert "index_none" in warning
    assert [event.message for event in seen if event.type == "warning"] == [warning]


def test_an_unknown_index_is_an_error_where_all_are_required(cloud: Cloud, indexes: list[str]) -> None:
    session = cloud.create([indexes[0], "index_none"])
    with pytest.raises(errors.InvalidRequestError, match=r"index_none.*all indexes are required"):
        cloud.stream(session.id, prompt="hi", require_all_indexes=True)
    with pytest.raises(errors.InvalidRequestError, match="no index 'index_none'"):
        cloud.stream(cloud.create(["index_none"]).id, prompt="hi")
    assert cloud.get_messages(session.id) == []


def test_a_wrong_key_is_told(connect: Callable[..., Cloud], local: LocalMeibel) -> None:
    stranger = connect(api_key="wrong", base_url=local.llama_cloud_base_url)
    for act in (stranger.create, stranger.list, lambda: stranger.stream("s", prompt="hi")):
        with pytest.raises(errors.AuthenticationError) as caught:
            act()
        assert "wrong" not in repr(caught.value)


def test_another_keys_session_is_not_there(connect: Callable[..., Cloud]) -> None:
    with LocalMeibel(api_keys={"a": "key-a", "b": "key-b"}) as two:
        mine, yours = (connect(api_key=key, base_url=two.llama_cloud_base_url) for key in ("key-a", "key-b"))
        session = mine.create()
        with pytest.raises(errors.NotFoundError):
            yours.retrieve(session.id)
        assert yours.list() == []


def test_a_second_turn_while_one_runs_is_refused(connect: Callable[..., Cloud]) -> None:
    pause = Pause()

    def script(question: Question) -> Any:
        return [Delta("one "), pause, Delta("two")] if question.text == "slow" else "next."

    with LocalMeibel(answerer=ScriptedAnswerer(script)) as service:
        cloud = connect(api_key=service.api_key, base_url=service.llama_cloud_base_url)
        other = LlamaCloudChatClient(service.api_key, service.llama_cloud_base_url)
        session = cloud.create([service.index_id])

        def interrupt(event: ChatEvent) -> None:
            if event.type == "content" and not pause.event.is_set():
                with pytest.raises(errors.ConflictError):
                    other.stream(session.id, prompt="second")
                pause.release()

        assert text_of(cloud.stream(session.id, interrupt, prompt="slow")) == "one two"
        assert text_of(cloud.stream(session.id, prompt="second")) == "next."
        assert [m.message for m in cloud.get_messages(session.id)] == ["slow", "one two", "second", "next."]
        other.close()


def test_organization_and_project_are_on_the_wire(connect: Callable[..., Cloud]) -> None:
    scope = {"organization_id": "org-1", "project_id": "proj-1"}
    events = [json_answer({"session_id": "s"})]
    with RawServer(events, [event_stream(), *cloud_turn()], history=events) as server:
        cloud = connect(base_url=server.base_url, **scope)
        cloud.create(["i"])
        cloud.stream("s", prompt="hi")
        cloud.get_summary("s")
        cloud.list()
        requests = list(server.requests)
    assert len(requests) == 4
    for request in requests:
        line, *headers = request.partition(b"\r\n\r\n")[0].decode().split("\r\n")
        assert parse_qs(urlsplit(line.split(" ")[1]).query).items() >= {"organization_id": ["org-1"]}.items()
        assert parse_qs(urlsplit(line.split(" ")[1]).query)["project_id"] == ["proj-1"]
        assert "authorization: bearer key-1" in [header.lower() for header in headers]


# A turn whose fate is not known


def held(*events: dict[str, Any]) -> bytes:
    return json_answer({"session_id": "s", "events": [{"type": "user_input", "content": "hi"}, *events]})


STOP = {"type": "stop", "is_error": False}
NOTHING = json_answer(WIRES["llamacloud"].nothing)


def known(connect: Callable[..., Cloud], server: RawServer, **options: Any) -> Cloud:
    """A client that knows how many turns the session has had."""
    cloud = connect(base_url=server.base_url, reconcile_grace=0, reconcile_deadline=5, **options)
    assert cloud.get_messages("s") == []
    return cloud


@pytest.mark.parametrize(
    "failure",
    [
        [json_answer({"detail": "down"}, 503)],
        [lambda connection: connection.reset()],
        [event_stream(), *cloud_turn()[:4]],
    ],
    ids=["503", "reset", "cut"],
)
def test_a_turn_in_doubt_is_found_in_the_sessions_events_and_not_sent_again(
    connect: Callable[..., Cloud], failure: list[Any]
) -> None:
    running = held({"type": "text", "content": "Reve"})
    complete = held({"type": "text", "content": TEXT}, STOP)
    with RawServer(failure, history=[NOTHING, running, complete]) as server:
        seen = known(connect, server).stream("s", prompt="hi")
        assert len(server.posts()) == 1
    reply = seen[-1].reply
    assert reply is not None
    assert (reply.message, reply.recovered) == (TEXT, True)
    assert text_of(seen) == TEXT


def test_a_turn_that_never_arrived_is_an_error_and_not_sent_again(connect: Callable[..., Cloud]) -> None:
    with RawServer([json_answer({"detail": "down"}, 503)], history=[NOTHING]) as server:
        with pytest.raises(errors.TurnOutcomeUnknown, match="does not show it"):
            known(connect, server).stream("s", prompt="hi")
        assert len(server.posts()) == 1


def test_a_turn_that_never_arrived_is_sent_again_where_that_was_chosen(connect: Callable[..., Cloud]) -> None:
    scripts = [json_answer({"detail": "down"}, 503)], [event_stream(), *cloud_turn()]
    with RawServer(*scripts, history=[NOTHING]) as server:
        assert text_of(known(connect, server, on_ambiguous="resend_once").stream("s", prompt="hi")) == TEXT
        assert len(server.posts()) == 2


def test_a_turn_that_failed_out_of_sight_is_told_as_failed(connect: Callable[..., Cloud]) -> None:
    failed = held({"type": "stop", "is_error": True, "error": "no disk"})
    with RawServer([event_stream(), *cloud_turn()[:4]], history=[NOTHING, failed]) as server:
        with pytest.raises(errors.AgentTurnError, match="no disk"):
            known(connect, server).stream("s", prompt="hi")
        assert len(server.posts()) == 1


def test_the_last_event_without_its_blank_line_counts(connect: Callable[..., Cloud]) -> None:
    *events, last = cloud_turn()
    with RawServer([event_stream(), *events, last.rstrip()]) as server:
        assert text_of(connect(base_url=server.base_url).stream("s", prompt="hi")) == TEXT


def test_each_delta_is_there_before_the_server_goes_on(connect: Callable[..., Cloud]) -> None:
    shown = [threading.Event() for _ in DELTAS]
    script: list[Any] = [event_stream(), b": keep-alive\n\n"]
    for piece, gate in zip(DELTAS, shown, strict=True):
        script += [cloud_event("text_delta", content=piece), gate]
    gates = iter(shown)
    with RawServer([*script, *cloud_turn()[-2:]]) as server:
        seen = connect(base_url=server.base_url).stream(
            "s", lambda e: next(gates).set() if e.type == "content" else None, prompt="hi"
        )
    assert [e.delta for e in seen if e.type == "content"] == DELTAS
