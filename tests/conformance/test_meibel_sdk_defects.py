"""Defects of the official ``meibel`` SDK 2.0.7 (numbers as in our list of them) that this package does not have.

Each is shown through the public client, sync and async. Those that concern what we do not offer (the TypeScript and Go
SDKs, whole agents) have no test here.
"""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

import meibel_integrations
from meibel_integrations import AsyncMeibelClient, MeibelClient, errors
from meibel_integrations.config import Timeouts
from tests.client.conftest import Client, connect
from tests.support import fault_wire as wire
from tests.support.clock import FakeClock
from tests.support.fault_wire import COMPLETION, CONNECTED, TEXT, TURN, delta, event
from tests.support.servers import RawServer, Step, event_stream, json_answer

__all__ = ["connect"]

Connect = Callable[..., Client]
BOM = b"\xef\xbb\xbf"


def answer_of(connect: Connect, *steps: Step, head: bytes | None = None, **options: Any) -> str:
    """The streamed text, which the reply repeats."""
    with RawServer([head or event_stream(), *steps]) as server:
        events = connect(base_url=server.base_url, clock=FakeClock(), **options).stream("s1", user_message="hi")
    text = "".join(e.delta for e in events if e.type == "content")
    assert events[-1].reply is not None
    assert events[-1].reply.message == text
    return text


def test_meibel_1_a_last_event_without_blank_line_is_not_lost(connect: Connect) -> None:
    assert answer_of(connect, *TURN[:-1], COMPLETION.rstrip(b"\n")) == TEXT


def test_meibel_2_unicode_line_separators_do_not_end_a_line(connect: Connect) -> None:
    odd = "a\u2028b\u2029c\u0085d"
    assert answer_of(connect, CONNECTED, event("completion", data={"message": odd})) == odd


def test_meibel_3_spaces_that_mean_something_are_kept(connect: Connect) -> None:
    pieces = ["one", " ", "two ", " three"]
    end = event("completion", data={"message": "".join(pieces)})
    assert answer_of(connect, CONNECTED, *map(delta, pieces), end) == "one two  three"


def test_meibel_4_a_byte_order_mark_does_not_kill_the_first_event(connect: Connect) -> None:
    assert answer_of(connect, BOM + b"".join(TURN)) == TEXT


def test_meibel_5_odd_fields_do_not_leak_into_events(connect: Connect) -> None:
    odd = b"id\ndata\n\nevent: completion\n\nretry: +5\nretry: 1_0\nid: a\0b\n\n"
    assert answer_of(connect, CONNECTED, odd, *TURN[1:]) == TEXT


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        (wire.page(200), errors.ProtocolError),
        (json_answer({"error": "gateway"}), errors.ProtocolError),
        (wire.page(302, b"", location="http://elsewhere.test"), errors.RedirectError),
        (wire.page(307, b"", location="http://elsewhere.test"), errors.RedirectError),
    ],
    ids=["html", "json", "302", "307"],
)
def test_meibel_6_what_is_no_stream_is_an_error(connect: Connect, response: bytes, kind: type[Exception]) -> None:
    with RawServer([response]) as server, pytest.raises(kind):
        connect(base_url=server.base_url).stream("s1", user_message="hi")


@pytest.mark.parametrize("ending", [[], [wire.reset]], ids=["closed", "reset"])
def test_meibel_7_a_stream_that_is_cut_neither_ends_silently_nor_raises_httpx(
    connect: Connect, ending: list[Step]
) -> None:
    with RawServer([event_stream(), *TURN[:3], *ending]) as server, pytest.raises(errors.StreamInterrupted) as caught:
        connect(base_url=server.base_url).stream("s1", user_message="hi")
    assert not isinstance(caught.value, httpx.HTTPError)


def test_meibel_8_breaking_out_of_an_async_stream_leaves_no_connection_active() -> None:
    async def leave_often() -> None:
        async with httpx.AsyncClient(limits=httpx.Limits(max_connections=3), trust_env=False) as http:
            client = AsyncMeibelClient("key-1", server.base_url, http_client=http, timeout=Timeouts(pool=5))
            for _ in range(10):
                async for _ in client.sessions.send_chat_message_stream("s1", user_message="hi"):
                    break

    with RawServer(*[[event_stream(), *TURN[:2], wire.quiet] for _ in range(10)]) as server:
        asyncio.run(leave_often())
        assert len(server.posts("/chat/stream")) == 10


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, errors.InvalidRequestError),
        (401, errors.AuthenticationError),
        (403, errors.PermissionDeniedError),
        (404, errors.NotFoundError),
        (409, errors.ConflictError),
        (422, errors.InvalidRequestError),
        (500, errors.ServerError),
        (503, errors.ServerError),
    ],
)
def test_meibel_9_each_status_has_its_error(connect: Connect, status: int, kind: type[Exception]) -> None:
    with (
        RawServer(history=[json_answer({"message": "no"}, status)]) as server,
        pytest.raises(errors.APIError) as caught,
    ):
        connect(base_url=server.base_url, max_retries=0).messages("s1")
    assert type(caught.value) is kind
    assert caught.value.status_code == status


def test_meibel_9_a_rate_limit_tells_its_wait(connect: Connect) -> None:
    busy = json_answer({"message": "no"}, 429, retry_after="99")
    with RawServer(history=[busy]) as server, pytest.raises(errors.RateLimitError) as caught:
        connect(base_url=server.base_url).messages("s1")
    assert caught.value.retry_after == 99


