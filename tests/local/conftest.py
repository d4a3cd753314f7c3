"""Fixtures of the local service's tests: started services that are closed again, and plain HTTP clients for them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from meibel_integrations.local import LocalMeibel
from meibel_integrations.protocol.sse import SSEParser


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def start(stack: ExitStack) -> Callable[..., LocalMeibel]:
    """Starts a service with the given options."""
    return lambda **options: stack.enter_context(LocalMeibel(**options))


class Api:
    """A plain HTTP client of one service, with the few calls that most tests need."""

    def __init__(self, local: LocalMeibel, key: str | None = None) -> None:
        self.local = local
        headers = {"Meibel-API-Key": local.api_key if key is None else key}
        # Without verify=False each client would load the certificates of the world, which takes longer than the tests.
        self.http = httpx.Client(base_url=local.base_url, headers=headers, timeout=20, trust_env=False, verify=False)
        self.control = httpx.Client(
            base_url=local.llama_cloud_base_url, headers=headers, timeout=20, trust_env=False, verify=False
        )

    def close(self) -> None:
        self.http.close()
        self.control.close()

    def session(self) -> str:
        response = self.http.post(f"/agents/{self.local.agent_id}/sessions")
        response.raise_for_status()
        return str(response.json().get("id"))

    def chat(self, session: str, message: str, **fields: Any) -> httpx.Response:
        return self.http.post(f"/sessions/{session}/chat", json={"user_message": message, **fields})

    def stream(self, session: str, message: str, **fields: Any) -> list[tuple[str, Any]]:
        response = self.http.post(f"/sessions/{session}/chat/stream", data={"user_message": message, **fields})
        response.raise_for_status()
        return events(response.content)

    def history(self, session: str) -> Any:
        return self.http.get(f"/sessions/{session}/messages").json()

    def details(self, session: str) -> Any:
        return self.http.get(f"/sessions/{session}").json()


def events(content: bytes) -> list[tuple[str, Any]]:
    return [(event.type, json.loads(event.data)) for event in SSEParser().feed(content)]


@pytest.fixture
def api(stack: ExitStack) -> Callable[..., Api]:
    """Makes clients of a service."""

    def make(local: LocalMeibel, key: str | None = None) -> Api:
        client = Api(local, key)
        stack.callback(client.close)
        return client

    return make


@pytest.fixture
def until() -> Callable[[Callable[[], Any]], Any]:
    """Polls a condition until it holds, with a deadline."""

    def wait(condition: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + 10
        while not (value := condition()):
            assert time.monotonic() < deadline, "it did not happen in time"
            time.sleep(0.005)
        return value

    return wait
