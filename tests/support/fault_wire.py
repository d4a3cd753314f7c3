"""One turn with letters of one, two, three and four bytes, as bytes; and what breaks it."""

from __future__ import annotations

import gzip
import json
import threading
import zlib
from collections.abc import Callable
from functools import cache
from typing import Any

from meibel_integrations.protocol.sse import encode_event
from tests.support.servers import Connection, Step, json_answer

QUESTION = "Where does the river end?"
DELTAS = ["The Zü", "rich lake 🦢", " flows to", " 北海, the North Sea."]
TEXT = "".join(DELTAS)
SIGNAL = "sig-1"
SESSION = json_answer({"session_id": "s1", "agent_id": "a1"})


def event(kind: str, **fields: Any) -> bytes:
    return encode_event(kind, json.dumps({"type": kind, **fields}, ensure_ascii=False))


def delta(text: str) -> bytes:
    return event("partial_response", data={"message": text, "clean_message": text})


CONNECTED = event("connected", signal_id=SIGNAL)
DELTA_EVENTS = [delta(text) for text in DELTAS]
COMPLETION = event("completion", data={"message": TEXT, "clean_message": TEXT})
TURN = [CONNECTED, *DELTA_EVENTS, COMPLETION]
ERROR = event("error", signal_id=SIGNAL, message="the model fell over")

WHOLE = {"signal_id": SIGNAL, "response": {"message": TEXT, "clean_message": TEXT}}


def page(status: int, body: bytes = b"<html>nothing for you</html>", **headers: str) -> bytes:
    """A response of something that is not the service."""
    lines = [f"HTTP/1.1 {status} X", "content-type: text/html", f"content-length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def json_head(length: int, **headers: str) -> bytes:
    """The head of a JSON response that ends with its connection."""
    lines = ["HTTP/1.1 200 OK", "content-type: application/json", f"content-length: {length}", "connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def whole_body() -> bytes:
    return json.dumps(WHOLE, ensure_ascii=False).encode()


def inside_a_character(data: bytes) -> bytes:
    """The data up to the middle of its first letter that has more than one byte."""
    at = next(i for i, byte in enumerate(data) if byte >= 0xC0)
    return data[: at + 1]


def reset(connection: Connection) -> None:
    connection.reset()


def quiet(connection: Connection) -> None:
    """Nothing more, until the client has closed."""
    connection.wait_for_close()


def endless(piece: bytes) -> Callable[[Connection], None]:
    def send(connection: Connection) -> None:
        while True:  # ends when the client has closed
            connection.socket.sendall(piece)

    send.piece = piece  # type: ignore[attr-defined]
    return send


def dripping(data: bytes, pieces: int, pause: float) -> list[Step]:
    """The data in pieces with pauses between them."""
    size = -(-len(data) // pieces)
    never = threading.Event()
    steps: list[Step] = []
    for i in range(0, len(data), size):
        steps += [data[i : i + size], lambda _: never.wait(pause) and None]
    return steps


@cache
def bomb() -> bytes:
    """80 MB of zeros."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join(packer.compress(bytes(1_000_000)) for _ in range(80)) + packer.flush()


def cut_gzip(data: bytes) -> bytes:
    packed = gzip.compress(data, 0)
    return packed[: len(packed) // 2]


def history(*items: tuple[str, str]) -> bytes:
    """The session's messages: ``("user", text)`` and ``("assistant", text)`` of our turn."""
    return json_answer({"messages": [{"type": role, "message": text, "signal_id": SIGNAL} for role, text in items]})


ASKED = ("user", QUESTION)
ANSWERED = ("assistant", TEXT)