@pytest.mark.parametrize("body", [None, 123, "message: x", [], [None], {"message": None}, {"detail": [1]}], ids=str)
def test_meibel_10_error_bodies_of_any_shape_are_survived(connect: Connect, body: Any) -> None:
    with RawServer(history=[json_answer(body, 400)]) as server, pytest.raises(errors.InvalidRequestError) as caught:
        connect(base_url=server.base_url).messages("s1")
    assert caught.value.body == body


@pytest.mark.parametrize("script", [[wire.quiet], [wire.reset], []], ids=["timeout", "reset", "closed"])
def test_meibel_11_no_error_of_httpx_escapes(connect: Connect, script: list[Step]) -> None:
    with RawServer(script, history=[wire.reset]) as server:
        client = connect(base_url=server.base_url, timeout=0.05, clock=FakeClock())
        with pytest.raises(errors.TurnOutcomeUnknown):
            client.send("s1", user_message="hi")
        with pytest.raises(errors.TransportError):
            client.messages("s1")
    assert not isinstance(client, httpx.Client)


def test_meibel_12_there_is_a_limit_for_the_whole_stream(connect: Connect) -> None:
    endless = [event_stream(), *TURN[:2], wire.endless(b": still here\n\n")]
    with RawServer(endless) as server:
        client = connect(base_url=server.base_url, timeout=Timeouts(total=2), clock=FakeClock(tick=0.1))
        with pytest.raises(errors.StreamInterrupted, match="total limit"):
            client.stream("s1", user_message="hi")


def test_meibel_13_what_does_no_harm_is_repeated(connect: Connect) -> None:
    with RawServer(history=[json_answer({}, 503), wire.reset, json_answer({"messages": []})]) as server:
        assert connect(base_url=server.base_url, clock=FakeClock()).messages("s1") == []
        assert len(server.requests) == 3


def sent(connect: Connect, **turn: Any) -> bytes:
    with RawServer([event_stream(), *TURN]) as server:
        connect(base_url=server.base_url).stream("s1", **turn)
        return server.requests[0]


def test_meibel_14_files_and_booleans_are_sent_as_what_they_are(connect: Connect) -> None:
    request = sent(connect, user_message="hi", include_thinking=True, files=[("a.txt", b"AAA"), ("b.txt", b"BBB")])
    assert b'filename="a.txt"' in request
    assert b"AAA" in request
    assert b'filename="b.txt"' in request
    assert b"BBB" in request
    assert b"\r\n\r\ntrue\r\n" in request


def test_meibel_15_a_file_name_injects_no_header(connect: Connect, tmp_path: Path) -> None:
    request = sent(connect, user_message="hi", files=[('a"\r\nX-Evil: 1.txt', b"AAA")])
    assert not any(line.startswith(b"X-Evil") for line in request.split(b"\r\n"))


def test_meibel_16_ids_are_quoted_and_not_empty(connect: Connect) -> None:
    with RawServer(history=[json_answer({"messages": []})]) as server:
        client = connect(base_url=server.base_url)
        client.messages("../agents/x?y=1#")
        assert server.requests[0].startswith(b"GET /v2/sessions/..%2Fagents%2Fx%3Fy%3D1%23/messages ")
        with pytest.raises(errors.InvalidInputError):
            client.messages("")


def test_meibel_17_every_page_is_read(connect: Connect) -> None:
    pages = [
        json_answer({"data": [{"session_id": f"s{i}"} for i in page], "total": 5, "offset": page[0], "limit": 2})
        for page in ([0, 1], [2, 3], [4])
    ]
    with RawServer(history=pages) as server:
        listed = connect(base_url=server.base_url).sessions("a1", page_size=2)
    assert [session.id for session in listed] == ["s0", "s1", "s2", "s3", "s4"]


def test_meibel_18_the_key_is_hidden_checked_and_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(errors.ConfigurationError, match="MEIBEL_API_KEY"):
        MeibelClient()
    monkeypatch.setenv("MEIBEL_API_KEY", "key-from-outside")
    client = MeibelClient()
    assert client.config.api_key.get_secret_value() == "key-from-outside"
    assert "key-from-outside" not in repr(client) + repr(vars(client)) + repr(client.config)
    with pytest.raises(TypeError):
        pickle.dumps(client)
    with pytest.raises(errors.ConfigurationError, match="unencrypted"):
        MeibelClient(base_url="http://example.test")
    kinds = {name for name, found in vars(errors).items() if isinstance(found, type) and issubclass(found, Exception)}
    assert set(errors.__all__) == kinds
    assert set(meibel_integrations.__all__) <= set(dir(meibel_integrations))


def test_meibel_19_a_turn_with_files_is_streamed_and_crlf_separates(connect: Connect) -> None:
    crlf = [e.replace(b"\n", b"\r\n") for e in TURN]
    with RawServer([event_stream(), *crlf]) as server:
        events = connect(base_url=server.base_url).stream("s1", user_message="hi", files=[("a.txt", b"A")])
    assert [e.type for e in events].count("content") > 1
    assert events[-1].reply is not None
    assert events[-1].reply.message == TEXT
    cr = [e.replace(b"\n", b"\r") for e in TURN]
    assert answer_of(connect, *cr) == TEXT
