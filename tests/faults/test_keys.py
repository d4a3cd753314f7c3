"""The key goes to the service and nowhere else, and nothing that a program shows, stores or logs has it."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import dataclasses
import io
import json
import logging
import os
import pickle
import subprocess
import sys
import traceback
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.load import dumpd, dumps
from llama_index.core.callbacks import CallbackManager, LlamaDebugHandler
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.span_handlers import SimpleSpanHandler
from pydantic import Field

from meibel_integrations import AsyncMeibelClient, MeibelClient, errors
from meibel_integrations.config import ClientConfig
from meibel_integrations.langchain import ChatMeibel, MeibelChatMessageHistory
from meibel_integrations.llamaindex import MeibelChatEngine
from tests.support import fault_wire as wire
from tests.support.asking import KEY, WAYS, Way, shown_of
from tests.support.clock import FakeClock
from tests.support.fault_wire import QUESTION, SESSION, TURN
from tests.support.servers import RawServer, event_stream, json_answer


def key_lines(request: bytes) -> list[bytes]:
    return [line for line in request.split(b"\r\n") if KEY.encode() in line]


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_the_key_rides_in_one_header_of_each_request(way: Way) -> None:
    script = [json_answer(wire.WHOLE)] if way.whole_wire else [event_stream(), *TURN]
    with RawServer([SESSION], script) as server:
        with way.client(base_url=server.base_url) as ask:
            assert ask().error is None
        for request in server.requests:
            (line,) = key_lines(request)
            assert line.split(b":")[0].lower() == b"meibel-api-key"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_no_redirect_is_followed(way: Way, status: int) -> None:
    with RawServer() as elsewhere:
        away = wire.page(status, b"", location=elsewhere.base_url)
        for scripts in ([[away]], [[SESSION], [away]]):
            with RawServer(*scripts) as server, way.client(base_url=server.base_url, clock=FakeClock()) as ask:
                told = ask()
            assert isinstance(told.error, errors.RedirectError)
            assert len(server.requests) == len(scripts)
        assert elsewhere.connections == []


def test_a_client_of_ones_own_that_follows_redirects_follows_none() -> None:
    with RawServer() as elsewhere, RawServer([wire.page(307, b"", location=elsewhere.base_url)]) as server:
        with httpx.Client(follow_redirects=True, trust_env=False) as http:
            client = MeibelClient(KEY, server.base_url, http_client=http)
            with pytest.raises(errors.RedirectError):
                client.agents.create_session("a1")
            assert KEY not in str(http.headers) + repr(http.headers.raw)
        assert elsewhere.connections == []


def test_a_client_of_ones_own_with_another_base_url_does_not_move_the_key() -> None:
    with RawServer() as elsewhere, RawServer([SESSION]) as server:
        with httpx.Client(base_url=elsewhere.base_url, trust_env=False) as http:
            MeibelClient(KEY, server.base_url, http_client=http).agents.create_session("a1")
        assert len(server.requests) == 1
        assert elsewhere.connections == []


@pytest.mark.parametrize(
    "name",
    ["s/../../..", "//elsewhere.test/x", "http://elsewhere.test/", "s?x=1", "s#x", "s\r\nX-Evil: 1", "@elsewhere"],
)
def test_an_id_cannot_lead_the_key_away(name: str) -> None:
    with RawServer(history=[json_answer({"messages": []})]) as server:
        with MeibelClient(KEY, server.base_url) as client, contextlib.suppress(errors.InvalidInputError):
            client.sessions.get_session_messages(name)
        for request in server.requests:
            path = request.split(b" ")[1]
            assert path.startswith(b"/v2/sessions/")
            assert path.endswith(b"/messages")
            assert path.count(b"/") == 4
            assert b"X-Evil: 1" not in request.split(b"\r\n")


@pytest.mark.parametrize(
    "url", ["http://example.test", "http://10.0.0.1", "http://127.0.0.1.example.test", "http://0.0.0.0"]
)
@pytest.mark.parametrize("make", [MeibelClient, AsyncMeibelClient])
def test_no_plain_http_beyond_this_machine(make: Any, url: str) -> None:
    with pytest.raises(errors.ConfigurationError, match="unencrypted") as caught:
        make(KEY, url)
    assert KEY not in shown_of(caught.value)
    for outer in (ChatMeibel, MeibelChatEngine):
        with pytest.raises(ValueError, match="unencrypted") as refused:
            outer(agent_id="a1", api_key=KEY, base_url=url)
        assert KEY not in shown_of(refused.value)


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_loopback_traffic_ignores_proxies(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    script = [json_answer(wire.WHOLE)] if way.whole_wire else [event_stream(), *TURN]
    with RawServer() as proxy, RawServer([SESSION], script) as server:
        address = proxy.base_url.removesuffix("/v2")
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, address)
        with way.client(base_url=server.base_url) as ask:
            assert ask().error is None
        assert proxy.connections == []
        assert len(server.requests) == 2


# What shows a key


class Everything(BaseCallbackHandler):
    """Writes down whatever it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("on_"):
            return lambda *args, **kwargs: self.told.append(f"{name} {args!r} {kwargs!r}")
        return super().__getattribute__(name)


