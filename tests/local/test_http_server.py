"""Connections: silent, slow and too many of them, over real sockets."""

from __future__ import annotations

import inspect
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from meibel_integrations.local import Delta, LocalMeibel, Pause, ScriptedAnswerer
from meibel_integrations.local.limits import Limits

from .conftest import Api

Connect = Callable[..., socket.socket]
HEALTH = b"GET /_local/health HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def connect(stack: ExitStack) -> Connect:
    """Opens a connection to a service and sends some bytes."""

    def open_one(local: LocalMeibel, sent: bytes = b"") -> socket.socket:
        parts = urlsplit(local.base_url)
        opened = stack.enter_context(socket.create_connection((parts.hostname, parts.port), timeout=10))
        opened.sendall(sent)
        return opened

    return open_one


def _post(local: LocalMeibel, path: str, length: int) -> bytes:
    """The head of a request with the service's key."""
    return (
        f"POST /v2/{path} HTTP/1.1\r\nHost: localhost\r\nMeibel-API-Key: {local.api_key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


def chunks(connection: socket.socket) -> Iterator[bytes]:
    """What arrives, until the other side ends the connection."""
    try:
        while data := connection.recv(65536):
            yield data
    except ConnectionResetError:
        return


@pytest.mark.parametrize("sent", [b"", b"GET / HT", HEALTH[:-2]])
def test_a_connection_without_a_whole_head_is_closed(
    start: Callable[..., LocalMeibel], connect: Connect, sent: bytes
) -> None:
    local = start(limits=Limits(head_seconds=0.1))
    assert list(chunks(connect(local, sent))) == []


def test_the_next_request_of_a_connection_has_the_same_time(
    start: Callable[..., LocalMeibel], connect: Connect
) -> None:
    local = start(limits=Limits(head_seconds=0.1))
    opened = connect(local, HEALTH)
    assert next(chunks(opened)).startswith(b"HTTP/1.1 200")
    opened.sendall(b"GET /_loc")
    assert b"HTTP/1.1" not in b"".join(chunks(opened))


def test_a_body_that_stalls_is_told_so(start: Callable[..., LocalMeibel], connect: Connect) -> None:
    local = start(limits=Limits(idle_seconds=0.1))
    opened = connect(local, _post(local, f"agents/{local.agent_id}/sessions", length=100) + b"{")
    answer = b"".join(chunks(opened))
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"no byte of the request's body came for 0.1 seconds" in answer


def test_a_client_that_reads_nothing_is_cut_off(
    start: Callable[..., LocalMeibel], api: Callable[..., Api], connect: Connect, until: Callable[..., object]
) -> None:
    answerer = ScriptedAnswerer([[Delta("x" * 1_000_000) for _ in range(4)]])
    local = start(answerer=answerer, limits=Limits(idle_seconds=0.1, max_answer_chars=5_000_000))
    client = api(local)
    session = client.session()
    reader = connect(local, _post(local, f"sessions/{session}/chat/stream", length=20) + b'{"user_message":"q"}')
    until(lambda: len(client.history(session)["messages"]) == 2)
    ours = reader.getsockname()
    until(lambda: ours not in {each.raddr for each in psutil.Process().net_connections()})
    # Only what the system's buffers held arrives. The turn itself is complete.
    assert sum(map(len, chunks(reader))) < 4_000_000


def test_idle_connections_keep_nobody_out(start: Callable[..., LocalMeibel], connect: Connect) -> None:
    local = start(limits=Limits(max_connections=20))
    idle = [connect(local) for _ in range(60)]
    answer = connect(local, HEALTH.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    assert b"".join(chunks(answer)).startswith(b"HTTP/1.1 200")
    assert list(chunks(idle[0])) == []


def test_when_all_are_being_answered_the_next_one_is_refused(
    start: Callable[..., LocalMeibel], api: Callable[..., Api], connect: Connect, stack: ExitStack
) -> None:
    pauses = [Pause() for _ in range(16)]
    local = start(
        answerer=ScriptedAnswerer([[pause, Delta("said")] for pause in pauses]), limits=Limits(max_connections=16)
    )
    streams = []
    for pause in pauses:
        client = api(local)
        session = client.session()
        path = f"/sessions/{session}/chat/stream"
        streams.append(stack.enter_context(client.http.stream("POST", path, json={"user_message": "q"})))
        client.control.close()
        assert pause.reached.wait(10)
    refused = b"".join(chunks(connect(local, HEALTH)))
    assert refused.startswith(b"HTTP/1.1 503")
    assert b"Retry-After: 1" in refused
    for pause in pauses:
        pause.release()
    assert all("said" in stream.read().decode() for stream in streams)
    assert httpx.get(f"{local.llama_cloud_base_url}/_local/health", trust_env=False).status_code == 200


def test_uvicorn_is_as_it_was() -> None:
    """What the server takes from uvicorn beyond its documented options."""
    assert list(inspect.signature(H11Protocol).parameters) == ["config", "server_state", "app_state", "_loop"]
    config = uvicorn.Config("app", http=H11Protocol)
    config.load_app = lambda: None  # type: ignore[method-assign, assignment]
    server = uvicorn.Server(config)
    assert server.started is False
    source = inspect.getsource(uvicorn.Server.startup)
    assert "config.http_protocol_class(" in source
    assert "self.servers" in source
