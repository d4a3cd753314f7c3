"""A loopback server that answers with exactly the bytes a test names, and waits where it says."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

__all__ = ["Connection", "RawServer", "event_stream", "json_answer"]

Step = bytes | threading.Event | Callable[["Connection"], None]
"""Bytes to send, an event to wait for, or anything done to the connection."""

WAIT = 10.0


@dataclass
class Connection:
    """One accepted connection. ``gone`` is set when the client has closed it."""

    socket: socket.socket
    requests: list[bytes] = field(default_factory=list)
    gone: threading.Event = field(default_factory=threading.Event)

    def reset(self) -> None:
        """Ends the connection with a reset instead of an orderly close."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.socket.close()

    def wait_for_close(self) -> None:
        """Waits until the client closes."""
        self.socket.settimeout(WAIT)
        try:
            while self.socket.recv(4096):
                continue
        except OSError:
            return
        finally:
            self.gone.set()


class RawServer:
    """Serves one script after the other, one per POST, each on whatever connection the request comes.

    GETs are answered from ``history``, the last of it again and again: what a client finds when it looks for a turn.

    Attributes:
        requests: what was received, each request's head and body as bytes.
        connections: the accepted connections in order.
    """

    def __init__(self, *scripts: Iterable[Step], history: Iterable[Step] = ()) -> None:
        self._scripts = [list(script) for script in scripts]
        self._history = list(history) or [json_answer({"message": "no history here"}, 404)]
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, name="raw-server")
        self._workers: list[threading.Thread] = []
        self._lock = threading.Lock()
        self.requests: list[bytes] = []
        self.connections: list[Connection] = []

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._port}/v2"

    def refuse(self) -> None:
        """From now on nobody listens; the connections that are open go on."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(WAIT)

    def posts(self, path: str = "") -> list[bytes]:
        """The requests that were POSTs to paths that end so."""
        return [r for r in self.requests if r.startswith(b"POST ") and r.split(b" ")[1].decode().endswith(path)]

    def gets(self) -> int:
        """How often somebody looked into the history."""
        return sum(request.startswith(b"GET ") for request in self.requests)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with _quiet():
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self.connections:
            with _quiet():
                connection.socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(WAIT)
        for worker in self._workers:
            worker.join(WAIT)
        for connection in self.connections:
            connection.socket.close()

    def _next(self, request: bytes) -> list[Step]:
        if request.startswith(b"GET "):
            return [self._history.pop(0) if len(self._history) > 1 else self._history[0]]
        return self._scripts.pop(0) if self._scripts else [json_answer({"message": "no script"}, 599)]

    def _accept(self) -> None:
        while True:
            try:
                accepted, _ = self._listener.accept()
            except OSError:
                return
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = Connection(accepted)
            self.connections.append(connection)
            worker = threading.Thread(target=self._serve, args=(connection,), name="raw-server-connection")
            self._workers.append(worker)
            worker.start()

    def _serve(self, connection: Connection) -> None:
        with _quiet():
            while request := _read_request(connection.socket):
                connection.requests.append(request)
                with self._lock:
                    self.requests.append(request)
                    script = self._next(request)
                for step in script:
                    if isinstance(step, bytes):
                        connection.socket.sendall(step)
                    elif isinstance(step, threading.Event):
                        assert step.wait(WAIT), "the test did not go on"
                    else:
                        step(connection)
                if not _keeps_alive(script):
                    break
        connection.gone.set()
        with _quiet():
            connection.socket.shutdown(socket.SHUT_RDWR)
        connection.socket.close()


def _read_request(source: socket.socket) -> bytes:
    received = b""
    while b"\r\n\r\n" not in received:
        piece = source.recv(65536)
        if not piece:
            return b""
        received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    length = next((int(h.split(b":")[1]) for h in head.split(b"\r\n") if h.lower().startswith(b"content-length:")), 0)
    while len(body) < length:
        piece = source.recv(65536)
        if not piece:
            return b""
        body += piece
    return head + b"\r\n\r\n" + body


def _keeps_alive(script: list[Step]) -> bool:
    first = script[0].lower() if script and isinstance(script[0], bytes) else b""
    return b"content-length:" in first and b"connection: close" not in first


@contextmanager
def _quiet() -> Iterator[None]:
    """A connection that the other side, or the test, has ended is no failure of the server."""
    try:
        yield
    except OSError:
        return


def json_answer(body: object, status: int = 200, **headers: str) -> bytes:
    """A whole JSON response that keeps its connection."""

    payload = json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} X", "content-type: application/json", f"content-length: {len(payload)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + payload


def event_stream(**headers: str) -> bytes:
    """The head of an event stream that ends with its connection."""
    lines = ["HTTP/1.1 200 OK", "content-type: text/event-stream", "connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()