class Events(BaseEventHandler):
    """The same for LlamaIndex's instrumentation."""

    told: list[str] = Field(default_factory=list)

    def handle(self, event: Any, **kwargs: Any) -> Any:
        self.told.append(f"{event!r} {event.model_dump()!r} {kwargs!r}")


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """Everything that anybody logs, with tracebacks."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    root = logging.getLogger()
    names = ["httpx", "httpcore", "asyncio", "meibel_integrations", "langchain_core", "llama_index"]
    before = [(logging.getLogger(name), logging.getLogger(name).level) for name in names] + [(root, root.level)]
    for logger, _ in before:
        logger.setLevel(logging.DEBUG)
    root.addHandler(handler)
    yield written
    root.removeHandler(handler)
    for logger, level in before:
        logger.setLevel(level)


def forms(thing: Any) -> str:
    """A thing in every form that could be shown or stored."""
    shown = [repr(thing), str(thing), f"{thing}"]
    for form in (
        lambda: pickle.dumps(thing).decode("latin-1"),
        lambda: pickle.dumps(thing, 0).decode("latin-1"),
        lambda: dumps(thing),
        lambda: json.dumps(dumpd(thing), default=repr),
        lambda: repr(thing.model_dump()),
        lambda: thing.model_dump_json(),
        lambda: repr(thing.to_json()),
        lambda: repr(thing.to_dict()),
        lambda: repr(dataclasses.asdict(thing)),
        lambda: repr(thing.asdict()),
    ):
        # Not everything has every form; what it says in refusing must not tell either.
        try:
            shown.append(form())
        except (TypeError, AttributeError, ValueError, pickle.PicklingError, NotImplementedError) as error:
            shown += traceback.format_exception(error)
    return "\n".join(shown)


def test_no_form_of_anything_shows_the_key() -> None:
    with RawServer([SESSION], [event_stream(), *TURN], [SESSION], [event_stream(), *TURN]) as server:
        settings: Any = {"api_key": KEY, "base_url": server.base_url}
        client = MeibelClient(**settings)
        model = ChatMeibel(agent_id="a1", **settings)
        engine = MeibelChatEngine("a1", **settings)
        answer = model.invoke(QUESTION)
        response = engine.chat(QUESTION)
        history = MeibelChatMessageHistory.create(agent_id="a1", **settings)
        things = [
            client,
            client.config,
            client.sessions,
            client.agents,
            AsyncMeibelClient(**settings),
            model,
            model.bind(session_id="s1"),
            model.with_retry(),
            model.with_config(tags=["x"]),
            model.lc_secrets,
            model.lc_attributes,
            model._identifying_params,
            engine,
            engine.callback_manager,
            history,
            answer,
            response,
            response.metadata,
        ]
        shown = "\n".join(forms(thing) for thing in things)
        shown += "\n".join(repr(vars(thing)) for thing in (client, model, engine))
        model.close()
        engine.close()
    assert KEY not in shown


def test_a_models_copies_work_and_show_nothing() -> None:
    with RawServer(*[script for _ in range(3) for script in ([SESSION], [event_stream(), *TURN])]) as server:
        model = ChatMeibel(agent_id="a1", api_key=KEY, base_url=server.base_url)
        for twin in (copy.copy(model), copy.deepcopy(model), model.model_copy()):
            assert twin.invoke(QUESTION).content == wire.TEXT
            assert KEY not in forms(twin)
            twin.close()


def test_settings_cannot_be_pickled_and_are_their_own_copy() -> None:
    config: ClientConfig = MeibelClient(KEY, "http://127.0.0.1:9").config
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(config)
    assert copy.deepcopy(config) is copy.copy(config) is config


@pytest.mark.parametrize("fault", ["none", "401", "cut", "error"])
def test_traces_and_logs_tell_nothing(fault: str, logged: io.StringIO) -> None:
    turn: dict[str, Any] = {
        "none": [event_stream(), *TURN],
        "401": [json_answer({"message": "who are you?"}, 401)],
        "cut": [event_stream(), *TURN[:3]],
        "error": [event_stream(), wire.ERROR],
    }
    callback, events, spans = Everything(), Events(), SimpleSpanHandler()
    dispatcher = get_dispatcher()
    before = list(dispatcher.event_handlers), list(dispatcher.span_handlers)
    dispatcher.add_event_handler(events)
    dispatcher.add_span_handler(spans)
    debug = LlamaDebugHandler(print_trace_on_end=False)
    caught: list[BaseException] = []
    try:
        with RawServer(*[s for _ in range(4) for s in ([SESSION], turn[fault])], history=[wire.history()]) as server:
            settings: Any = {"base_url": server.base_url, "clock": FakeClock()}
            with MeibelClient(KEY, **settings) as client:
                model = ChatMeibel(agent_id="a1", client=client)
                engine = MeibelChatEngine("a1", client=client, callback_manager=CallbackManager([debug]))
                for act in (
                    lambda: model.invoke(QUESTION, {"callbacks": [callback]}),
                    lambda: list(model.stream(QUESTION, {"callbacks": [callback]})),
                    lambda: engine.chat(QUESTION),
                    lambda: list(MeibelChatEngine("a1", client=client).stream_chat(QUESTION).response_gen),
                ):
                    try:
                        act()
                    except errors.MeibelIntegrationError as error:
                        caught.append(error)
    finally:
        dispatcher.event_handlers, dispatcher.span_handlers = before
    assert len(caught) == (0 if fault == "none" else 4)
    assert callback.told
    assert events.told
    told = [*callback.told, *events.told, repr(spans.completed_spans), repr(spans.dropped_spans)]
    told += [repr(pair) for pair in debug.get_event_pairs()]
    told += [shown_of(error) for error in caught]
    told += [forms(error) for error in caught]
    assert "send_request_headers" in logged.getvalue()
    assert KEY not in logged.getvalue() + "\n".join(told)


def test_an_event_loop_in_debug_mode_tells_nothing(logged: io.StringIO) -> None:
    async def left() -> None:
        client = AsyncMeibelClient(KEY, server.base_url)
        asyncio.get_running_loop().slow_callback_duration = 0
        stream = await client.sessions.send_chat_message_stream("s1", user_message=QUESTION)
        await anext(stream)

    with RawServer([event_stream(), *TURN[:2], wire.quiet]) as server:
        asyncio.run(left(), debug=True)
    assert "send_request_headers" in logged.getvalue()
    assert KEY not in logged.getvalue()


CRASH = """
import faulthandler, os, sys
faulthandler.enable()
from meibel_integrations.langchain import ChatMeibel
ChatMeibel(agent_id="a1", base_url=sys.argv[1], max_retries=0).invoke("hi")
"""


def test_a_program_that_crashes_prints_no_key() -> None:
    with RawServer([SESSION], [wire.page(502)], history=[json_answer({}, 403)]) as server:
        done = subprocess.run(
            [sys.executable, "-X", "dev", "-c", CRASH, server.base_url],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "MEIBEL_API_KEY": KEY},
        )
    assert "TurnOutcomeUnknown" in done.stderr
    assert done.returncode == 1
    assert KEY not in done.stdout + done.stderr
